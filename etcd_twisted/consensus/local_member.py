"""
This machine as a member of its group: all parts of it, put together, started and stopped in order.

When something happens that more than one part has to know, it tells these parts in the right order. It must never do
itself what one of them can do.
"""

import functools

import attrs
from twisted.internet.defer import Deferred, DeferredList, fail

from etcd_twisted.consensus.availability import Availability
from etcd_twisted.consensus.background.clearing import Clearing
from etcd_twisted.consensus.background.expirer import Expirer
from etcd_twisted.consensus.background.founder import Founder
from etcd_twisted.consensus.background.timekeeper import Timekeeper
from etcd_twisted.consensus.bounded_wait import BoundedWait
from etcd_twisted.consensus.clocks.clock_watch import ClockWatch
from etcd_twisted.consensus.clocks.cluster_time import Clocks
from etcd_twisted.consensus.forwarding.forwarded import Forwarded
from etcd_twisted.consensus.forwarding.forwarder import Forwarder
from etcd_twisted.consensus.group_state import GroupState
from etcd_twisted.consensus.messenger import Messenger
from etcd_twisted.consensus.monitoring.alarm import QuorumAlarm
from etcd_twisted.consensus.monitoring.election_log import ElectionLog
from etcd_twisted.consensus.monitoring.statuses import Statuses
from etcd_twisted.consensus.node import Node
from etcd_twisted.consensus.proposals.pending import Proposals
from etcd_twisted.consensus.proposals.proposer import Proposer, Throttle
from etcd_twisted.consensus.proposals.quota import Quota
from etcd_twisted.consensus.raft.core import Raft
from etcd_twisted.consensus.raft.entries import Member
from etcd_twisted.consensus.raft.messages import MOST_TERMS_AHEAD, Message
from etcd_twisted.consensus.reconfiguration.admission import Admissions
from etcd_twisted.consensus.reconfiguration.changes import MembershipChanges, with_member
from etcd_twisted.consensus.reconfiguration.forbidden import ForbiddenMachines
from etcd_twisted.consensus.reconfiguration.liveness import Liveness
from etcd_twisted.consensus.reconfiguration.member_records import MemberRecords
from etcd_twisted.consensus.reconfiguration.upkeep import MembershipUpkeep
from etcd_twisted.consensus.recovery import Recovered
from etcd_twisted.consensus.settings import ReplicaSettings
from etcd_twisted.consensus.snapshots.receiving import SnapshotReceiver
from etcd_twisted.consensus.snapshots.sending import SnapshotSender
from etcd_twisted.consensus.snapshots.taking import Snapshotter
from etcd_twisted.consensus.state_machine import StateMachine
from etcd_twisted.consensus.storage.disk_thread import AsyncStorage
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.interfaces import AnswerQuestion, ITransport
from etcd_twisted.interfaces.cluster import Machine, fingerprint
from etcd_twisted.interfaces.statistics import Contents, Measurements, Traffic
from etcd_twisted.keyspace.space import KeySpace


def _unknown(keyspace: KeySpace) -> EtcdError:
    cause = "this machine no longer leads; whether the write was done is unknown"
    return EtcdError(ErrorCode.RAFT_INTERNAL, cause, keyspace.index)


def _unanswered(keyspace: KeySpace) -> EtcdError:
    cause = "the leader was asked and has not answered; whether the write was done is unknown"
    return EtcdError(ErrorCode.RAFT_INTERNAL, cause, keyspace.index)


def _too_much(keyspace: KeySpace) -> EtcdError:
    cause = "the cluster does not keep up with the writes: this one was not made; try again later"
    return EtcdError(ErrorCode.RAFT_INTERNAL, cause, keyspace.index)


@attrs.frozen
class Environment:
    """
    What a member works with and does not own.

    @ivar disk: the files of this machine and the thread that works on them.
    @ivar traffic: counts what is sent to other machines and received from them.
    """

    clocks: Clocks
    disk: AsyncStorage
    transport: ITransport
    traffic: Traffic


