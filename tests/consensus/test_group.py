"""
Tests of L{etcd_twisted.consensus.replica} in a group of several machines.
"""

from pathlib import Path

from twisted.internet.defer import Deferred, ensureDeferred

from etcd_twisted.client.sender import Timeouts
from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.consensus.raft.configurations import encode_configuration
from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, HardState, Record
from etcd_twisted.consensus.raft.leader import Timing
from etcd_twisted.consensus.storage.data_directory import Identity
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.keyspace.events import Event
from tests.consensus.cluster import CLUSTER_ID, LATENCY, TIMING, ClusterTestCase
from tests.consensus.raft.group import NONE_TRAILING
from tests.consensus.storage.logs import ready

PROPOSAL_TIMEOUT_SECONDS = 1.0
"""How many seconds a proposer waits when the leader is lost."""


class StartTests(ClusterTestCase):
    def test_all_machines_have_the_same_and_are_registered(self) -> None:
        cluster = self.cluster()
        machines = cluster.start(3)
        cluster.result_of(cluster.leader.set("/a", "1"))
        self.assertSame(cluster)
        for machine in machines:
            self.assertTrue(machine.replica.serving)
            self.assertEqual(machine.get("/a"), "1")
            for each in machines:
                self.assertEqual(machine.get(each.machine.key), each.machine.value)
            self.assertEqual(machine.replica.machines(), [each.machine for each in machines])
            self.assertEqual(machine.replica.leader(), cluster.leader.machine)
            self.assertEqual(len(machine.raft.configuration.voters), 3)

    def test_nothing_is_left_on_the_clock_by_a_stop(self) -> None:
        cluster = self.cluster()
        machines = cluster.start(3)
        cluster.result_of(cluster.leader.set("/a", "1", cluster.leader.replica.now() + 10**9))
        for machine in machines:
            machine.replica.watch("/a", False, True, None, lambda _event: None)
        for machine in [*cluster.followers, cluster.leader]:
            stopped = ensureDeferred(machine.participation.stop())
            cluster.result_of(stopped)
            self.assertEqual(machine.clock.getDelayedCalls(), [])
            self.assertEqual(machine.transport.connected, {})

    def test_all_restarted_have_what_was_acknowledged(self) -> None:
        cluster = self.cluster()
        machines = cluster.start(3)
        for number in range(20):
            cluster.result_of(cluster.leader.set(f"/k{number}", "x"))
        for machine in machines:
            machine.crash()
        started = [machine.launch() for machine in machines]
        for each in started:
            cluster.result_of(each)
        self.assertSame(cluster)
        for number in range(20):
            self.assertEqual(machines[0].get(f"/k{number}"), "x")

    def test_requests_that_come_before_there_is_a_leader_wait(self) -> None:
        cluster = self.cluster()
        machines = cluster.start(3)
        for machine in machines:
            machine.crash()
        for machine in machines[:2]:
            machine.launch()
        answers = [machine.set(f"/{machine.number}", "x") for machine in machines[:2]]
        reads = [machine.replica.confirm_reads() for machine in machines[:2]]
        cluster.advance_until(lambda: cluster.has_leader)
        cluster.advance(0.1)
        for machine, answer, read in zip(machines, answers, reads, strict=False):
            if machine.leads:
                self.assertEqual(self.successResultOf(answer).node.key, f"/{machine.number}")
                self.successResultOf(read)
            else:
                self.failureResultOf(answer, RequestDroppedError)
                self.failureResultOf(read, RequestDroppedError)

    def test_machine_far_behind_serves_nobody_before_it_has_the_snapshot(self) -> None:
        """
        Heartbeats go on while the snapshot is received, and must not make the machine believe that it has everything.
        """
        cluster = self.cluster(snapshot_count=20, raft_limits=NONE_TRAILING)
        cluster.start(3)
        late = cluster.followers[0]
        late.crash()
        cluster.advance(1.0)
        for number in range(100):
            cluster.result_of(cluster.leader.set(f"/k{number}", "x" * 100))
        cluster.network.weather.piece = 64
        cluster.result_of(late.launch())
        self.assertEqual(late.get("/k99"), "x" * 100)
        self.assertSame(cluster)

    def test_a_directory_from_before_machines_were_named_in_the_log(self) -> None:
        """The only voter leads, and announces its name and addresses."""
        cluster = self.cluster()
        machine = cluster.add()
        self.found_unnamed(machine.path, machine.id)
        cluster.result_of(machine.launch())
        cluster.advance(0.2)
        self.assertEqual(machine.replica.machines(), [machine.machine])
        self.assertEqual(machine.get(machine.machine.key), machine.machine.value)
        self.assertEqual(machine.raft.configuration.voters, (machine.id,))
        logged = machine.replica.raft_index
        machine.stop()
        cluster.result_of(machine.launch())
        cluster.advance(0.2)
        self.assertEqual(machine.replica.raft_index, logged + 1)  # this term's first entry, and nothing more

    def found_unnamed(self, path: Path, machine_id: str) -> None:
        storage = Storage.open(path, "--data-dir")
        identity = Identity("machine1", machine_id, CLUSTER_ID)
        self.assertEqual(ready(storage, identity), [])
        entry = Entry(1, 1, EntryKind.CONFIGURATION, encode_configuration(Configuration((machine_id,))))
        storage.log.append(Record(HardState(1, ""), (entry,)))
        storage.directory.save_identity(identity)
        storage.close()

    def test_leader_with_new_addresses_announces_them(self) -> None:
        cluster = self.cluster()
        machine = cluster.start(1)[0]
        machine.stop()
        machine.configure(1, "machine1", addr=Address("new", 1))
        cluster.result_of(machine.launch())
        cluster.advance(0.1)
        self.assertEqual(machine.replica.machines(), [machine.machine])
        self.assertEqual(machine.get(machine.machine.key), machine.machine.value)


