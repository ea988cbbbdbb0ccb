"""
The members of etcd's cluster, as its store has them below C{/0}, and the changes of them that the log has.

A change also makes a change of the store, which counts in its index. This module must never let one through that etcd
refuses.
"""

import attrs
import msgspec

from etcd_twisted.datadir.etcd.messages import ConfChange, ConfChangeType
from etcd_twisted.datadir.etcd.store import MEMBERS
from etcd_twisted.datadir.etcd.wire import WireError
from etcd_twisted.datadir.trees import find, value_at
from etcd_twisted.keyspace.commands import Create, Delete, Set, Update
from etcd_twisted.keyspace.nodes import Directory
from etcd_twisted.keyspace.space import KeySpace

VERSION_KEY = f"{MEMBERS}/version"
"""The key of the cluster's version."""

_ALL, _REMOVED = f"{MEMBERS}/members", f"{MEMBERS}/removed_members"
_PEERS, _ATTRIBUTES = "raftAttributes", "attributes"


class _PeerAttributes(msgspec.Struct, rename={"peer_urls": "peerURLs", "is_learner": "isLearner"}, omit_defaults=True):
    peer_urls: tuple[str, ...] | None = None
    is_learner: bool = False


class _Context(_PeerAttributes, rename={"is_promote": "isPromote"}):
    is_promote: bool = False


class _Attributes(msgspec.Struct, rename={"client_urls": "clientURLs"}):
    name: str = ""
    client_urls: tuple[str, ...] | None = None


_decode_context = msgspec.json.Decoder(_Context).decode
_decode_peers = msgspec.json.Decoder(_PeerAttributes).decode
_decode_attributes = msgspec.json.Decoder(_Attributes).decode


@attrs.frozen
class EtcdMember:
    """
    A member of etcd's cluster.

    @ivar id: its id in hexadecimal digits, as etcd shows it.
    """

    id: str
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool


def member_key(member_id: int) -> str:
    """Returns the directory of a member."""
    return f"{_ALL}/{member_id:x}"


def attributes_owner(key: str) -> int | None:
    """Returns the id of the member whose attributes a key holds, or C{None} for any other key."""
    parts = key.split("/")
    if len(parts) != 5 or not key.startswith(f"{_ALL}/") or parts[4] != _ATTRIBUTES:
        return None
    try:
        return int(parts[3], 16)
    except ValueError:
        return None


def members_of(root: Directory) -> tuple[EtcdMember, ...]:
    """Returns the members, sorted by id."""
    found = find(root, _ALL)
    ids = sorted(found.children) if isinstance(found, Directory) else ()
    return tuple(_member(root, member_id) for member_id in ids)


def _member(root: Directory, member_id: str) -> EtcdMember:
    peers, about = (value_at(root, f"{_ALL}/{member_id}/{name}") for name in (_PEERS, _ATTRIBUTES))
    raft, attributes = _decode_peers(peers or "{}"), _decode_attributes(about or "{}")
    return EtcdMember(member_id, attributes.name, raft.peer_urls or (), attributes.client_urls or (), raft.is_learner)


def cluster_version(root: Directory) -> str:
    """Returns the version of the cluster, such as C{3.4.0}; empty for one of etcd 2.0."""
    return value_at(root, VERSION_KEY) or ""


def set_version(keyspace: KeySpace, version: str) -> None:
    """Set the version of the cluster."""
    keyspace.apply(Set(VERSION_KEY, 0, version))


def set_attributes(keyspace: KeySpace, member_id: int, value: str) -> None:
    """Set the name and the client URLs of a member. Those of one that is gone are ignored."""
    if find(keyspace.root, member_key(member_id)) is not None:
        keyspace.apply(Set(f"{member_key(member_id)}/{_ATTRIBUTES}", 0, value))


def attributes_value(name: str, client_urls: tuple[str, ...]) -> str:
    """Returns the value for L{set_attributes}."""
    return msgspec.json.encode(_Attributes(name, client_urls)).decode()


def change_members(keyspace: KeySpace, voters: frozenset[int], change: ConfChange) -> frozenset[int]:
    """
    Carry out a change of the members. Returns the ids of the members with a vote.

    @raise WireError: the change can't be read.
    """
    try:
        context = _decode_context(change.context or b"{}")
        is_valid = _is_valid(keyspace.root, change, context)
    except (ValueError, RecursionError) as error:  # msgspec's are ValueErrors
        raise WireError(f"a change of the members can't be read: {error}") from None
    if not is_valid:
        return voters
    key, node_id = f"{member_key(change.node_id)}/{_PEERS}", change.node_id
    urls = _member(keyspace.root, f"{node_id:x}").peer_urls if context.is_promote else context.peer_urls
    stored = msgspec.json.encode(_PeerAttributes(urls, change.type is ConfChangeType.ADD_LEARNER)).decode()
    if change.type is ConfChangeType.REMOVE:
        keyspace.apply(Delete(member_key(node_id), 0, True, True))
        keyspace.apply(Create(f"{_REMOVED}/{node_id:x}", 0))
        return voters - {node_id}
    if change.type is ConfChangeType.UPDATE or context.is_promote:
        keyspace.apply(Update(key, 0, stored))
    else:
        keyspace.apply(Create(key, 0, stored))
    return voters | {node_id} if change.type is ConfChangeType.ADD else voters


def _is_valid(root: Directory, change: ConfChange, context: _Context) -> bool:
    """Returns whether etcd carries out a change. One that it refuses changes nothing."""
    if find(root, f"{_REMOVED}/{change.node_id:x}") is not None:
        return False
    members = {member.id: member for member in members_of(root)}
    member = members.pop(f"{change.node_id:x}", None)
    if change.type is ConfChangeType.REMOVE:
        return member is not None
    if context.is_promote:
        return member is not None and member.is_learner
    if (member is None) is (change.type is ConfChangeType.UPDATE):
        return False
    taken = {url for each in members.values() for url in each.peer_urls}
    return not taken.intersection(context.peer_urls or ())
