"""
Tests of a group in which a machine of an earlier version votes, as during an upgrade: nothing is logged that it can't
decode.
"""

from etcd_twisted.consensus.raft.entries import EntryKind
from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace.commands import (
    NEWER_COMMANDS,
    Change,
    CompareAndSwap,
    Refresh,
    Set,
    SetOrSwap,
    SetTtl,
    decode_command,
)
from etcd_twisted.keyspace.events import Event
from tests.consensus.cluster import Cluster, ClusterMachine, ClusterTestCase
from tests.consensus.machine import SECOND


class EarlierMembersTests(ClusterTestCase):
    """Tests of what the leader logs and answers."""

    def propose(self, cluster: Cluster, command: Change) -> Event:
        event: Event = cluster.result_of(cluster.leader.replica.propose(command))
        return event

    def logged(self, machine: ClusterMachine) -> list[type]:
        """Returns the kinds of all commands in its log."""
        log = machine.raft.log
        entries = log.between(log.first_index, log.last_index + 1)
        return [type(decode_command(each.data)) for each in entries if each.kind is EntryKind.COMMAND]

    def write_all(self, cluster: Cluster) -> list[tuple[str, str | None, bool]]:
        """Proposes each command that an earlier version does not know, and returns its effects."""
        now = cluster.leader.replica.now()
        later = now + 100 * SECOND
        events = [
            self.propose(cluster, command)
            for command in (
                SetOrSwap("/a", now, "1"),
                SetOrSwap("/a", now, "2", False, later),
                SetTtl("/a", now, later + SECOND),
                SetOrSwap(f"/d{now}", now, "ignored", True),
            )
        ]
        return [(event.result.action, event.result.node.value, event.result.node.dir) for event in events]

    def test_later_commands_are_not_logged_for_an_earlier_version(self) -> None:
        """The same is done with the commands that the version knows; a refresh is an update, as with that version."""
        cluster = self.cluster()
        _, second, _ = cluster.start(3)
        cluster.network.older = {second.name}
        cluster.advance(2)
        self.assertEqual(
            self.write_all(cluster),
            [("set", "1", False), ("compareAndSwap", "2", False), ("update", "2", False), ("set", None, True)],
        )
        self.assertEqual(self.logged(cluster.leader)[-4:], [Set, CompareAndSwap, Refresh, Set])
        error = cluster.result_of(
            cluster.leader.replica.propose(SetTtl("/none", 0, SECOND)).addErrback(lambda failure: failure.value)
        )
        self.assertIsInstance(error, EtcdError)
        cluster.network.older = set()
        cluster.advance(2)
        self.write_all(cluster)
        self.assertTrue(set(self.logged(cluster.leader)) >= set(NEWER_COMMANDS))

    def test_later_commands_are_not_logged_for_a_silent_voter(self) -> None:
        """A voter that was down all the time may be of an earlier version; one that has reported its status is not."""
        cluster = self.cluster()
        machines = cluster.start(3)
        cluster.advance(2)
        leader, (survivor, victim) = cluster.leader, cluster.followers
        victim.crash()
        cluster.advance(2)
        self.write_all(cluster)
        self.assertIn(SetTtl, self.logged(leader))
        for machine in (leader, survivor):
            machine.crash()
        for machine in (leader, survivor):
            machine.launch()
        cluster.await_leader()
        before = len(self.logged(cluster.leader))
        self.write_all(cluster)
        self.assertFalse(set(NEWER_COMMANDS) & set(self.logged(cluster.leader)[before:]))
        victim.launch()
        cluster.advance(2)
        self.write_all(cluster)
        self.assertTrue(set(NEWER_COMMANDS) & set(self.logged(cluster.leader)[before:]))
        cluster.settle()
        self.assertEqual(len({machine.dumped() for machine in machines}), 1)

    def test_single_machine_logs_later_commands(self) -> None:
        """No other machine has to know the commands."""
        cluster = self.cluster()
        cluster.start(1)
        self.write_all(cluster)
        self.assertTrue(set(self.logged(cluster.leader)) >= set(NEWER_COMMANDS))
