"""
Tests of L{etcd_twisted.cluster.standby} and L{etcd_twisted.cluster.exclusion}: machines for which the cluster has no
room, or no longer has.
"""

from pathlib import Path

from twisted.internet.defer import Deferred, ensureDeferred

from etcd_twisted.cluster.joining import ROUND_PAUSE_SECONDS
from etcd_twisted.consensus.reconfiguration.liveness import ALIVE_SECONDS
from etcd_twisted.consensus.recovery import Recovered
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.errors import EtcdError, RequestDroppedError
from etcd_twisted.interfaces.cluster import ClusterView
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.keyspace.events import Event
from tests.cluster.machines import SYNC_INTERVAL_SECONDS, LifecycleMachine, LifecycleTestCase
from tests.consensus.cluster import LATENCY
from tests.consensus.test_group import PROPOSAL_TIMEOUT_SECONDS


class StandbyTests(LifecycleTestCase):
    def full(self) -> LifecycleMachine:
        """Returns a fourth machine, for which there is no room."""
        self.first, self.second, self.third = self.three()
        return self.start(self.first)

    def test_machine_stands_by_if_there_is_no_room(self) -> None:
        """The machine has no copy of the data, and knows the leader (spec, "Joining")."""
        standby = self.full()
        replica = standby.replica
        self.assertTrue(replica.standby)
        self.assertFalse(replica.serving)
        self.assertEqual(replica.name, "machine4")
        self.assertEqual(replica.leader(), self.group.leader.machine)
        self.assertEqual(len(replica.machines()), 3)
        self.failureResultOf(standby.set("/a"), RequestDroppedError)
        self.assertEqual(self.members(), ["machine1", "machine2", "machine3"])
        self.assertFalse((standby.path / "identity.json").exists())

    def test_standby_learns_of_a_new_leader(self) -> None:
        standby = self.full()
        leader = self.group.leader
        self.group.result_of(ensureDeferred(leader.participation.hand_over()))
        self.group.advance(SYNC_INTERVAL_SECONDS + 0.1)
        self.assertEqual(standby.replica.leader(), self.group.leader.machine)
        self.assertIsNot(self.group.leader, leader)

    def test_standby_joins_when_there_is_room(self) -> None:
        """A larger C{activeSize} makes room for it (api, "Set Cluster Config"; spec, "Standby")."""
        standby = self.full()
        self.group.result_of(self.group.leader.set("/a", "1"))
        self.group.result_of(
            self.group.leader.replica.configure(ClusterConfig(4, sync_interval_seconds=SYNC_INTERVAL_SECONDS))
        )
        self.group.advance_until(lambda: standby.is_member)
        self.assertEqual(standby.get("/a"), "1")
        self.assertEqual(self.members(), ["machine1", "machine2", "machine3", "machine4"])
        self.assertEqual(standby.identity["cluster_id"], self.first.identity["cluster_id"])
        self.group.advance(2 * SYNC_INTERVAL_SECONDS)
        self.assertIsNone(standby.lifecycle._task)
        standby.stop()
        self.group.result_of(standby.launch())
        self.assertTrue(standby.is_member)

    def test_standby_replaces_a_silent_machine(self) -> None:
        standby = self.full()
        config = ClusterConfig(3, remove_delay_seconds=4.0, sync_interval_seconds=2.0)
        self.group.result_of(self.group.leader.replica.configure(config))
        self.third.crash()
        self.group.advance_until(lambda: standby.is_member, 20.0)
        self.assertEqual(self.members(), ["machine1", "machine2", "machine4"])
        self.group.result_of(self.third.launch(), 30.0)  # the silent machine stands by
        self.assertTrue(self.third.replica.standby)

    def test_one_of_two_standbys_joins(self) -> None:
        one = self.full()
        two = self.start(self.second)
        self.group.result_of(self.group.leader.replica.configure(ClusterConfig(4, sync_interval_seconds=1.0)))
        self.group.advance(2 * SYNC_INTERVAL_SECONDS)
        self.assertEqual(sorted([one.replica.standby, two.replica.standby]), [False, True])

    def test_standby_joins_after_a_time_without_answers(self) -> None:
        standby = self.full()
        for machine in (self.first, self.second, self.third):
            machine.crash()
        self.group.advance(3 * SYNC_INTERVAL_SECONDS)
        for machine in (self.first, self.second, self.third):
            machine.launch()
        config = ClusterConfig(4, sync_interval_seconds=SYNC_INTERVAL_SECONDS)
        self.group.result_of(self.group.await_leader().replica.configure(config))
        self.group.advance_until(lambda: standby.is_member, 30.0)

    def test_standby_that_is_refused_goes_on_standing_by(self) -> None:
        """
        Another machine has taken its name meanwhile: it goes on standing by, and does not read its files for nothing.
        """
        standby = self.full()
        recovered: list[int] = []
        recover = standby.lifecycle.local.recover

        async def recover_and_note() -> Recovered:
            recovered.append(1)
            return await recover()

        self.patch(standby.lifecycle.local, "recover", recover_and_note)
        other = self.add(self.first, name="machine4", port=6)
        self.group.result_of(
            self.group.leader.replica.configure(ClusterConfig(5, sync_interval_seconds=SYNC_INTERVAL_SECONDS))
        )
        self.group.result_of(other.launch())
        self.group.advance(3 * SYNC_INTERVAL_SECONDS)
        self.assertTrue(standby.replica.standby)
        self.assertEqual(recovered, [])
        self.group.result_of(self.group.leader.replica.remove("machine4"))
        other.crash()
        self.group.advance_until(lambda: standby.is_member, 30.0)

    def test_standby_is_stopped_and_restarted(self) -> None:
        standby = self.full()
        standby.stop()
        self.assertEqual(standby.clock.getDelayedCalls(), [])
        self.group.result_of(standby.launch())
        self.assertTrue(standby.replica.standby)

    def test_standby_is_stopped_while_it_joins(self) -> None:
        for moment in range(1, 12):
            self.group = self.cluster(defaults=ClusterConfig(3, sync_interval_seconds=SYNC_INTERVAL_SECONDS))
            standby = self.full()
            config = ClusterConfig(4, sync_interval_seconds=SYNC_INTERVAL_SECONDS)
            self.group.result_of(self.group.leader.replica.configure(config))
            asked = len(standby.peers.asked)
            self.group.advance_until(lambda standby=standby, asked=asked: len(standby.peers.asked) > asked)
            self.group.advance(moment * LATENCY)
            standby.stop()
            self.assertEqual(standby.clock.getDelayedCalls(), [])
            self.group.advance(2.0)
            self.group.result_of(standby.launch(), 30.0)
            self.group.advance_until(lambda standby=standby: standby.is_member, 30.0)
            for machine in self.group.running:
                machine.crash()


