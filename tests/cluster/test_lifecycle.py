"""
Tests of L{etcd_twisted.cluster.lifecycle}: machines that start for the first time, join or are refused, with real
replicas and disks, and a network in memory.
"""

from twisted.internet.defer import CancelledError, Deferred

from etcd_twisted.cluster.joining import ROUND_PAUSE_SECONDS
from etcd_twisted.config.addresses import Address
from etcd_twisted.consensus.reconfiguration.liveness import ALIVE_SECONDS
from etcd_twisted.errors import ConfigError, ErrorCode, EtcdError, StartError
from etcd_twisted.interfaces.cluster import JoinReply, JoinRequest
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
