"""
Fifty clients want the same lock while a third of them vanish and the machines that they ask die: real replicas on a
fake clock. The same seed repeats every random choice.
"""

import random
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.web.modules.lock_queue import lock_directory, read_queue
from etcd_twisted.web.modules.locks import EntryReference, LockRequest, Locks
from etcd_twisted.web.modules.queue_entry import LeadershipLostError
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
    The cluster as its clients see it.

    @ivar granted: the clients that got the lock, in order.
    @ivar inside: the clients that may believe that they hold the lock.
    @ivar overlaps: the clients that got the lock while another one might believe that it held it.
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
        """Returns the object that serves a machine's clients, as of the machine's last start."""
        if machine.replica not in self._locks:
            self._locks[machine.replica] = Locks(machine.replica, machine.clock)
        return self._locks[machine.replica]

    def all_locks(self) -> list[Locks]:
        """Returns the locks of every running machine."""
        return [self.locks(machine) for machine in self.cluster.running]

    def later(self, seconds: float, work: "Callable[[], None]") -> None:
        self.cluster.clock.callLater(seconds, work)

    def entries(self) -> list[int]:
        """Returns the entries in the queue, as the leader has them."""
        return list(read_queue(self.cluster.leader.replica, QUEUE) or ())

    def enter(self, contender: "Contender") -> None:
        if self.inside:
            self.overlaps.append((contender, set(self.inside)))
        self.inside.add(contender)
        self.granted.append(contender)

    def crash(self, machine: ClusterMachine) -> None:
        """Ends a process, whose clients notice that their connections are gone."""
        machine.crash()
        for contender in self.contenders:
            if contender.machine is machine:
                contender.connection_lost()

    def done(self) -> bool:
        return all(each.vanished or each.released for each in self.contenders) and not self.inside


class Contender:
    """
    A client that asks until it has had the lock once.

    @ivar machine: the machine that it has asked; C{None} while it has asked none.
    @ivar entries: the indexes of all entries that it is known to have had.
    @ivar vanished: whether it has stopped asking.
    @ivar released: whether it has had the lock and released it.
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
        """Asks the leader."""
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
        """Records the failure if it is worth another attempt."""
        error = reason.value
        if isinstance(error, LeadershipLostError):
            self._index = error.index
            self.entries.add(error.index)
        elif not isinstance(error, RequestDroppedError):
            reason.trap(EtcdError)
            if error.code != ErrorCode.RAFT_INTERNAL:
                reason.raiseException()

    def connection_lost(self) -> None:
        """The client gets no answer any more, and asks again by its name."""
        self._asked = self.machine = self._index = None
        self._contest.later(RETRY_PAUSE_SECONDS, self.ask)

    def vanish(self) -> None:
        """The client goes without releasing anything."""
        self.vanished = True
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()

    def _leave(self) -> None:
        """Does no more work that needs the lock, and releases it."""
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
            self._is_released()  # nothing answered the first time
            return
        self._again(reason)
        self._contest.later(RETRY_PAUSE_SECONDS, self._release)


class ContentionTests(ClusterTestCase):
    """At any time one client has the lock, in the order of the queue, whatever happens."""

    def contest(self, seed: int) -> Contest:
        """Starts a contest with all clients in the queue, the first with the lock."""
        cluster = self.cluster()
        cluster.start(3)
        contest = Contest(cluster, seed)
        contest.contenders = [Contender(contest, number) for number in range(CONTENDERS)]
        for contender in contest.contenders:
            contender.ask()
        return contest

    def vanish(self, contest: Contest) -> None:
        """Makes a sixth of all clients vanish, whatever they are doing."""
        left = [each for each in contest.contenders if not (each.vanished or each.released)]
        for each in contest.chance.sample(left, CONTENDERS // 6):
            each.vanish()

    def after(self, contest: Contest, grants: int) -> None:
        """Runs the cluster until so many more clients have had the lock."""
        wanted = len(contest.granted) + grants
        contest.cluster.advance_until(lambda: len(contest.granted) >= wanted, 60.0)

    def assert_fair(self, contest: Contest) -> None:
        """
        Asserts that nobody got the lock twice or together with another client, that every client that stayed got it
        with the entry that it had from the beginning, and that nothing is left.
        """
        cluster = contest.cluster
        cluster.advance_until(contest.done, 60.0)
        cluster.advance_until(lambda: not contest.entries(), 2 * TTL)
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
        for machine in cluster.running:
            self.assertEqual(machine.replica.keyspace.hub.count, 0)

    def test_lock_goes_on_when_clients_vanish(self) -> None:
        """A third of the clients vanish, and nothing else happens."""
        contest = self.contest(1)
        self.vanish(contest)
        self.after(contest, 10)
        self.vanish(contest)
        self.assert_fair(contest)

    def test_clients_vanish_and_the_leader_dies(self) -> None:
        """The dead leader's clients ask again by name, and keep their entries."""
        for seed in range(5):
            with self.subTest(seed=seed):
                contest = self.contest(seed)
                self.after(contest, contest.chance.randint(1, 10))
                self.vanish(contest)
                contest.crash(contest.cluster.leader)
                self.vanish(contest)
                self.assert_fair(contest)

    def test_leaders_die_one_after_the_other(self) -> None:
        """Each of them comes back (spec, "Other client endpoints")."""
        contest = self.contest(7)
        for _ in range(4):
            self.after(contest, contest.chance.randint(1, 6))
            leader = contest.cluster.leader
            contest.crash(leader)
            contest.cluster.advance_until(lambda: contest.cluster.has_leader)
            contest.cluster.result_of(leader.launch())
        self.vanish(contest)
        self.vanish(contest)
        self.assert_fair(contest)

    def test_leader_is_cut_off(self) -> None:
        """
        The leader grants nothing from then on. When it knows, its clients go on with their entries at the new leader.
        """
        for seed in range(5):
            with self.subTest(seed=seed):
                contest = self.contest(seed)
                self.after(contest, contest.chance.randint(1, 10))
                self.vanish(contest)
                leader = contest.cluster.leader
                contest.cluster.network.isolate(leader.name)
                contest.cluster.advance(contest.chance.uniform(0.5, 1.5))
                contest.cluster.network.heal()
                self.vanish(contest)
                self.assert_fair(contest)

    def test_leader_hands_over(self) -> None:
        """Its clients hear of it at once, and go on with their entries at the new leader."""
        contest = self.contest(9)
        self.after(contest, 5)
        leader = contest.cluster.leader
        handed_over = ensureDeferred(leader.participation.hand_over())
        contest.cluster.result_of(handed_over)
        self.assertEqual(contest.locks(leader)._queues, {})
        self.assert_fair(contest)