class ExcludedTests(LifecycleTestCase):
    def test_removed_machine_stands_by_and_joins_again(self) -> None:
        """The machine uses the same directory, and joins at its next check (spec, "Standby")."""
        _, second, third = self.three()
        self.group.result_of(self.group.leader.set("/a", "1"))
        self.group.settle()
        gone = third if not third.leads else second
        identity = gone.identity
        ended: list[int] = []
        told: list[Event] = []
        gone.replica.watch("/a", False, True, None, told.append, lambda: ended.append(1))
        self.group.result_of(self.group.leader.replica.remove(gone.machine.name))
        self.group.advance_until(lambda: gone.replica.standby)
        self.assertEqual((ended, told), ([1], []))
        self.group.result_of(self.group.leader.set("/b", "2"))
        self.group.advance_until(lambda: gone.is_member, 2 * SYNC_INTERVAL_SECONDS)
        self.assertEqual((gone.get("/a"), gone.get("/b")), ("1", "2"))
        self.assertEqual(gone.identity, identity)
        self.assertEqual(len(self.group.leader.raft.configuration.voters), 3)

    def test_leader_that_removes_itself_stands_by(self) -> None:
        self.three()
        gone = self.group.leader
        self.group.result_of(gone.replica.remove(gone.machine.name))
        self.group.advance_until(lambda: gone.replica.standby)
        self.assertEqual(len(self.members()), 2)
        self.assertEqual(gone.replica.leader(), self.group.leader.machine)
        assert isinstance(gone, LifecycleMachine)
        self.group.advance_until(lambda: gone.is_member, 2 * SYNC_INTERVAL_SECONDS)

    def test_clients_of_a_leader_that_removes_itself_are_sent_on(self) -> None:
        """
        Clients are redirected before, during and after the removal, so that none waits for nothing or gets an unknown
        outcome.
        """
        self.three()
        gone = self.group.leader
        told: list[object] = []
        before = self.group.clock.seconds()
        removing = gone.replica.remove(gone.machine.name)
        while not gone.replica.standby:
            gone.set("/a").addBoth(lambda result: told.append(getattr(result, "value", result)))
            self.group.advance(LATENCY)
        self.group.advance(2 * LATENCY)
        self.group.result_of(removing)
        self.assertLess(self.group.clock.seconds() - before, 0.2)
        self.assertGreater(len(told), 10)
        self.assertEqual([each for each in told if not isinstance(each, RequestDroppedError)], [])
        self.assertEqual(gone.replica.leader(), self.group.leader.machine)

    def test_writes_before_a_leader_removes_itself_are_done(self) -> None:
        self.three()
        gone = self.group.leader
        asked = [gone.set(f"/{number}") for number in range(5)]
        self.group.result_of(gone.replica.remove(gone.machine.name))
        self.assertEqual([self.successResultOf(each).result.action for each in asked], ["set"] * 5)
        self.assertEqual(self.group.await_leader().get("/4"), "")

    def test_unknown_outcome_keeps_no_other_client_waiting(self) -> None:
        """A write of unknown outcome takes a while, and other clients are redirected meanwhile."""
        self.three()
        gone = self.group.leader
        self.group.network.isolate(gone.name)
        unknown = gone.set("/a")
        self.group.advance_until(lambda: any(each.leads for each in self.group.running if each is not gone))
        self.group.advance_until(lambda: not gone.leads)
        waiting = gone.set("/b")
        self.assertNoResult(unknown)
        ensureDeferred(gone.participation.stand_by(self.group.leader.peer.describe()))
        self.assertNoResult(unknown)
        self.failureResultOf(waiting, RequestDroppedError)
        self.group.advance(PROPOSAL_TIMEOUT_SECONDS + 0.1)
        self.failureResultOf(unknown, EtcdError)

    def test_removed_machine_asks_less_and_less_often(self) -> None:
        """No other machine leads after it."""
        self.three()
        gone = self.group.leader
        assert isinstance(gone, LifecycleMachine)
        for machine in self.group.followers:
            machine.crash()
        gone.lifecycle.excluded()
        self.group.advance(ROUND_PAUSE_SECONDS)
        asked = len(gone.peers.asked)
        self.assertTrue(8 <= asked <= 16, asked)
        self.group.advance(10 * ROUND_PAUSE_SECONDS)
        self.assertLessEqual(len(gone.peers.asked) - asked, 2 * 10)

    def test_machine_that_was_removed_while_down_stands_by(self) -> None:
        _, second, third = self.three()
        self.group.result_of(self.group.leader.replica.configure(ClusterConfig(3, sync_interval_seconds=1000.0)))
        gone = next(machine for machine in (second, third) if not machine.leads)
        gone.stop()
        self.group.advance(ALIVE_SECONDS + 0.1)
        self.group.result_of(self.group.leader.replica.remove(gone.machine.name))
        self.group.result_of(gone.launch(), 30.0)
        self.assertTrue(gone.replica.standby)
        self.assertEqual(len(self.members()), 2)

    def test_member_that_is_refused_by_mistake_stays(self) -> None:
        """A machine that does not know it yet refuses it, but the leader knows it."""
        first, second, third = self.three()
        for machine in (first, second, third):
            machine.lifecycle.excluded()
        self.group.advance(2.0)
        self.assertEqual([machine.is_member for machine in (first, second, third)], [True] * 3)
        self.assertEqual([machine.lifecycle._task for machine in (first, second, third)], [None] * 3)

    def test_machine_is_removed_while_it_announces_its_address(self) -> None:
        _, second, third = self.three()
        gone = third if not third.leads else second
        gone.stop()
        gone.configure(9, gone.config.name)
        self.group.result_of(self.group.leader.replica.configure(ClusterConfig(3, sync_interval_seconds=1000.0)))
        starting = gone.launch()
        self.group.advance_until(lambda: gone.lifecycle._task is not None)
        gone.lifecycle.excluded()
        removed = self.group.leader.replica.remove(gone.machine.name)
        self.group.result_of(removed)
        self.group.advance(30.0)
        self.successResultOf(starting)
        self.assertNotEqual(gone.is_member, gone.replica.standby)

    def test_machine_is_removed_while_it_is_busy(self) -> None:
        """The machine may not be informed again, so it checks once the other work is done."""
        self.three()
        gone = self.group.leader
        assert isinstance(gone, LifecycleMachine)
        self.group.result_of(gone.replica.configure(ClusterConfig(3, sync_interval_seconds=1000.0)))
        done: Deferred[None] = Deferred()

        async def something_else() -> None:
            await done

        gone.lifecycle._run(something_else())
        self.group.result_of(gone.replica.remove(gone.machine.name))
        self.group.advance(1.0)
        self.assertFalse(gone.replica.standby)
        done.callback(None)
        self.group.advance_until(lambda: gone.replica.standby)

    def test_removed_machine_waits_for_a_leader_to_ask(self) -> None:
        self.three()
        gone, leader = self.group.followers[0], self.group.leader
        assert isinstance(gone, LifecycleMachine)
        self.group.result_of(leader.replica.configure(ClusterConfig(3, sync_interval_seconds=1000.0)))
        self.group.result_of(leader.replica.remove(gone.machine.name))
        leader.crash()
        self.group.advance(3.0)
        self.assertFalse(gone.replica.standby)
        leader.launch()
        self.group.advance_until(lambda: gone.replica.standby)

    def test_machine_is_stopped_while_it_leaves(self) -> None:
        for moment in range(1, 8):
            self.group = self.cluster(defaults=ClusterConfig(3, sync_interval_seconds=SYNC_INTERVAL_SECONDS))
            self.three()
            gone = self.group.leader
            gone.set("/a").addErrback(lambda failure: failure.trap(EtcdError))
            self.group.result_of(gone.replica.remove(gone.machine.name))
            self.group.advance(moment * LATENCY)
            gone.stop()
            self.assertEqual(gone.clock.getDelayedCalls(), [])
            self.group.advance(3.0)
            for machine in self.group.running:
                machine.crash()

    def test_views_of_another_cluster_do_not_count(self) -> None:
        """Another cluster answers at the addresses, and what it says does not count."""
        first, _, _ = self.three()
        gone = self.group.followers[0]
        assert isinstance(gone, LifecycleMachine)
        view = first.replica.peer.describe()

        async def describe(_: str) -> ClusterView:
            return ClusterView("e" * 16, view.machines[:1], "machine1", view.config)

        self.patch(gone.peers, "describe", describe)
        gone.lifecycle.excluded()
        self.group.advance(5.0)
        self.assertTrue(gone.is_member)


class FilesTests(LifecycleTestCase):
    """A machine unlocks its directory, whatever happens to it."""

    def test_standby_and_promoted_machine_unlock_their_directories(self) -> None:
        first = self.start()
        self.group.result_of(first.replica.configure(ClusterConfig(3, sync_interval_seconds=1.0)))
        machines = [self.start(first) for _ in range(3)]
        standby = machines[-1]
        self.assertTrue(standby.replica.standby)
        standby.stop()
        Storage.open(standby.path, "--data-dir").close()
        self.group.result_of(standby.launch())
        self.group.result_of(self.group.leader.replica.configure(ClusterConfig(4, sync_interval_seconds=1.0)))
        self.group.advance_until(lambda: standby.is_member)
        standby.stop()
        Storage.open(standby.path, "--data-dir").close()

    def test_machine_that_fails_to_join_unlocks_its_directory(self) -> None:
        machine = self.add(self.add())
        self.refusal(machine)
        Storage.open(Path(machine.path), "--data-dir").close()
