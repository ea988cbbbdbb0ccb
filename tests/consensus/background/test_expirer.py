"""
Tests of L{etcd_twisted.consensus.replica}: keys that expire, on a fake clock and a real disk.
"""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace.events import LAST_MOMENT, format_time
from tests.consensus.machine import SECOND, ReplicaTestCase, TestMachine


class TimeTests(SynchronousTestCase):
    """Times that an older log may hold have to be shown somehow."""

    def test_a_time_that_no_year_has_is_moved_to_the_nearest(self) -> None:
        for beyond in (LAST_MOMENT + 1, 10**18, 10**30):
            self.assertEqual(format_time(beyond), "9999-12-31T23:59:59.000000Z")
        for before in (-(10**18), -(10**30)):
            self.assertEqual(format_time(before), "0001-01-01T00:00:00.000000Z")
        self.assertEqual(format_time(-1), "1969-12-31T23:59:59.999999Z")


class ExpiryTests(ReplicaTestCase):
    """Tests of TTLs (spec, section 1, "TTL")."""

    def test_key_expires_when_its_time_has_come(self) -> None:
        machine = self.machine()
        machine.set("/a", "1", machine.replica.now() + 5 * SECOND)
        machine.settle()
        machine.clock.pump([0.5] * 9)
        machine.settle()
        self.assertEqual(self.value(machine, "/a"), "1")
        machine.clock.pump([0.5])
        machine.settle()
        self.assertRaises(EtcdError, machine.replica.get, "/a")
        self.assertEqual(machine.replica.index, 3)
        machine.stop()

    def test_nothing_is_written_while_nothing_expires(self) -> None:
        machine = self.machine()
        machine.set("/a", "1", machine.replica.now() + 3600 * SECOND)
        machine.settle()
        before = machine.replica.raft_index
        machine.clock.pump([1.0] * 600)
        self.assertEqual((len(machine.disk_thread.jobs), machine.replica.raft_index), (0, before))
        machine.stop()

    def test_many_keys_expire_in_several_commands(self) -> None:
        machine = self.machine()
        expires = machine.replica.now() + 2 * SECOND
        for number in range(2_500):
            machine.set(f"/k{number}", "", expires)
        machine.settle()
        before = machine.replica.raft_index
        machine.clock.pump([1.0, 1.0])
        machine.settle()
        self.assertEqual(machine.replica.statistics().expire_count, 2_500)
        self.assertEqual(machine.replica.raft_index - before, 3)
        machine.stop()

    def test_one_expire_command_is_under_way_at_a_time(self) -> None:
        machine = self.machine()
        machine.set("/a", "", machine.replica.now() + SECOND)
        machine.settle()
        before = machine.replica.raft_index
        machine.clock.pump([1.0, 0, 0])
        for number in range(5):
            machine.set(f"/b{number}")
            machine.clock.pump([1.0, 0])
        machine.settle()
        self.assertEqual(machine.replica.raft_index - before, 6)
        machine.stop()

    def test_keys_expire_that_were_due_while_the_machine_was_down(self) -> None:
        machine = self.machine()
        machine.set("/a", "", machine.replica.now() + SECOND)
        machine.settle()
        machine.stop()
        machine.clock.advance(100)
        machine = TestMachine(self.path, clock=machine.clock)
        machine.settle()
        self.assertRaises(EtcdError, machine.replica.get, "/a")
        machine.stop()

    def test_clock_that_is_set_makes_no_key_live_longer_or_shorter(self) -> None:
        for ahead in (3600.0, -3600.0):
            machine = self.machine()
            machine.set("/a", "", machine.replica.now() + 600 * SECOND)
            machine.settle()
            machine.wall_ahead = ahead
            for _ in range(599):
                machine.clock.advance(1)
                machine.settle()
            self.assertEqual(self.value(machine, "/a"), "")
            machine.clock.pump([1, 0.5])
            machine.settle()
            self.assertRaises(EtcdError, machine.replica.get, "/a")
            machine.stop()

    def test_a_clock_that_is_set_forward_is_followed_while_nothing_expires(self) -> None:
        """So the first key with a TTL shows when it really ends."""
        machine = self.machine()
        machine.wall_ahead = 3600
        machine.clock.pump([1.0])
        self.assertEqual(machine.replica.now(), int(machine.wall_clock() * SECOND))
        machine.set("/a", "", machine.replica.now() + 600 * SECOND)
        machine.settle()
        machine.wall_ahead = 7200
        machine.clock.pump([1.0] * 100)
        self.assertEqual(machine.wall_clock() - machine.replica.now() / SECOND > 3599, True)
        machine.stop()

    def test_time_does_not_go_back_when_a_machine_is_started_again(self) -> None:
        """The clock was set back by an hour meanwhile, and the time continues from the newest one that is found."""
        for snapshot_count in (None, 1):
            machine = self.machine(snapshot_count)
            machine.set("/a", "", machine.replica.now() + 600 * SECOND)
            machine.settle()
            before = machine.replica.now()
            machine.stop()
            machine = TestMachine(self.path, snapshot_count, clock=machine.clock)
            machine.wall_ahead = -3600
            machine.settle()
            self.assertEqual(self.value(machine, "/a"), "")
            self.assertApproximates(machine.replica.now(), before, SECOND)
            for _ in range(602):
                machine.clock.advance(1)
                machine.settle()
            self.assertRaises(EtcdError, machine.replica.get, "/a")
            machine.stop()
