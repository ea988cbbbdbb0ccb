"""
AMP between machines: the peer port, and the connections to those of others.

This package must never see the replica but through L{etcd_twisted.interfaces.IReplica} and
L{etcd_twisted.interfaces.IRaftPeer}, nor answer anything but AMP: a connection that begins as HTTP is handed on.
"""
