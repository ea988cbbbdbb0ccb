"""
Tests of L{etcd_twisted.cluster.lifecycle}: machines that have been in a cluster come back, or learn that they are
no longer in it.
"""

from twisted.internet.defer import CancelledError

from etcd_twisted.cluster.joining import ROUND_PAUSE_SECONDS, Joining
from etcd_twisted.cluster.known_machines import MAX_KNOWN_URLS, MIN_SEARCH_INTERVAL_SECONDS
from etcd_twisted.consensus.raft.limits import RaftLimits
from etcd_twisted.consensus.raft.messages import Append, encode_messages
from etcd_twisted.consensus.storage.data_directory import Identity
from etcd_twisted.errors import EtcdError
from etcd_twisted.interfaces.cluster import Admission
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.peer.client import UnreachableError
from tests.cluster.machines import LifecycleMachine, LifecycleTestCase


class ComingBackTests(LifecycleTestCase):
    def test_all_machines_come_back(self) -> None:
        machines = self.three()
        self.group.result_of(self.group.leader.set("/a", "1"))
        for machine in machines:
            machine.crash()
        started = [machine.launch() for machine in machines]
        for each in started:
            self.group.result_of(each)
        self.group.settle()
        self.assertEqual([machine.get("/a") for machine in machines], ["1"] * 3)
        self.assertEqual(self.members(), ["machine1", "machine2", "machine3"])

    def test_machine_that_moved_is_found(self) -> None:
        """The machine announces its address to the leader, so that others find it (spec, "Joining")."""
        first, second, third = self.three()
        second.stop()
        second.configure(9, "machine2")
        second.seeds = []
        self.group.result_of(second.launch())
        self.group.advance_until(lambda: second.machine in first.replica.machines())
        self.group.settle()
        for machine in (first, second, third):
            self.assertIn(second.machine, machine.replica.machines())
            self.assertEqual(machine.get("/_etcd/machines/machine2"), second.machine.value)
        self.assertIsNone(second.lifecycle._task)

    def test_leader_that_moved_is_found(self) -> None:
        first, second, third = self.three()
        leader = self.group.leader
        leader.stop()
        assert isinstance(leader, LifecycleMachine)
        leader.configure(9, leader.config.name)
        self.group.result_of(leader.launch())
        self.group.advance_until(
            lambda: all(leader.machine in each.replica.machines() for each in (first, second, third))
        )

    def test_move_is_announced_again_if_its_entry_is_lost(self) -> None:
        """Its own log said at the start that others know its address, but the committed log does not."""
        machines = self.three()
        moved = self._give_up_address(machines)
        self.group.result_of(moved.launch())
        self.assertNotIn(moved.machine, self.group.leader.replica.machines())
        self._assert_found(moved, machines)

    def test_move_is_announced_again_if_a_snapshot_is_needed(self) -> None:
        """
        Nobody can send the snapshot to its new address, so the machine can't learn from its log that others don't know
        the address.
        """
        self.group.change(snapshot_count=5, limits={"raft_limits": RaftLimits(trailing_entries=2)})
        machines = self.three()
        moved = self._give_up_address(machines)
        for number in range(20):
            self.group.result_of(self.group.leader.set("/a", str(number)))
        self.group.result_of(moved.launch())
        self._assert_found(moved, machines)
        self.assertEqual(moved.get("/a"), "19")

    def test_snapshot_is_sent_to_a_machine_whose_move_nobody_has_noted(self) -> None:
        """
        The group can't note the move: that needs the machine's own acknowledgement, as the third machine is down.
        """
        self.group.change(snapshot_count=5, limits={"raft_limits": RaftLimits(trailing_entries=2)})
        first, second, third = self.three()
        leader = self.group.leader
        moved, other = (each for each in (first, second, third) if each is not leader)
        last_index = moved.raft.last_index
        moved.stop()
        self.group.advance(1.0)  # from here on no entries are kept for it
        for number in range(20):
            self.group.result_of(leader.set("/a", str(number)))
        self.group.settle()
        self.assertGreater(leader.raft.log.first_index, last_index + 1)
        other.crash()

        async def refused(_joining: Joining, url: str, _identity: Identity) -> None:
            raise UnreachableError(f"{url} does not answer")

        self.patch(Joining, "_announce_to", refused)
        moved.configure(9, moved.config.name)
        self.group.result_of(moved.launch())
        self.assertNotIn(moved.machine, leader.replica.machines())
        self.assertEqual(moved.get("/a"), "19")

    def _give_up_address(self, machines: list[LifecycleMachine]) -> LifecycleMachine:
        """
        Has a machine move, lead, and be cut off while only its own log has its new address. Others lead then.

        @return: the machine, which is down.
        """
        moved = next(each for port, each in enumerate(3 * machines, 9) if self._moves_and_leads(each, port))
        machine_id = moved.identity["machine_id"]
        self.group.advance_until(lambda: moved.raft.configuration.members[machine_id].peer_url == moved.url)
        self.group.network.isolate(moved.name)
        self.group.advance_until(lambda: moved.raft.is_settled)
        self.group.advance(0.1)  # whatever the machine has sent by then is lost
        moved.crash()
        self.group.network.heal()
        self.group.await_leader()
        return moved

    def _moves_and_leads(self, moving: LifecycleMachine, port: int) -> bool:
        """
        Restarts all machines, one of them at a new address, and returns whether that one leads before others know its
        address.
        """
        self.group.settle()
        registered = {each.machine for each in self.group.running}
        self.group.advance_until(lambda: set(self.group.await_leader().replica.machines()) == registered)
        for machine in self.group.running:
            machine.crash()
        moving.configure(port, moving.config.name)
        for machine in self.group.machines.values():
            machine.launch().addErrback(lambda failure: failure.trap(EtcdError, CancelledError))
        return self.group.await_leader() is moving

    def _assert_found(self, moved: LifecycleMachine, machines: list[LifecycleMachine]) -> None:
        self.group.advance_until(lambda: all(moved.machine in each.replica.machines() for each in machines))
        self.group.settle()
        for machine in machines:
            self.assertEqual(machine.get(f"/_etcd/machines/{moved.config.name}"), moved.machine.value)
        self.assertIsNone(moved.lifecycle._task)

    def test_machine_that_moved_back_is_found(self) -> None:
        """The others have another address of the machine, and its own log does not know of that yet."""
        machines = self.three()
        leader = self.group.leader
        moved = next(machine for machine in machines if machine is not leader)
        moved.stop()
        before = moved.config.peer_addr.port - 7000
        moved.configure(9, moved.config.name)
        moved.launch().addErrback(lambda failure: failure.trap(EtcdError, CancelledError))
        machine_id = moved.identity["machine_id"]
        self.group.advance_until(lambda: leader.raft.configuration.members[machine_id].peer_url == moved.url)
        self.group.network.isolate(moved.name)
        self.group.advance_until(lambda: moved.machine in leader.replica.machines())
        moved.crash()
        self.group.network.heal()
        moved.configure(before, moved.config.name)
        self.group.result_of(moved.launch())
        self.assertNotIn(moved.machine, leader.replica.machines())
        self._assert_found(moved, machines)

    def test_announcement_goes_on_until_it_is_stopped(self) -> None:
        """The machine keeps announcing its address until it is stopped."""
        machines = self.three()
        for machine in machines:
            machine.stop()
        machines[1].configure(9, "machine2")
        machines[1].launch().addErrback(lambda failure: failure.trap(EtcdError, CancelledError))
        self.group.advance(3.5 * ROUND_PAUSE_SECONDS)
        asked = len(machines[1].peers.asked)
        self.assertGreaterEqual(asked, 6)
        machines[1].stop()
        self.assertEqual(machines[1].clock.getDelayedCalls(), [])


