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
import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.consensus.core import NotLeaderError
from etcd_twisted.consensus.delivery import Delivery
from etcd_twisted.consensus.driver import Driver
from etcd_twisted.consensus.entries import Entry, EntryKind, SnapshotMetadata
from etcd_twisted.consensus.expirer import Expirer
from etcd_twisted.consensus.recovery import Recovered, Storage
from etcd_twisted.consensus.snapshotting import Snapshotter
from etcd_twisted.consensus.writer import LogWriter
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.commands import Change, Command, Create, Expire, Set, decode_command, encode_command
from etcd_twisted.keyspace.events import LAST_MOMENT, Event
from etcd_twisted.keyspace.nodes import Node
from etcd_twisted.keyspace.paths import clean
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.statistics import StoreStatistics
from etcd_twisted.keyspace.watchers import Watcher
from etcd_twisted.machines import Machine, registered_machines

_ENTRIES_A_TURN = 256

SNAPSHOT_BYTES = 64 << 20
"""A snapshot is due when the entries applied since the last one hold more: they are all in memory."""

_MOST_DELIVERIES = 10_000
"""How much may wait to be told to watchers, about, before changes have to wait for them."""


def _encoded(command: Change) -> bytes:
    """
    A command as it stands in the log, if it can be read back and applied: once it is durable, each start applies it.

    @raise EtcdError: see L{IReplica.propose}.
    """
    try:
        data = encode_command(command)
        decode_command(data)
    except UnicodeEncodeError as error:
        raise EtcdError(ErrorCode.INVALID_FORM, f"text that is not UTF-8: {error}") from error
    except (msgspec.ValidationError, OverflowError, TypeError) as error:
        raise EtcdError(ErrorCode.INVALID_FIELD, f"not a command: {error}") from error
    if clean(command.key) != command.key:
        raise EtcdError(ErrorCode.INVALID_FIELD, f"key: {command.key!r} is not clean; {clean(command.key)!r} is")
    expires: int | None = getattr(command, "expires", None)
    if expires is not None and not 0 <= expires <= LAST_MOMENT:
        cause = f"expires: {expires} is not in 0 to {LAST_MOMENT}, in microseconds since the epoch"
        raise EtcdError(ErrorCode.TTL_NOT_A_NUMBER, cause)
    return data


@attrs.frozen
class _Proposal:
    """A command on its way through the log, and who waits for it."""

    command: Change
    answer: "Deferred[Event]"


