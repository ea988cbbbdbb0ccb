"""
Tells the service manager that started this process, such as systemd, how far it is: sd_notify(3) in a few lines.

This module must never delay the process, nor end it, when the service manager does not listen.
"""

import socket

import attrs
from twisted.logger import Logger


@attrs.frozen
class Readiness:
    """
    Notifies the service manager. Each notification has a status of one line, which people read.

    @ivar address: the address of the service manager, as in C{NOTIFY_SOCKET}: a path, or C{@} and an abstract name;
        C{None} or empty without a service manager.
    """

    _log = Logger()

    address: str | None

    def status(self, status: str) -> None:
        """Say how far the process is, or why it ends."""
        self._notify(status)

    def ready(self, status: str) -> None:
        """Say that the process does its work from now on."""
        self._notify(status, "READY=1")

    def stopping(self, status: str) -> None:
        """Say that the process is about to end in order."""
        self._notify(status, "STOPPING=1")

    def _notify(self, status: str, *assignments: str) -> None:
        if not self.address:
            return
        message = "\n".join([*assignments, f"STATUS={' '.join(status.split())}"])
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(message.encode(), address)
            except OSError as error:
                self._log.warn(
                    "NOTIFY_SOCKET {address} can't be told {notification!r}: {reason}",
                    address=self.address,
                    notification=message,
                    reason=error.strerror or error,
                )
