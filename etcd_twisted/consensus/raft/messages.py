"""
What machines of a Raft group say to each other (Raft paper, figure 2; dissertation, sections 3.10, 6.4 and 9.6).

Who a message is from and for is said by what carries it. A layout is only ever changed by adding fields at the end,
with defaults; anything else needs a new protocol version (L{etcd_twisted.interfaces.cluster.PROTOCOL_VERSION}).
"""

from typing import Annotated

import msgspec

from etcd_twisted.consensus.raft.configurations import decode_configuration
from etcd_twisted.consensus.raft.entries import Entry, EntryKind

_Number = Annotated[int, msgspec.Meta(ge=0, le=1 << 48)]
"""Terms and indexes. No cluster gets that far in a million years: what is beyond is not from one."""

MOST_TERMS_AHEAD = 1 << 20
"""
How many terms a machine may be ahead of this one: days of elections without a pause. Whoever claims more is none of
the cluster's, and would leave it no terms to go on with.
"""


class VoteRequest(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="vote"):
    """
    A candidate asks for a vote (paper, section 5.2).

    @ivar term: the candidate's; with C{pre}, the one that it would have.
    @ivar pre: whether it only asks whether it would get the vote (dissertation, section 9.6).
    @ivar transfer: whether the leader told it to stand, so that nobody need wait for that leader any more.
    """

    term: _Number
    last_index: _Number
    last_term: _Number
    pre: bool = False
    transfer: bool = False


class VoteReply(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="voted"):
    """
    The answer to a L{VoteRequest}.

    @ivar term: the voter's; with C{pre} and when granted, the one that was asked for.
    """

    term: _Number
    granted: bool
    pre: bool = False


class Append(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="append"):
    """
    The leader's entries, or none: a heartbeat (paper, section 5.3).

    @ivar round: numbers the leader's heartbeats; who answers confirms that it followed when that one was sent. 0 for
        what is answered only by a machine that does not have the entry at C{prev_index}.
    @ivar prev_index: of the entry before the first of C{entries}; 0 when nothing is to be compared.
    @ivar commit: the leader's commit index.
    """

    term: _Number
    round: _Number
    prev_index: _Number
    prev_term: _Number
    commit: _Number
    entries: tuple[Entry, ...] = ()

    @property
    def last_index(self) -> int:
        """The index of the last entry that the receiver has when it has all of these."""
        return self.prev_index + len(self.entries)


class AppendReply(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="appended"):
    """
    The answer to an L{Append}, or to several at once.

    @ivar round: the newest that was heard.
    @ivar index: the log agrees with the leader's up to here, durably.
    @ivar asked: what was compared: the last index of the L{Append}; of one that was rejected, its C{prev_index}.
    @ivar rejected: whether there was no such entry as the one before its first.
    @ivar hint_index: of a rejected one, the last entry that may agree.
    @ivar hint_term: the term of that.
    """

    term: _Number
    round: _Number
    index: _Number
    asked: _Number
    rejected: bool = False
    hint_index: _Number = 0
    hint_term: _Number = 0


class TimeoutNow(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="now"):
    """The leader hands over: stand for election at once (dissertation, section 3.10)."""

    term: _Number


class InstallSnapshot(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="snapshot"):
    """
    The leader's log does not go back to what a machine needs: send it the newest snapshot (paper, section 7).

    The file goes another way than messages do: this one says when, and with which term.
    """

    term: _Number


Message = VoteRequest | VoteReply | Append | AppendReply | TimeoutNow
"""What goes over the wire."""


def goes_ahead(message: Message) -> bool:
    """
    Whether a message may overtake entries: all may but those that carry entries or ask about them, and what tells a
    machine to stand, which is to have them then. An answer and a heartbeat that compares nothing say the same before
    and after.
    """
    if isinstance(message, Append):
        return message.prev_index == 0 and not message.entries
    return not isinstance(message, TimeoutNow)


encode_messages = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(list[Message])


def decode_messages(payload: bytes) -> list[Message]:
    """
    What L{encode_messages} made of a list.

    @raise ValueError: it is something else; one line that says what.
    """
    try:
        messages = _decoder.decode(payload)
        for message in messages:
            if isinstance(message, Append):
                _check(message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error)  # which may hold what was sent
        raise ValueError(f"no Raft messages: {reason if reason.isprintable() else repr(reason)}") from error
    return messages


def _check(append: Append) -> None:
    index, term = append.prev_index, append.prev_term
    for entry in append.entries:
        index += 1
        if entry.index != index or not term <= entry.term <= append.term:
            raise ValueError(f"no Raft messages: entry {entry.index} of term {entry.term} does not follow")
        term = entry.term
        if entry.kind is EntryKind.CONFIGURATION:
            decode_configuration(entry.data)
