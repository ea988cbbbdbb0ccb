"""
What is served over HTTP: to clients, the version 2 API of etcd and the dashboard; to administrators, who is in the
cluster.

Must never see the replica but through L{etcd_twisted.interfaces.IReplica}.
"""
