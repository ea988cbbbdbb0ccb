"""
The peer port: what machines and administrators say to each other.

Sees the replica through L{etcd_twisted.interfaces.IReplica} only.
"""
