"""
Fifty who want the same lock, while a third of them vanish and the machines that they ask die: real replicas on a fake
clock. What was decided by chance is decided again by the same seed.
"""

import random
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from etcd_twisted.errors import ErrorCode, EtcdError, NotDoneError
from etcd_twisted.web.modules.lock_queue import LockQueue, lock_directory, read_queue
from etcd_twisted.web.modules.locks import EntryReference, LockRequest, Locks
from etcd_twisted.web.modules.waiter import LeadershipLostError
from tests.consensus.cluster import Cluster, ClusterMachine, ClusterTestCase

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcd_twisted.interfaces import IReplica

QUEUE = lock_directory("contended") or ""
CONTENDERS = 50
TTL = 3
RETRY_PAUSE_SECONDS = 0.02
"""How long a client waits before it asks again, in seconds."""


class Contest:
    """
    The cluster and what its clients see of it.

    @ivar granted: who got the lock, in order.
    @ivar inside: those who may think that they have it.
    @ivar overlaps: who got it while another one might think so.
    """

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.chance = random.Random(seed)
        self.contenders: list[Contender] = []
        self.granted: list[Contender] = []
        self.inside: set[Contender] = set()
        self.overlaps: list[tuple[Contender, set[Contender]]] = []
        self._locks: dict[IReplica, Locks] = {}

    def locks(self, machine: ClusterMachine) -> Locks:
        """What serves clients on a machine, since its last start."""
        if machine.replica not in self._locks:
            self._locks[machine.replica] = Locks(machine.replica, machine.clock)
        return self._locks[machine.replica]

    def all_locks(self) -> list[Locks]:
        """Those of all machines that run."""
        return [self.locks(machine) for machine in self.cluster.up]

    def later(self, seconds: float, work: "Callable[[], None]") -> None:
        self.cluster.clock.callLater(seconds, work)

    def entries(self) -> list[int]:
        """The entries in the queue, as the leader has them."""
        return list(read_queue(self.cluster.leader.replica, QUEUE) or LockQueue())

    def enter(self, contender: "Contender") -> None:
        if self.inside:
            self.overlaps.append((contender, set(self.inside)))
        self.inside.add(contender)
        self.granted.append(contender)

    def crash(self, machine: ClusterMachine) -> None:
        """End a process: its clients notice that their connections are gone."""
        machine.crash()
        for contender in self.contenders:
            if contender.machine is machine:
                contender.connection_lost()

    def done(self) -> bool:
        return all(each.vanished or each.released for each in self.contenders) and not self.inside


class Contender:
    """
    A client that asks until it has had the lock once.

    @ivar machine: the one that it has asked; C{None} while it has asked none.
    @ivar entries: the indexes of all entries that it is known to have had.
    @ivar vanished: whether it asks for nothing any more.
    @ivar released: whether it has had the lock, and given it back.
    """

    def __init__(self, contest: Contest, number: int) -> None:
        self.value = f"contender {number}"
        self.machine: ClusterMachine | None = None
        self.entries: set[int] = set()
        self.vanished = self.released = False
        self._contest = contest
        self._index: int | None = None
        self._asked: Deferred[int] | None = None

    def ask(self) -> None:
        """Ask whoever leads."""
        cluster = self._contest.cluster
        if self.vanished:
            return
        if not cluster.has_leader:
            self._contest.later(RETRY_PAUSE_SECONDS, self.ask)
            return
        self.machine = cluster.leader
        wish = LockRequest(QUEUE, TTL, self.value, self._index)
        self._asked = asked = ensureDeferred(self._contest.locks(self.machine).acquire(wish))
        asked.addCallbacks(lambda index: self._got(asked, index), lambda reason: self._not_acquired(asked, reason))

    def _got(self, asked: "Deferred[int]", index: int) -> None:
        if asked is not self._asked:
            return
        self._asked = self.machine = None
        self.entries.add(index)
        self._index = index
        self._contest.enter(self)
        self._contest.later(self._contest.chance.uniform(0, 0.1), self._leave)

    def _not_acquired(self, asked: "Deferred[int]", reason: Failure) -> None:
        if asked is not self._asked:
            return
        self._asked = self.machine = None
        self._again(reason)
        self._contest.later(RETRY_PAUSE_SECONDS, self.ask)

    def _again(self, reason: Failure) -> None:
        """Take note of why it did not work, if it is worth trying again."""
        error = reason.value
        if isinstance(error, LeadershipLostError):
            self._index = error.index
            self.entries.add(error.index)
        elif not isinstance(error, NotDoneError):
            reason.trap(EtcdError)
            if error.code != ErrorCode.RAFT_INTERNAL:
                reason.raiseException()

    def connection_lost(self) -> None:
        """It is told nothing more, and asks again by its name."""
        self._asked = self.machine = self._index = None
        self._contest.later(RETRY_PAUSE_SECONDS, self.ask)

    def vanish(self) -> None:
        """Go without a word."""
        self.vanished = True
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()

    def _leave(self) -> None:
        """Do nothing more that needs the lock, and give it back."""
        self._contest.inside.remove(self)
        if not self.vanished:
            self._release()

    def _release(self) -> None:
        if not self._contest.cluster.has_leader:
            self._contest.later(RETRY_PAUSE_SECONDS, self._release)
            return
        named = EntryReference(QUEUE, self._index, "")
        released = ensureDeferred(self._contest.locks(self._contest.cluster.leader).release(named))
        released.addCallbacks(lambda _: self._is_released(), self._not_released)

    def _is_released(self) -> None:
        self.released = True

    def _not_released(self, reason: Failure) -> None:
        if isinstance(reason.value, EtcdError) and reason.value.code == ErrorCode.KEY_NOT_FOUND:
            self._is_released()  # it was told nothing of the first time
            return
        self._again(reason)
        self._contest.later(RETRY_PAUSE_SECONDS, self._release)


