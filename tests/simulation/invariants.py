"""
What has to be true after every step, whatever happens (Raft paper, figure 3).

  - Election safety: one leader a term, and one vote a term.
  - Leader append-only: a leader replaces nothing in its log; nobody replaces what is committed.
  - Log matching: an entry of an index and a term is the same everywhere, and so is all before it.
  - Leader completeness: a leader has all that was committed in terms before its own.
  - State machine safety: every machine's key space is what the committed log makes of it, at whatever index it is.

This implementation adds: a group changes by one voter at a time; no two machines hold a lease at once; and a machine
never goes back behind what it has shown.

The checks must never be lenient, nor ask a machine to do anything.
"""

from typing import Any

import attrs

from etcd_twisted.consensus.local_member import LocalMember
from etcd_twisted.consensus.raft.configurations import decode_configuration
from etcd_twisted.consensus.raft.core import Raft
from etcd_twisted.consensus.raft.entries import Entry, EntryKind
from etcd_twisted.consensus.raft.messages import VoteReply, decode_messages
from etcd_twisted.consensus.raft.state import Role
from etcd_twisted.consensus.replica import Replica
from etcd_twisted.testing.simulation.schedule import Process
from tests.simulation.reference import Reference


class Violation(AssertionError):  # noqa: N818
    """An invariant was violated."""


def member_of(replica: Replica) -> LocalMember | None:
    """Returns a replica's Raft member, while it takes part."""
    return replica._member


@attrs.define
class _Seen:
    """
    What was last seen of one process.

    @ivar summary: changes whenever there is something to check.
    @ivar log: the entries that were checked, by index.
    """

    member: LocalMember | None = None
    summary: tuple[object, ...] = ()
    log: dict[int, Entry] = attrs.field(factory=dict)
    last: int = 0
    term: int = 0
    commit: int = 0
    applied: int = -1
    led: int = 0


