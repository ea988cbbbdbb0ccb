"""
Tests of what a new cluster decides for good, where its machines begin it together.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from etcd_twisted.keyspace.commands import CreateInOrder
from tests import examples
from tests.cluster.test_bootstrap import StaticTestCase, listed


class FoundingTests(StaticTestCase):
    @settings(max_examples=examples(12))
    @given(pads=st.lists(st.booleans(), min_size=3, max_size=3), data=st.data())
    def test_all_machines_name_in_order_keys_alike(self, pads: list[bool], data: st.DataObject) -> None:
        """
        Whatever each of them is set to, and whichever leads first or next: the first leader's setting counts, also for
        the very first request, and machines that are set alike have what they are set to.
        """
        self.setUp()
        text = listed(1, 2, 3)
        machines = [self.add(initial_cluster=text, in_order_keys="padded" if each else "plain") for each in pads]
        lengths = set()
        for machine in data.draw(st.permutations(machines), label="order"):
            machine.launch()
        self.group.await_leader()
        for _ in range(3):
            leader = self.group.await_leader()
            event = self.group.result_of(leader.replica.propose(CreateInOrder("/q", leader.replica.now())))
            name = event.node.key.removeprefix("/q/")
            self.assertEqual(int(name), event.index)
            lengths.add(len(name) == 20)
            self.group.advance_until(lambda: self.up(machines))
            leader.crash()
            self.group.await_leader()
            leader.launch()
        self.group.advance_until(lambda: self.up(machines))
        self.group.settle()
        self.assertEqual(len({each.dumped() for each in machines}), 1)
        self.assertEqual(len(lengths), 1)
        self.assertLessEqual(lengths, set(pads))