@attrs.frozen
class _Running:
    """
    What there is from the start on.

    @ivar machine: how this machine is to be registered.
    """

    machine: Machine
    driver: Driver
    expirer: Expirer
    snapshotter: Snapshotter

    @property
    def leads_and_is_up_to_date(self) -> bool:
        """Whether this machine leads, and has applied all that is in its log."""
        return self.driver.core.leads_own_term and self.driver.applied == self.driver.core.last_index


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
        wall_clock: Callable[[], float],
        history_capacity: int,
        snapshot_count: int | None,
        fatal: Callable[[str], None],
    ) -> None:
        """
        @param clock: for what is to be done later; it may count from anywhere, and should never be set.
        @param wall_clock: for when keys expire; seconds since the epoch.
        @param snapshot_count: how many entries are applied from one snapshot to the next, if they hold no more than
            L{SNAPSHOT_BYTES}; C{None} for no snapshots.
        @param fatal: called once, with one line, when the replica can't go on: the process must end.
        """
        self.name = ""
        self.serving = False
        self.led_since = 0
        self._clock = clock
        self._wall_clock = wall_clock
        self._snapshot_count = snapshot_count
        self._bytes_since_snapshot = 0
        self._fatal = fatal
        self._delivery = Delivery(clock)
        self.keyspace = KeySpace(history_capacity, lambda: self._delivery.soon(self.keyspace.hub))
        self._running: _Running | None = None
        self._proposals: dict[int, _Proposal] = {}
        self._waiting: list[Deferred[None]] = []
        self._registering = False
        self._closed: EtcdError | None = None

    # Its life

    def start(self, machine: Machine, storage: Storage, writer: LogWriter, recovered: Recovered) -> None:
        """
        Go on from what was recovered, and stand for election.

        @param machine: how this machine is to be registered.
        @param writer: runs what is done to the storage from here on.
        """
        self.name = machine.name
        driver = Driver(
            self._clock,
            recovered.core,
            lambda record: writer.submit(functools.partial(storage.log.append, record)),
            self._room,
            self._apply,
            functools.partial(self._failed, storage.directory.path),
        )
        self._running = _Running(
            machine,
            driver,
            Expirer(self._clock, self.now, self.keyspace.next_expiry, self._propose),
            Snapshotter(storage, writer, recovered.applied, self.turn, driver.fail),
        )
        driver.campaign()

    async def stop(self) -> None:
        """Take no more requests, and return when those under way are done."""
        self._close(EtcdError(ErrorCode.RAFT_INTERNAL, "this machine is stopping", self.index))
        self._delivery.stop()
        if (running := self._running) is None:
            return
        running.expirer.stop()
        await running.driver.drain()
        await running.snapshotter.stop()
        running.driver.stop()

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
        self._closed = self._closed or error
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
        return self._running.driver.applied if self._running is not None else 0

    @property
    def term(self) -> int:
        """See L{IReplica}."""
        return self._running.driver.core.term if self._running is not None else 0

    @property
    def is_leader(self) -> bool:
        """See L{IReplica}."""
        return self._running is not None and self._running.driver.core.leads_own_term

    def now(self) -> int:
        """See L{IReplica}."""
        return int(self._wall_clock() * 1e6)

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
        return self._running.machine if self._running is not None and self.is_leader else None

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
        if not self.serving or self._running is None:
            return self.when_serving().addCallback(lambda _: self.confirm_reads())
        return self._running.driver.confirm_read().addErrback(self._unconfirmed)

    def _unconfirmed(self, failure: Failure) -> None:
        failure.trap(NotLeaderError)
        raise self._closed or EtcdError(ErrorCode.RAFT_INTERNAL, "this machine leads no longer; try again", self.index)

    def propose(self, command: Change) -> "Deferred[Event]":
        """See L{IReplica}."""
        if not self.serving or self._running is None:
            return self.when_serving().addCallback(lambda _: self.propose(command))
        try:
            data = _encoded(command)
        except EtcdError as error:
            error.index = self.index
            return fail(error)
        answer: Deferred[Event] = Deferred()
        self._proposals[self._running.driver.propose(data)] = _Proposal(command, answer)
        return answer

    # Applying

    def _room(self) -> int:
        """How many entries may be applied: fewer with many watchers, none while too much waits to be delivered."""
        hub = self.keyspace.hub
        if hub.backlog >= _MOST_DELIVERIES:
            return 0
        return max(1, min(_ENTRIES_A_TURN, _MOST_DELIVERIES // (hub.count + 1)))

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        for entry in entries:
            self._bytes_since_snapshot += len(entry.data)
            if entry.kind is EntryKind.COMMAND:
                self._apply_command(entry)
        if (running := self._running) is None or self._closed is not None:
            return
        if not self.serving and running.leads_and_is_up_to_date:
            self._register_or_serve(running)
        if self.serving:
            running.expirer.look()
        self._snapshot_if_due(running, entries[-1])

    def _apply_command(self, entry: Entry) -> None:
        proposal = self._proposals.pop(entry.index, None)
        if proposal is None:
            self._apply_unasked(decode_command(entry.data))
            return
        try:
            event = self.keyspace.apply(proposal.command)
        except EtcdError as error:
            proposal.answer.errback(error)
        except Exception:
            cause = "this machine can't go on: applying the change failed; its log says more"
            proposal.answer.errback(EtcdError(ErrorCode.RAFT_INTERNAL, cause, self.index))
            raise
        else:
            proposal.answer.callback(event)

    def _apply_unasked(self, command: Command) -> None:
        """Apply a command that nobody here waits for: a command that fails has failed everywhere, and was answered."""
        with contextlib.suppress(EtcdError):
            self.keyspace.apply(command)
        if isinstance(command, Expire) and self._running is not None:
            self._running.expirer.applied()

    def _propose(self, command: Command) -> None:
        """Have a command logged that nobody waits for."""
        if self._running is not None and self._closed is None:
            self._running.driver.propose(encode_command(command))

    def _register_or_serve(self, running: _Running) -> None:
        """Begin to serve, once this machine is registered as it is."""
        machine, registered = running.machine, self.machines()
        if machine not in registered:
            if not self._registering:
                self._registering = True
                known = machine.name in [each.name for each in registered]
                self._propose((Set if known else Create)(machine.key, self.now(), machine.value))
                return
            self._log.error("Can't register this machine: {key} is a directory; remove it", key=machine.key)
        self.serving = True
        self.led_since = self.now()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def _snapshot_if_due(self, running: _Running, last: Entry) -> None:
        if self._snapshot_count is None or running.snapshotter.busy:
            return
        many = last.index - running.snapshotter.index >= self._snapshot_count
        if many or self._bytes_since_snapshot > SNAPSHOT_BYTES:
            self._bytes_since_snapshot = 0
            metadata = SnapshotMetadata(last.index, last.term, running.driver.core.configuration)
            running.snapshotter.take(metadata, self.keyspace.content(), running.driver.compacted)
