"""
C{txetcdctl}, the command-line tool, on the habits of C{etcdctl} for version 2 of the API: see C{docs/txetcdctl.md}.

It is built on L{etcd_twisted.client}, and must never import anything of the server but L{etcd_twisted.datadir}. A
module imports Twisted, treq, the client library and rich within functions, when a command needs them: help and errors
of the command line come at once.
"""
