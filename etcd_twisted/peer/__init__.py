"""
The peer port: what machines and administrators say to each other.

Must never see the replica but through L{etcd_twisted.interfaces.IReplica}.
"""
