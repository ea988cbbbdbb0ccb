"""
The AMP commands between machines, their arguments and their errors.

A command, an argument or an error is only ever added, and is optional then. Any other change needs a new protocol
version (L{etcd_twisted.interfaces.cluster.PROTOCOL_VERSION}). Only L{Join}, L{Leave} and L{Describe} may come before
L{Hello}.

This module must never decide anything: this only defines what goes over the wire.
"""
# Twisted's AMP has no types.
# mypy: disallow-untyped-calls=False

from collections.abc import Mapping, MutableMapping
from typing import Any, ClassVar

import msgspec
from twisted.protocols import amp

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces.cluster import ClusterView, JoinReply, JoinRequest, StatusReport

MAX_CAUSE_CHARACTERS = 10_000
"""How much of an error's cause is sent."""


class LongBytes(amp.Argument):
    """
    Bytes of any length: what does not fit into one AMP value goes into further keys of the same box, C{name.1},
    C{name.2} and so on.
    """

    def toBox(
        self, name: bytes, strings: MutableMapping[bytes, bytes], objects: MutableMapping[str, Any], proto: object
    ) -> None:
        """Split the bytes."""
        value = self.toString(self.retrieve(objects, name.decode(), proto))
        strings[name] = value[: amp.MAX_VALUE_LENGTH]
        for number, start in enumerate(range(amp.MAX_VALUE_LENGTH, len(value), amp.MAX_VALUE_LENGTH), 1):
            strings[b"%s.%d" % (name, number)] = value[start : start + amp.MAX_VALUE_LENGTH]

    def fromBox(
        self, name: bytes, strings: MutableMapping[bytes, bytes], objects: MutableMapping[str, Any], proto: object
    ) -> None:
        """Put the bytes together."""
        pieces = [self.retrieve(strings, name, proto)]
        while (piece := strings.pop(b"%s.%d" % (name, len(pieces)), None)) is not None:
            pieces.append(piece)
        objects[name.decode()] = self.fromString(b"".join(pieces) if len(pieces) > 1 else pieces[0])

    def toString(self, value: Any) -> bytes:
        """Returns the bytes of a value."""
        return bytes(value)

    def fromString(self, data: bytes) -> Any:
        """Returns the value that bytes stand for."""
        return data


class StructArgument(LongBytes):
    """
    A C{msgspec} structure; unknown fields are ignored.

    @ivar kind: the structure's class.
    """

    def __init__(self, kind: type[msgspec.Struct]) -> None:
        super().__init__()
        self.kind = kind
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(kind)

    def toString(self, value: Any) -> bytes:
        """Returns the bytes of a value."""
        return self._encode(value)

    def fromString(self, data: bytes) -> Any:
        """
        Returns the value that bytes stand for.

        @raise ValueError: they stand for none.
        """
        try:
            return self._decoder.decode(data)
        except msgspec.MsgspecError as error:
            raise ValueError(f"no {self._decoder.type.__name__}: {error}") from error


class VersionError(Exception):
    """The machines speak different versions of the protocol."""


class ClusterError(Exception):
    """The machines are of different clusters."""


class MachineError(Exception):
    """The machine here is not the one that was expected."""


class NotMemberError(Exception):
    """The machine that sent the request is not in the cluster, or not any more."""


class IdleError(Exception):
    """The machine that got the request does not take part in consensus, or not yet."""


class SnapshotError(Exception):
    """A snapshot, or a part of one, is refused."""


class RefusedError(Exception):
    """Carries an L{EtcdError} to another machine. The text is what goes over the wire."""

    @classmethod
    def carrying(cls, error: EtcdError) -> "RefusedError":
        """Returns one that becomes C{error} again."""
        return cls(msgspec.json.encode((error.code, error.cause[:MAX_CAUSE_CHARACTERS], error.index)).decode())

    def error(self) -> EtcdError:
        """
        Returns the error that it carries; error 300 if that can't be read.
        """
        try:
            code, cause, index = msgspec.json.decode(str(self), type=tuple[ErrorCode, str, int])
        except msgspec.MsgspecError:
            return EtcdError(ErrorCode.RAFT_INTERNAL, f"an error that can't be read: {str(self)[:100]!r}")
        return EtcdError(code, cause, index)


