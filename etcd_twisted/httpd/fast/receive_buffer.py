"""
What has come on a connection and can't be handled yet, and whether more is read.

While a connection is not read, nothing shows that its client has gone. So it is read on until much is kept.

This module must never lose bytes, nor change their order.
"""

from twisted.internet.interfaces import IPushProducer

READ_AHEAD_BYTES = 1 << 14
"""How much may be kept before the connection is not read any more."""


class ReceiveBuffer:
    """
    The bytes that wait on one connection.

    @ivar size: how many bytes are kept; to be read only.
    @ivar needed_bytes: how many have to be there before it is worth handling them.
    @ivar paused: whether the connection is not read; to be read only.
    """

    __slots__ = ("_parts", "_transport", "needed_bytes", "paused", "size")

    def __init__(self, transport: IPushProducer) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self.size = 0
        self.needed_bytes = 0
        self.paused = False

    def add(self, data: bytes, needed_bytes: int = 0) -> None:
        """Keep bytes, until so many are there, or for as long as something else has to be waited for."""
        self._parts.append(data)
        self.size += len(data)
        self.needed_bytes = needed_bytes

    def take(self) -> bytes:
        """Returns all that is kept, and keeps it no longer."""
        data = b"".join(self._parts)
        self._parts.clear()
        self.size = 0
        return data

    def pause(self) -> None:
        """Stop reading from the connection."""
        if not self.paused:
            self.paused = True
            self._transport.pauseProducing()

    def resume(self) -> None:
        """Read from the connection again."""
        if self.paused:
            self.paused = False
            self._transport.resumeProducing()