class AwayTests(LifecycleTestCase):
    """
    A machine that was away while others came and went accepts new members if the machines that it knows confirm them.
    """

    def setUp(self) -> None:
        self.group = self.cluster(defaults=ClusterConfig(active_size=9, sync_interval_seconds=1_000.0))

    def exchange(self) -> tuple[LifecycleMachine, list[LifecycleMachine], list[LifecycleMachine]]:
        """
        Replaces machines while one is away, and returns that one, those that were removed, and those that were added.
        """
        self.three()
        away, other = self.group.followers
        leader = self.group.leader
        assert isinstance(away, LifecycleMachine)
        assert isinstance(other, LifecycleMachine)
        assert isinstance(leader, LifecycleMachine)
        away.crash()
        new = [self.start(leader), self.start(leader)]
        for gone in (other, leader):
            self.group.result_of(self.group.await_leader().replica.remove(gone.machine.name))
            self.group.advance_until(lambda gone=gone: gone.replica.standby)
        self.group.advance_until(lambda: self.group.leader in new)
        self.group.result_of(self.group.leader.set("/a", "1"))
        return away, [other, leader], new

    def test_machine_that_was_away_learns_of_new_members_from_standbys(self) -> None:
        """The standbys know from their leader who is in the cluster."""
        away, _, new = self.exchange()
        self.group.result_of(away.launch())
        self.group.advance_until(lambda: all(each.is_member for each in (away, *new)))
        self.assertEqual(away.get("/a"), "1")
        self.assertEqual(len(self.members()), 3)

    def test_machine_that_was_away_votes_for_a_new_member(self) -> None:
        """
        The vote of the machine that was away is needed for the next leader, and goes to a machine that it does not
        know.
        """
        away, _, new = self.exchange()
        leader = self.group.leader
        leader.crash()
        coming = away.launch()
        self.group.result_of(coming)
        self.group.advance_until(lambda: any(each.leads for each in new))
        self.assertEqual(away.get("/a"), "1")

    def test_machine_that_was_away_ignores_strangers(self) -> None:
        """
        The machine accepts nothing that a stranger says; when one of the machines that it knows is back, it goes on.
        """
        away, gone, new = self.exchange()
        for machine in gone:
            machine.crash()
        coming = away.launch()
        self.group.advance(20.0)
        self.assertNoResult(coming)
        self.assertFalse(away.replica.serving)
        back = gone[0].launch()
        self.group.result_of(coming, 30.0)
        self.group.result_of(back, 30.0)
        self.assertTrue(gone[0].replica.standby)
        self.group.advance_until(lambda: all(each.is_member for each in (away, *new)))

    def test_machine_that_was_away_asks_its_seeds(self) -> None:
        """None of the machines that it knows is there: it asks its seeds, and does not begin a cluster of its own."""
        away, gone, new = self.exchange()
        for machine in gone:
            machine.crash()
        away.sought.clear()
        away.seeds = [new[0].url]
        self.group.result_of(away.launch(), 30.0)
        self.group.advance_until(lambda: all(each.is_member for each in (away, *new)))
        self.assertEqual((away.get("/a"), away.sought, set(away.sought_again)), ("1", [], {away.machine.name}))

    def test_machine_that_was_away_and_moved_is_found(self) -> None:
        """The leader does not know its new address, so the machine announces it to a seed."""
        away, gone, new = self.exchange()
        for machine in gone:
            machine.crash()
        away.configure(9, away.config.name)
        away.seeds = [new[1].url]
        self.group.result_of(away.launch(), 30.0)
        self.group.advance_until(lambda: away.machine in self.group.leader.replica.machines())
        self.group.advance_until(lambda: all(each.is_member for each in (away, *new)))

    def test_machine_that_was_removed_while_away_stands_by(self) -> None:
        away, gone, new = self.exchange()
        third = self.start(new[0])
        self.group.result_of(self.group.leader.replica.remove(away.machine.name))
        for machine in gone:
            machine.crash()
        away.seeds = [third.url]
        self.group.result_of(away.launch(), 30.0)
        self.assertTrue(away.replica.standby)
        self.assertEqual(away.replica.leader(), self.group.leader.machine)

    def test_machine_that_was_away_without_seeds_goes_on_searching(self) -> None:
        """The machine keeps looking for others, but not all the time, and never begins a cluster."""
        away, gone, _ = self.exchange()
        for machine in gone:
            machine.crash()
        away.sought.clear()
        away.seeds = []
        away.launch().addErrback(lambda failure: failure.trap(EtcdError, CancelledError))
        self.group.advance(10 * MIN_SEARCH_INTERVAL_SECONDS)
        self.assertEqual(away.sought, [])
        self.assertTrue(6 <= len(away.sought_again) <= 11, away.sought_again)
        self.assertFalse(away.replica.serving or away.replica.standby)
        away.stop()
        self.assertEqual(away.clock.getDelayedCalls(), [])

    def test_number_of_known_addresses_is_bounded(self) -> None:
        """The machine keeps the addresses that it received last."""
        first = self.start()
        for number in range(MAX_KNOWN_URLS * 2):
            first.lifecycle.known.note([f"http://peers:{number}"])
        self.assertEqual(first.lifecycle.known.urls[0], f"http://peers:{MAX_KNOWN_URLS * 2 - 1}")
        self.assertEqual(len(first.lifecycle.known.urls), MAX_KNOWN_URLS)

    def test_stranger_changes_nothing(self) -> None:
        """The stranger knows the ids of cluster and machine, and claims to have a much newer configuration."""
        self.three()
        leader = self.group.leader
        term = leader.replica.term
        for machine in self.group.running:
            for _ in range(20):
                self.assertEqual(machine.peer.admission("f" * 16, 1 << 40), Admission.UNCONFIRMED)
                self.assertRaises(
                    ValueError, machine.peer.received, "f" * 16, encode_messages([Append(term + 1, 0, 0, 0, 0)])
                )
                self.group.advance(0.05)
        self.group.advance(2.0)
        for machine in self.group.running:
            self.assertEqual((machine.replica.term, machine.replica.leader()), (term, leader.machine))
