"""
A service manager that only listens: processes that have its address send it their state (sd_notify(3)).
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
    Listens until the end of the test.

    @ivar address: where, as C{NOTIFY_SOCKET} has it.
    @ivar told: the messages that it has received, in order; each is a dictionary of what was assigned.
    """

    def __init__(self, test: TestCase, abstract: bool = False) -> None:
        """@param abstract: whether to listen at a name that is no file."""
        directory = tempfile.TemporaryDirectory()  # the path of a socket has to be short
        test.addCleanup(directory.cleanup)
        path = str(Path(directory.name) / "notify")
        self.address = "@" + path if abstract else path
        self.told: list[dict[str, str]] = []
        self._waiting: list[tuple[str, Deferred[str]]] = []
        port = reactor.listenUNIXDatagram("\0" + path if abstract else path, self)
        test.addCleanup(port.stopListening)

    def states(self) -> list[str]:
        """The messages without what is for people."""
        return [name for message in self.told for name in message if name != "STATUS"]

    def when_told(self, name: str) -> "Deferred[str]":
        """Returns a Deferred that fires with the status in the first message from now on that assigns C{name}."""
        told: Deferred[str] = Deferred()
        self._waiting.append((name, told))
        return told

    def datagramReceived(self, datagram: bytes, _address: Any) -> None:
        """A process sends a message."""
        message = dict(line.split("=", 1) for line in datagram.decode().splitlines())
        self.told.append(message)
        for entry in list(self._waiting):
            name, told = entry
            if name in message:
                self._waiting.remove(entry)
                told.callback(message["STATUS"])
