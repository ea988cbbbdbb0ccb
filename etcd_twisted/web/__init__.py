"""
The client port: HTTP for programs that speak etcd's version 2 API.

Must never see the replica but through L{etcd_twisted.interfaces.IReplica}.
"""
