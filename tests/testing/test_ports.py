"""
Tests of L{etcd_twisted.testing.ports}.
"""

import socket

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.testing import free_ports


class FreePortsTests(SynchronousTestCase):
    def test_ports_are_different_and_free(self) -> None:
        found = free_ports(4)
        self.assertEqual(len(set(found)), 4)
        for port in found:
            socket.create_server(("127.0.0.1", port)).close()
