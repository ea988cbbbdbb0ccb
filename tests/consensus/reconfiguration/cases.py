"""
Clusters whose members change.
"""

from typing import Any

from twisted.internet.defer import Deferred

from etcd_twisted.errors import ErrorCode, EtcdError
from tests.consensus.cluster import Cluster, ClusterMachine, ClusterTestCase


class MembersTestCase(ClusterTestCase):
    def voters(self, cluster: Cluster) -> set[str]:
        return set(cluster.leader.raft.configuration.voters)

    def names(self, cluster: Cluster) -> list[str]:
        return [machine.name for machine in cluster.leader.replica.machines()]

    def join(self, cluster: Cluster, machine: ClusterMachine, **changes: Any) -> "Deferred[Any]":
        """Asks the leader to admit a machine."""
        return cluster.leader.replica.peer.join(machine.request(**changes))

    def assertRefused(self, cluster: Cluster, answer: "Deferred[Any]", code: ErrorCode, words: str) -> None:
        configuration = cluster.leader.raft.configuration_index
        with self.assertRaises(EtcdError) as caught:
            cluster.result_of(answer)
        self.assertEqual(caught.exception.code, code)
        self.assertIn(words, caught.exception.cause)
        self.assertEqual(cluster.leader.raft.configuration_index, configuration)
