"""
A machine that takes part in consensus: the core and its driver, and what is done with what they say.

Brings the key space up to what is committed, tells those who proposed, and takes snapshots; as a leader also has keys
expire and looks after the group. Everything here runs on the reactor. What it must never do: tell anyone that a change
was made before it is committed and applied.
"""

import functools
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.consensus.alarm import QuorumAlarm
from etcd_twisted.consensus.announcer import Announcer
from etcd_twisted.consensus.clearing import Clearing
from etcd_twisted.consensus.clock_watch import ClockWatch
from etcd_twisted.consensus.cluster_keys import registrations
from etcd_twisted.consensus.correspondence import Correspondence
from etcd_twisted.consensus.driver import Driver
from etcd_twisted.consensus.expirer import Expirer
from etcd_twisted.consensus.forbidding import Forbidding
from etcd_twisted.consensus.members import Members, with_member
from etcd_twisted.consensus.proposals import Proposal, Proposals, encoded, telling
from etcd_twisted.consensus.quota import Quota
from etcd_twisted.consensus.raft.configurations import differences
from etcd_twisted.consensus.raft.core import Raft, Role, decode_configuration
from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, Member, Record, SnapshotMetadata
from etcd_twisted.consensus.raft.messages import Message
from etcd_twisted.consensus.recovery import Recovered
from etcd_twisted.consensus.snapshotting import Snapshotter
from etcd_twisted.consensus.statuses import Statuses
from etcd_twisted.consensus.storage.data_directory import Identity
from etcd_twisted.consensus.surroundings import Surroundings
from etcd_twisted.consensus.throttle import Throttle
from etcd_twisted.consensus.transfers import SnapshotReceiver, SnapshotSender
from etcd_twisted.errors import ErrorCode, EtcdError, NotDoneError
from etcd_twisted.interfaces import Told
from etcd_twisted.interfaces.cluster import Health, Machine, MachineStatus
from etcd_twisted.interfaces.statistics import Contents, Measurements
from etcd_twisted.keyspace.commands import LATER, Change, Command, Expire, decode_command, encode_command
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.expiry import ExpirySchedule
from etcd_twisted.keyspace.space import Content
from etcd_twisted.logs.rate_limit import Complaints

_ENTRIES_A_TURN = 256

SNAPSHOT_BYTES = 64 << 20
"""A snapshot is due when the entries applied since the last one hold more: they are all in memory."""

SLOW = 1.0
"""A batch of the log that takes longer until it is on the disk is worth a line in the log, in seconds."""

_MOST_DELIVERIES = 10_000
"""How much may wait to be told to watchers, about, before changes have to wait for them."""


def members_of(configuration: Configuration) -> dict[str, Machine]:
    """The machines of a group, by id."""
    members = configuration.members.items()
    return {each: Machine(member.name, member.client_url, member.peer_url) for each, member in members}


def in_order(machines: Mapping[str, Machine]) -> list[Machine]:
    """Machines in the order of their names."""
    return sorted(machines.values(), key=lambda machine: machine.name)


def machines_of(configuration: Configuration) -> list[Machine]:
    """The machines of a group, in the order of their names."""
    return in_order(members_of(configuration))


