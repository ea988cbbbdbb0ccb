"""
Tests that the checks can fail: they find cores with one rule broken each.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.configurations import encode_configuration
from etcd_twisted.consensus.raft.core import Raft
from etcd_twisted.consensus.raft.entries import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Member,
)
from etcd_twisted.consensus.raft.leader import Timing
from etcd_twisted.consensus.raft.limits import RaftLimits
from etcd_twisted.consensus.raft.log import RaftLog
from etcd_twisted.consensus.raft.messages import Append, InstallSnapshot, Message
from etcd_twisted.consensus.raft.state import Role
from etcd_twisted.keyspace.commands import Set, encode_command
from tests.simulation.cluster import Cluster
from tests.simulation.invariants import Invariants, Violation
from tests.simulation.mutants import (
    CommitsOldTerms,
    acknowledges_before_the_sync,
    follows_a_clock_that_is_set,
    leads_by_its_own_clock,
    mixes_up_the_changes_of_a_turn,
    reads_before_it_has_applied,
    reads_under_a_lapsed_lease,
    reads_without_asking,
    takes_unknown_for_dropped,
    votes_twice,
)
from tests.simulation.reference import Reference

_MOST_SEEDS = 60
"""How many seeds to try. Each one finds a broken core with a chance of a sixth or more."""


class BrokenClusterTests(SynchronousTestCase):
    """Tests with whole clusters of broken machines, with the faults that matter to the rule."""

    def _find(self, broken: AbstractContextManager[object], expected: str, **plan: Any) -> None:
        """Runs seeds until one finds a violation, which has to be the expected one."""
        with broken:
            for seed in range(_MOST_SEEDS):
                try:
                    Cluster(seed, **plan).run()
                except Violation as violation:
                    self.assertRegex(str(violation), expected)
                    self.flushLoggedErrors()
                    return
        self.fail(f"nothing was found by {_MOST_SEEDS} seeds")

    def test_vote_granted_twice(self) -> None:
        """A machine that votes for two machines in one term is found."""
        kinds = ("curse_leaders", "crash_leader", "cut_one_way")
        self._find(votes_twice(), "votes for|both lead", machines=5, kinds=kinds, fault_pause=0.2, client_pause=0.3)

    def test_acknowledgement_before_the_sync(self) -> None:
        """What was acknowledged and not synced is missing after a crash."""
        kinds = ("crash_all", "crash", "crash_leader", "slow_disk")
        consequences = (
            "without Entry", "both lead", "votes for", "was committed", "another machine has", "lost what", "replaced",
            "went back", "showed", "in the log", "comes after it", "should have",
        )  # fmt: skip
        expected = "|".join(consequences)
        self._find(acknowledges_before_the_sync(), expected, kinds=kinds, fault_pause=0.2)

    def test_lapsed_lease_is_found(self) -> None:
        """A leader that believes in its lease for too long is found when another leader has a lease too."""
        kinds = ("isolate", "hold_up_leader")
        self._find(reads_under_a_lapsed_lease(), "hold a lease", kinds=kinds, spread=1.0, fault_pause=0.5)

    def test_stale_read_under_a_lapsed_lease(self) -> None:
        """If leases themselves are not checked, the reads of clients reveal the fault."""
        self.patch(Invariants, "check_leases", lambda *_: None)
        broken = reads_under_a_lapsed_lease()
        self._find(broken, "comes after it", kinds=("isolate",), spread=1.0, fault_pause=0.3)

    def test_reads_that_were_not_confirmed(self) -> None:
        """A leader that does not confirm its leadership answers with old data."""
        kinds = ("isolate", "hold_up_leader")
        self._find(reads_without_asking(), "comes after it", kinds=kinds, fault_pause=0.5, client_pause=0.1)

    def test_own_clock_of_a_leader(self) -> None:
        """A leader that uses its own wall clock ends leases early, or late."""
        kinds = ("crash_leader", "isolate")
        expected = "ends too early|ends too late"
        self._find(leads_by_its_own_clock(), expected, kinds=kinds, spread=1.0, clocks=3600.0, fault_pause=0.5)

    def test_clock_of_a_leader_that_is_set(self) -> None:
        """A leader that follows its wall clock when that is set ends leases early, or late."""
        expected = "ends too early|ends too late"
        self._find(follows_a_clock_that_is_set(), expected, kinds=("set_clock",), spread=1.0, clocks=60.0)

    def test_changes_of_a_turn_that_are_mixed_up(self) -> None:
        """A leader that takes one change of a turn for another one is found, as some come together."""
        self._find(mixes_up_the_changes_of_a_turn(), "should have", kinds=("change_weather",), client_pause=0.02)

    def test_worker_that_does_not_wait_for_its_copy(self) -> None:
        """A worker that reads its copy as soon as the leader has confirmed the read answers with old data."""
        kinds = ("hold_up", "change_weather")
        self._find(reads_before_it_has_applied(), "comes after it", workers=2, kinds=kinds, client_pause=0.02)

    def test_worker_that_takes_unknown_for_dropped(self) -> None:
        """A worker that reports that nothing was done, as its machine is gone, is found when something was."""
        plan = {"kinds": ("crash_leader", "slow_disk"), "fault_pause": 0.2, "client_pause": 0.02}
        self._find(takes_unknown_for_dropped(), "not done: .* and it was done", workers=1, **plan)


class _Group:
    """Five bare cores, between which only those messages pass that a test allows. Whatever has to be durable is."""

    def __init__(self, kind: type[Raft]) -> None:
        self.now = 0.0
        self._invariants = Invariants(Reference(), leases_hold=True)
        self._out: list[tuple[str, str, Message | InstallSnapshot]] = []
        members = {f"s{number}": Member(f"s{number}", "", "") for number in range(1, 6)}
        first = Entry(1, 1, EntryKind.CONFIGURATION, encode_configuration(Configuration(tuple(members), (), members)))
        self.cores: dict[str, Raft] = {}
        for seed, name in enumerate(members):
            log = RaftLog()
            log.extend([first])
            limits = RaftLimits(batch_entries=1)
            self.cores[name] = kind(name, HardState(1, ""), log, Timing(), seed, self.now, limits)

    def _settle(self) -> None:
        """Has every core persist what it has to, collects what it sends, and checks it."""
        for name, core in self.cores.items():
            while (record := core.to_persist()) is not None:
                core.persisted(record, self.now)
            self._out += [(name, to, message) for to, message in core.to_send(self.now)]
            self._invariants.check_core(core)

    def talk(
        self,
        machine: str,
        *others: str,
        until: Callable[[], bool] = lambda: False,
        lost: Callable[[Message], bool] = lambda _: False,
    ) -> None:
        """Lets messages pass between a machine and some others, as long as there are any; all others are lost."""
        self._settle()
        while self._out and not until():
            sender, receiver, message = self._out.pop(0)
            passes = {sender, receiver} <= {machine, *others} and machine in (sender, receiver)
            if passes and not isinstance(message, InstallSnapshot) and not lost(message):
                self.cores[receiver].receive(sender, message, self.now)
                self._settle()
        self._out.clear()

    def elect(self, candidate: str, *voters: str) -> None:
        """Has a machine elected; what it sends as a leader is lost."""
        core = self.cores[candidate]
        before = core.term
        for _ in range(5):  # it may believe that it leads, or may have to learn a later term
            self.now += 10.0
            core.tick(self.now)
            self.talk(candidate, *voters, until=lambda: core.role is Role.LEADER and core.term > before)
            if core.role is Role.LEADER and core.term > before:
                return
        raise AssertionError(f"{candidate} was not elected")


class FigureEightTests(SynchronousTestCase):
    """Tests of the situation in figure 8 of the Raft paper."""

    def _play(self, kind: type[Raft]) -> None:
        group = _Group(kind)
        first, third = group.cores["s1"], group.cores["s3"]
        group.elect("s1", "s2", "s3")
        group.now += 1.0
        group.talk("s1", "s2", "s3", "s4", "s5")
        index = first.propose(encode_command(Set("/k", 0, "of the first leader")))
        group.talk("s1", "s2", until=lambda: group.cores["s2"].last_index == index)  # (a)
        group.elect("s5", "s3", "s4")  # (b): its own entry is only on its own disk
        group.elect("s1", "s2", "s3", "s4")  # (c)
        self.assertEqual((first.log.term(index), first.last_index), (2, index + 1))
        group.now += 1.0
        group.talk("s1", "s2", "s3", lost=lambda message: isinstance(message, Append) and message.last_index > index)
        self.assertEqual((third.last_index, third.log.term(index)), (index, 2))
        group.elect("s5", "s3", "s4")  # (d)

    def test_correct_core_loses_nothing(self) -> None:
        """A majority that has an entry of an earlier term does not commit it, so nothing committed is lost."""
        self._play(Raft)

    def test_commit_of_an_old_term(self) -> None:
        """A leader that commits an entry of an earlier term by counting loses it to the next leader."""
        error = self.assertRaises(Violation, self._play, CommitsOldTerms)
        self.assertIn("without Entry", str(error))
