"""
A service manager that only listens: it is told by the processes that it is named to how far they are (sd_notify(3)).
"""

import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import TestCase


class Manager(DatagramProtocol):
    """
    Listens until the test's end.

    @ivar address: where, as C{NOTIFY_SOCKET} has it.
    @ivar told: what it was told, in order; each a dictionary of what was assigned.
    """

    def __init__(self, test: TestCase, abstract: bool = False) -> None:
        """
        @param abstract: whether at a name that is no file.
        """
        directory = tempfile.TemporaryDirectory()  # a socket's path has to be short
        test.addCleanup(directory.cleanup)
        path = str(Path(directory.name) / "notify")
        self.address = "@" + path if abstract else path
        self.told: list[dict[str, str]] = []
        self._waiting: list[tuple[str, Deferred[str]]] = []
        port = reactor.listenUNIXDatagram("\0" + path if abstract else path, self)
        test.addCleanup(port.stopListening)

    def states(self) -> list[str]:
        """What it was told but for what is for people."""
        return [name for message in self.told for name in message if name != "STATUS"]

    def when_told(self, name: str) -> "Deferred[str]":
        """Fires with the status that came with the first message from here on that assigns C{name}."""
        told: Deferred[str] = Deferred()
        self._waiting.append((name, told))
        return told

    def datagramReceived(self, datagram: bytes, _address: Any) -> None:
        """A process tells something."""
        message = dict(line.split("=", 1) for line in datagram.decode().splitlines())
        self.told.append(message)
        for entry in list(self._waiting):
            name, told = entry
            if name in message:
                self._waiting.remove(entry)
                told.callback(message["STATUS"])
