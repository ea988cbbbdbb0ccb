"""
What requests return: nodes, events, and where a machine stood when it answered.

These are plain values that never change. This module must never do anything but describe them.
"""

from collections.abc import Iterator, Mapping

import attrs


@attrs.frozen
class Index:
    """
    Where a machine stood when it answered (C{api.md}, "Response Headers").

    @ivar etcd_index: the index of the key space: every change raises it by one. A watch that begins at
        C{etcd_index + 1} misses nothing that came after this answer.
    @ivar raft_index: the index of the Raft log, or C{None} if the answer has none.
    @ivar raft_term: the term of the Raft log, or C{None} if the answer has none.
    """

    etcd_index: int
    raft_index: int | None = None
    raft_term: int | None = None


@attrs.frozen
class Node:
    """
    A key and its value, or a directory.

    @ivar key: the whole key, from the slash of the root on.
    @ivar value: the value; C{None} for a directory, and for a node that was deleted.
    @ivar directory: whether this is a directory.
    @ivar nodes: what a listing has found in this directory. It is empty for a directory that was not listed.
    @ivar created_index: the index at which the node was made.
    @ivar modified_index: the index at which the node was last changed.
    @ivar ttl_seconds: how long the node lives, rounded up, counted from the answer on; C{None} if it does not expire.
    @ivar expires_at: when the node expires, in seconds since the epoch by the cluster's clock; C{None} likewise.
    """

    key: str
    value: str | None = None
    directory: bool = False
    nodes: "tuple[Node, ...]" = ()
    created_index: int = 0
    modified_index: int = 0
    ttl_seconds: int | None = None
    expires_at: float | None = None

    @property
    def name(self) -> str:
        """The last segment of the key."""
        return self.key.rpartition("/")[2]

    def walk(self) -> "Iterator[Node]":
        """Returns an iterator over this node and all nodes below it that a listing has found, parents first."""
        pending = [self]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(reversed(node.nodes))

    def in_order(self) -> "tuple[Node, ...]":
        """
        Returns the nodes of this directory in the order in which they were created.

        This is the order of in-order keys on every server. The order of their names is not: some servers pad the
        numbers, others do not, and as a text C{10} comes before C{9}.
        """
        return tuple(sorted(self.nodes, key=lambda node: (node.created_index, node.key)))


@attrs.frozen
class Reading:
    """
    The answer to a read.

    @ivar node: what was read.
    @ivar index: where the machine stood. What the node shows is at least as new as C{index.etcd_index}.
    """

    node: Node
    index: Index

    @property
    def value(self) -> str | None:
        """The value of the node."""
        return self.node.value

    @property
    def nodes(self) -> tuple[Node, ...]:
        """What is in the directory."""
        return self.node.nodes


@attrs.frozen
class Event:
    """
    A change, as the answer to a write and as an item of a watch.

    @ivar action: C{set}, C{create}, C{update}, C{delete}, C{expire}, C{compareAndSwap} or C{compareAndDelete}.
    @ivar node: the node after the change. Of a node that was removed it has the key and the indexes alone.
    @ivar previous_node: the node before the change, or C{None} if there was none.
    @ivar index: where the machine stood when it answered; for an item of a watch, when the watch began.
    """

    action: str
    node: Node
    previous_node: Node | None
    index: Index

    @property
    def is_removal(self) -> bool:
        """Whether the node is gone now, with everything in it."""
        return self.action in {"delete", "expire", "compareAndDelete"}


@attrs.frozen
class HistoryLost:
    """
    An item of a watch: events were lost, since the server keeps only the newest ones. The watch goes on after this
    state, which holds the outcome of what was lost.

    @ivar node: the node now, with everything below it if the watch is recursive; C{None} if it does not exist.
    @ivar index: where the machine stood.
    """

    node: Node | None
    index: Index


@attrs.frozen
class Machine:
    """
    A machine of the cluster (C{GET /v2/members}).

    @ivar id: its id.
    @ivar name: its name; empty for a machine that was added and has not started yet.
    @ivar client_urls: where it serves clients.
    @ivar peer_urls: where other machines and administrators reach it.
    """

    id: str
    name: str
    client_urls: tuple[str, ...]
    peer_urls: tuple[str, ...]


@attrs.frozen
class Version:
    """
    Which software a machine runs.

    @ivar server: the version of the machine.
    @ivar cluster: the version that the whole cluster speaks; empty if the machine does not tell.
    """

    server: str
    cluster: str = ""