class Hello(amp.Command):
    """
    The first request on a connection over which a machine is going to send messages.

    C{version} is the version of the protocol, C{cluster_id} and C{sender} are the ids of the sender's cluster and of
    the sender, C{name} is its name for people. C{configuration_index} is the log index of the newest configuration
    that the sender knows; it is a member there. C{receiver} is the id of the machine that it expects. C{peer_url} is
    where the sender is.

    The result C{commands} has the names of the commands that are known on this connection. A machine that does not
    name them knows the oldest ones, and closes the connection if another one comes.
    """

    arguments: ClassVar = [
        (b"version", amp.Integer()),
        (b"cluster_id", amp.Unicode()),
        (b"sender", amp.Unicode()),
        (b"name", amp.Unicode()),
        (b"configuration_index", amp.Integer()),
        (b"receiver", amp.Unicode()),
        (b"peer_url", amp.Unicode(optional=True)),
    ]
    response: ClassVar = [(b"machine_id", amp.Unicode()), (b"commands", amp.ListOf(amp.String(), optional=True))]
    errors: ClassVar = {IdleError: b"IDLE"}
    fatalErrors: ClassVar = {  # noqa: N815  # Twisted's name
        VersionError: b"VERSION",
        ClusterError: b"CLUSTER",
        MachineError: b"MACHINE",
        NotMemberError: b"NOT_A_MEMBER",
    }


class Deliver(amp.Command):
    """
    Messages of the machine that sent L{Hello}. With C{more}, which says whether another part follows, C{payload} is a
    part; without, it is whole, and may come between parts.

    It is not answered: answers are messages too, on the other machine's own connection.
    """

    arguments: ClassVar = [(b"payload", LongBytes()), (b"more", amp.Boolean(optional=True))]
    requiresAnswer = False  # noqa: N815  # Twisted's name


class OfferSnapshot(amp.Command):
    """See L{etcd_twisted.interfaces.IRaftPeer.snapshot_offered}; C{offset} is how much of it is there already."""

    arguments: ClassVar = [(b"metadata", LongBytes()), (b"head", LongBytes()), (b"size", amp.Integer())]
    response: ClassVar = [(b"offset", amp.Integer())]
    errors: ClassVar = {SnapshotError: b"SNAPSHOT"}


class SnapshotPiece(amp.Command):
    """See L{etcd_twisted.interfaces.IRaftPeer.snapshot_piece}. It is answered when the piece is on disk."""

    arguments: ClassVar = [(b"offset", amp.Integer()), (b"data", LongBytes())]
    errors: ClassVar = {SnapshotError: b"SNAPSHOT"}


class Join(amp.Command):
    """See L{etcd_twisted.interfaces.IRaftPeer.join}."""

    arguments: ClassVar = [(b"request", StructArgument(JoinRequest))]
    response: ClassVar = [(b"reply", StructArgument(JoinReply))]
    errors: ClassVar = {RefusedError: b"ETCD_ERROR"}
    fatalErrors: ClassVar = {VersionError: b"VERSION"}  # noqa: N815  # Twisted's name


class Leave(amp.Command):
    """See L{etcd_twisted.interfaces.IReplica.remove}."""

    arguments: ClassVar = [(b"name", amp.Unicode())]
    errors: ClassVar = {RefusedError: b"ETCD_ERROR"}


class Describe(amp.Command):
    """See L{etcd_twisted.interfaces.IRaftPeer.describe}."""

    response: ClassVar = [(b"view", StructArgument(ClusterView))]


class Status(amp.Command):
    """
    See L{etcd_twisted.interfaces.IRaftPeer.status}. It is sent only to machines that named it in their answer to
    L{Hello}.
    """

    response: ClassVar = [(b"report", StructArgument(StatusReport))]


class Forward(amp.Command):
    """
    See L{etcd_twisted.interfaces.IRaftPeer.forwarded}. C{number} is the request's on this connection, and is not used
    twice. With C{more}, C{data} is a part of the request, and the others follow; a part is answered at once, with an
    empty C{answer}.
    """

    arguments: ClassVar = [
        (b"number", amp.Integer()),
        (b"data", LongBytes()),
        (b"more", amp.Boolean(optional=True)),
    ]
    response: ClassVar = [(b"answer", LongBytes())]


class Withdraw(amp.Command):
    """Withdraws a L{Forward}, whose answer is then of no use."""

    arguments: ClassVar = [(b"number", amp.Integer())]
    requiresAnswer = False  # noqa: N815  # Twisted's name


COMMANDS: Mapping[bytes, type[amp.Command]] = {
    command.commandName: command
    for command in (Hello, Deliver, OfferSnapshot, SnapshotPiece, Join, Leave, Describe, Status, Forward, Withdraw)
}
"""All commands, by their names on the wire."""