class Participant:
    """
    See the module. It is what L{etcd_twisted.consensus.driver.Driven} asks for.

    @ivar driver: to be looked at, and for reads; what is proposed goes through here.
    @ivar configuration: the group as of the last entry that was applied.
    """

    _log = Logger()

    def __init__(
        self, around: Surroundings, identity: Identity, recovered: Recovered, machine: Machine, seed: int
    ) -> None:
        """
        @param identity: who this machine is.
        @param machine: how this machine is to be called and reached.
        """
        self._member = Member(machine.name, machine.client_url, machine.peer_url)
        self.configuration = recovered.snapshot.configuration
        self._around = around
        self._bytes_since_snapshot = 0
        self._old_news = recovered.log.last_index
        self._complaints = Complaints(around.clock)
        core = Raft(
            identity.machine_id,
            recovered.hard_state,
            recovered.log,
            around.timing,
            seed,
            around.clock.seconds(),
        )
        self.driver = Driver(around.clock, core, self)
        self._correspondence = Correspondence(around.clock, core, around.transport, around.traffic)
        self._began = around.clock.seconds()
        self._alarm = QuorumAlarm(around.clock, self.health, self.called)
        self._announcer = Announcer(core, machine.name, self.called, self.health)
        self._statuses = Statuses(
            around.clock, around.wall_clock, around.transport, around.timing.election, around.report
        )
        self._statuses.answered = around.time.heard
        self._clock_watch = ClockWatch(around.clock, around.wall_clock, self.statuses, self._adjust_time)
        around.time.observe(recovered.newest_time)
        self.proposals = Proposals(around.clock, around.patience, self._unknown)
        self._quota = Quota(around.clock, around.keyspace, self.proposals, around.quota_bytes)
        self._throttle = Throttle(around.clock, self.proposals, self._too_much)
        forbidding = Forbidding(
            self.driver, around.keyspace, identity.cluster_id, around.time.now, self._propose_for_cluster
        )
        self.members = Members(
            around.clock, self.driver, self.change_group, around.config, forbidding, around.timing.election
        )
        self.receiver = SnapshotReceiver(around.storage, around.writer, self.driver, around.turn, self._restore)
        self._sender = SnapshotSender(
            around.clock, around.storage, around.writer, around.transport, self._snapshot_ended, self.called
        )
        self._clearing = Clearing(around.clock, around.keyspace)
        self._expirer = Expirer(around.clock, around.time.now, around.keyspace.next_expiry, self._propose_unasked)
        self._snapshotter = Snapshotter(
            around.storage, around.writer, recovered.snapshot.index, around.turn, self.driver.fail
        )

    def start(self) -> None:
        """Begin."""
        self._connect()
        self._clock_watch.start()
        self.driver.start()

    async def settle(self) -> None:
        """Return when nobody waits for an answer, or has waited long enough. To be called while others are heard."""
        waiting = [self.proposals.when_none(), self.driver.when_answered()]
        await DeferredList(waiting, consumeErrors=True).addTimeout(self._around.patience, self._around.clock)

    async def stop(self) -> None:
        """Return when what is under way is done."""
        self._lead_no_longer()
        await self.receiver.stop()
        await self.driver.drain()
        self.driver.stop()
        self._clearing.stop()
        self._lead_no_longer()
        self.proposals.fail(self._unknown())
        self._throttle.refuse(NotDoneError("this machine is stopping"))
        self._statuses.stop()
        self._clock_watch.stop()
        self._around.time.follow()
        self._alarm.stop()
        self._around.transport.connect({})
        await self._sender.stop()
        await self._snapshotter.stop()

    def _lead_no_longer(self) -> None:
        self._expirer.stop()
        self.members.stop()
        self._sender.give_up()

    def _unknown(self) -> EtcdError:
        cause = "this machine no longer leads; whether the write was done is unknown"
        return EtcdError(ErrorCode.RAFT_INTERNAL, cause, self._around.keyspace.index)

    def _too_much(self) -> EtcdError:
        cause = "the cluster does not keep up with the writes: this one was not made; try again later"
        return EtcdError(ErrorCode.RAFT_INTERNAL, cause, self._around.keyspace.index)

    # What it knows

    @property
    def leads(self) -> bool:
        """See L{Raft.leads_on}."""
        return self.driver.core.leads_on

    @property
    def is_caught_up(self) -> bool:
        """
        Whether the key space holds all that the leader had committed when it was last heard. What that is nobody
        knows, the leader included, before it has committed an entry of its own term. A leader that has moved is told
        of at its new addresses first.
        """
        core = self.driver.core
        applied = self.driver.applied
        if core.leadership is not None:
            known_right = self.configuration.members.get(core.machine_id) == self._member
            return core.leads_own_term and applied >= core.commit_index and known_right
        return core.leader is not None and applied >= core.leader_commit and core.term_at(applied) == core.term

    @property
    def has_vote(self) -> bool:
        """
        Whether this machine counts in the group. Who restarts machines one after another, each when the last serves,
        relies on that.
        """
        core = self.driver.core
        return core.machine_id in core.configuration.voters and core.configuration_index <= core.commit_index

    @property
    def known_configuration(self) -> Configuration:
        """
        The group as of the last entry that was applied. Until everything is applied that the log held at the start,
        the newest group in the log: without a quorum nobody knows what of it is committed.
        """
        if self.driver.applied >= self._old_news and self.configuration.members:
            return self.configuration
        return self.driver.core.configuration

    def leader(self) -> Machine | None:
        """The machine that leads, C{None} while none is known."""
        core = self.driver.core
        if core.leader is None or (core.leadership is not None and not self.leads):
            return None
        member = core.configuration.members.get(core.leader)
        return None if member is None else Machine(member.name, member.client_url, member.peer_url)

    @property
    def role(self) -> str:
        """The role of this machine in one word, see L{StatusReport}."""
        core = self.driver.core
        if self.leads:
            return "leader"
        if core.machine_id not in core.configuration.voters:
            return "learner"
        return "candidate" if core.role in (Role.CANDIDATE, Role.PRE_CANDIDATE) else "follower"

    @property
    def uptime_seconds(self) -> float:
        """For how long it has taken part."""
        return self._around.clock.seconds() - self._began

    def statuses(self) -> dict[str, MachineStatus]:
        """See L{etcd_twisted.interfaces.IReplica.statuses}."""
        core = self.driver.core
        return self._statuses.all(core.machine_id, core.configuration.members)

    def called(self, machine_id: str) -> str:
        """Returns how the log names a machine: by its name and its peer URL, if it is known here."""
        member = self.driver.core.configuration.members.get(machine_id)
        return f"the machine {machine_id}" if member is None else f"{member.name} ({member.peer_url})"

    def health(self) -> Health:
        """See L{etcd_twisted.interfaces.IReplica.health}."""
        leader = self.leader()
        voters = frozenset(self.driver.core.configuration.voters)
        return Health(self.statuses(), voters, "" if leader is None else leader.name)

    def measurements(self, leader_changes: int) -> Measurements:
        """
        See L{etcd_twisted.interfaces.IReplica.measurements}.

        @param leader_changes: as its caller counts them.
        """
        storage = self._around.storage
        return Measurements(
            self.driver.core.commit_index,
            leader_changes,
            self.proposals.pending,
            self.proposals.failed,
            storage.log.syncs,
            self.driver.commits,
            storage.log.size,
            storage.snapshots.size,
            self._clock_watch.jumps,
            self._clock_watch.last_jump,
            self._around.time.ahead_of_wall,
            self._around.time.error,
            self._contents(),
            *storage.directory.room(),
        )

    def _contents(self) -> Contents:
        root, quota = self._around.keyspace.root, self._quota
        return Contents(root.files, root.directories, root.size, quota.most_bytes, quota.alarm, quota.refused)

    # Proposing

    def understood(self, command: Change) -> Change:
        """
        The command as it is to be logged: as long as another voter may be of an earlier version, one that this version
        knows as well.
        """
        if not isinstance(command, LATER):
            return command
        core = self.driver.core
        others = set(core.configuration.voters) - {core.machine_id}
        return command if self._statuses.have_reported(others) else self._around.keyspace.in_earlier_commands(command)

    def submit(self, command: Change, data: bytes, told: Told) -> bool:
        """
        Have a change logged, if there is room for it; whether there is.

        @param data: the same, encoded.
        @raise NotLeaderError: this machine does not lead.
        @raise EtcdError: see L{Quota.room_for}.
        """
        if not self._throttle.is_open:
            return False
        self._quota.room_for(command, len(data))
        self._propose(command, data, told)
        return True

    def propose(self, command: Change, data: bytes, always: bool = False) -> "Deferred[Event]":
        """
        Have a change logged, as soon as there is room for it; see L{submit}.

        @param always: whether it is made even beyond the quota, as what the cluster needs itself.
        @raise NotLeaderError: this machine does not lead.
        """
        if self._throttle.is_open:
            return self._promised(command, data, always)
        return self._throttle.wait(len(data)).addCallback(lambda _: self._promised(command, data, always))

    def _propose_for_cluster(self, command: Change) -> "Deferred[Event]":
        """What the cluster needs itself."""
        return self.propose(command, encoded(command), always=True)

    def _promised(self, command: Change, data: bytes, always: bool) -> "Deferred[Event]":
        made: Deferred[Event] = Deferred()
        if not always:
            try:
                self._quota.room_for(command, len(data))
            except EtcdError as error:
                return fail(error)
        self._propose(command, data, telling(made))
        return made

    def _propose(self, command: Change, data: bytes, told: Told) -> None:
        index = self.driver.propose(data)
        self.proposals.add(index, Proposal(command, self.driver.core.term, len(data), told))

    def change_group(self, configuration: Configuration) -> "Deferred[Any]":
        """
        Have a group logged; fires when it is committed and applied.

        @raise NotLeaderError: this machine does not lead.
        @raise ConfigurationError: the group can't be changed now.
        """
        index = self.driver.propose_configuration(configuration)
        made: Deferred[Any] = Deferred()
        self.proposals.add(index, Proposal(None, self.driver.core.term, 0, telling(made)))
        return made

    def _propose_unasked(self, command: Command) -> None:
        if self.driver.core.leads:
            self.driver.propose(encode_command(command))

    # What the driver asks for

    def append(self, record: Record) -> "Deferred[None]":
        """See L{etcd_twisted.consensus.driver.Driven}."""
        appended = self._around.writer.submit(functools.partial(self._around.storage.log.append, record))
        return appended.addCallback(self._appended, self._around.clock.seconds())

    def _appended(self, _: None, began: float) -> None:
        took = self._around.clock.seconds() - began
        if took >= SLOW:
            self._complaints.say("disk", f"The disk is slow: it took {took:.1f} s to make a part of the log durable")

    def room(self) -> int:
        """Fewer with many watchers, none while too much waits to be delivered."""
        hub = self._around.keyspace.hub
        if hub.backlog >= _MOST_DELIVERIES:
            return 0
        return max(1, min(_ENTRIES_A_TURN, _MOST_DELIVERIES // (hub.count + 1)))

    def send(self, machine_id: str, messages: list[Message]) -> None:
        """See L{etcd_twisted.consensus.driver.Driven}."""
        self._correspondence.send(machine_id, messages)

    def receive(self, sender: str, messages: list[Message], length: int) -> None:
        """
        Take messages of another machine.

        @param length: of all of them on the wire, in bytes.
        """
        self._correspondence.heard(sender, messages, length)
        self.driver.receive(sender, messages)

    def snapshot_piece(self, sender: str, offset: int, data: bytes) -> "Deferred[None]":
        """See L{etcd_twisted.interfaces.IRaftPeer}."""
        self._around.traffic.add_received(sender, len(data))
        return self.receiver.piece(sender, offset, data)

    def unreachable(self, machine_id: str) -> None:
        """What was sent to a machine last may be lost."""
        self._correspondence.lost(machine_id)
        self.driver.unreachable(machine_id)

    def send_snapshot(self, machine_id: str, term: int) -> None:
        """See L{etcd_twisted.consensus.driver.Driven}."""
        self._sender.send(machine_id, term)

    def _snapshot_ended(self, machine_id: str, sent: int) -> None:
        self._around.traffic.add_sent(machine_id, sent)
        self.driver.snapshot_ended(machine_id)

    def changed(self) -> None:
        """See L{etcd_twisted.consensus.driver.Driven}."""
        self._connect()
        core = self.driver.core
        self._correspondence.changed()
        self._keep_time()
        self._announcer.changed()
        if core.leadership is not None:
            self.proposals.leads()
            self.members.start()
        else:
            self.proposals.leads_no_longer()
            self._lead_no_longer()
        if self.leads:
            self._expirer.look()
            self._correct_own_entry()
        else:
            self._expirer.stop()  # what it would propose while handing over would be lost
            self._throttle.refuse(NotDoneError("this machine no longer leads"))
        self._around.changed()
        self._alarm.look()

    def _keep_time(self) -> None:
        """Keep the cluster time, or ask for it: ask the leader, or all others if this machine may lead soon."""
        core, time = self.driver.core, self._around.time
        if core.leadership is not None:
            time.lead(core.term)
            return
        time.follow()
        if core.leader is not None and time.term < core.term:
            self._statuses.ask(core.leader)
        elif core.role is not Role.FOLLOWER and time.term < core.term:
            for machine_id in core.configuration.members:
                self._statuses.ask(machine_id)

    def _adjust_time(self) -> None:
        all_applied = self.driver.applied == self.driver.core.last_index  # what is not may have a TTL
        nothing_waits = all_applied and not self.proposals.pending and self._throttle.is_open
        self._around.time.adjust(nothing_waits and self._around.keyspace.next_expiry() is None)

    def failed(self, failure: Failure) -> None:
        """See L{etcd_twisted.consensus.driver.Driven}."""
        error = self._around.failed(failure)
        self.proposals.fail(error)
        self._throttle.refuse(error)

    def _connect(self) -> None:
        core = self.driver.core
        members = core.configuration.members.items()
        others = {each: member.peer_url for each, member in members if each != core.machine_id}
        self._around.transport.connect(others)
        self._statuses.keep(set(others))
        if others:
            self._alarm.start()
        else:
            self._alarm.stop()

    def _correct_own_entry(self) -> None:
        """A leader whose name or addresses are not what is known of it says so."""
        core = self.driver.core
        known = core.configuration.members.get(core.machine_id)
        wrong = core.machine_id in core.configuration and known != self._member
        if wrong and core.configuration_index <= core.commit_index:
            self.driver.propose_configuration(with_member(core.configuration, core.machine_id, self._member))

    # Applying

    def apply(self, entry: Entry) -> None:
        """See L{etcd_twisted.consensus.driver.Driven}."""
        if entry.kind is not EntryKind.COMMAND:
            self._apply_other(entry)
            return
        proposal = self.proposals.take(entry)
        if proposal is None or proposal.command is None:
            command = decode_command(entry.data)
            self._around.time.observe(command.time)
            self._apply_unasked(command)
            return
        try:
            event = self._around.keyspace.apply(proposal.command)
        except EtcdError as error:
            proposal.tell(error)
        except Exception:
            cause = "this machine can't go on: applying the change failed; its log says more"
            proposal.tell(EtcdError(ErrorCode.RAFT_INTERNAL, cause, self._around.keyspace.index))
            raise
        else:
            proposal.tell(event)

    def batch_applied(self, entries: tuple[Entry, ...]) -> None:
        """See L{etcd_twisted.consensus.driver.Driven}."""
        self._bytes_since_snapshot += sum(len(entry.data) for entry in entries)
        if self.leads:
            self._expirer.look()
            self._throttle.admit()
        self._clearing.look()
        self._quota.look()
        self.receiver.passed(entries[-1].index)
        self._snapshot_if_due(entries[-1])
        self._around.applied()

    def _apply_unasked(self, command: Command) -> None:
        """Apply a command that nobody here waits for: a command that fails has failed everywhere, and was answered."""
        try:
            self._around.keyspace.apply(command)
        except EtcdError:
            return
        if isinstance(command, Expire):
            self._expirer.applied()

    def _apply_other(self, entry: Entry) -> None:
        if entry.kind is EntryKind.CONFIGURATION:
            configuration = decode_configuration(entry.data)
            if entry.index > self._old_news:
                self._tell_differences(configuration)
            self._apply_configuration(configuration)
        proposal = self.proposals.take(entry)
        if proposal is not None:
            proposal.tell(None)
        self._around.changed()

    def _tell_differences(self, configuration: Configuration) -> None:
        for line in differences(self.configuration, configuration):
            self._log.info("{change}", change=line)

    def _apply_configuration(self, configuration: Configuration) -> None:
        """The machines of a cluster are registered in its key space, by the very entry that makes them members."""
        keyspace = self._around.keyspace
        before, self.configuration = self.configuration, configuration
        for command in registrations(keyspace.root, machines_of(before), machines_of(configuration)):
            try:
                keyspace.apply(command)
            except EtcdError as error:
                self._log.error("Can't keep {key}: {error}; remove what stands there", key=command.key, error=error)

    # Snapshots

    def _snapshot_if_due(self, last: Entry) -> None:
        count = self._around.snapshot_count
        if count is None or self._snapshotter.busy or self.receiver.installing:
            return
        many = last.index - self._snapshotter.index >= count
        if many or self._bytes_since_snapshot > SNAPSHOT_BYTES:
            self._bytes_since_snapshot = 0
            time = self._around.time.least
            metadata = SnapshotMetadata(last.index, last.term, self.configuration, time=time)
            self._snapshotter.take(metadata, self._around.keyspace.content(), self.driver.compacted)

    def _restore(self, content: Content, schedule: ExpirySchedule, snapshot: SnapshotMetadata) -> None:
        """Become what the leader's snapshot holds."""
        self._around.time.observe(snapshot.time)
        self._around.keyspace.restore(content, schedule)
        self._tell_differences(snapshot.configuration)
        self.configuration = snapshot.configuration
        self._snapshotter.index = snapshot.index
        self._bytes_since_snapshot = 0
        self.proposals.skip(snapshot.index)
