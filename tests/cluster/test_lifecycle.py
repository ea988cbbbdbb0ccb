"""
Tests of L{etcd_twisted.cluster.lifecycle}: machines from their first start on, with real replicas and disks, and a
network in memory.
"""

from twisted.internet.defer import CancelledError, Deferred

from etcd_twisted.cluster.joining import ROUND_PAUSE_SECONDS
from etcd_twisted.cluster.known_machines import MAX_KNOWN_URLS, MIN_SEARCH_INTERVAL_SECONDS
from etcd_twisted.config.addresses import Address
from etcd_twisted.consensus.raft.limits import RaftLimits
from etcd_twisted.consensus.raft.messages import Append, encode_messages
from etcd_twisted.consensus.reconfiguration.liveness import ALIVE_SECONDS
from etcd_twisted.errors import ConfigError, ErrorCode, EtcdError, StartError
from etcd_twisted.interfaces.cluster import Admission, JoinReply, JoinRequest
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.peer.client import UnreachableError
from etcd_twisted.testing.simulation.transport import SimulatedPeers
from tests.cluster.machines import LifecycleMachine, LifecycleTestCase


class FirstTests(LifecycleTestCase):
    def test_the_first_machine_of_a_new_cluster(self) -> None:
        first = self.start()
        self.assertTrue(first.leads)
        self.assertEqual(self.members(), ["machine1"])
        self.assertEqual(first.identity["name"], "machine1")
        self.assertEqual((first.sought, first.peers.asked), (["machine1"], []))

    def test_first_machine_comes_back(self) -> None:
        first = self.start()
        identity = first.identity
        self.group.result_of(first.set("/a", "1"))
        first.stop()
        self.assertEqual(first.clock.getDelayedCalls(), [])
        self.group.result_of(first.launch())
        self.assertEqual((first.get("/a"), first.identity), ("1", identity))
        self.assertEqual(first.sought, ["machine1"])  # what is in the directory comes first

    def test_first_machine_comes_back_although_others_are_named_now(self) -> None:
        """Its own data decides, not the seeds (spec, "Joining")."""
        first = self.start()
        first.stop()
        first.seeds = ["http://peers:9"]
        self.group.result_of(first.launch())
        self.assertTrue(first.leads)

    def test_machine_without_a_name_makes_one_up(self) -> None:
        first = self.start(name=None)
        name = first.replica.name
        self.assertRegex(name, "^[0-9a-f-]{36}$")
        first.stop()
        self.group.result_of(first.launch())
        self.assertEqual((first.replica.name, first.sought), (name, [name]))

    def test_another_name_in_the_same_directory_is_refused(self) -> None:
        first = self.start()
        first.stop()
        first.configure(1, "other")
        with self.assertRaises(ConfigError):
            self.group.result_of(first.launch())
        first.crash()

    def test_force_begins_a_new_cluster(self) -> None:
        first = self.start()
        self.group.result_of(first.set("/a", "1"))
        identity = first.identity
        first.stop()
        first.configure(1, "other", force=True)
        self.group.result_of(first.launch())
        self.assertRaises(EtcdError, first.replica.get, "/a")
        self.assertNotEqual(first.identity["machine_id"], identity["machine_id"])
        self.assertEqual(self.members(), ["other"])

    def test_first_machine_comes_back_with_another_address(self) -> None:
        """A machine that is alone has to announce its address to nobody but itself."""
        first = self.start()
        first.stop()
        first.configure(9, "machine1")
        self.group.result_of(first.launch())
        self.group.advance(0.2)
        self.assertEqual(first.replica.machines(), [first.machine])
        self.assertEqual(first.peers.asked, [])


