"""
Events: what a change looks like to the one who made it and to all who watch, and how an answer is written.

The order of the fields is the reference server's (spec, section 1, "Answers"). An event must never change once it is
made: history, watchers and snapshots share it.
"""

import datetime
import functools

import msgspec

from etcd_twisted.keyspace.nodes import File, Node
from etcd_twisted.keyspace.paths import ROOT, is_below, is_hidden

_EPOCH = datetime.datetime(1970, 1, 1)
_SECOND = 1_000_000
LAST_MOMENT = int((datetime.datetime(9999, 12, 31, 23, 59, 59) - _EPOCH).total_seconds()) * _SECOND
"""The latest time that an answer can show, in microseconds since the epoch."""
_FIRST_MOMENT = int((datetime.datetime.min - _EPOCH).total_seconds()) * _SECOND


class NodeView(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    """A node as an answer shows it; what is empty or absent is left out."""

    key: str
    value: str | None = None
    dir: bool = False
    expiration: str | None = None
    ttl: int = 0
    modified_index: int = 0
    created_index: int = 0


class Answer(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    """The body of a successful answer about one node."""

    action: str
    node: NodeView
    prev_node: NodeView | None = None


encode_json = msgspec.json.Encoder().encode


def format_time(microseconds: int) -> str:
    """A time as answers write it: RFC 3339 with microseconds, in UTC; the nearest that has a year from 1 to 9999."""
    if not _FIRST_MOMENT <= microseconds <= LAST_MOMENT:
        microseconds = max(_FIRST_MOMENT, min(microseconds, LAST_MOMENT))
    seconds, fraction = divmod(microseconds, _SECOND)
    return f"{_to_the_second(seconds)}.{fraction:06}Z"


@functools.lru_cache(1_024)
def _to_the_second(seconds: int) -> str:
    """A time without its fraction; kept, for what is written in one second often ends in one second too."""
    return (_EPOCH + datetime.timedelta(seconds=seconds)).isoformat()


def remaining_ttl(expires: int, now: int) -> int:
    """Whole seconds until C{expires}, rounded up; 0 when it has passed."""
    return max(0, -((now - expires) // _SECOND))


def view(key: str, node: Node, now: int) -> NodeView:
    """A node as it is, without its children. C{now} in microseconds since the epoch."""
    expires = node.expires
    expiration, ttl = (None, 0) if expires is None else (format_time(expires), remaining_ttl(expires, now))
    if isinstance(node, File):
        return NodeView(key, node.value, False, expiration, ttl, node.modified, node.created)
    return NodeView(key, None, True, expiration, ttl, node.modified, node.created)


class Event(msgspec.Struct, gc=False, eq=False):
    """
    One change of the key space.

    @ivar answer: what the client gets to see.
    """

    answer: Answer
    _body: bytes | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and other.answer == self.answer

    def __hash__(self) -> int:
        return hash(self.answer)

    @property
    def body(self) -> bytes:
        """The event as JSON, encoded once however many want it."""
        body = self._body
        if body is None:
            body = self._body = encode_json(self.answer)
        return body

    @property
    def node(self) -> NodeView:
        """The node that the event is about."""
        return self.answer.node

    @property
    def index(self) -> int:
        """The key space's index that this change made."""
        return self.answer.node.modified_index

    @property
    def created(self) -> bool:
        """Whether the node did not exist before: the difference between 201 and 200."""
        answer = self.answer
        return answer.prev_node is None and answer.action in ("set", "create")

    @property
    def removed_directory(self) -> bool:
        """Whether a directory, and with it everything below, is gone."""
        previous = self.answer.prev_node
        return self.answer.action in ("delete", "expire") and previous is not None and previous.dir

    def touches(self, key: str, recursive: bool) -> bool:
        """
        Whether a watcher of C{key} is to see this event (spec, section 1, "Watch").

        The only rule there is, for history and for live watchers alike.
        """
        changed = self.node.key
        if changed == key:
            return True
        if recursive and is_below(changed, key):
            return not is_hidden(changed, key)
        return self.removed_directory and key != ROOT and is_below(key, changed)
