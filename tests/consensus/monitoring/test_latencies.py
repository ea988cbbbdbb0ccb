"""
Tests of L{etcd_twisted.consensus.monitoring.latencies}.
"""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.monitoring.latencies import Latencies
from etcd_twisted.consensus.raft.entries import Entry, EntryKind
from etcd_twisted.consensus.raft.messages import Append, AppendReply
from etcd_twisted.interfaces.statistics import Traffic


def append(round_number: int, before: int, count: int = 0) -> Append:
    entries = tuple(Entry(before + 1 + number, 1, EntryKind.COMMAND, b"") for number in range(count))
    return Append(1, round_number, before, 1, 0, entries)


class LatenciesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.traffic = Traffic()
        self.latencies = Latencies(self.traffic)
        self.latencies.keep({"one", "two", "three"})

    def counted(self, name: str = "two") -> tuple[int, float]:
        """Returns how many answers were counted, and how long the last one took."""
        follower = self.traffic.followers[name]
        return follower.success, round(follower.current_ms, 6)

    def test_answer_counts_with_its_latency(self) -> None:
        self.latencies.sent("two", append(1, 5), 10.0)
        self.latencies.answered("two", AppendReply(1, 1, 5, 5), 10.002)
        self.assertEqual(self.counted(), (1, 2.0))

    def test_one_answer_to_several_messages(self) -> None:
        """Entries are answered together when they are on the disk."""
        for count in range(3):
            self.latencies.sent("two", append(1, 5 + count, 1), 10.0 + count)
        self.latencies.answered("two", AppendReply(1, 1, 7, 7), 13.0)
        self.assertEqual(self.counted(), (2, 2_000.0))

    def test_a_heartbeat_that_overtakes_the_disk(self) -> None:
        """The answer to the heartbeat is not the answer to the entries."""
        self.latencies.sent("two", append(1, 5, 3), 10.0)
        self.latencies.answered("two", AppendReply(1, 2, 5, 5), 10.001)
        self.assertNotIn("two", self.traffic.followers)

    def test_heartbeat_that_overtakes(self) -> None:
        """A heartbeat that compares nothing is answered before the entries that were sent earlier."""
        self.latencies.sent("two", append(1, 5, 3), 10.0)
        self.latencies.sent("two", append(2, 0), 11.0)
        self.latencies.answered("two", AppendReply(1, 2, 5, 0), 11.001)
        self.assertEqual(self.counted(), (1, 1.0))
        self.latencies.answered("two", AppendReply(1, 1, 8, 8), 12.0)
        self.assertEqual(self.counted(), (2, 2_000.0))

    def test_a_heartbeat_behind_entries_that_are_not_on_the_disk(self) -> None:
        """The heartbeat is answered, and the entries are not, so that a slow disk shows."""
        self.latencies.sent("two", append(1, 5, 3), 10.0)
        self.latencies.sent("two", append(2, 8), 11.0)
        self.latencies.answered("two", AppendReply(1, 2, 5, 8), 11.002)
        self.assertEqual(self.counted(), (1, 2.0))
        self.latencies.answered("two", AppendReply(1, 2, 8, 8), 13.0)
        self.assertEqual(self.counted(), (2, 3_000.0))

    def test_rejection_counts_as_an_answer(self) -> None:
        self.latencies.sent("two", append(1, 50), 10.0)
        self.latencies.answered("two", AppendReply(1, 1, 0, 50, rejected=True), 10.001)
        self.assertEqual(self.counted(), (1, 1.0))

    def test_answer_to_nothing_is_ignored(self) -> None:
        self.latencies.answered("two", AppendReply(1, 1, 5, 5), 10.0)
        self.assertEqual(self.traffic.followers, {})

    def test_unreachable_machine_fails(self) -> None:
        self.latencies.sent("two", append(1, 5), 10.0)
        self.latencies.lost("two")
        self.latencies.answered("two", AppendReply(1, 1, 5, 5), 99.0)
        follower = self.traffic.followers["two"]
        self.assertEqual((follower.success, follower.fail), (0, 1))

    def test_messages_to_an_unreachable_machine_are_not_measured(self) -> None:
        """An earlier message may be lost too: when answers come again, only messages from then on are measured."""
        self.latencies.lost("two")
        self.latencies.sent("two", append(1, 5), 10.0)
        self.latencies.answered("two", AppendReply(1, 2, 5, 5), 99.0)
        self.latencies.sent("two", append(3, 5), 99.5)
        self.latencies.answered("two", AppendReply(1, 3, 5, 5), 99.501)
        self.assertEqual(self.counted(), (1, 1.0))
        self.assertEqual(self.traffic.followers["two"].fail, 1)

    def test_new_machine_has_not_failed(self) -> None:
        """A machine that was just admitted has not failed before it was reached once."""
        self.latencies.lost("four")
        self.latencies.keep({"one", "two", "three", "four"})
        self.latencies.lost("four")
        self.assertEqual(self.traffic.followers, {})
        self.latencies.answered("four", AppendReply(1, 1, 5, 5), 10.0)
        self.latencies.lost("four")
        self.assertEqual(self.traffic.followers["four"].fail, 1)

    def test_machine_that_comes_again_begins_anew(self) -> None:
        """The measurements of the machine begin anew."""
        self.latencies.lost("two")
        self.latencies.keep({"one", "three"})
        self.latencies.keep({"one", "two", "three"})
        self.latencies.lost("two")
        self.assertEqual(self.traffic.followers, {})

    def test_members_of_a_new_term_are_expected(self) -> None:
        """The members are expected to be there when this machine becomes the leader."""
        self.latencies.lost("four")
        self.latencies.clear()
        self.latencies.keep({"one", "four"})
        self.latencies.lost("four")
        self.latencies.lost("two")
        self.assertEqual({name: each.fail for name, each in self.traffic.followers.items()}, {"four": 1})

    def test_a_bounded_number_is_remembered(self) -> None:
        for number in range(10_000):
            self.latencies.sent("two", append(number, 5), float(number))
        self.assertLess(max(map(len, self.latencies._asked.values())), 1_000)
        self.latencies.answered("two", AppendReply(1, 10_000, 5, 5), 10_000.0)
        self.assertEqual(self.counted()[1], 1_000.0)

    def test_removed_machines_are_forgotten(self) -> None:
        for name in ("two", "three"):
            self.latencies.sent(name, append(1, 5), 10.0)
            self.latencies.lost(name)
        self.latencies.keep({"three"})
        self.assertEqual(set(self.traffic.followers), {"three"})
        self.latencies.clear()
        self.assertEqual(self.traffic.followers, {})
