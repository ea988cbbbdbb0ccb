"""
What machines say to each other, by AMP: the peer port, and the way to those of others.

Must never see the replica but through L{etcd_twisted.interfaces.IReplica} and L{etcd_twisted.interfaces.IRaftPeer},
nor answer anything else than AMP: what begins as HTTP on the port is handed on.
"""
