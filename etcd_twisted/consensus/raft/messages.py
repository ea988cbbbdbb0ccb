"""
The messages of a Raft group (Raft paper, figure 2; dissertation, sections 3.10, 6.4 and 9.6).

The transport knows whom a message is from and for. A layout may only be changed by adding fields with defaults at the
end; anything else needs a new protocol version (L{etcd_twisted.interfaces.cluster.PROTOCOL_VERSION}).
"""

from typing import Annotated

import msgspec

from etcd_twisted.consensus.raft.configurations import decode_configuration
from etcd_twisted.consensus.raft.entries import Entry, EntryKind, are_commands, index_of, term_of

_Number = Annotated[int, msgspec.Meta(ge=0, le=1 << 48)]
"""A term or an index. No cluster reaches the limit in a million years, so a larger number can't be from one."""

MOST_TERMS_AHEAD = 1 << 20
"""
How many terms a machine may be ahead of this one: days of elections without a pause. A machine that claims more is
not one of the cluster's, and believing it would use up the cluster's terms.
"""


class VoteRequest(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="vote"):
    """
    A candidate asks for a vote (paper, section 5.2).

    @ivar term: the candidate's term; with C{pre}, the term that it would enter.
    @ivar pre: whether the candidate only asks whether it would get the vote (dissertation, section 9.6).
    @ivar transfer: whether the leader told it to stand, so that voters need not wait for that leader any longer.
    """

    term: _Number
    last_index: _Number
    last_term: _Number
    pre: bool = False
    transfer: bool = False


class VoteReply(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="voted"):
    """
    The answer to a L{VoteRequest}.

    @ivar term: the voter's term; for a granted C{pre}, the term that was asked for.
    """

    term: _Number
    granted: bool
    pre: bool = False


class Append(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="append"):
    """
    Entries from the leader; without any, it is a heartbeat (paper, section 5.3).

    @ivar round: the number of the leader's heartbeat. A machine that answers confirms that it followed this leader
        when the heartbeat was sent. 0 if only a machine that lacks the entry at C{prev_index} is to answer.
    @ivar prev_index: the index of the entry before the first of C{entries}; 0 when there is nothing to compare.
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
        """The index of the last entry that the receiver has once it has taken this message."""
        return self.prev_index + len(self.entries)


class AppendReply(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="appended"):
    """
    The answer to one L{Append} or to several.

    @ivar round: the newest round that the machine has received.
    @ivar index: the index up to which its log agrees with the leader's and is durable.
    @ivar asked: the index that was compared: the last index of the L{Append}, or its C{prev_index} if it was rejected.
    @ivar rejected: whether the machine lacks the entry before the first one of the L{Append}.
    @ivar hint_index: after a rejection, the index of the last entry that may agree.
    @ivar hint_term: the term of that entry.
    """

    term: _Number
    round: _Number
    index: _Number
    asked: _Number
    rejected: bool = False
    hint_index: _Number = 0
    hint_term: _Number = 0


class TimeoutNow(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="now"):
    """The leader hands over, and the receiver is to stand for election at once (dissertation, section 3.10)."""

    term: _Number


class InstallSnapshot(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="snapshot"):
    """
    An instruction to send a machine the newest snapshot, as the log no longer has what it needs (paper, section 7).

    The file itself is not sent as a message: this only tells the node when to send it, and with which term.
    """

    term: _Number


Message = VoteRequest | VoteReply | Append | AppendReply | TimeoutNow
"""The messages that go over the wire."""


def goes_ahead(message: Message) -> bool:
    """
    Returns whether a message may overtake entries. A message that carries entries or asks about them may not, and
    neither may L{TimeoutNow}, whose receiver needs the entries first. An answer, or a heartbeat that compares nothing,
    means the same before and after them.
    """
    if isinstance(message, Append):
        return message.prev_index == 0 and not message.entries
    return not isinstance(message, TimeoutNow)


encode_messages = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(list[Message])


def decode_messages(payload: bytes) -> list[Message]:
    """
    Returns the list that L{encode_messages} has encoded.

    @raise ValueError: the payload is something else; the text says what, in one line.
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


def _continue_term(append: Append) -> bool:
    """Returns whether all entries are commands of the leader's term, as nearly always, in their order."""
    entries, term = append.entries, append.term
    return (
        append.prev_term <= term
        and list(map(index_of, entries)) == list(range(append.prev_index + 1, append.last_index + 1))
        and list(map(term_of, entries)).count(term) == len(entries)
        and are_commands(entries)
    )


def _check(append: Append) -> None:
    index, term, entries = append.prev_index, append.prev_term, append.entries
    for entry in () if _continue_term(append) else entries:
        index += 1
        if entry.index != index or not term <= entry.term <= append.term:
            raise ValueError(f"no Raft messages: entry {entry.index} of term {entry.term} does not follow")
        term = entry.term
        if entry.kind is EntryKind.CONFIGURATION:
            decode_configuration(entry.data)
