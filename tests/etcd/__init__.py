"""
The client library against etcd itself, of a release that still serves the version 2 API: Debian's etcd 3.4.
"""
