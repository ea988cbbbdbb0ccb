"""
Whatever is done through workers, and whatever happens to them, their copies are the machine's, byte for byte, and
watches see every event once.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace import snapshot
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import Node
from etcd_twisted.keyspace.watchers import Watcher
from etcd_twisted.testing.simulation.workers import SimulatedWorker
from tests import examples
from tests.consensus.cluster import Cluster, ClusterMachine
from tests.keyspace.strategies import changes, keys
from tests.workers.machines import WorkerTestCase, workers_of


class Watching:
    """
    A client that watches through a worker; when that is gone, it goes on through another one.

    @ivar expected: what the machine itself tells whoever watches there.
    """

    def __init__(
        self, machine: ClusterMachine, worker: SimulatedWorker, key: str, recursive: bool, stream: bool
    ) -> None:
        self.told: list[Event] = []
        self.expected: list[Event] = []
        self._watched = key, recursive, stream
        self._next = worker.replica.index + 1
        machine.replica.watch(*self._watched, self._next, self.expected.append)
        self.worker = worker
        self._watcher: Watcher | None = None
        self.begin(worker)

    def begin(self, worker: SimulatedWorker) -> None:
        """Watch through this worker from here on."""
        self.worker = worker
        if self._watched[2] or not self.told:
            self._watcher = worker.replica.watch(*self._watched, self._next, self._tell)

    def _tell(self, event: Event) -> None:
        self.told.append(event)
        self._next = event.index + 1


steps = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.integers(0, 1), changes),
        st.tuples(st.just("change"), st.integers(0, 1), changes),
        st.tuples(st.just("several"), st.lists(changes, min_size=2, max_size=6)),
        st.tuples(st.just("read"), st.integers(0, 1), keys),
        st.tuples(st.just("watch"), st.integers(0, 1), keys, st.booleans(), st.booleans()),
        st.tuples(st.just("kill"), st.integers(0, 1), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([0.001, 0.3, 3.0])),
        st.tuples(st.just("reload"), st.booleans()),
    ),
    min_size=5,
    max_size=25,
)


def found(replica: Any, key: str) -> tuple[int, Node | int]:
    """What a replica says of a key."""
    try:
        return replica.index, replica.get(key)
    except EtcdError as error:
        return error.index, error.code


class PropertyTests(WorkerTestCase):
    """Two workers of one machine."""

    @settings(max_examples=examples(100), deadline=None)
    @given(steps)
    def test_copies_and_watches_are_the_machines(self, happening: list[tuple[Any, ...]]) -> None:
        """Copies are loaded in many pieces here, while entries come."""
        self.patch(snapshot, "_CHUNK_BYTES", 100)
        group = self.cluster(history=1_000)
        (self.machine,) = group.start(1)
        self.feed(group)
        self.watching: list[Watching] = []
        for step, *arguments in happening:
            getattr(self, f"_{step}")(group, *arguments)
        self.feed(group)
        for each in self.watching:
            self.assertEqual(each.told, each.expected)
        self._bury(group)

    def _worker(self, group: Cluster, number: int) -> SimulatedWorker:
        group.advance_until(lambda: bool(workers_of(self.machine)))
        serving = workers_of(self.machine)
        return serving[number % len(serving)]

    def _change(self, group: Cluster, number: int, change: Any) -> None:
        replica = self._worker(group, number).replica
        try:
            event = group.result_of(replica.forward(change, ""))
        except EtcdError as error:
            self.assertLessEqual(error.index, replica.index)
        else:
            self.assertLessEqual(event.index, replica.index)

    def _several(self, group: Cluster, several: list[Any]) -> None:
        outcomes: list[object] = []
        for number, change in enumerate(several):
            self._worker(group, number).replica.forward(change, "").addBoth(outcomes.append)
        group.advance_until(lambda: len(outcomes) == len(several))

    def _read(self, group: Cluster, number: int, key: str) -> None:
        replica, index = self._worker(group, number).replica, self.machine.replica.index
        group.result_of(replica.confirm_at_leader(recent=bool(number)))
        self.assertGreaterEqual(replica.index, index)
        if replica.index == self.machine.replica.index:
            self.assertEqual(found(replica, key), found(self.machine.replica, key))

    def _watch(self, group: Cluster, number: int, key: str, recursive: bool, stream: bool) -> None:
        self.watching.append(Watching(self.machine, self._worker(group, number), key, recursive, stream))

    def _kill(self, group: Cluster, number: int, both: bool) -> None:
        for worker in list(workers_of(self.machine)) if both else [self._worker(group, number)]:
            worker.end()
        for each in self.watching:
            if not each.worker.process.alive:
                each.begin(self._worker(group, number))

    def _wait(self, group: Cluster, seconds: float) -> None:
        group.advance(seconds)

    def _reload(self, group: Cluster, at_once: bool) -> None:
        """The machine has taken over another machine's snapshot, as far as workers know."""
        for tell in self.machine.member.state_machine.on_restored:
            tell()
        if not at_once:
            group.advance(0.001)
