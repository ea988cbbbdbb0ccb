"""
What is served over HTTP: the version 2 API of etcd and the dashboard to clients, and the admin resource to
administrators.

This package must never use the replica but through L{etcd_twisted.interfaces.IReplica}.
"""
