"""
What a data directory of etcd becomes in this program: the same keys, directories, TTLs, users and roles, with the same
indexes.

This module must never touch a file, nor leave anything out without saying so.
"""

from collections.abc import Iterator

import attrs
import msgspec

from etcd_twisted.auth.rights import is_reserved
from etcd_twisted.datadir.content import Content, with_auth
from etcd_twisted.datadir.etcd.directory import EtcdDirectory
from etcd_twisted.datadir.etcd.store import KEYS
from etcd_twisted.datadir.trees import bare_directory, build, find, walk
from etcd_twisted.interfaces.cluster import NAME, Machine
from etcd_twisted.keyspace.nodes import Directory, File, Node

_NANOSECONDS_PER_MICROSECOND = 1_000
_ETCD_DIRECTORY = "/_etcd"


@attrs.frozen
class Converted:
    """
    The content of a data directory of etcd.

    @ivar left_out: the keys that were left out, since they would be the cluster's own here.
    """

    content: Content
    left_out: tuple[str, ...]


def convert(etcd: EtcdDirectory) -> Converted:
    """Returns what a data directory of etcd becomes."""
    left_out: list[str] = []
    root = build(_nodes(etcd, left_out))
    # Of the history, nothing is taken over: a client that waits for an old index is told so by error 401.
    state = attrs.evolve(
        etcd.store.state(),
        root=root,
        history=(),
        cleared_index=etcd.store.index,
        pads_in_order_keys=etcd.pads_in_order_keys,
    )
    content = Content(with_auth(state, etcd.auth), etcd.index, etcd.term)
    return Converted(content, tuple(left_out))


def _nodes(etcd: EtcdDirectory, left_out: list[str]) -> Iterator[tuple[str, Node]]:
    top = find(etcd.store.root, KEYS)
    if not isinstance(top, Directory):
        return
    kept_parents = {_ETCD_DIRECTORY} if _has_kept(top) else set[str]()
    for key, node in walk(top):
        if is_reserved(key) and key not in kept_parents:
            left_out.append(key)
        else:
            yield key, _in_microseconds(node)


def _has_kept(top: Directory) -> bool:
    """Returns whether there is something below C{/_etcd} that is kept."""
    found = find(top, _ETCD_DIRECTORY)
    return isinstance(found, Directory) and any(
        not is_reserved(f"{_ETCD_DIRECTORY}/{name}") for name in found.children
    )


def _in_microseconds(node: Node) -> Node:
    expires = None if node.expires is None else node.expires // _NANOSECONDS_PER_MICROSECOND
    if isinstance(node, File):
        return msgspec.structs.replace(node, expires=expires)
    return bare_directory(node.created, node.modified, expires)


def machine_like(etcd: EtcdDirectory) -> Machine | None:
    """Returns a machine with the name and the URLs of etcd's member, or C{None} if these are not known."""
    for member in etcd.members:
        if member.id == etcd.member_id and member.client_urls and member.peer_urls and NAME.fullmatch(member.name):
            return Machine(member.name, member.client_urls[0].rstrip("/"), member.peer_urls[0].rstrip("/"))
    return None