class Invariants:
    """
    Checks each machine after each of its steps.

    @ivar reference: what is committed.
    @ivar leaders: who led, by term.
    """

    def __init__(self, reference: Reference, leases_hold: bool) -> None:
        """@param leases_hold: whether the clocks are near enough to each other."""
        self.reference = reference
        self.leaders: dict[int, str] = {}
        self._leases_hold = leases_hold
        self._entries: dict[tuple[int, int], tuple[Entry, int]] = {}
        self._votes: dict[tuple[int, str], str] = {}
        self._committed_in: list[tuple[int, int]] = []
        self._seen: dict[object, _Seen] = {}
        self._shown: dict[str, int] = {}

    def forget(self, process: Process) -> None:
        """A process has ended."""
        self._seen.pop(process, None)

    def check(self, process: Process, replica: Replica) -> None:
        """
        Checks a machine.

        @raise Violation: an invariant was violated.
        """
        member = member_of(replica)
        if member is None:
            self._seen.pop(process, None)
            return
        core = member.raft
        seen = self._seen.get(process)
        if seen is None or seen.member is not member:
            seen = self._seen[process] = _Seen(member)
        log = core.log
        summary = (
            core.role, core.term, core.commit_index, core.leads_own_term, log.last_index, log.last_term,
            member.state_machine.applied_index, replica.serving,
        )  # fmt: skip
        if summary == seen.summary:
            return
        seen.summary = summary
        self._check_core(core, seen)
        self._check_applied(process.name, member.state_machine.applied_index, replica, seen)

    def check_core(self, core: Raft) -> None:
        """
        Checks a core that only a test drives.

        @raise Violation: an invariant was violated.
        """
        self._check_core(core, self._seen.setdefault(core, _Seen()))

    def _check_core(self, core: Raft, seen: _Seen) -> None:
        self._check_log(core, seen)
        self._check_term(core, seen)
        self._check_commit(core, seen)

    # The log

    def _check_log(self, core: Raft, seen: _Seen) -> None:
        log = core.log
        index = log.last_index
        news: list[Entry] = []
        while index >= log.first_index and seen.log.get(index) is not (entry := log._at(index)):
            news.append(entry)
            index -= 1
        if not news and log.last_index == seen.last:
            return
        if index < seen.last:
            self._check_replaced(core, seen, index)
        for entry in reversed(news):
            self._check_entry(core, entry)
            seen.log[entry.index] = entry
        for gone in range(log.last_index + 1, seen.last + 1):
            seen.log.pop(gone, None)
        seen.last = log.last_index

    def _check_replaced(self, core: Raft, seen: _Seen, kept: int) -> None:
        """Checks that everything after C{kept} was replaced by other entries or by a snapshot."""
        if core.role is Role.LEADER and seen.led == core.term:
            raise Violation(f"{core.machine_id} leads in term {core.term} and replaced entry {kept + 1}")
        if kept + 1 <= min(seen.commit, core.log.last_index) and kept + 1 >= core.log.first_index:
            raise Violation(f"{core.machine_id} replaced entry {kept + 1}, and had {seen.commit} committed")
        if core.log.last_index < seen.commit:
            raise Violation(f"{core.machine_id} lost what it had committed up to {seen.commit}")

    def _check_entry(self, core: Raft, entry: Entry) -> None:
        before = core.log.term(entry.index - 1)
        known = self._entries.setdefault((entry.index, entry.term), (entry, before))
        if known[0] is not entry and known != (entry, before):
            raise Violation(
                f"{core.machine_id} has {entry} behind term {before}, and another machine has {known[0]} behind"
                f" term {known[1]}"
            )
        if entry.term < before or entry.term > core.term:
            raise Violation(f"{core.machine_id} in term {core.term} has {entry} behind an entry of term {before}")

        if entry.kind is EntryKind.CONFIGURATION and known[0] is entry:
            self._check_configuration(core, entry)

    def _check_term(self, core: Raft, seen: _Seen) -> None:
        if core.term < seen.term:
            raise Violation(f"{core.machine_id} went back from term {seen.term} to {core.term}")
        seen.term = core.term
        if core.role is not Role.LEADER:
            return
        leader = self.leaders.setdefault(core.term, core.machine_id)
        if leader != core.machine_id:
            raise Violation(f"{leader} and {core.machine_id} both lead in term {core.term}")
        if seen.led != core.term:
            seen.led = core.term
            self._check_complete(core)

    def _check_complete(self, core: Raft) -> None:
        """By log matching, a leader that has the last of them has all."""
        for index, term in reversed(self._committed_in):
            if term < core.term:
                entry = self.reference.entries[index - 1]
                if index > core.commit_index and not core.log.has(index, entry.term):
                    raise Violation(
                        f"{core.machine_id} leads in term {core.term} without {entry}, committed in term {term}"
                    )
                return

    def _check_configuration(self, core: Raft, entry: Entry) -> None:
        known = [each for index, each in core.log.configurations if index < entry.index]
        if not known:
            return  # the snapshot has it
        before, after = known[-1], decode_configuration(entry.data)
        if len(set(before.voters) ^ set(after.voters)) > 1 and before.voters:
            raise Violation(f"{core.machine_id}: entry {entry.index} makes {after.voters} of {before.voters}")

    # What is committed

    def _check_commit(self, core: Raft, seen: _Seen) -> None:
        commit = core.commit_index
        if commit < seen.commit:
            raise Violation(f"{core.machine_id} went back from commit index {seen.commit} to {commit}")
        if commit == seen.commit:
            return
        seen.commit = commit
        reference = self.reference
        known = reference.length
        if commit > known:
            for entry in core.log.between(known + 1, commit + 1):
                reference.commit(entry)
            self._committed_in.append((commit, core.term))
        log = core.log
        last = min(known, commit)
        if last >= log.first_index - 1 and last > 0 and log.term(last) != reference.entries[last - 1].term:
            raise Violation(
                f"{core.machine_id} has an entry of term {log.term(last)} at the committed index {last}, and"
                f" {reference.entries[last - 1]} was committed there"
            )

    def _check_applied(self, name: str, applied: int, replica: Replica, seen: _Seen) -> None:
        keyspace = replica.keyspace
        if applied != seen.applied:
            seen.applied = applied
            if applied > self.reference.length:
                raise Violation(f"{name} applied entry {applied}, which nobody has committed")
            index, root = self.reference.states[applied]
            if keyspace.index != index or keyspace.root != root:
                raise Violation(
                    f"{name} at entry {applied} has the index {keyspace.index} and {keyspace.root}, and should have"
                    f" {index} and {root}"
                )
        if replica.serving:
            if keyspace.index < self._shown.get(name, 0):
                raise Violation(f"{name} shows index {keyspace.index}, and showed {self._shown[name]} before")
            self._shown[name] = keyspace.index

    # What is sent

    def check_sent(self, sender: str, receiver: str, payload: bytes) -> None:
        """Checks messages that a machine sends."""
        if b"voted" not in payload:
            return
        for message in decode_messages(payload):
            if isinstance(message, VoteReply) and message.granted and not message.pre:
                candidate = self._votes.setdefault((message.term, sender), receiver)
                if candidate != receiver:
                    raise Violation(f"{sender} votes for {candidate} and {receiver} in term {message.term}")

    def check_leases(self, machines: list[tuple[Process, Replica]]) -> None:
        """No two machines hold a lease at once."""
        if not self._leases_hold:
            return
        holders: list[Any] = []
        for process, replica in machines:
            member = member_of(replica)
            if member is not None and member.raft.holds_lease(process.clock.seconds()):
                holders.append((process.name, member.raft.term))
        if len(holders) > 1:
            raise Violation(f"two machines hold a lease at once: {holders}")
