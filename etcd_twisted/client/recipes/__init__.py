"""
Locks, elections, queues and more, built on the client: see C{docs/client.md}.

This package must never reach behind the public face of L{etcd_twisted.client}.
"""
