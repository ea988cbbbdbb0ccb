"""
Telling the service manager that started this process, such as systemd, how far it is: sd_notify(3), in a few lines.

Must never hold the process up, nor end it, when the service manager does not listen.
"""

import socket

import attrs
from twisted.logger import Logger


@attrs.frozen
class Readiness:
    """
    What the service manager is told, each time with a status in one line, for people.

    @ivar address: where it listens, as C{NOTIFY_SOCKET} has it: a path, or an abstract name after C{@}; C{None} or
        empty where nobody is to be told.
    """

    _log = Logger()

    address: str | None

    def status(self, status: str) -> None:
        """How far the process is, or why it ends."""
        self._tell(status)

    def ready(self, status: str) -> None:
        """The process does what it is for from now on."""
        self._tell(status, "READY=1")

    def stopping(self, status: str) -> None:
        """The process is about to end in order."""
        self._tell(status, "STOPPING=1")

    def _tell(self, status: str, *assignments: str) -> None:
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
                    "NOTIFY_SOCKET {address} can't be told {told!r}: {reason}",
                    address=self.address,
                    told=message,
                    reason=error.strerror or error,
                )
