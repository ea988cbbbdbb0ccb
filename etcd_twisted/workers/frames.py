"""
What the consensus process and a worker send each other over the feed: frames, each of which is a message in msgpack,
after its length in four bytes.

Both ends are of the same version, so a message may change in any way. This module must never do anything with one.
"""

from collections.abc import Iterator

import msgspec

from etcd_twisted.consensus.raft.entries import Entry, SnapshotMetadata

LENGTH_BYTES = 4
"""How many bytes of a frame say how long the rest is."""


class Load(msgspec.Struct, array_like=True, frozen=True, tag="load"):
    """
    A copy of the key space follows, in pieces, then L{Loaded}, and then all entries after it.

    @ivar snapshot: what the copy covers.
    """

    snapshot: SnapshotMetadata


class Piece(msgspec.Struct, array_like=True, frozen=True, tag="piece"):
    """
    The next piece of that copy.

    @ivar data: see L{etcd_twisted.keyspace.snapshot.dump}.
    """

    data: bytes


class Loaded(msgspec.Struct, array_like=True, frozen=True, tag="loaded"):
    """The copy is complete."""


class Unload(msgspec.Struct, array_like=True, frozen=True, tag="unload"):
    """The machine has dropped its copy."""


class Entries(msgspec.Struct, array_like=True, frozen=True, tag="entries"):
    """
    Entries of the log that the machine has applied.

    @ivar entries: these follow each other, and the last ones that were sent.
    """

    entries: tuple[Entry, ...]


class State(msgspec.Struct, array_like=True, frozen=True, tag="state"):
    """
    What the machine knows beside its key space. It holds once everything is applied that was sent before.

    @ivar name: the name of the machine; empty while it has none.
    @ivar leader_id: the id of the machine that leads, in the Raft group; C{None} while none does.
    @ivar leader: the name, the client URL and the peer URL of the leader, once clients may be sent there.
    @ivar leads: whether the machine itself leads and takes proposals.
    @ivar led_since: since when there has been this leader, or none, by the monotonic clock.
    @ivar ahead_seconds: how far the cluster time is ahead of the monotonic clock.
    @ivar closed: why the machine answers nobody any more; C{None} while it answers.
    @ivar cluster_id: the id of the cluster; empty while it is not known.
    """

    name: str
    cluster_id: str
    term: int
    leader_id: str | None
    leader: tuple[str, str, str] | None
    leads: bool
    led_since: float
    ahead_seconds: float
    standby: bool
    serving: bool
    closed: str | None


class Request(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="request"):
    """
    A request of a worker; see L{etcd_twisted.consensus.forwarding.requests}.

    @ivar number: tells it from the worker's other requests.
    """

    number: int
    data: bytes


class Withdraw(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="withdraw"):
    """The worker no longer wants the answer to a request."""

    number: int


class Answer(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="answer"):
    """The answer to a request."""

    number: int
    data: bytes


class NotSent(msgspec.Struct, array_like=True, frozen=True, tag="not_sent"):
    """
    The machine has done nothing about a request.

    @ivar cannot: whether only the client itself can ask the leader.
    """

    number: int
    reason: str
    cannot: bool = False


class Lost(msgspec.Struct, array_like=True, frozen=True, tag="lost"):
    """The machine has passed a request on, and nobody knows what became of it."""

    number: int
    reason: str


Down = Load | Piece | Loaded | Unload | Entries | State | Answer | NotSent | Lost
"""What the consensus process sends."""

Up = Request | Withdraw
"""What a worker sends."""

decode_down = msgspec.msgpack.Decoder(Down).decode
decode_up = msgspec.msgpack.Decoder(Up).decode

_encode = msgspec.msgpack.Encoder().encode


def frame(message: Down | Up) -> bytes:
    """Returns the frame of a message."""
    data = _encode(message)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


class FrameReader:
    """Takes the bytes of a stream, and gives the messages in its frames back."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes. Yields the encoded message of each frame that is complete now."""
        received = self._received
        received += data
        start, length = 0, len(received)
        try:
            while length - start >= LENGTH_BYTES:
                begin = start + LENGTH_BYTES
                end = begin + int.from_bytes(received[start:begin], "big")
                if end > length:
                    break
                start = end
                yield bytes(received[begin:end])
        finally:
            del received[:start]
