"""
What answers mean: their JSON as nodes, events and lists, and their errors as exceptions.

This module must never send anything, nor decide whether to send something again.
"""

from datetime import datetime
from typing import TypeVar

import msgspec
from twisted.web.http_headers import Headers

from etcd_twisted.client.errors import ApiError, ClientError, InsufficientCredentials, UnexpectedAnswer, api_error
from etcd_twisted.client.exchange import Answer, header_of
from etcd_twisted.client.results import Event, Index, Node, Reading

_T = TypeVar("_T")

_NOT_DONE = ("no leader", "not leader", "not made", "does not lead", "not done yet")
"""
An error 300 whose cause contains one of these says that nothing was changed. Any other one leaves it open: etcd's own
causes are those of its C{etcdserver} package, such as "etcdserver: request timed out".
"""


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


def index_of(headers: Headers) -> Index:
    """Returns where the machine stood when it answered. What an answer does not tell is 0 or C{None}."""
    return Index(
        _number(headers, "X-Etcd-Index") or 0, _number(headers, "X-Raft-Index"), _number(headers, "X-Raft-Term")
    )


def _number(headers: Headers, name: str) -> int | None:
    text = header_of(headers, name)
    return int(text) if text is not None and text.isdecimal() else None


def reading_of(answer: Answer) -> Reading:
    """
    Returns what a read has found.

    @raise UnexpectedAnswer: the answer is not that of a read.
    """
    return Reading(_node(_wire_event(answer.status, answer.body).node), index_of(answer.headers))


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
    wire = _wire_event(status, body)
    previous = None if wire.prev_node is None else _node(wire.prev_node)
    return Event(wire.action, _node(wire.node), previous, index)


def _wire_event(status: int, body: bytes) -> _WireEvent:
    try:
        return _decode_event(body)
    except msgspec.MsgspecError as error:
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
    except msgspec.MsgspecError as error:
        raise UnexpectedAnswer(answer.status, answer.body, str(error)) from error


def error_of(answer: Answer) -> ClientError:
    """Returns the exception for an answer whose status is one of an error."""
    try:
        wire = _decode_error(answer.body)
    except msgspec.MsgspecError as error:
        return _without_code(answer, str(error))
    if not wire.error_code:
        return _without_code(answer, wire.message or "it is not an answer of this API")
    return api_error(wire.error_code, wire.message, wire.cause, wire.index)


def _without_code(answer: Answer, reason: str) -> ClientError:
    if answer.status == 401:
        return InsufficientCredentials(110, "The request requires user authentication", reason)
    return UnexpectedAnswer(answer.status, answer.body, reason)


def is_undecided(error: ClientError) -> bool:
    """Returns whether an error of the cluster, in answer to a write, leaves it open whether the write happens."""
    return isinstance(error, ApiError) and error.code == 300 and not is_not_done(error)


def is_not_done(error: ClientError) -> bool:
    """Returns whether the cluster says that it could not decide now, and that nothing was changed."""
    if not isinstance(error, ApiError):
        return False
    return error.code == 301 or (error.code == 300 and any(text in error.cause for text in _NOT_DONE))


def should_ask_again(error: ClientError) -> bool:
    """Returns whether the same request may have another answer in a moment: the cluster has no leader just now."""
    if not isinstance(error, ApiError):
        return False
    return error.code == 301 or (error.code == 300 and "no leader" in error.cause)
