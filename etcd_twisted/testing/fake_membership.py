"""
The members of the cluster of a stand-in for the replica, see L{etcd_twisted.testing.replica}: all that is kept of them
is in its key space. This module must never do to a key space what a real leader does not.
"""

import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail

from etcd_twisted.consensus.cluster_keys import CONFIG_KEY, forbidden_machines, member_records, stored_config
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces.cluster import DIRECTORY, Forbidden, Machine, fingerprinted, forbidden_key
from etcd_twisted.interfaces.cluster_config import ClusterConfig, config_json
from etcd_twisted.interfaces.ids import new_id
from etcd_twisted.interfaces.member_records import MemberRecord, shown_members
from etcd_twisted.keyspace.commands import Change, Delete, Set
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import Directory, File
from etcd_twisted.keyspace.space import KeySpace

CLUSTER_ID = "c" * 16


def registered_machines(root: Directory) -> list[Machine]:
    """
    Returns the machines that are registered in a key space, by name, as a client reads them. It passes over what is no
    registration.
    """
    directory = root
    for name in DIRECTORY[1:].split("/"):
        child = directory.children.get(name)
        if not isinstance(child, Directory):
            return []
        directory = child
    machines = []
    for name, node in sorted(directory.children.items()):
        if isinstance(node, File):
            urls = dict(urllib.parse.parse_qsl(node.value))
            if "etcd" in urls and "raft" in urls:
                machines.append(Machine(name, urls["etcd"], urls["raft"]))
    return machines


class FakeMembership(ABC):
    """
    What a door sees of the members, see L{etcd_twisted.interfaces.IReplica}, and how it has them changed.

    @ivar keyspace: this machine's copy of the keys.
    @ivar removed: the names of the machines that were to be removed, in order.
    @ivar moved: the id and the new peer URL of each machine that was to be moved, in order.
    """

    keyspace: KeySpace

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.moved: list[tuple[str, str]] = []

    @abstractmethod
    def now(self) -> int:
        """Returns the time, in microseconds since the epoch."""

    @abstractmethod
    def machines(self) -> list[Machine]:
        """Returns the machines of the cluster."""

    @abstractmethod
    def propose(self, command: Change) -> "Deferred[Event]":
        """Propose a change; see L{IReplica.propose}."""

    @abstractmethod
    def _when_leading(self, go_on: Callable[[], "Deferred[Any]"]) -> "Deferred[Any]":
        """Do what only a leader can."""

    @abstractmethod
    def _apply(self, command: Change) -> "Deferred[Event]":
        """Make a change."""

    def members(self) -> dict[str, Machine]:
        return {f"{number:016x}": machine for number, machine in enumerate(self.machines(), 1)}

    def shown_members(self) -> dict[str, Machine]:
        return shown_members(fingerprinted(CLUSTER_ID, self.members()), member_records(self.keyspace.root))

    def was_removed(self, member_id: str) -> bool:
        records = member_records(self.keyspace.root)
        return any(record.removed and record.id == member_id for record in records)

    def cluster_config(self) -> ClusterConfig:
        return stored_config(self.keyspace.root) or ClusterConfig()

    def configure(self, config: ClusterConfig) -> "Deferred[None]":
        changed = self.propose(Set(CONFIG_KEY, self.now(), config_json(config)))
        return changed.addCallback(lambda _: None)

    def remove(self, name: str, forbidden_by: str | None = None) -> "Deferred[None]":
        if forbidden_by is not None:
            self._store(Forbidden(name, forbidden_by, self.now()))
            for member_id, machine in self.shown_members().items():
                if machine.name == name:
                    self._store(MemberRecord(member_id, removed=True))
        return self._when_leading(lambda: self._take_out(name))

    def forbidden(self) -> list[Forbidden]:
        return forbidden_machines(self.keyspace.root)

    def allow(self, name: str) -> "Deferred[None]":
        return self.propose(Delete(forbidden_key(name), self.now())).addCallback(lambda _: None)

    def _store(self, record: Forbidden | MemberRecord) -> None:
        self.keyspace.apply(Set(record.key, self.now(), record.value))

    def await_machine(self, peer_url: str) -> "Deferred[str]":
        record = MemberRecord(new_id(), peer_url)
        added = self._when_leading(lambda: self._apply(Set(record.key, self.now(), record.value)))
        return added.addCallback(lambda _: record.id)

    def dismiss(self, member_id: str, for_good: bool) -> "Deferred[None]":
        record = MemberRecord(member_id, removed=True)
        after = Set(record.key, self.now(), record.value) if for_good else Delete(record.key, self.now())
        return self._when_leading(lambda: self._apply(after)).addCallback(lambda _: None)

    def move(self, machine_id: str, peer_url: str) -> "Deferred[None]":
        return self._when_leading(lambda: self._move(machine_id, peer_url))

    def _move(self, machine_id: str, peer_url: str) -> "Deferred[None]":
        self.moved.append((machine_id, peer_url))
        before = self.members().get(machine_id)
        if before is None:
            awaited = MemberRecord(machine_id, peer_url)
            return self._apply(Set(awaited.key, self.now(), awaited.value)).addCallback(lambda _: None)
        after = Machine(before.name, before.client_url, peer_url)
        return self._apply(Set(after.key, self.now(), after.value)).addCallback(lambda _: None)

    def _take_out(self, name: str) -> "Deferred[None]":
        self.removed.append(name)
        for machine in self.machines():
            if machine.name == name:
                return self._apply(Delete(machine.key, self.now())).addCallback(lambda _: None)
        return fail(EtcdError(ErrorCode.KEY_NOT_FOUND, f"no machine {name} is in the cluster", self.keyspace.index))
