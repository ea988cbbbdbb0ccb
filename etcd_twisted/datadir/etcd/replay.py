"""
Replays the committed entries of etcd's log: each becomes a command of the key space that does what etcd does.

This module must never apply an entry otherwise than etcd, nor count an index that etcd does not count.
"""

from collections.abc import Iterable

from etcd_twisted.datadir.etcd import messages
from etcd_twisted.datadir.etcd.members import (
    VERSION_KEY,
    attributes_owner,
    attributes_value,
    change_members,
    set_attributes,
    set_version,
)
from etcd_twisted.datadir.etcd.messages import ClusterVersion, Entry, EntryType, MemberAttributes, Request
from etcd_twisted.datadir.etcd.store import NANOSECONDS_PER_SECOND, READ_ONLY
from etcd_twisted.datadir.etcd.wire import WireError
from etcd_twisted.datadir.trees import find, value_at
from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace.commands import (
    Change,
    CompareAndDelete,
    CompareAndSwap,
    Create,
    CreateInOrder,
    Delete,
    Expire,
    Set,
    Update,
)
from etcd_twisted.keyspace.nodes import Directory
from etcd_twisted.keyspace.paths import clean
from etcd_twisted.keyspace.space import KeySpace

_EARLIEST_EXPIRATION = 946_684_800 * NANOSECONDS_PER_SECOND
"""A new node with an earlier one, which is before the year 2000, never expires."""

_ALL = 1 << 62


def replay(
    keyspace: KeySpace, voters: frozenset[int], entries: Iterable[Entry], updates_directories: bool
) -> frozenset[int]:
    """
    Apply entries. Returns the ids of the members that have a vote after them.

    @param voters: those that have one before.
    @param updates_directories: whether the version of etcd lets an update change the TTL of a directory.
    @raise WireError: an entry can't be read.
    """
    for entry in entries:
        try:
            if entry.type is EntryType.CONF_CHANGE:
                voters = change_members(keyspace, voters, messages.conf_change(entry.data))
            elif entry.data:
                _apply(keyspace, messages.proposal(entry.data), updates_directories)
        except WireError as error:
            raise WireError(f"entry {entry.index} of the log can't be read: {error}") from None
        except EtcdError as error:
            raise WireError(f"entry {entry.index} of the log does not fit what is before it: {error}") from None
    return voters


def voters_after(voters: frozenset[int], entries: Iterable[Entry]) -> frozenset[int]:
    """Returns the ids of all members that have a vote at any time, from before some entries to after them."""
    changes = (messages.conf_change(each.data) for each in entries if each.type is EntryType.CONF_CHANGE)
    return voters | {change.node_id for change in changes if change.type is messages.ConfChangeType.ADD}


def _apply(
    keyspace: KeySpace, proposal: Request | ClusterVersion | MemberAttributes | None, updates_directories: bool
) -> None:
    if isinstance(proposal, ClusterVersion):
        set_version(keyspace, proposal.version)
    elif isinstance(proposal, MemberAttributes):
        value = attributes_value(proposal.name, proposal.client_urls)
        set_attributes(keyspace, proposal.member_id, value)
    elif proposal is not None:
        _apply_request(keyspace, proposal, updates_directories)


def _apply_request(keyspace: KeySpace, request: Request, updates_directories: bool) -> None:
    if request.method == "SYNC":
        keyspace.apply(Expire(request.time, _ALL))
        return
    if request.method not in ("PUT", "POST", "DELETE"):
        return  # QGET, which only reads
    key = clean(request.path)
    if _is_plain_put(request) and (member_id := attributes_owner(key)) is not None:
        set_attributes(keyspace, member_id, request.value)
        return
    if _is_plain_put(request) and key == VERSION_KEY:
        set_version(keyspace, request.value)
        return
    command = _command(keyspace, key, request)
    if command is None:
        return
    if isinstance(command, Update) and not updates_directories and isinstance(find(keyspace.root, key), Directory):
        return
    try:
        keyspace.apply(command)
    except EtcdError:  # the request failed in etcd too, and its client was told so
        return


def _is_plain_put(request: Request) -> bool:
    is_conditional = request.prev_exist is not None or request.prev_index > 0 or request.prev_value
    return request.method == "PUT" and not is_conditional


def _command(keyspace: KeySpace, key: str, request: Request) -> Change | None:
    """Returns what does the same in the key space; C{None} for what fails before it could change anything."""
    expires = request.expiration or None
    if request.method == "POST":
        return CreateInOrder(key, 0, request.value, request.directory, _for_new(expires))
    if key in READ_ONLY:
        return None
    conditions = request.prev_value or None, request.prev_index
    is_conditional = conditions != (None, 0)
    if request.method == "DELETE":
        if is_conditional:
            return CompareAndDelete(key, 0, *conditions)
        return Delete(key, 0, request.directory, request.recursive)
    if request.prev_exist is False:
        return Create(key, 0, request.value, request.directory, _for_new(expires))
    value = request.value
    if request.refresh:
        if request.prev_exist is None and not is_conditional and find(keyspace.root, key) is None:
            return None
        stays = value_at(keyspace.root, key)
        value = value if stays is None else stays
    if is_conditional:
        return CompareAndSwap(key, 0, value, expires, *conditions)
    if request.prev_exist:
        return Update(key, 0, value, False, expires)
    return Set(key, 0, value, request.directory, _for_new(expires))


def _for_new(expires: int | None) -> int | None:
    return None if expires is not None and expires < _EARLIEST_EXPIRATION else expires
