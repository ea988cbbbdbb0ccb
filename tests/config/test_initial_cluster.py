"""
Tests of the static list of machines.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.config import Config
from etcd_twisted.config.initial_cluster import InitialCluster, InitialMachine


class InitialClusterTests(SynchronousTestCase):
    """Tests of L{InitialCluster}."""

    def test_machines_with_their_urls(self) -> None:
        config = Config(initial_cluster="m1=http://b:2380, m0=http://10.0.0.1:2380,m1=https://a:2380,")
        machines = (
            InitialMachine("m0", ("http://10.0.0.1:2380",)),
            InitialMachine("m1", ("http://b:2380", "https://a:2380")),
        )
        self.assertEqual(config.initial_cluster, InitialCluster(machines))

    def test_hosts_are_written_in_one_way(self) -> None:
        listed = InitialCluster.parse("m0=http://Machine0.Example.COM.:2380/,m1=http://[0:0::1]:2380")
        self.assertEqual(str(listed), "m0=http://machine0.example.com:2380,m1=http://[::1]:2380")

    @given(
        st.lists(
            st.builds("{}=http://10.0.0.{}:{}".format, st.sampled_from("abc"), st.integers(1, 9), st.integers(1, 9)),
            min_size=1,
            unique_by=lambda item: item.partition("=")[2],
        ).flatmap(lambda items: st.tuples(st.just(items), st.permutations(items)))
    )
    def test_order_does_not_matter(self, orders: tuple[list[str], list[str]]) -> None:
        """Every machine gets the same from the same machines, and the text of the list means the list."""
        one, other = (InitialCluster.parse(",".join(items)) for items in orders)
        self.assertEqual(one, other)
        self.assertEqual(InitialCluster.parse(str(one)), one)
        self.assertEqual({f"{each.name}={url}" for each in one.machines for url in each.urls}, set(orders[0]))
