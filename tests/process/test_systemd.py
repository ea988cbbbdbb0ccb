"""
Tests of L{etcd_twisted.process.systemd}: what a service manager is sent. What a whole process sends is tested in
C{tests.processes}.
"""

import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.process.systemd import Readiness
from tests.logs.lines import Log


class ReadinessTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()  # the path of a socket has to be short
        self.addCleanup(directory.cleanup)
        self.path = str(Path(directory.name) / "notify")
        self.log = Log(self)

    def listening(self, address: str) -> socket.socket:
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(receiver.close)
        receiver.bind(address)
        receiver.setblocking(False)
        return receiver

    def test_each_state_has_a_status(self) -> None:
        """Each assignment is a line (sd_notify(3))."""
        for address, given in ((self.path, self.path), ("\0" + self.path, "@" + self.path)):
            receiver, readiness = self.listening(address), Readiness(given)
            readiness.status("starts")
            readiness.ready("serves")
            readiness.stopping("ends")
            received = [receiver.recv(1_000) for _ in range(3)]
            self.assertEqual(received, [b"STATUS=starts", b"READY=1\nSTATUS=serves", b"STOPPING=1\nSTATUS=ends"])
        self.assertEqual(self.log.warnings, [])

    def test_a_status_can_assign_nothing(self) -> None:
        """Whatever a status contains, it is sent as one line."""
        receiver = self.listening(self.path)
        Readiness(self.path).status("failed:\nREADY=1\n")
        self.assertEqual(receiver.recv(1_000), b"STATUS=failed: READY=1")

    def test_nothing_is_sent_without_an_address(self) -> None:
        for address in (None, ""):
            Readiness(address).ready("serves")
        self.assertEqual(self.log.warnings, [])

    def test_an_address_nobody_listens_on_is_logged(self) -> None:
        """The error is logged and has no other effect."""
        for address in (self.path, "@" + self.path, "/" + "x" * 200, "vsock:2:1"):
            Readiness(address).ready("serves")
        self.assertEqual(len(self.log.warnings), 4)
        for line in self.log.warnings:
            self.assertRegex(line, r"^NOTIFY_SOCKET .* can't be told 'READY=1\\nSTATUS=serves': .")

    def test_manager_that_reads_nothing_delays_nothing(self) -> None:
        self.listening(self.path)
        readiness = Readiness(self.path)
        for _ in range(10_000):
            readiness.status("again")
            if self.log.warnings:
                break
        self.assertEqual(len(self.log.warnings), 1)