class FollowerTests(ClusterTestCase):
    def test_follower_serves_reads_and_watches(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        follower = cluster.followers[0]
        told: list[Event] = []
        follower.replica.watch("/a", False, True, None, told.append)
        event = cluster.result_of(cluster.leader.set("/a", "1"))
        cluster.advance(0.1)
        self.assertEqual([each.index for each in told], [event.index])
        self.assertEqual(follower.get("/a"), "1")

    def test_an_election_does_not_disturb_watches(self) -> None:
        """Watches go on (spec, "Watch")."""
        cluster = self.cluster()
        cluster.start(3)
        follower = cluster.followers[0]
        told: list[Event] = []
        ended: list[int] = []
        follower.replica.watch("/a", False, True, None, told.append, lambda: ended.append(1))
        self.lose_leader(cluster)
        event = cluster.result_of(cluster.leader.set("/a", "1"))
        cluster.advance(0.2)
        self.assertEqual(([each.index for each in told], ended), ([event.index], []))

    def test_follower_accepts_no_writes_and_confirms_no_reads(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        follower = cluster.followers[0]
        logged = follower.replica.raft_index
        for refused in (
            follower.set("/a", "1"),
            follower.replica.confirm_reads(),
            follower.replica.confirm_recent(),
            follower.replica.configure(ClusterConfig()),
            follower.replica.remove("machine1"),
        ):
            self.failureResultOf(refused, RequestDroppedError)
        cluster.advance(0.2)
        self.assertEqual(cluster.leader.replica.raft_index, logged)

    def test_follower_does_not_expire_keys_of_itself(self) -> None:
        """Only the leader expires keys (api, "Using key TTL")."""
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        cluster.result_of(leader.set("/a", "1", leader.replica.now() + 2_000_000))
        cluster.settle()
        for follower in cluster.followers:
            follower.wall_ahead = 100.0
        cluster.advance(1.5)
        self.assertEqual([machine.get("/a") for machine in cluster.running], ["1", "1", "1"])
        cluster.advance(0.7)
        for machine in cluster.running:
            self.assertRaises(EtcdError, machine.replica.get, "/a")
        self.assertSame(cluster)

    def test_new_leader_expires_what_the_old_one_had_to(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        cluster.result_of(leader.set("/a", "1", leader.replica.now() + 1_000_000))
        self.lose_leader(cluster)
        cluster.advance(1.2)
        self.assertRaises(EtcdError, cluster.leader.replica.get, "/a")


class LostLeadershipTests(ClusterTestCase):
    """Tests of what became of a write that was under way when its leader was lost."""

    def test_unknown_outcome_is_reported_after_a_while(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        cluster.network.isolate(leader.name)
        answer = leader.set("/a", "1")
        cluster.advance_until(lambda: not leader.leads)
        cluster.advance(PROPOSAL_TIMEOUT_SECONDS - 0.05)
        self.assertNoResult(answer)
        cluster.advance(0.1)
        error = self.failureResultOf(answer, EtcdError).value
        self.assertEqual(error.code, ErrorCode.RAFT_INTERNAL)
        self.assertIn("unknown", error.cause)

    def test_the_unknown_outcome_is_reported_before_clients_give_up(self) -> None:
        """
        This holds with etcd's election timeout of one second, whenever the leader was lost before the write, and for
        a write that a follower has passed on.
        """
        seconds = Config(profile="etcd2").peer_election_timeout / 1_000
        for lost_before in (0.0, 0.9 * seconds, 1.9 * seconds):
            cluster = self.cluster()
            cluster.change(timing=Timing(0.1 * seconds, seconds))
            cluster.start(3)
            leader, follower = cluster.leader, cluster.followers[0]
            forwarded = Deferred[Event]()
            if not lost_before:
                forwarded = follower.replica.forward(Set("/b", follower.replica.now(), "1"))
                cluster.advance(0.5 * LATENCY)  # it is on its way
            for machine in cluster.running:
                cluster.network.isolate(machine.name)
            cluster.advance(lost_before)
            self.assertTrue(leader.leads)
            answers = [leader.set("/a", "1")] + [forwarded] * (not lost_before)
            cluster.advance(min(4.0 * seconds, Timeouts().total_seconds - 0.5))
            for answer in answers:
                self.assertIn("unknown", self.failureResultOf(answer, EtcdError).value.cause)

    def test_write_that_another_leader_has_overwritten_was_not_done(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        cluster.network.isolate(leader.name)
        answers = [leader.set(f"/lost{number}", "1") for number in range(3)]
        cluster.advance_until(lambda: any(each.leads for each in cluster.running if each is not leader))
        for number in range(3):
            cluster.result_of(cluster.leader.set(f"/kept{number}", "2"))
        cluster.network.heal()
        cluster.advance(0.5)
        for answer in answers:
            self.failureResultOf(answer, RequestDroppedError)
        self.assertSame(cluster)
        self.assertRaises(EtcdError, leader.replica.get, "/lost0")

    def test_write_that_another_leader_has_committed_was_done(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        for follower in cluster.followers:  # its entries reach them, and nothing comes back
            cluster.network.cut.add((follower.name, leader.name))
        answer = leader.set("/a", "1")
        cluster.advance_until(
            lambda: all(each.raft.last_index > leader.replica.raft_index for each in cluster.running)
        )
        cluster.network.isolate(leader.name)
        cluster.advance_until(lambda: any(each.leads for each in cluster.running if each is not leader))
        self.assertNoResult(answer)
        cluster.network.heal()
        cluster.advance_until(lambda: answer.called, PROPOSAL_TIMEOUT_SECONDS)
        self.assertEqual(self.successResultOf(answer).node.value, "1")
        self.assertSame(cluster)

    def test_reads_that_can_not_be_confirmed_fail(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        cluster.network.isolate(leader.name)
        read = leader.replica.confirm_reads()
        cluster.advance_until(lambda: not leader.leads)
        self.failureResultOf(read, RequestDroppedError)

    def test_all_proposers_are_notified_although_one_goes_away(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        cluster.network.isolate(leader.name)
        first, second = leader.set("/a", "1"), leader.set("/b", "1")
        first.addErrback(lambda _: second.cancel())
        second.addErrback(lambda _: None)
        cluster.advance(2.0)
        self.successResultOf(first)
        self.successResultOf(second)


class ReadTests(ClusterTestCase):
    def test_a_confirmed_read_asks_the_others_and_logs_nothing(self) -> None:
        """A round of heartbeats confirms the read (spec, "Reads")."""
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        logged, carried = leader.replica.raft_index, cluster.network.carried
        cluster.result_of(leader.replica.confirm_reads())
        self.assertGreater(cluster.network.carried, carried)
        self.assertEqual(leader.replica.raft_index, logged)

    def test_read_with_a_lease_asks_nobody(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        self.successResultOf(cluster.leader.replica.confirm_recent())

    def test_read_without_a_lease_asks_others(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        cluster.network.isolate(leader.name)
        cluster.advance(TIMING.election_timeout_seconds)
        read = leader.replica.confirm_recent()
        self.assertNoResult(read)
        cluster.advance(2 * TIMING.election_timeout_seconds)
        self.failureResultOf(read, RequestDroppedError)

    def test_a_deposed_leader_shows_nothing_that_is_too_old(self) -> None:
        """At no time is a lease held here while another machine has accepted a write (api, "Read from the Master")."""
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        cluster.network.isolate(leader.name)
        cluster.advance_until(lambda: any(each.leads for each in cluster.running if each is not leader))
        self.assertFalse(leader.node.holds_lease())

    def test_a_disk_that_failed_ends_the_lease(self) -> None:
        cluster = self.cluster()
        machine = cluster.start(1)[0]
        self.successResultOf(machine.replica.confirm_recent())
        machine.disk_thread.failing = OSError(5, "Input/output error")
        machine.set("/a", "1").addErrback(lambda failure: failure.trap(EtcdError))
        cluster.advance(0.1)
        self.failureResultOf(machine.replica.confirm_recent(), EtcdError)
        self.assertEqual((len(machine.fatal), len(self.flushLoggedErrors(OSError))), (1, 1))
        machine.fatal.clear()