@attrs.frozen
class MachineStatistics:
    """
    What one machine says of itself (C{api.md}, "Self Statistics"). Each role has its own rates; others are C{None}.

    @ivar name: its name.
    @ivar state: C{leader}, C{follower}, or another role of Raft.
    @ivar started_at: when it was started, in seconds since the epoch.
    @ivar leader: the machine that leads, as the server names it: etcd does so by its id; empty if none is known.
    @ivar leader_uptime_seconds: for how long that machine has led, in seconds.
    @ivar recv_append_request_count: how many append requests it has processed.
    @ivar send_append_request_count: how many append requests it has sent.
    @ivar recv_requests_per_second: how many requests a follower receives (C{recvPkgRate}).
    @ivar recv_bytes_per_second: how many bytes a follower receives (C{recvBandwidthRate}).
    @ivar send_requests_per_second: how many requests a leader sends (C{sendPkgRate}).
    @ivar send_bytes_per_second: how many bytes a leader sends (C{sendBandwidthRate}).
    """

    name: str
    state: str
    started_at: float
    leader: str
    leader_uptime_seconds: float | None
    recv_append_request_count: int
    send_append_request_count: int
    recv_requests_per_second: float | None = None
    recv_bytes_per_second: float | None = None
    send_requests_per_second: float | None = None
    send_bytes_per_second: float | None = None


@attrs.frozen
class FollowerStatistics:
    """
    How one follower answers the leader.

    @ivar fail_count: how many requests it has not answered.
    @ivar success_count: how many requests it has answered.
    @ivar current_milliseconds: how long the last answer took.
    @ivar average_milliseconds: how long an answer takes on average.
    @ivar standard_deviation_milliseconds: by how much that differs.
    @ivar minimum_milliseconds: how long the fastest answer took.
    @ivar maximum_milliseconds: how long the slowest answer took.
    """

    fail_count: int
    success_count: int
    current_milliseconds: float
    average_milliseconds: float
    standard_deviation_milliseconds: float
    minimum_milliseconds: float
    maximum_milliseconds: float


@attrs.frozen
class LeaderStatistics:
    """
    How the followers answer the leader (C{api.md}, "Leader Statistics").

    @ivar leader: the machine that leads, as the server names it: etcd does so by its id.
    @ivar followers: how the others answer, by their names, or by their ids likewise.
    """

    leader: str
    followers: Mapping[str, FollowerStatistics]


@attrs.frozen
class StoreStatistics:
    """
    How many operations one machine has handled (C{api.md}, "Store Statistics"). Changes are those of the whole
    cluster, reads and watches those of this machine. C{None} stands for what a server does not count.

    @ivar watchers: how many watches there are now.
    """

    gets_success: int | None = None
    gets_fail: int | None = None
    sets_success: int | None = None
    sets_fail: int | None = None
    create_success: int | None = None
    create_fail: int | None = None
    update_success: int | None = None
    update_fail: int | None = None
    delete_success: int | None = None
    delete_fail: int | None = None
    compare_and_swap_success: int | None = None
    compare_and_swap_fail: int | None = None
    compare_and_delete_success: int | None = None
    compare_and_delete_fail: int | None = None
    expire_count: int | None = None
    watchers: int | None = None


@attrs.frozen
class ClusterConfig:
    """
    The settings that all machines share (C{api.md}, "Cluster Config").

    @ivar active_size: how many machines take part in consensus at most; further ones stand by.
    @ivar remove_delay_seconds: for how long a machine must be silent before it is removed.
    @ivar sync_interval_seconds: how often a standby looks whether it can join.
    """

    active_size: int
    remove_delay_seconds: float
    sync_interval_seconds: float


@attrs.frozen
class AdminMachine:
    """
    A machine as the administrators' resource shows it (C{api.md}, "Remove Machines").

    @ivar name: its name.
    @ivar state: C{leader} or C{follower}.
    @ivar client_url: where it serves clients.
    @ivar peer_url: where other machines and administrators reach it.
    """

    name: str
    state: str
    client_url: str
    peer_url: str


@attrs.frozen
class ForbiddenMachine:
    """
    A machine that is kept out of the cluster.

    @ivar name: its name.
    @ivar by: who has kept it out: an administrator's address.
    @ivar since: since when, in seconds since the epoch.
    """

    name: str
    by: str
    since: float


@attrs.frozen
class User:
    """
    A user.

    @ivar name: the user's name.
    @ivar roles: the names of the user's roles, sorted.
    """

    name: str
    roles: tuple[str, ...]


@attrs.frozen
class Role:
    """
    What the users of a role may do. A pattern that ends in C{*} stands for all keys that begin with what is before it,
    any other for one key.

    @ivar name: the role's name.
    @ivar read: patterns of the keys that may be read.
    @ivar write: patterns of the keys that may be written.
    """

    name: str
    read: tuple[str, ...]
    write: tuple[str, ...]
