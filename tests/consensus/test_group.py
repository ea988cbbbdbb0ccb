"""
Tests of L{etcd_twisted.consensus.replica} in a group of several machines.
"""

from pathlib import Path

import msgspec
from twisted.internet.defer import Deferred, ensureDeferred

from etcd_twisted.config.addresses import Address
from etcd_twisted.consensus.availability import LEADERLESS_SECONDS
from etcd_twisted.consensus.cluster_keys import CONFIG_KEY
from etcd_twisted.consensus.raft.configurations import encode_configuration
from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, HardState, Record
from etcd_twisted.consensus.raft.messages import MOST_TERMS_AHEAD, Append, encode_messages
from etcd_twisted.consensus.storage.data_directory import Identity
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.interfaces.cluster import Admission, ClusterView, fingerprint
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.keyspace.events import Event
from tests.consensus.cluster import CLUSTER_ID, TIMING, ClusterMachine, ClusterTestCase
from tests.consensus.raft.group import NONE_TRAILING
from tests.consensus.storage.logs import ready

PATIENCE = 1.0
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
        cluster.advance(PATIENCE - 0.05)
        self.assertNoResult(answer)
        cluster.advance(0.1)
        error = self.failureResultOf(answer, EtcdError).value
        self.assertEqual(error.code, ErrorCode.RAFT_INTERNAL)
        self.assertIn("unknown", error.cause)

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
        cluster.advance_until(lambda: answer.called, PATIENCE)
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


