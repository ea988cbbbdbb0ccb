"""
Tests of what a cluster's machines log: a line for each event that an operator has to know.
"""

import re

from twisted.internet.defer import ensureDeferred
from twisted.logger import LogLevel, formatEvent

from tests.consensus.cluster import Cluster, ClusterTestCase
from tests.consensus.raft.group import NONE_TRAILING
from tests.logs.lines import Log


class NewsTests(ClusterTestCase):
    """Three machines run in one process, so each event is logged by each of them."""

    def setUp(self) -> None:
        self.log = Log(self)

    def said(self) -> list[str]:
        """Returns the lines that are logged by default, since the last call."""
        events, self.log.events[:] = list(self.log.events), []
        return [formatEvent(event) for event in events if event["log_level"] >= LogLevel.info]

    def three(self, snapshot_count: int | None = None) -> Cluster:
        cluster = self.cluster(snapshot_count=snapshot_count, raft_limits=NONE_TRAILING)
        cluster.start(3)
        return cluster

    def test_start_is_logged(self) -> None:
        """The log has an election, and each machine as it joins, from each machine that has applied it."""
        self.three()
        said = self.said()
        self.assertEqual(said.count("machine1 stands for election in term 2"), 1)
        self.assertEqual(said.count("machine1 leads in term 2"), 3)
        for name, port in (("machine2", 7002), ("machine3", 7003)):
            self.assertGreaterEqual(said.count(f"{name} at http://peers:{port} has joined the cluster"), 2)
            self.assertGreaterEqual(said.count(f"{name} has a vote"), 2)

    def test_restart_logs_no_old_events(self) -> None:
        """What was so before the restart is not logged."""
        cluster = self.three()
        machine = cluster.followers[0]
        machine.stop()
        self.said()
        cluster.result_of(machine.launch())
        cluster.settle()
        self.assertEqual(self.said(), ["machine1 leads in term 2"])

    def test_writes_are_not_logged(self) -> None:
        """Writes are not logged."""
        cluster = self.three()
        self.said()
        for number in range(20):
            cluster.result_of(cluster.leader.set(f"/k{number}"))
        self.assertEqual(self.said(), [])

    def test_new_leader_is_logged(self) -> None:
        """The old leader is missing, one machine stands, and all know the new leader."""
        cluster = self.three()
        self.said()
        cluster.advance(0.08)  # lets the old leader learn of the new one before it misses its majority itself
        old = self.lose_leader(cluster)
        cluster.network.heal()
        cluster.settle()
        said = self.said()
        new, term = cluster.leader.machine.name, cluster.leader.replica.term
        self.assertEqual(said.count(f"{old.machine.name} no longer leads, and no other machine leads yet"), 2)
        url = cluster.leader.machine.peer_url
        why = f"{old.machine.name} no longer leads: it led in term 2, and {new} ({url}) is in term {term}"
        self.assertIn(why, said)
        self.assertIn(f"{new} stands for election in term {term}", said)
        self.assertEqual(said.count(f"{new} leads in term {term}"), 3)

    def test_transfer_of_the_leadership_is_logged(self) -> None:
        cluster = self.three()
        old = cluster.leader
        self.said()
        cluster.result_of(ensureDeferred(old.participation.hand_over()))
        cluster.settle()
        said = self.said()
        self.assertEqual(said[0], f"{old.machine.name} hands the lead over")
        new = cluster.leader.machine
        self.assertIn(f"{old.machine.name} no longer leads: it has handed over to {new.name} ({new.peer_url})", said)

    def test_removal_is_logged(self) -> None:
        cluster = self.three()
        gone = cluster.followers[0].machine.name
        self.said()
        cluster.result_of(cluster.leader.replica.remove(gone))
        cluster.advance(0.5)
        self.assertGreaterEqual(self.said().count(f"{gone} is no longer in the cluster"), 2)

    def test_removal_of_the_leader_is_logged(self) -> None:
        """The leader knows the reason why it no longer leads."""
        cluster = self.three()
        gone = cluster.leader
        self.said()
        cluster.result_of(gone.replica.remove(gone.machine.name))
        cluster.advance(0.5)
        self.assertIn(f"{gone.machine.name} no longer leads: it was taken out of the cluster", self.said())

    def test_lost_majority_is_logged(self) -> None:
        """The machine that is left logs what that means, again and again, and when it is over."""
        cluster = self.three()
        left, *others = cluster.leader, *cluster.followers
        self.said()
        for other in others:
            other.crash()
        cluster.advance(65.0)
        said = self.said()
        beginning = "There is no majority: 1 of 3 machines answers; 2 are needed; writes are refused"
        warnings = [line for line in said if line.startswith(beginning)]
        self.assertEqual(len(warnings), 3)
        why = f"{left.machine.name} no longer leads: no majority has answered it for "
        (line,) = [line for line in said if line.startswith(why)]
        # The line names no number that contradicts it: the others may count as answering for another second.
        self.assertRegex(line.removeprefix(why), r"^\d\.\d s( \(1 of 3 machines answers; 2 are needed\))?$")
        for other in others:
            self.assertIn(f"missing: {other.machine.name} ({other.machine.peer_url}) since ", warnings[0])
        for other in others:
            cluster.result_of(other.launch())
        cluster.settle()
        cluster.advance(2.0)
        (over,) = [line for line in self.said() if line.startswith("The cluster has a leader again after ")]
        self.assertRegex(over, "[23] of 3 machines answer; 2 are needed; writes are accepted$")

    def test_snapshots_are_logged(self) -> None:
        """A line is logged when a snapshot is taken, when it is sent, and when it has replaced a machine's data."""
        cluster = self.three(snapshot_count=10)
        away = cluster.followers[0]
        away.crash()
        cluster.advance(1.0)
        self.said()
        for number in range(25):
            cluster.result_of(cluster.leader.set(f"/k{number}"))
        cluster.settle()
        taken = [line for line in self.said() if line.startswith("Took a snapshot at log index ")]
        self.assertGreaterEqual(len(taken), 2)
        cluster.result_of(away.launch())
        cluster.settle()
        said = "\n".join(self.said())
        called = re.escape(f"{away.machine.name} ({away.machine.peer_url})")
        for line in (
            rf"^Sending a snapshot of \d+ bytes to {called}$",
            r"^The leader sends its snapshot of log index \d+$",
            r"^Continued from the leader's snapshot of log index \d+$",
            rf"^Sent a snapshot to {called}: \d+ bytes of it$",
        ):
            self.assertRegex(said, f"(?m){line}")
