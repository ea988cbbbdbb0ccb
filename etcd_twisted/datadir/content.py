"""
What a data directory or a backup holds: a key space at one log index.

This module must never touch a file.
"""

import hashlib
from collections.abc import Iterator

import attrs

from etcd_twisted.auth.rights import is_reserved
from etcd_twisted.auth.state import AUTH_KEY, AuthState
from etcd_twisted.auth.state import encode as encode_auth
from etcd_twisted.auth.state import read as read_auth
from etcd_twisted.consensus.raft.entries import Configuration
from etcd_twisted.datadir.trees import find, walk
from etcd_twisted.interfaces.cluster import DIRECTORY as MACHINES
from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.interfaces.member_records import DIRECTORY as MEMBER_RECORDS
from etcd_twisted.keyspace import tree
from etcd_twisted.keyspace.nodes import Directory, File, Node
from etcd_twisted.keyspace.sizes import NodeCount, count_nodes
from etcd_twisted.keyspace.snapshot import dump
from etcd_twisted.keyspace.state import KeySpaceState


@attrs.frozen
class Content:
    """
    A key space, and where in the log it was so.

    @ivar log_index: the index of the last log entry that it has.
    @ivar term: the term of that entry, or a later one.
    @ivar configuration: the machines that had it.
    @ivar cluster_id: the id of their cluster, or an empty text.
    @ivar time: the cluster time, in microseconds since the epoch; 0 if it is not known.
    """

    state: KeySpaceState
    log_index: int
    term: int
    configuration: Configuration = Configuration(())  # noqa: RUF009  # it is frozen
    cluster_id: str = ""
    time: int = 0

    @property
    def auth(self) -> AuthState:
        """The users and roles."""
        return read_auth(find(self.state.root, AUTH_KEY))

    def nodes_of_clients(self) -> Iterator[tuple[str, str | None, Node]]:
        """
        Yields the key, the value and the node of all that clients have, a directory before what is in it. The value of
        a directory is C{None}.
        """
        for key, node in walk(self.state.root):
            if not is_reserved(key):
                yield key, node.value if isinstance(node, File) else None, node

    def count(self) -> NodeCount:
        """Returns how many keys and directories there are."""
        *_, counted = count_nodes(self.state.root)
        return counted

    def count_expiring(self) -> int:
        """Returns how many of these have a TTL."""
        return sum(node.expires is not None for _, node in walk(self.state.root))


def for_new_cluster(state: KeySpaceState, machine: Machine) -> KeySpaceState:
    """
    Returns a key space in which one machine is registered, and no other. Its index stays the same, so that the next
    change has the next one.
    """
    root = state.root
    for key in (MACHINES, MEMBER_RECORDS):
        if find(root, key) is not None:
            root = tree.remove(tree.look_up(root, key), object())
    return attrs.evolve(state, root=_put(root, machine.key, machine.value, state.index))


def with_auth(state: KeySpaceState, auth: AuthState) -> KeySpaceState:
    """Returns a key space with users and roles. Its index stays the same."""
    if not (auth.users or auth.roles or auth.enabled):
        return state
    return attrs.evolve(state, root=_put(state.root, AUTH_KEY, encode_auth(auth), state.index))


def _put(root: Directory, key: str, value: str, index: int) -> Directory:
    index = max(index, 1)
    return tree.put(tree.look_up(root, key), File(value, index, index), index, object())


MOST_EVENTS = 1_000
"""How many events of the history are written at most: as many as a machine keeps by default."""


def with_short_history(state: KeySpaceState) -> KeySpaceState:
    """Returns a key space with no more than L{MOST_EVENTS} events in its history."""
    dropped = state.history[:-MOST_EVENTS]
    if not dropped:
        return state
    return attrs.evolve(state, history=state.history[-MOST_EVENTS:], cleared_index=dropped[-1].index)


def digest(state: KeySpaceState) -> bytes:
    """Returns a text that is the same for equal key spaces alone."""
    hashed = hashlib.sha256()
    for chunk in dump(state):
        hashed.update(chunk)
    return hashed.digest()
