"""
What the consensus process and a worker tell each other beside the feed and the requests that are relayed: the
configuration, which sockets to accept from, when to stop; log events, counters, failed log-ins.

Each message is an array of msgpack behind its length. This module must never do what a message says.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from etcd_twisted.config.config import Text
from etcd_twisted.interfaces.statistics import WorkerCounts

_Sent = TypeVar("_Sent")
_Received = TypeVar("_Received")


class SharedSocket(msgspec.Struct, array_like=True, frozen=True):
    """
    A listening socket.

    @ivar descriptor: its file descriptor in the worker.
    @ivar family: its address family.
    @ivar is_secure: whether TLS is spoken there, if it is by the port.
    @ivar owner: the number of the worker that accepts from it; C{None} if all do.
    """

    descriptor: int
    family: int
    is_secure: bool
    owner: int | None


# To a worker


class Configure(msgspec.Struct, array_like=True, tag=True, frozen=True):
    """
    The first message.

    @ivar number: the worker's number, from 1 on.
    @ivar clock_ahead_seconds: how far the time of the reactor is ahead of the system's monotonic clock.
    @ivar settings: see L{etcd_twisted.config.Config.texts}.
    @ivar sources: see L{etcd_twisted.config.Config}; likewise C{contents}.
    @ivar sockets: all listening sockets, those of other workers included.
    """

    number: int
    clock_ahead_seconds: float
    settings: dict[str, Text]
    sources: dict[str, str]
    contents: dict[str, bytes]
    sockets: list[SharedSocket]

    def __repr__(self) -> str:
        """Returns a text without the contents of files: there is a private key among them."""
        return f"<Configure worker {self.number}: contents of {', '.join(self.contents) or 'no files'}>"


class Accept(msgspec.Struct, array_like=True, tag=True, frozen=True):
    """Accept connections from the sockets of these workers, and no others: some are without their process."""

    owners: list[int]


class Count(msgspec.Struct, array_like=True, tag=True, frozen=True):
    """Say what is counted; see L{Counted}."""

    request_id: int


class Attempt(msgspec.Struct, array_like=True, tag=True, frozen=True):
    """
    When an attempt to log in may begin, or whether one that failed makes others wait.

    @ivar answer: what L{etcd_twisted.web.auth.failed_attempts.FailedAttempts} returns.
    """

    request_id: int
    answer: float | bool | None


class Stop(msgspec.Struct, array_like=True, tag=True, frozen=True):
    """Accept no more connections, finish the requests under way, and end."""


# From a worker


class Ready(msgspec.Struct, array_like=True, tag=True, frozen=True):
    """The worker can serve: it has a copy of the key space."""


class Logged(msgspec.Struct, array_like=True, tag=True, frozen=True):
    """
    An event of the log.

    @ivar text: the message.
    @ivar fields: what the message is made from, as numbers and texts.
    @ivar traceback: of a failure; or empty.
    """

    level: str
    namespace: str
    text: str
    fields: dict[str, int | float | str]
    traceback: str


class Counted(msgspec.Struct, array_like=True, tag=True, frozen=True):
    """What the worker has counted; without an id if it was not asked."""

    request_id: int | None
    counts: WorkerCounts


class BeginAttempt(msgspec.Struct, array_like=True, tag=True, frozen=True):
    """Somebody tries to log in; see L{Attempt}."""

    request_id: int
    name: str


class EndAttempt(msgspec.Struct, array_like=True, tag=True, frozen=True):
    """
    An attempt has ended.

    @ivar request_id: for the answer to an attempt that failed; C{None} if there is none.
    @ivar succeeded: C{None} if it ended without a result.
    """

    request_id: int | None
    name: str
    succeeded: bool | None


ToWorker = Configure | Accept | Count | Attempt | Stop
FromWorker = Ready | Logged | Counted | BeginAttempt | EndAttempt


class ControlConnection(Int32StringReceiver, Generic[_Sent, _Received]):
    """
    One end.

    @ivar on_message: called with each message.
    @ivar on_lost: called when the other end is gone.
    """

    MAX_LENGTH = 1 << 30

    def __init__(self, decoder: "msgspec.msgpack.Decoder[_Received]", on_message: Callable[[_Received], None]) -> None:
        self.on_message = on_message
        self.on_lost: Callable[[], None] = lambda: None
        self._decoder = decoder
        self._encoder = msgspec.msgpack.Encoder()

    def send(self, message: _Sent) -> None:
        """Send a message, unless the other end is gone."""
        if self.connected:
            self.sendString(self._encoder.encode(message))  # type: ignore[no-untyped-call]  # Twisted has no types there

    def stringReceived(self, string: bytes) -> None:
        """Take a message."""
        self.on_message(self._decoder.decode(string))

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002  # Twisted's name
        """See L{on_lost}."""
        self.on_lost()


def consensus_end(on_message: Callable[[FromWorker], None]) -> ControlConnection[ToWorker, FromWorker]:
    """Returns the end in the consensus process."""
    decoder: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
    return ControlConnection(decoder, on_message)


def worker_end(on_message: Callable[[ToWorker], None]) -> ControlConnection[FromWorker, ToWorker]:
    """Returns the end in a worker."""
    decoder: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
    return ControlConnection(decoder, on_message)
