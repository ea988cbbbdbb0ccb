"""
What a follower asks of the leader for its clients: to put commands into the log, to confirm that a read may proceed,
and to do what only the leader does. These are the requests and the answers as other machines see them.

Fields are only ever added at the end, with defaults: machines of other versions ignore what they do not know. This
module must never do anything.
"""

import itertools

import msgspec

from etcd_twisted.auth.state import GUEST
from etcd_twisted.errors import ErrorCode, EtcdError

MAX_CAUSE_CHARACTERS = 1_000
"""How much of an error's cause is sent."""


Wanted = tuple[bytes, str | None]
"""An encoded command, and the user who wants it; C{None} if the machine itself does."""


class Propose(msgspec.Struct, array_like=True, frozen=True, tag="propose"):
    """
    Put commands into the log.

    @ivar commands: the encoded commands, in the order in which the clients sent them.
    @ivar users: for each command the user who wants it, or C{None} if the machine itself does; empty if guests want
        all of them, as machines of versions send it that know no users.
    """

    commands: list[bytes]
    users: list[str | None] = []

    def wanted(self) -> list[Wanted]:
        """Returns each command with the user who wants it: a guest where none is given."""
        return list(zip(self.commands, itertools.chain(self.users, itertools.repeat(GUEST)), strict=False))


class Confirm(msgspec.Struct, array_like=True, frozen=True, tag="confirm"):
    """
    Confirm that reads may proceed.

    @ivar recent: whether a lease suffices; see L{etcd_twisted.interfaces.IReplica.confirm_recent}.
    """

    recent: bool


class Ask(msgspec.Struct, array_like=True, frozen=True, tag="ask"):
    """
    Do what only the leader does; see L{etcd_twisted.interfaces.IReplica.ask_leader}.

    @ivar question: what is to be done, as the doors of both machines understand it.
    @ivar user: the user who asks.
    """

    question: bytes
    user: str = GUEST


class NotLeading(msgspec.Struct, array_like=True, frozen=True, tag="not_leading"):
    """The machine does not lead. It has done nothing."""


class Refusal(msgspec.Struct, array_like=True, frozen=True):
    """A command was not put into the log, because of an error of the API."""

    code: ErrorCode
    cause: str
    index: int

    @classmethod
    def of(cls, error: EtcdError) -> "Refusal":
        """Returns the refusal because of an error."""
        return cls(error.code, error.cause[:MAX_CAUSE_CHARACTERS], error.index)

    def error(self) -> EtcdError:
        """Returns the error."""
        return EtcdError(self.code, self.cause, self.index)


DROPPED = 0
"""In place of a log index: the command was not put into the log, as the machine leads no longer."""


class Placed(msgspec.Struct, array_like=True, frozen=True, tag="placed"):
    """
    What became of the commands.

    @ivar term: the term of the leader, which their entries have.
    @ivar outcomes: for each command the log index of its entry, L{DROPPED}, or why it was refused.
    """

    term: int
    outcomes: list[int | Refusal]


class Confirmed(msgspec.Struct, array_like=True, frozen=True, tag="confirmed"):
    """
    Reads may proceed.

    @ivar index: the log index that has to be applied before.
    """

    index: int


class Answered(msgspec.Struct, array_like=True, frozen=True, tag="answered"):
    """
    The answer to a question.

    @ivar index: the log index that the leader had applied by then.
    """

    index: int
    answer: bytes


Request = Propose | Confirm | Ask
Answer = NotLeading | Placed | Confirmed | Answered

encode = msgspec.msgpack.Encoder().encode
decode_request = msgspec.msgpack.Decoder(Request).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
