"""
What every port and every connection needs: addresses to listen on, sockets, TLS, a port as a service.

This package must never know a protocol: what goes over a connection is its owner's business.
"""

from etcd_twisted.net.listening import ListenAddress, listen

__all__ = ["ListenAddress", "listen"]
