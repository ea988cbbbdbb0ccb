"""
The common parts of every port and every connection: addresses to listen on, sockets, TLS, a port as a service.

This package must never know a protocol: only the owner of a connection knows what goes over it.
"""

from etcd_twisted.net.listening import ListenAddress, listen

__all__ = ["ListenAddress", "listen"]
