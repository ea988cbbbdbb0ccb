"""
The client port: HTTP for programs that speak etcd's version 2 API.

Sees the replica through L{etcd_twisted.interfaces.IReplica} only.
"""
