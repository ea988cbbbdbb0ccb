"""
The replica: one machine's copy of the key space, kept in step with the log, as the doors see it.

Everything here runs on the reactor. What it must never do: tell anyone that a change was made before it is durable
and applied.
"""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.consensus.driver import Driver
from etcd_twisted.consensus.entries import Entry, EntryKind, SnapshotMetadata
from etcd_twisted.consensus.expirer import Expirer
from etcd_twisted.consensus.recovery import Recovered, Storage
from etcd_twisted.consensus.snapshotting import Snapshotter
from etcd_twisted.consensus.writer import LogWriter
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.commands import Change, Command, Create, Expire, Set, decode_command, encode_command
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import Node
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.statistics import StoreStatistics
from etcd_twisted.keyspace.watchers import Watcher
from etcd_twisted.machines import Machine, registered_machines

_DELIVERIES_A_TURN = 128


@attrs.frozen
class _Proposal:
    """A command on its way through the log, and who waits for it."""

    command: Change
    answer: "Deferred[Event]"


@implementer(IReplica)
class Replica:
    """
    See L{IReplica} for what the doors use. It serves nobody until it is started and leads.

    @ivar keyspace: to be recovered into before L{start}.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        history_capacity: int,
        snapshot_count: int | None,
        fatal: Callable[[str], None],
    ) -> None:
        """
        @param snapshot_count: how many entries are applied from one snapshot to the next; C{None} for no snapshots.
        @param fatal: called once, with one line, when the replica can't go on: the process must end.
        """
        self.name = ""
        self.serving = False
        self.leading_since = 0
        self.keyspace = KeySpace(history_capacity, self._deliver_soon)
        self._clock = clock
        self._snapshot_count = snapshot_count
        self._fatal = fatal
        self._machine: Machine | None = None
        self._driver: Driver | None = None
        self._expirer: Expirer | None = None
        self._snapshotter: Snapshotter | None = None
        self._proposals: dict[int, _Proposal] = {}
        self._waiting: list[Deferred[None]] = []
        self._registering = False
        self._delivery: IDelayedCall | None = None
        self._closed: EtcdError | None = None

    # Its life

    def start(self, machine: Machine, storage: Storage, writer: LogWriter, recovered: Recovered) -> None:
        """
        Go on from what was recovered, and stand for election.

        @param machine: how this machine is to be registered.
        @param writer: runs what is done to the storage from here on.
        """
        self.name = machine.name
        self._machine = machine
        self._driver = Driver(
            self._clock,
            recovered.core,
            lambda record: writer.submit(functools.partial(storage.log.append, record)),
            self._apply,
            functools.partial(self._failed, storage.directory.path),
        )
        self._expirer = Expirer(self._clock, self.keyspace.next_expiry, self._propose)
        self._snapshotter = Snapshotter(storage, writer, recovered.applied, self.turn, self._driver.fail)
        self._driver.campaign()

    async def stop(self) -> None:
        """Take no more requests, and return when those under way are done."""
        self._close(EtcdError(ErrorCode.RAFT_INTERNAL, "this machine is stopping", self.index))
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None
        if self._driver is None or self._expirer is None or self._snapshotter is None:
            return
        self._expirer.stop()
        await self._driver.drain()
        await self._snapshotter.stop()
        self._driver.stop()
        self._expirer.stop()

    def turn(self) -> "Deferred[None]":
        """Fires in the next turn of the reactor."""
        return deferLater(self._clock, 0, lambda: None)

    def _failed(self, path: Path, failure: Failure) -> None:
        self._log.failure("This machine can't go on", failure)
        reason = f"this machine can't go on: {failure.getErrorMessage()}; its log says more"
        if isinstance(failure.value, OSError):
            problem = failure.value.strerror
            reason = f"--data-dir {path} failed: {problem}; see to the disk, then start this machine again"
        error = EtcdError(ErrorCode.RAFT_INTERNAL, f"{reason}; whether the write was done is unknown", self.index)
        self._fatal(reason)
        self._close(error)
        proposals, self._proposals = self._proposals, {}
        for proposal in proposals.values():
            proposal.answer.errback(error)

    def _close(self, error: EtcdError) -> None:
        self.serving = False
        self._closed = error
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.errback(error)

    # What doors see

    @property
    def index(self) -> int:
        """See L{IReplica}."""
        return self.keyspace.index

    @property
    def raft_index(self) -> int:
        """See L{IReplica}."""
        return self._driver.applied if self._driver is not None else 0

    @property
    def term(self) -> int:
        """See L{IReplica}."""
        return self._driver.core.term if self._driver is not None else 0

    @property
    def is_leader(self) -> bool:
        """See L{IReplica}."""
        return self._driver is not None and self._driver.core.leads_own_term

    def now(self) -> int:
        """See L{IReplica}."""
        return int(self._clock.seconds() * 1e6)

    def when_serving(self) -> "Deferred[None]":
        """See L{IReplica}."""
        if self._closed is not None:
            return fail(self._closed)
        if self.serving:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def leader(self) -> Machine | None:
        """See L{IReplica}."""
        return self._machine if self.is_leader else None

    def machines(self) -> list[Machine]:
        """See L{IReplica}."""
        return registered_machines(self.keyspace.root)

    def get(self, key: str) -> Node:
        """See L{IReplica}."""
        return self.keyspace.get(key)

    def statistics(self) -> StoreStatistics:
        """See L{IReplica}."""
        return self.keyspace.statistics()

    def watch(
        self, key: str, recursive: bool, stream: bool, since: int | None, deliver: Callable[[Event], None]
    ) -> Watcher:
        """See L{IReplica}."""
        return self.keyspace.watch(key, recursive, stream, since, deliver)

    def confirm_reads(self) -> "Deferred[None]":
        """See L{IReplica}."""
        if not self.serving or self._driver is None:
            return self.when_serving().addCallback(lambda _: self.confirm_reads())
        return self._driver.confirm_read()

    def propose(self, command: Change) -> "Deferred[Event]":
        """See L{IReplica}."""
        if not self.serving or self._driver is None:
            return self.when_serving().addCallback(lambda _: self.propose(command))
        answer: Deferred[Event] = Deferred()
        self._proposals[self._driver.propose(encode_command(command))] = _Proposal(command, answer)
        return answer

    # Applying

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        for entry in entries:
            if entry.kind is EntryKind.COMMAND:
                self._apply_command(entry)
        if self._closed is None:
            self._serve_if_ready()
            if self.serving:
                self._expire_next()
            self._snapshot_if_due(entries[-1])

    def _apply_command(self, entry: Entry) -> None:
        proposal = self._proposals.pop(entry.index, None)
        if proposal is None:
            self._apply_unasked(decode_command(entry.data))
            return
        try:
            event = self.keyspace.apply(proposal.command)
        except EtcdError as error:
            proposal.answer.errback(error)
        else:
            proposal.answer.callback(event)

    def _apply_unasked(self, command: Command) -> None:
        """Apply a command that nobody here waits for: a command that fails has failed everywhere, and was answered."""
        with contextlib.suppress(EtcdError):
            self.keyspace.apply(command)
        if isinstance(command, Expire) and self._expirer is not None:
            self._expirer.applied()

    def _serve_if_ready(self) -> None:
        """Begin to serve, once this machine leads, has applied all there was before, and is registered."""
        driver, machine = self._driver, self._machine
        if self.serving or driver is None or machine is None:
            return
        if not driver.core.leads_own_term or driver.applied < driver.core.last_index:
            return
        registered = self.machines()
        if machine not in registered:
            if not self._registering:
                self._registering = True
                known = machine.name in [each.name for each in registered]
                self._propose((Set if known else Create)(machine.key, self.now(), machine.value))
                return
            self._log.error("Can't register this machine: {key} is a directory; remove it", key=machine.key)
        self.serving = True
        self.leading_since = self.now()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def _propose(self, command: Command) -> None:
        """Have a command logged that nobody waits for."""
        if self._driver is not None and self._closed is None:
            self._driver.propose(encode_command(command))

    def _expire_next(self) -> None:
        if self._expirer is not None:
            self._expirer.look()

    def _snapshot_if_due(self, last: Entry) -> None:
        driver, snapshotter = self._driver, self._snapshotter
        if self._snapshot_count is None or driver is None or snapshotter is None or snapshotter.busy:
            return
        if last.index - snapshotter.index >= self._snapshot_count:
            metadata = SnapshotMetadata(last.index, last.term, driver.core.configuration)
            snapshotter.take(metadata, self.keyspace.content(), driver.core.compacted)

    # Telling watchers

    def _deliver_soon(self) -> None:
        if self._delivery is None and self._closed is None:
            self._delivery = self._clock.callLater(0, self._deliver)

    def _deliver(self) -> None:
        self._delivery = None
        more = True
        try:
            more = self.keyspace.hub.deliver(_DELIVERIES_A_TURN)
        finally:
            if more:
                self._deliver_soon()
