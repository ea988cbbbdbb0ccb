"""
What answers mean: their JSON as nodes, events and lists, and their errors as exceptions.

L{judge} says what an error means for the request: it was refused, it can be tried again, or nobody knows. This module
must never send anything, nor say that a write was not made when it may have been.
"""

import enum
import re
from datetime import datetime
from typing import TypeVar

import msgspec

from etcd_twisted.client.errors import (
    ApiError,
    ClientError,
    InsufficientCredentials,
    RequestRefused,
    UnexpectedAnswer,
    api_error,
)
from etcd_twisted.client.messages import Answer, ResponseHeaders, header_of
from etcd_twisted.client.results import Event, Index, Node, Reading
from etcd_twisted.errors import ErrorCode

_T = TypeVar("_T")

_TRY_AGAIN = frozenset(
    (
        "another change of the group is not done yet; try again",
        "etcdserver: no leader",
        "no leader is known; try again",
        "this leader is catching up with its log; try again",
        "this machine does not know the configuration of the cluster yet; try again",
        "this machine does not know the machines of its cluster yet; try again",
        "this machine is catching up with the others; try again",
        "this machine is stopping",
    )
)
"""Causes with which a machine says that it has done nothing, and that another one, or the same one later, may."""

_NOT_DONE = (
    r"the cluster does not keep up with the writes: this one was not made; try again later"
    r"|the key space holds \d+ of the \d+ bytes that --quota-bytes allows: this write was not made, as it adds \d+;"
    r" delete keys, or restart the machines with a larger quota"
    r"|too few machines are alive to go on without that one: start others first"
    r"|a machine can't be in the group twice"
    r"|only one voter at a time can come or go, and one has to stay"
    r"|nodePath .* : Not a file \(.*\)"  # etcd 3.5 does not update directories
)
"""
Causes with which the cluster says that it has not done something and won't. Any other cause leaves it open whether a
write happens, such as etcd's "etcdserver: request timed out". C{re} compiles this when it is asked for first, as that
takes longer than all else that is imported here.
"""


class Verdict(enum.Enum):
    """What an error says of the request."""

    FINAL = enum.auto()
    """This is the answer. Nothing was changed."""

    TRY_AGAIN = enum.auto()
    """Nothing was changed, and the same request may have another answer elsewhere, or in a moment."""

    UNKNOWN = enum.auto()
    """The request may have been carried out, or may still be."""


class _WireNode(msgspec.Struct, rename="camel"):
    key: str = "/"
    value: str | None = None
    dir: bool = False
    nodes: "list[_WireNode]" = []  # msgspec copies it
    created_index: int = 0
    modified_index: int = 0
    ttl: int | None = None
    expiration: str | None = None


class _WireEvent(msgspec.Struct, rename="camel"):
    action: str
    node: _WireNode
    prev_node: _WireNode | None = None


class _WireError(msgspec.Struct, rename="camel"):
    error_code: int = 0
    message: str = ""
    cause: str = ""
    index: int = 0


_decode_event = msgspec.json.Decoder(_WireEvent).decode
_decode_error = msgspec.json.Decoder(_WireError).decode


def index_of(headers: ResponseHeaders) -> Index:
    """Returns where the machine stood when it answered. What an answer does not tell is 0 or C{None}."""
    return Index(
        _number(headers, "X-Etcd-Index") or 0, _number(headers, "X-Raft-Index"), _number(headers, "X-Raft-Term")
    )


def _number(headers: ResponseHeaders, name: str) -> int | None:
    text = header_of(headers, name)
    return int(text) if text is not None and text.isdecimal() else None


def reading_of(answer: Answer) -> Reading:
    """
    Returns what a read has found.

    @raise UnexpectedAnswer: the answer is not that of a read.
    """
    event = event_of(answer)
    return Reading(event.node, event.index)


def event_of(answer: Answer) -> Event:
    """
    Returns what a write has done.

    @raise UnexpectedAnswer: the answer is not that of a write.
    """
    return decode_event(answer.body, index_of(answer.headers), answer.status)


def decode_event(body: bytes, index: Index, status: int = 200) -> Event:
    """
    Returns the event that an answer or an item of a stream holds.

    @param index: where the machine stood.
    @raise UnexpectedAnswer: it holds no event.
    """
    try:
        wire = _decode_event(body)
        previous = None if wire.prev_node is None else _node(wire.prev_node)
        return Event(wire.action, _node(wire.node), previous, index)
    except (ValueError, RecursionError) as error:  # msgspec and datetime raise ValueErrors
        raise UnexpectedAnswer(status, body, str(error)) from error


def _node(wire: _WireNode) -> Node:
    return Node(
        wire.key,
        None if wire.dir else wire.value,
        wire.dir,
        tuple(map(_node, wire.nodes)),
        wire.created_index,
        wire.modified_index,
        wire.ttl,
        None if wire.expiration is None else datetime.fromisoformat(wire.expiration).timestamp(),
    )


def decode_json(answer: Answer, kind: "type[_T]") -> _T:
    """
    Returns the JSON of an answer.

    @param kind: the type that it should have, as C{msgspec} takes it.
    @raise UnexpectedAnswer: it has another type, or is no JSON.
    """
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UnexpectedAnswer(answer.status, answer.body, str(error)) from error


def error_of(answer: Answer) -> ClientError:
    """Returns the exception for an answer whose status is one of an error."""
    try:
        wire = _decode_error(answer.body)
    except (msgspec.MsgspecError, RecursionError) as error:
        return _without_code(answer, str(error))
    if wire.error_code:
        return api_error(wire.error_code, wire.message, wire.cause, wire.index)
    if wire.message and answer.status != 401:
        return RequestRefused(answer.status, wire.message)
    return _without_code(answer, wire.message or "it is not an answer of this API")


def _without_code(answer: Answer, reason: str) -> ClientError:
    if answer.status == 401:
        return InsufficientCredentials(110, "The request requires user authentication", reason)
    return UnexpectedAnswer(answer.status, answer.body, reason)


def judge(error: ClientError) -> Verdict:
    """Returns what an error says of the request."""
    if isinstance(error, ApiError):
        if error.code == ErrorCode.DURING_ELECTION:
            return Verdict.TRY_AGAIN
        return _judge_cause(error.cause) if error.code == ErrorCode.RAFT_INTERNAL else Verdict.FINAL
    if isinstance(error, RequestRefused) and error.status >= 500:
        return _judge_cause(error.message)
    if isinstance(error, UnexpectedAnswer) and error.status >= 500:
        return Verdict.UNKNOWN
    return Verdict.FINAL


def _judge_cause(cause: str) -> Verdict:
    if cause in _TRY_AGAIN:
        return Verdict.TRY_AGAIN
    return Verdict.FINAL if re.fullmatch(_NOT_DONE, cause) else Verdict.UNKNOWN
