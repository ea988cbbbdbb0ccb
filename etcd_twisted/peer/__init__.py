"""
The peer port, and the way to those of others: what machines and administrators say to each other.

Must never see the replica but through L{etcd_twisted.interfaces.IReplica} and L{etcd_twisted.interfaces.IRaftPeer}.
"""