class AdmissionTests(ClusterTestCase):
    """Tests of which machines' messages are accepted."""

    STRANGER = "f" * 16

    def view_with(self, machine: ClusterMachine, index: int, *strangers: str) -> ClusterView:
        """Returns the view of a machine that knows a configuration with strangers in it."""
        view = machine.peer.describe()
        fingerprints = tuple(fingerprint(view.cluster_id, each) for each in strangers)
        return msgspec.structs.replace(view, configuration_index=index, fingerprints=fingerprints)

    def test_members_are_heard_and_strangers_are_not(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        peer, other = cluster.leader.peer, cluster.followers[0]
        self.assertEqual(peer.admission(other.id, 0), Admission.MEMBER)
        peer.received(other.id, b"\x90")
        for index in (peer.configuration_index, 0):
            self.assertEqual(peer.admission(self.STRANGER, index), Admission.STRANGER)
        self.assertRaises(ValueError, peer.received, self.STRANGER, b"\x90")

    def test_machine_with_a_newer_configuration_needs_confirmation(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        peer, index, term = leader.peer, leader.peer.configuration_index, leader.replica.term
        for _ in range(100):
            self.assertEqual(peer.admission(self.STRANGER, 1 << 40), Admission.UNCONFIRMED)
            cluster.advance(0.01)
        others = {each.url for each in cluster.followers}
        self.assertEqual(set(leader.peers.asked), others)
        self.assertLess(len(leader.peers.asked), 30)  # not a hundred times two
        self.assertEqual(peer.admission(self.STRANGER, 1 << 40), Admission.UNCONFIRMED)
        self.assertRaises(ValueError, peer.received, self.STRANGER, encode_messages([Append(term + 1, 0, 0, 0, 0)]))
        cluster.advance(1.0)
        self.assertEqual((cluster.leader, leader.replica.term), (leader, term))
        self.assertEqual(peer.configuration_index, index)

    def test_confirmed_machine_is_heard_until_it_is_known_here(self) -> None:
        cluster = self.cluster()
        cluster.start(2)
        leader = cluster.leader
        peer = leader.peer
        self.assertTrue(peer.learn_members(self.view_with(leader, peer.configuration_index + 1, self.STRANGER)))
        self.assertEqual(peer.admission(self.STRANGER, 0), Admission.MEMBER)
        peer.received(self.STRANGER, b"\x90")
        cluster.result_of(leader.replica.remove(cluster.followers[0].machine.name))
        self.assertEqual(peer.admission(self.STRANGER, 0), Admission.STRANGER)
        self.assertRaises(ValueError, peer.received, self.STRANGER, b"\x90")

    def test_unconfirmed_machines_are_known(self) -> None:
        """The machine is in doubt until this one knows it, in whatever way."""
        cluster = self.cluster()
        cluster.start(2)
        leader = cluster.leader
        peer, index = leader.peer, leader.peer.configuration_index
        for known in (False, True):
            self.assertFalse(peer.has_unconfirmed())
            self.assertEqual(peer.admission(self.STRANGER, index + 1), Admission.UNCONFIRMED)
            if known:
                self.assertTrue(peer.learn_members(self.view_with(leader, index + 1, self.STRANGER)))
            self.assertIs(peer.has_unconfirmed(), not known)

    def test_old_views_and_those_of_another_cluster_do_not_count(self) -> None:
        cluster = self.cluster()
        cluster.start(2)
        leader = cluster.leader
        peer, index = leader.peer, leader.peer.configuration_index
        view = self.view_with(leader, index + 1, self.STRANGER)
        for other in (
            self.view_with(leader, index, self.STRANGER),
            msgspec.structs.replace(view, cluster_id="e" * 16),
            msgspec.structs.replace(view, configuration_index=0, fingerprints=()),  # of a machine that does not say it
        ):
            self.assertFalse(peer.learn_members(other))
            self.assertEqual(peer.admission(self.STRANGER, index + 1), Admission.UNCONFIRMED)

    def test_members_are_known_by_fingerprints(self) -> None:
        """A machine whose removal may not be committed is still there."""
        cluster = self.cluster()
        machines = cluster.start(3)
        leader, gone = cluster.leader, cluster.followers[0]
        expected = {fingerprint(CLUSTER_ID, each.id) for each in machines}
        self.assertEqual(set(leader.peer.describe().fingerprints), expected)
        self.assertEqual(leader.peer.describe().configuration_index, leader.peer.configuration_index)
        for machine in cluster.followers:
            machine.disk_thread.held = True
        leaving = leader.replica.remove(gone.machine.name)
        self.assertNotIn(gone.id, leader.raft.configuration)
        self.assertEqual(set(leader.peer.describe().fingerprints), expected)
        for machine in cluster.followers:
            machine.disk_thread.held = False
        cluster.result_of(leaving)
        self.assertEqual(set(leader.peer.describe().fingerprints), expected - {fingerprint(CLUSTER_ID, gone.id)})
        self.assertNotIn(gone.id, repr(leader.peer.describe()))

    def test_uncommitted_configuration_keeps_nobody_out(self) -> None:
        """A configuration that is dropped later may be newer than that of the cluster."""
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        peer, index = leader.peer, leader.peer.configuration_index
        for machine in cluster.followers:
            machine.disk_thread.held = True
        for _ in range(5):
            leader.set("/a").addErrback(lambda failure: failure.trap(EtcdError))
        leader.replica.remove(cluster.followers[0].machine.name).addErrback(lambda failure: failure.trap(EtcdError))
        self.assertGreater(peer.configuration_index, index + 1)
        self.assertEqual(peer.admission(self.STRANGER, index + 1), Admission.UNCONFIRMED)
        self.assertTrue(peer.learn_members(self.view_with(leader, index + 1, self.STRANGER)))
        self.assertEqual(peer.admission(self.STRANGER, index + 1), Admission.MEMBER)
        for machine in cluster.followers:
            machine.disk_thread.held = False
        cluster.advance(1.0)

    def test_impossible_term_is_refused(self) -> None:
        """A machine that passes for a member may lie, and its term must not become every machine's last one."""
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        peer, term = leader.peer, leader.replica.term
        for far in (term + MOST_TERMS_AHEAD + 1, 1 << 40, 1 << 48):
            payload = encode_messages([Append(far, 0, 0, 0, 0)])
            self.assertRaises(ValueError, peer.received, cluster.followers[0].id, payload)
        cluster.advance(1.0)
        self.assertTrue(leader.replica.is_leader)
        self.assertEqual(leader.replica.term, term)

    def test_strangers_take_no_memory(self) -> None:
        cluster = self.cluster()
        cluster.start(1)
        leader = cluster.leader
        peer = leader.replica.peer
        for number in range(1_000):
            peer.admission(f"{number:016x}", number)
        admissions = leader.member.admissions
        self.assertEqual(admissions._confirmed, {})
        self.assertLess(len(admissions._unconfirmed), 100)
        for number in range(1, 1_001):
            self.assertTrue(peer.learn_members(self.view_with(leader, 10**6 + number, f"{number:016x}")))
            self.assertEqual(peer.admission(f"{number:016x}", 0), Admission.MEMBER)
        self.assertLess(len(admissions._confirmed), 100)

    def test_what_is_no_message_is_refused(self) -> None:
        cluster = self.cluster()
        cluster.start(2)
        term = cluster.leader.replica.term
        for payload in (b"", b"\x00", b"\x91\x91\xa4vote", b"\x91\x94\xa4vote\xcf" + b"\xff" * 8 + b"\x00\x00"):
            self.assertRaises(ValueError, cluster.leader.peer.received, cluster.followers[0].id, payload)
        cluster.advance(0.5)
        self.assertEqual((cluster.leader.replica.term, cluster.leader.fatal), (term, []))


class MembershipTests(ClusterTestCase):
    """
    Tests of the group as frontends see it; what a leader does about it is tested in
    L{tests.consensus.reconfiguration.test_changes}.
    """

    def test_registrations_follow_the_group(self) -> None:
        """The registrations in the key space change with the group (spec, "Joining")."""
        cluster = self.cluster()
        cluster.start(3)
        gone = cluster.followers[0]
        index = cluster.leader.replica.index
        cluster.result_of(cluster.leader.replica.remove(gone.machine.name))
        left = [machine for machine in cluster.running if machine is not gone]
        cluster.advance(0.1)
        for machine in left:
            self.assertRaises(EtcdError, machine.replica.get, gone.machine.key)
            self.assertNotIn(gone.machine, machine.replica.machines())
            self.assertEqual(machine.replica.index, index + 1)

    def test_obstacle_to_a_registration_ends_nothing(self) -> None:
        cluster = self.cluster()
        cluster.start(2)
        cluster.result_of(cluster.leader.set("/_etcd/machines/machine3/x", "in the way"))
        third = cluster.start_one()
        self.assertIn(third.machine, cluster.leader.replica.machines())
        self.assertEqual(third.get("/_etcd/machines/machine3/x"), "in the way")
        self.assertSame(cluster)

    def test_removed_follower_is_notified(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        gone = cluster.followers[0]
        cluster.result_of(cluster.leader.replica.remove(gone.machine.name))
        cluster.advance_until(lambda: gone.excluded > 0)
        term = cluster.leader.replica.term
        cluster.advance(2.0)
        self.assertEqual(cluster.leader.replica.term, term)

    def test_removed_leader_transfers_its_leadership_and_is_notified(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        gone = cluster.leader
        before = cluster.clock.seconds()
        cluster.result_of(gone.replica.remove(gone.machine.name))
        self.assertEqual(gone.excluded, 1)
        cluster.await_leader()
        self.assertLess(cluster.clock.seconds() - before, 0.15)
        cluster.result_of(cluster.leader.set("/a", "1"))
        self.assertRaises(EtcdError, cluster.leader.replica.get, gone.machine.key)

    def test_removed_machine_may_stand_by_at_once(self) -> None:
        """The machine stands by in the very call that reports the removal."""
        cluster = self.cluster()
        cluster.start(3)
        gone = cluster.leader
        view = gone.replica.peer.describe()
        standing_by: list[Deferred[None]] = []
        gone.participation.on_exclusion.append(
            lambda: standing_by.append(ensureDeferred(gone.participation.stand_by(view)))
        )
        removed = gone.replica.remove(gone.machine.name)
        cluster.result_of(removed)
        cluster.advance_until(lambda: any(each.called for each in standing_by))
        self.assertEqual(len(standing_by), 1)
        self.assertEqual(gone.clock.getDelayedCalls(), [])
        self.assertEqual(gone.transport.connected, {})

    def test_machine_that_hears_no_leader_for_long_doubts_its_membership(self) -> None:
        """
        A machine that was removed while it was cut off doubts its membership, although it believes that it knows
        better than the others.
        """
        cluster = self.cluster()
        cluster.start(3)
        gone = cluster.leader
        cluster.network.isolate(gone.name)
        lost = [gone.set(f"/lost{number}") for number in range(9)]
        lost.append(gone.replica.remove(cluster.followers[0].machine.name))
        for answer in lost:
            answer.addErrback(lambda failure: failure.trap(EtcdError))
        cluster.advance_until(lambda: any(each.leads for each in cluster.running if each is not gone))
        cluster.result_of(cluster.leader.replica.remove(gone.machine.name))
        self.assertGreater(gone.peer.configuration_index, cluster.leader.peer.configuration_index)
        cluster.network.heal()
        cluster.advance(LEADERLESS_SECONDS - 1.0)
        self.assertEqual(gone.excluded, 0)  # they receive the requests, and do not answer
        cluster.advance_until(lambda: gone.excluded == 1, 2.0)
        cluster.advance(LEADERLESS_SECONDS)
        self.assertEqual(gone.excluded, 2)

    def test_cluster_configuration_is_set(self) -> None:
        cluster = self.cluster(defaults=ClusterConfig(active_size=5))
        cluster.start(2)
        self.assertEqual(cluster.leader.replica.cluster_config(), ClusterConfig(active_size=5))
        cluster.result_of(cluster.leader.replica.configure(ClusterConfig(4, 60.0, 1.5)))
        cluster.settle()
        for machine in cluster.running:
            self.assertEqual(machine.replica.cluster_config(), ClusterConfig(4, 60.0, 1.5))
            self.assertEqual(machine.get(CONFIG_KEY), '{"activeSize":4,"removeDelay":60,"syncInterval":1.5}')

    def test_statistics_are_counted(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        cluster.result_of(leader.set("/a", "1"))
        cluster.advance(1.0)
        self.assertEqual(set(leader.replica.traffic.followers), {each.machine.name for each in cluster.followers})
        for name, followed in leader.replica.traffic.followers.items():
            self.assertGreater(followed.success, 10, name)
            self.assertLess(abs(followed.current_ms - 2.0), 0.1)
        self.assertIsNotNone(leader.replica.traffic.sent.rates(cluster.clock.seconds()))
        for follower in cluster.followers:
            self.assertEqual(follower.replica.traffic.followers, {})
            self.assertGreater(follower.replica.traffic.received.count, 10)
        failing = cluster.followers[0]
        before = leader.replica.traffic.followers[failing.machine.name].fail
        failing.crash()
        cluster.advance(0.2)
        self.assertGreater(leader.replica.traffic.followers[failing.machine.name].fail, before)