class JoiningTests(LifecycleTestCase):
    def test_machine_joins_the_cluster_of_its_seeds(self) -> None:
        """The machine is admitted, gets the data and becomes a member (spec, "Joining")."""
        first, second, third = self.three()
        self.assertEqual(self.members(), ["machine1", "machine2", "machine3"])
        for machine in (second, third):
            self.assertTrue(machine.is_member)
            self.assertEqual(machine.identity["cluster_id"], first.identity["cluster_id"])
        self.assertEqual(len({machine.identity["machine_id"] for machine in (first, second, third)}), 3)

    def test_machine_joins_through_a_follower(self) -> None:
        first = self.start()
        second = self.start(first)
        third = self.start(second)
        self.assertTrue(third.is_member)
        self.assertEqual(third.peers.asked[:2], [second.url, first.url])

    def test_machine_joins_although_some_seeds_are_silent(self) -> None:
        first = self.start()
        nobody = self.add()
        machine = self.start(nobody, first)
        self.assertTrue(machine.is_member)

    def test_machine_joins_once_there_is_a_leader(self) -> None:
        first = self.start()
        second = self.start(first)
        first.crash()
        self.group.advance(1.0)
        third = self.add(second)
        joining = third.launch()
        self.group.advance(ROUND_PAUSE_SECONDS / 2)
        first.launch()
        self.group.result_of(joining)
        self.assertTrue(third.is_member)

    def test_start_is_refused_if_no_seed_answers(self) -> None:
        nobody = self.add()
        machine = self.add(nobody)
        before = self.group.clock.seconds()
        text = self.refusal(machine)
        explained = f"{nobody.url} does not answer ({nobody.url} may be switched off)"
        self.assertIn(f"--peers: no cluster admits this machine; tried {nobody.url}: {explained}; ", text)
        self.assertIn("does not answer", text)
        self.assertEqual(machine.peers.asked, [nobody.url] * 3)
        self.assertLess(self.group.clock.seconds() - before, 2 * ROUND_PAUSE_SECONDS + 0.1)
        self.assertFalse((machine.path / "identity.json").exists())

    def test_attempts_to_join_are_limited_as_configured(self) -> None:
        nobody = self.add()
        machine = self.add(nobody, max_retry_attempts=5)
        self.refusal(machine)
        self.assertEqual(len(machine.peers.asked), 5)

    def test_start_is_refused_if_its_name_is_taken(self) -> None:
        first = self.start()
        other = self.add(first, name="machine1", port=5)
        text = self.refusal(other)
        self.assertIn("--name machine1: a machine named machine1 is alive; stop it if this one is to take its", text)
        self.assertIn("or choose another name", text)
        self.assertEqual(self.members(), ["machine1"])
        self.assertEqual(len(other.peers.asked), 2 * other.config.max_retry_attempts)

    def test_start_is_refused_if_its_address_is_taken(self) -> None:
        first = self.start()
        taken = self.add(first, name="other", port=1)
        text = self.refusal(taken)
        self.assertIn("--peer-addr peers:7001: http://peers:7001 is the address of machine1", text)

    def test_start_is_refused_if_its_client_address_is_taken(self) -> None:
        first = self.start()
        text = self.refusal(self.add(first, addr=Address("clients", 4001)))
        self.assertIn("--addr clients:4001: http://clients:4001 is the address of machine1", text)

    def test_refusal_says_how_the_seeds_were_given(self) -> None:
        nobody = self.add()
        for option, given in (("discovery", "ETCD_DISCOVERY"), ("peers-file", "machine0.toml: peers-file")):
            self.assertIn(f"{given}: no cluster", self.refusal(self.add(nobody, sources={option: given})))

    def test_machine_that_lost_its_data_joins_anew(self) -> None:
        first, second, third = self.three()
        before = second.identity["machine_id"]
        second.crash()
        self.group.advance(ALIVE_SECONDS + 0.1)
        second.disk = self.group.disks.disk("empty")
        second.seeds = [first.url]
        self.group.result_of(second.launch())
        self.assertTrue(second.is_member)
        self.assertNotEqual(second.identity["machine_id"], before)
        self.assertEqual(self.members(), ["machine1", "machine2", "machine3"])
        self.assertEqual(len(third.raft.configuration.voters), 3)

    def test_machine_that_lost_its_data_joins_anew_at_once(self) -> None:
        """The others still believe that it is alive, so it waits until they don't."""
        first, second, _ = self.three()
        for force in (False, True):
            before = second.identity["machine_id"]
            second.crash()
            second.disk = second.disk if force else self.group.disks.disk("empty")
            second.configure(2, "machine2", force=force)
            second.seeds = [first.url]
            self.group.result_of(second.launch())
            self.assertTrue(second.is_member)
            self.assertNotEqual(second.identity["machine_id"], before)
            self.assertEqual(self.members(), ["machine1", "machine2", "machine3"])

    def test_force_forgets_nothing_when_it_is_refused(self) -> None:
        first, second, _ = self.three()
        self.group.result_of(self.group.leader.set("/a", "1"))
        self.group.settle()
        second.stop()
        stranger = self.add(first, name="machine2", port=7)  # this machine takes its name meanwhile
        self.group.advance(ALIVE_SECONDS + 0.1)
        self.group.result_of(stranger.launch())
        for name, seeds in (("machine2", [first.url]), ("other", ["http://nobody:7"])):
            second.configure(2 if name == "other" else 8, name, force=True)
            second.seeds = seeds
            identity, log = second.identity, self.log_of(second)
            restarting = second.launch()
            with self.assertRaises(StartError):
                self.group.result_of(restarting, 30.0)
            self.assertEqual((second.identity, self.log_of(second)), (identity, log))
            second.crash()

    def log_of(self, machine: LifecycleMachine) -> dict[str, bytes]:
        """Returns the content of its log files."""
        return {path.name: path.read_bytes() for path in sorted((machine.path / "log").iterdir())}

    def test_force_does_not_read_damaged_files(self) -> None:
        """A damaged file is not even read."""
        first, second, _ = self.three()
        second.crash()
        for path in (second.path / "log").iterdir():
            path.write_bytes(b"damaged")
        (second.path / "identity.json").write_bytes(b"{")
        second.configure(2, "machine2", force=True)
        second.seeds = [first.url]
        self.group.result_of(second.launch())
        self.assertTrue(second.is_member)

    def test_force_stands_by_if_there_is_no_room(self) -> None:
        first, *_ = self.three()
        standby = self.start(first)
        self.assertTrue(standby.replica.standby)
        alone = self.start()
        alone.crash()
        alone.configure(5, "machine5", force=True)
        alone.seeds = [first.url]
        self.group.result_of(alone.launch())
        self.assertTrue(alone.replica.standby)
        self.assertFalse((alone.path / "identity.json").exists())
        self.group.result_of(self.group.leader.replica.configure(ClusterConfig(9, sync_interval_seconds=1.0)))
        self.group.advance_until(lambda: alone.is_member, 20.0)

    def test_machine_stops_after_it_was_admitted_and_before_it_has_a_log(self) -> None:
        first = self.start()
        second = self.add(first)
        starting = second.launch()
        starting.addErrback(lambda failure: failure.trap(EtcdError, CancelledError))
        self.group.advance_until((second.path / "identity.json").exists)
        second.crash()
        self.group.result_of(second.launch())
        self.assertTrue(second.is_member)
        self.assertEqual(self.members(), ["machine1", "machine2"])

    def test_admitted_machine_comes_back_elsewhere_before_it_has_a_log(self) -> None:
        """
        The machine is a member, but known at an address that it has left: it announces the new one, and gets the log.
        """
        first, second = self.start(), None
        for number in (2, 3):
            second = self.add(first)
            starting = second.launch()
            starting.addErrback(lambda failure: failure.trap(EtcdError, CancelledError))
            self.group.advance_until((second.path / "identity.json").exists)
            second.crash()
            second.configure(number + 6, second.machine.name)
            self.group.result_of(second.launch(), 30.0)
            self.assertTrue(second.is_member)
            self.assertIn(second.machine, self.group.await_leader().replica.machines())
        self.assertEqual(self.members(), ["machine1", "machine2", "machine3"])

    def test_old_data_of_a_machine_that_began_anew_stands_by(self) -> None:
        """
        Another machine of the same name and address has begun anew meanwhile, so this one is no longer a member of the
        cluster.
        """
        _, second, _ = self.three()
        second.crash()
        full, second.disk = second.disk, self.group.disks.disk("empty")
        self.group.result_of(second.launch(), 30.0)
        second.crash()
        second.disk = full
        self.group.result_of(second.launch(), 30.0)
        self.assertTrue(second.replica.standby)

    def test_old_data_that_comes_back_elsewhere_stands_by(self) -> None:
        """
        The machine announces its new address and is refused because another machine has its name, but it stands by all
        the same.
        """
        first, second, _ = self.three()
        second.crash()
        old = self.add(first, name="machine2", port=9)
        old.disk, second.disk = second.disk, old.disk
        self.group.result_of(second.launch(), 30.0)
        self.group.result_of(old.launch(), 30.0)
        self.assertTrue(old.replica.standby)
        self.assertTrue(second.is_member)

    def test_machine_joins_although_a_reply_is_lost(self) -> None:
        """The machine asks again, and is a member already."""
        first = self.start()
        second = self.add(first)
        lost: list[int] = []

        async def join(peer_url: str, request: JoinRequest) -> JoinReply:
            reply = await SimulatedPeers.join(second.peers, peer_url, request)
            if not lost:
                lost.append(1)
                raise UnreachableError("lost")
            return reply

        self.patch(second.peers, "join", join)
        self.group.result_of(second.launch())
        self.assertEqual((lost, self.members()), ([1], ["machine1", "machine2"]))

    def test_machine_is_stopped_while_it_asks_to_join(self) -> None:
        machine = self.add(self.add())
        starting = machine.launch()
        self.group.advance(ROUND_PAUSE_SECONDS / 2)
        machine.stop()
        self.failureResultOf(starting, CancelledError)
        self.assertEqual(machine.clock.getDelayedCalls(), [])


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


class RefusalTests(LifecycleTestCase):
    def test_refusal_has_the_reason_of_the_cluster(self) -> None:
        first = self.start()
        machine = self.add(first)

        def join(_url: str, _request: JoinRequest) -> "Deferred[JoinReply]":
            failed: Deferred[JoinReply] = Deferred()
            failed.errback(EtcdError(ErrorCode.INVALID_FIELD, "name: 'x'"))
            return failed

        self.patch(machine.peers, "join", join)
        self.assertIn("--peers: the cluster refused this machine: 209", self.refusal(machine))
