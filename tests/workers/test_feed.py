"""
What a worker has is what its machine has, and what it does is what its machine would do.
"""


from twisted.internet.defer import Deferred

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.commands import CompareAndSwap, Set
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import File
from etcd_twisted.workers.replica import WorkerReplica
from tests.workers.machines import WorkerTestCase, workers_of


def value(replica: WorkerReplica, key: str) -> str:
    """Reads a copy."""
    node = replica.get(key)
    assert isinstance(node, File)
    return node.value


class OneMachineTests(WorkerTestCase):
    """A machine that is alone, with two workers."""

    def setUp(self) -> None:
        self.group = self.cluster()
        (self.machine,) = self.group.start(1)
        self.feed(self.group)
        self.worker, self.other = (each.replica for each in workers_of(self.machine))

    def set(self, key: str, value: str) -> "Deferred[Event]":
        return self.worker.forward(Set(key, self.worker.now(), value), "")

    def test_write_is_answered_when_it_is_in_the_copy(self) -> None:
        """So a client that has written something finds it on the same connection."""
        for number in range(20):
            event = self.group.result_of(self.set("/a", f"{number}"))
            self.assertEqual((value(self.worker, "/a"), event.index), (f"{number}", self.worker.index))
        self.feed(self.group)

    def test_errors_are_the_machines(self) -> None:
        self.group.result_of(self.set("/a", "one"))
        with self.assertRaises(EtcdError) as raised:
            self.group.result_of(self.worker.forward(CompareAndSwap("/a", self.worker.now(), "x", None, "two"), ""))
        self.assertEqual(raised.exception.code, ErrorCode.COMPARE_FAILED)
        with self.assertRaises(EtcdError) as raised:
            self.group.result_of(self.set("/a//b", ""))
        self.assertEqual(raised.exception.code, ErrorCode.INVALID_FIELD)
        self.feed(self.group)

    def test_quorum_read_sees_what_another_worker_wrote(self) -> None:
        for recent in (False, True):
            self.group.result_of(self.set("/a", f"{recent}"))
            self.group.result_of(self.other.confirm_at_leader(recent))
            self.assertEqual(value(self.other, "/a"), f"{recent}")


class ThreeMachinesTests(WorkerTestCase):
    """Three machines with two workers each."""

    def test_all_workers_serve(self) -> None:
        group = self.cluster()
        group.start(3)
        self.feed(group)
        for number, machine in enumerate(group.running):
            for worker in workers_of(machine):
                replica = worker.replica
                event = group.result_of(replica.forward(Set("/a", replica.now(), f"{number}"), ""))
                self.assertEqual((value(replica, "/a"), event.index), (f"{number}", replica.index))
        self.feed(group)