class ContentionTests(ClusterTestCase):
    """Whatever happens, one at a time has it, in the order of the queue."""

    def contest(self, seed: int) -> Contest:
        """All of them in the queue, the first with the lock."""
        cluster = self.cluster()
        cluster.start(3)
        contest = Contest(cluster, seed)
        contest.contenders = [Contender(contest, number) for number in range(CONTENDERS)]
        for contender in contest.contenders:
            contender.ask()
        return contest

    def vanish(self, contest: Contest) -> None:
        """A sixth of all goes, whatever they are at."""
        left = [each for each in contest.contenders if not (each.vanished or each.released)]
        for each in contest.chance.sample(left, CONTENDERS // 6):
            each.vanish()

    def after(self, contest: Contest, grants: int) -> None:
        """Let things happen until so many more have had the lock."""
        wanted = len(contest.granted) + grants
        contest.cluster.run_until(lambda: len(contest.granted) >= wanted, 60.0)

    def assert_fair(self, contest: Contest) -> None:
        """
        Nobody got it twice or with another one, all who stayed got it with the entry that they had from the beginning,
        and nothing is left.
        """
        cluster = contest.cluster
        cluster.run_until(contest.done, 60.0)
        cluster.run_until(lambda: not contest.entries(), 2 * TTL)
        self.assertEqual(contest.overlaps, [])
        self.assertEqual(len(set(contest.granted)), len(contest.granted))
        self.assertEqual({each for each in contest.contenders if each.released} - set(contest.granted), set())
        self.assertGreaterEqual(len(contest.granted), CONTENDERS - 2 * (CONTENDERS // 6))
        self.assertEqual([each.value for each in contest.granted if len(each.entries) != 1], [])
        order = [min(each.entries) for each in contest.granted]
        self.assertEqual(order, sorted(order))
        cluster.settle()
        for locks in contest.all_locks():
            self.assertEqual(locks._queues, {})
        for machine in cluster.up:
            self.assertEqual(machine.replica.keyspace.hub.count, 0)

    def test_quiet(self) -> None:
        """A third vanishes, and nothing else happens."""
        contest = self.contest(1)
        self.vanish(contest)
        self.after(contest, 10)
        self.vanish(contest)
        self.assert_fair(contest)

    def test_leader_dies(self) -> None:
        """While a third vanishes: who is on it asks again by name, and has kept its entry."""
        for seed in range(5):
            with self.subTest(seed=seed):
                contest = self.contest(seed)
                self.after(contest, contest.chance.randint(1, 10))
                self.vanish(contest)
                contest.crash(contest.cluster.leader)
                self.vanish(contest)
                self.assert_fair(contest)

    def test_leaders_die(self) -> None:
        """One after the other, and each comes back (spec, "Other client endpoints")."""
        contest = self.contest(7)
        for _ in range(4):
            self.after(contest, contest.chance.randint(1, 6))
            leader = contest.cluster.leader
            contest.crash(leader)
            contest.cluster.run_until(lambda: contest.cluster.has_leader)
            contest.cluster.finish(leader.restart())
        self.vanish(contest)
        self.vanish(contest)
        self.assert_fair(contest)

    def test_leader_is_cut_off(self) -> None:
        """It grants nothing from then on; when it knows, its clients go on with their entries with another one."""
        for seed in range(5):
            with self.subTest(seed=seed):
                contest = self.contest(seed)
                self.after(contest, contest.chance.randint(1, 10))
                self.vanish(contest)
                leader = contest.cluster.leader
                contest.cluster.network.isolate(leader.url)
                contest.cluster.run(contest.chance.uniform(0.5, 1.5))
                contest.cluster.network.heal()
                self.vanish(contest)
                self.assert_fair(contest)

    def test_leader_hands_over(self) -> None:
        """Its clients are told at once, and go on with their entries with the other one."""
        contest = self.contest(9)
        self.after(contest, 5)
        leader = contest.cluster.leader
        handed_over = ensureDeferred(leader.replica.hand_over())
        contest.cluster.finish(handed_over)
        self.assertEqual(contest.locks(leader)._queues, {})
        self.assert_fair(contest)
