"""
Events: what a change looks like to the client that made it and to watchers, and how they are written as JSON.

The order of the fields is the reference server's (spec, section 1, "Answers"). An event must never change once it is
made: the history, watchers and snapshots share it.
"""

import datetime
import functools

import msgspec

from etcd_twisted.keyspace.nodes import File, Node
from etcd_twisted.keyspace.paths import ROOT, is_below, is_hidden

MICROSECONDS_PER_SECOND = 1_000_000
_EPOCH = datetime.datetime(1970, 1, 1)
LAST_MOMENT = int((datetime.datetime(9999, 12, 31, 23, 59, 59) - _EPOCH).total_seconds()) * MICROSECONDS_PER_SECOND
"""The latest time that an answer can show, in microseconds since the epoch."""
_FIRST_MOMENT = int((datetime.datetime.min - _EPOCH).total_seconds()) * MICROSECONDS_PER_SECOND


class NodeView(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    """A node as clients see it. Empty fields are left out."""

    key: str
    value: str | None = None
    dir: bool = False
    expiration: str | None = None
    ttl: int = 0
    modified_index: int = 0
    created_index: int = 0


class ActionResult(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    """What a read or a change of one node results in: the body of the answer to the client."""

    action: str
    node: NodeView
    prev_node: NodeView | None = None


encode_json = msgspec.json.Encoder().encode


def format_time(microseconds: int) -> str:
    """Returns a time as answers show it: in RFC 3339 with microseconds, in UTC, limited to the years 1 to 9999."""
    if not _FIRST_MOMENT <= microseconds <= LAST_MOMENT:
        microseconds = max(_FIRST_MOMENT, min(microseconds, LAST_MOMENT))
    seconds, fraction = divmod(microseconds, MICROSECONDS_PER_SECOND)
    return f"{_whole_seconds(seconds)}.{fraction:06}Z"


@functools.lru_cache(1_024)
def _whole_seconds(seconds: int) -> str:
    """Returns a time without its fraction. Cached, since many keys expire in the same second."""
    return (_EPOCH + datetime.timedelta(seconds=seconds)).isoformat()


def remaining_ttl(expires: int, now: int) -> int:
    """Returns the whole seconds until C{expires}, rounded up, or 0 once it has passed. Both are in microseconds."""
    return max(0, -((now - expires) // MICROSECONDS_PER_SECOND))


def view(key: str, node: Node, now: int) -> NodeView:
    """Returns a node as clients see it, without its children. C{now} is in microseconds since the epoch."""
    expires = node.expires
    if expires is None and type(node) is File:  # by far the commonest node
        return NodeView(key, node.value, False, None, 0, node.modified, node.created)
    expiration, ttl = (None, 0) if expires is None else (format_time(expires), remaining_ttl(expires, now))
    if isinstance(node, File):
        return NodeView(key, node.value, False, expiration, ttl, node.modified, node.created)
    return NodeView(key, None, True, expiration, ttl, node.modified, node.created)


class Event(msgspec.Struct, gc=False, eq=False):
    """
    One change of the key space.

    @ivar result: what the client that made the change sees, and everybody who watches.
    """

    result: ActionResult
    _body: bytes | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and other.result == self.result

    def __hash__(self) -> int:
        return hash(self.result)

    @property
    def body(self) -> bytes:
        """The event as JSON, which is encoded once, however many watchers want it."""
        body = self._body
        if body is None:
            body = self._body = encode_json(self.result)
        return body

    @property
    def node(self) -> NodeView:
        """The node that the event is about."""
        return self.result.node

    @property
    def index(self) -> int:
        """The index of the key space after this change."""
        return self.result.node.modified_index

    @property
    def created(self) -> bool:
        """Whether the node did not exist before, so that the status is 201 instead of 200."""
        result = self.result
        return result.prev_node is None and result.action in ("set", "create")

    @property
    def removed_directory(self) -> bool:
        """Whether a directory was removed, with everything below it."""
        previous = self.result.prev_node
        return self.result.action in ("delete", "expire") and previous is not None and previous.dir

    def touches(self, key: str, recursive: bool) -> bool:
        """
        Returns whether a watcher of C{key} sees this event (spec, section 1, "Watch").

        This is the only such rule, for the history and for live watchers alike.
        """
        changed = self.node.key
        if changed == key:
            return True
        if recursive and is_below(changed, key):
            return not is_hidden(changed, key)
        return self.removed_directory and key != ROOT and is_below(key, changed)