class LocalMember:
    """
    This machine as a member; see the module.

    @ivar machine_id: the id of this machine.
    @ivar cluster_id: the id of the group's cluster.
    @ivar raft: the Raft state, to be read only.
    @ivar state_machine: the state machine to which the log is applied, to be read only.
    @ivar group: what this machine knows of its group.
    @ivar changes: proposes changes of the group.
    @ivar node: drives the Raft core.
    @ivar proposer: proposes changes of the key space.
    @ivar forwarder: has the leader carry out what only the leader can.
    @ivar forwarded: carries that out for other machines.
    @ivar admissions: decides from which machines messages are taken.
    @ivar receiver: receives the leader's snapshots.
    """

    def __init__(
        self,
        environment: Environment,
        keyspace: KeySpace,
        settings: ReplicaSettings,
        availability: Availability,
        recovered: Recovered,
        machine: Machine,
    ) -> None:
        """
        @param keyspace: the key space, which holds what was recovered.
        @param availability: is told when the leader or the group may have changed.
        @param machine: the name and the addresses of this machine.
        """
        if recovered.identity is None:
            raise ValueError("a machine has to know who it is")
        self.machine_id = machine_id = recovered.identity.machine_id
        self.cluster_id = cluster_id = recovered.identity.cluster_id
        clocks, disk, transport = environment.clocks, environment.disk, environment.transport
        clock, election_timeout_seconds = clocks.monotonic, settings.timing.election_timeout_seconds
        self._clock, self._keyspace = clock, keyspace
        self._disk, self._transport, self._traffic = disk, transport, environment.traffic
        self._availability, self._proposal_timeout_seconds = availability, settings.proposal_timeout_seconds
        self._own = Member(machine.name, machine.client_url, machine.peer_url)
        self._time = clocks.cluster
        self._time.observe(recovered.newest_time)
        self._ending, self._carried_out = False, 0
        hard_state, log = recovered.hard_state, recovered.log
        last_index, now = log.last_index, clock.seconds()
        core = Raft(machine_id, hard_state, log, settings.timing, settings.random_seed, now, settings.raft_limits)
        self.raft = core
        self._proposals = Proposals(clock, settings.proposal_timeout_seconds, functools.partial(_unknown, keyspace))
        too_much = functools.partial(_too_much, keyspace)
        self._throttle = Throttle(clock, self._proposals, too_much, settings.unapplied_bytes)
        self._quota = Quota(clock, keyspace, self._proposals, settings.quota_bytes)
        self.state_machine = StateMachine(
            keyspace, self._time, self._proposals, recovered.snapshot, last_index, settings.entries_per_turn
        )
        self._configuration = self.state_machine.configuration
        self._statuses = Statuses(clocks, transport, election_timeout_seconds)
        self.group = GroupState(cluster_id, self._own, clocks, core, self.state_machine, self._statuses)
        self._sender = SnapshotSender(clock, disk, transport, self.group)
        self._messenger = Messenger(clock, core, transport, environment.traffic, self._sender)
        self.node = Node(
            clock,
            core,
            disk,
            self._messenger,
            self.state_machine,
            self._proposals,
            BoundedWait(self._requests_served, settings.lone_records, self._proposals.anybody_waits),
        )
        self.proposer = Proposer(
            core, self.node, keyspace, self._proposals, self._throttle, self._quota, self._statuses
        )
        self.forwarder = Forwarder(
            clock,
            core,
            transport,
            self._proposals,
            self.state_machine,
            functools.partial(_unanswered, keyspace),
            too_much,
            self._proposal_timeout_seconds,
        )
        self.forwarded = Forwarded(core, self.node, self.state_machine, self.proposer, self._time)
        self.receiver = SnapshotReceiver(clock, disk, core, self.node, self.state_machine, environment.traffic)
        self._snapshotter = Snapshotter(
            clock, disk, core, self.node, self.state_machine, settings.snapshot_count, settings.snapshot_bytes
        )
        self.admissions = Admissions(cluster_id, core)
        forbidden = ForbiddenMachines(cluster_id, core, self.state_machine, self._time, self.proposer)
        liveness = Liveness(clock, core, election_timeout_seconds)
        records = MemberRecords(cluster_id, core, self.state_machine, self._time, self.proposer)
        self.changes = MembershipChanges(
            core, self.proposer, keyspace, settings.defaults, forbidden, records, liveness
        )
        self._upkeep = MembershipUpkeep(clock, core, self.changes, liveness, settings.promotion)
        self._expirer = Expirer(clocks, self.node, self.state_machine)
        self._clearing = Clearing(clock, keyspace)
        self._founder = Founder(core, self.node, self.state_machine, self._time, settings.pads_in_order_keys)
        self._timekeeper = Timekeeper(
            self._time, core, self.state_machine, self._proposals, self._throttle, self._statuses
        )
        self._clock_watch = ClockWatch(clocks, self.group)
        self._alarm = QuorumAlarm(clock, self.group)
        self._election_log = ElectionLog(core, self.group)
        self._moves: dict[str, tuple[str, str]] = {}
        """By machine id: the peer URL that the group knows, and the one that the machine says it has now."""
        self._observe_parts()

    def _observe_parts(self) -> None:
        """Have the parts tell this member what others of its parts have to know."""
        self._clock_watch.on_compared.append(self._timekeeper.adjust)
        self.node.on_applied.append(self._applied)
        self.node.on_change.append(self._changed)
        self.changes.on_move.append(self._note_move)

    @property
    def failed(self) -> "Deferred[None]":
        """See L{Node}."""
        return self.node.failed

    @property
    def configuration_index(self) -> int:
        """The log index of the newest configuration that this machine knows."""
        return self.raft.configuration_index

    # Its life

    def start(self) -> None:
        """Begin to take part in consensus."""
        self._connect()
        self._clock_watch.start()
        self.node.start()

    def end(self) -> None:
        """Begin to stop: from here on, only those who wait for an answer are told what happens."""
        self._ending = True

    async def settle(self) -> None:
        """
        Return when nobody waits for an answer any more, or the time for that is over. The caller must not have stopped
        the transport yet, as answers come from the other machines.
        """
        waiting = [self._proposals.when_none(), self.node.when_answered(), self.forwarder.when_none()]
        await DeferredList(waiting, consumeErrors=True).addTimeout(self._proposal_timeout_seconds, self._clock)

    async def stop(self) -> None:
        """Stop taking part, and return when what is under way is done."""
        self._lead_no_longer()
        await self.receiver.stop()
        await self.node.drain()
        self.node.stop()
        self._clearing.stop()
        self._lead_no_longer()
        self.forwarder.stop(self._availability.closed or RequestDroppedError("this machine is not a member any more"))
        self._proposals.fail(_unknown(self._keyspace))
        self._throttle.refuse(RequestDroppedError("this machine is stopping"))
        self._statuses.stop()
        self._clock_watch.stop()
        self._timekeeper.stop()
        self._alarm.stop()
        self._transport.connect({})
        await self._sender.stop()
        await self._snapshotter.stop()

    def fail(self, error: EtcdError) -> None:
        """Fail all who wait with C{error}, as the node can't go on."""
        self.forwarder.stop(error)
        self._proposals.fail(error)
        self._throttle.refuse(error)

    def _lead_no_longer(self) -> None:
        self._expirer.stop()
        self._upkeep.stop()
        self._sender.give_up()

    def hand_over(self) -> bool:
        """Hand the lead over to another machine; see L{Node.transfer}. Returns whether there is one."""
        return self.node.transfer()

    # Messages from others

    def receive(self, sender: str, messages: list[Message], length: int) -> None:
        """
        Handle messages from another machine.

        @param length: the length of all of them on the wire, in bytes.
        @raise ValueError: one of them has a term that no cluster reaches.
        """
        furthest = self.raft.term + MOST_TERMS_AHEAD
        for message in messages:
            if message.term > furthest:
                raise ValueError("no Raft messages: a term that no cluster reaches")
        self._messenger.heard(sender, messages, length)
        self.node.receive(sender, messages)

    def heard_fingerprints(self) -> tuple[str, ...]:
        """Returns the fingerprints of the members from which this machine has had messages."""
        heard = (machine_id for machine_id, peer in self._traffic.peers.items() if peer.received)
        return tuple(sorted(fingerprint(self.cluster_id, each) for each in heard))

    def unreachable(self, machine_id: str) -> None:
        """Note that the last messages to a machine may be lost."""
        self._messenger.lost(machine_id)
        self.node.unreachable(machine_id)

    def _requests_served(self) -> int:
        """Returns how many reads this process has served, and requests for others that it had the leader carry out."""
        return self._keyspace.reads() + self._carried_out

    # Requests of processes that have copies of this machine's key space

    def carry_out(self, request: bytes, answer_question: AnswerQuestion | None) -> "Deferred[bytes]":
        """
        Do what L{Forwarded.answer} does if this machine leads, or have the leader do so; see L{ITransport.forward}.

        @param answer_question: see L{Forwarded.answer}.
        """
        raft = self.raft
        leader = raft.leader
        if raft.leadership is not None:
            return self.forwarded.answer(request, answer_question)
        self._carried_out += 1
        if leader is None:
            return fail(RequestDroppedError("no leader is known"))
        return self._transport.forward(leader, request)

    # Events

    def _applied(self) -> None:
        """
        Act on entries that were applied. This runs once for each batch, so it has to be short: it calls a part only
        when that may have something to do. The part itself decides whether it has.
        """
        keyspace = self._keyspace
        expires = bool(keyspace.ttls) or self._expirer.timer is not None
        if (expires or self._throttle.waiting_bytes) and self.raft.accepts_proposals:
            if expires:
                self._expirer.schedule()
            self._throttle.admit()
        if self.forwarder.applying:
            self.forwarder.applied(self.state_machine.applied_index)
        if keyspace.removed_directories.roots:
            self._clearing.schedule()
        self._quota.log_alarm()
        if not self._founder.is_decided:
            self._founder.applied()
        if self.receiver.incoming is not None:
            self.receiver.passed(self.state_machine.applied_index)
        state_machine, snapshotter = self.state_machine, self._snapshotter
        due = (
            state_machine.applied_index >= snapshotter.due_index
            or state_machine.bytes_since_snapshot > snapshotter.due_bytes
        )
        if due and not self.receiver.installing:
            snapshotter.take_if_due()
        if state_machine.configuration is not self._configuration or not self._availability.serving:
            self._configuration = state_machine.configuration
            self._tell_availability()

    def _changed(self) -> None:
        """Act on a change of the role, the term, the leader or the group."""
        raft = self.raft
        self._connect()
        self._messenger.changed()
        self._timekeeper.changed()
        self._election_log.changed()
        self._founder.changed()
        if raft.leadership is not None:
            self._proposals.stop_timeout(raft.term)
            self._upkeep.start()
        else:
            self._proposals.start_timeout(0 if raft.leader is None else raft.term)
            self._lead_no_longer()
        if raft.accepts_proposals:
            self._expirer.schedule()
            self._correct_own_entry()
        else:
            self._expirer.stop()  # proposals of a leader that is handing over would be lost
            self._throttle.refuse(RequestDroppedError("this machine no longer leads"))
        self.forwarder.changed()
        self._tell_availability()
        self._alarm.check()

    def _tell_availability(self) -> None:
        if not self._ending:
            self._availability.update(self.group)

    def _connect(self) -> None:
        raft = self.raft
        members = raft.configuration.members.items()
        others = {each: self._address(each, member) for each, member in members if each != raft.machine_id}
        self._transport.connect(others)
        self._statuses.keep(set(others))
        if others:
            self._alarm.start()
        else:
            self._alarm.stop()

    def _address(self, machine_id: str, member: Member) -> str:
        """Returns where a member is: as the group knows, unless the member itself has told this machine since."""
        known, moved = self._moves.get(machine_id, ("", ""))
        return moved if known == member.peer_url else member.peer_url

    def _note_move(self, machine_id: str, peer_url: str) -> None:
        """
        Connect to a member where it says that it is. It may need a snapshot, which only this machine can send, before
        any change of the group can be committed.
        """
        self._moves[machine_id] = (self.raft.configuration.members[machine_id].peer_url, peer_url)
        self._connect()

    def _correct_own_entry(self) -> None:
        """As the leader, correct this machine's own entry in the group if its name or addresses have changed."""
        raft = self.raft
        configuration, machine_id = raft.configuration, raft.machine_id
        wrong = machine_id in configuration and raft.member(machine_id) != self._own
        if wrong and not raft.is_reconfiguring:
            self.node.propose_configuration(with_member(configuration, machine_id, self._own))

    def label(self, machine_id: str) -> str:
        """See L{GroupState.label}."""
        return self.group.label(machine_id)

    # Measurements

    def measurements(self, leader_changes: int) -> Measurements:
        """
        See L{etcd_twisted.interfaces.IReplica.measurements}.

        @param leader_changes: how often this machine saw a machine begin to lead.
        """
        storage, root, quota = self._disk.storage, self._keyspace.root, self._quota
        return Measurements(
            self.raft.commit_index,
            leader_changes,
            self._proposals.count,
            self._proposals.failed,
            storage.log.syncs,
            self.node.commits,
            storage.log.size,
            storage.snapshots.size,
            self._clock_watch.jumps,
            self._clock_watch.last_jump_seconds,
            self._time.ahead_of_wall_seconds,
            self._time.error_seconds,
            Contents(root.files, root.directories, root.size, quota.most_bytes, quota.alarm, quota.refused),
            *storage.directory.room(),
        )
