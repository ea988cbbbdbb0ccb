"""One machine in memory, and clients of it."""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import ClientClosed, ConnectionFailed, Event, InsufficientCredentials, KeyNotFound, Timeouts
from etcd_twisted.testing import FakeReplica, MemoryMachine


class MemoryMachineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.machine = self.enterContext(MemoryMachine())
        self.client = self.machine.client()

    def test_memory_machine_serves_keys(self) -> None:
        self.machine.result_of(self.client.set("/key", "1"))
        self.assertEqual(self.machine.result_of(self.client.get("/key", quorum=True)).value, "1")
        with self.assertRaises(KeyNotFound):
            self.machine.result_of(self.client.get("/other"))
        self.assertEqual(
            self.machine.requests,
            [("PUT", "/v2/keys/key"), ("GET", "/v2/keys/key?quorum=true"), ("GET", "/v2/keys/other")],
        )

    def test_keys_expire_by_its_clock(self) -> None:
        self.machine.result_of(self.client.set("/key", "1", ttl_seconds=60))
        self.machine.advance(59)
        self.machine.result_of(self.client.get("/key"))
        self.machine.advance(2)
        self.assertRaises(KeyNotFound, self.machine.result_of, self.client.get("/key"))

    def test_what_the_test_changes_is_watched(self) -> None:
        watch = self.client.watch("/key")
        self.machine.advance(1)
        self.machine.replica.put("/key", "1")
        item = self.machine.result_of(watch.next())
        assert isinstance(item, Event)
        self.assertEqual(item.node.value, "1")
        watch.close()

    def test_pages_of_the_client_port_and_of_the_peer_port(self) -> None:
        self.assertEqual(self.machine.result_of(self.client.machines()), (self.machine.url,))
        self.assertEqual(self.machine.result_of(self.client.leader()).name, self.machine.replica.name)
        response = self.machine.result_of(self.machine.http().get("http://127.0.0.1:7001/v2/admin/config"))
        self.assertEqual(response.code, 200)

    def test_memory_machine_has_outages(self) -> None:
        client = self.machine.client(Timeouts(total_seconds=1.0))
        self.machine.result_of(client.set("/key", "1"))
        self.machine.cut()
        self.assertRaises(ConnectionFailed, self.machine.result_of, client.get("/key"))
        self.machine.heal()
        self.assertEqual(self.machine.result_of(client.get("/key")).value, "1")

    def test_replaced_machine_has_no_keys(self) -> None:
        self.machine.result_of(self.client.set("/key", "1"))
        self.machine.replace()
        self.assertRaises(KeyNotFound, self.machine.result_of, self.client.get("/key"))

    def test_two_ways_to_one_replica(self) -> None:
        """A program can be cut off by one of them, while another one is not."""
        other = self.enterContext(MemoryMachine(self.machine.replica))
        other.cut()
        self.machine.result_of(self.client.set("/key", "1"))
        other.heal()
        self.assertEqual(other.result_of(other.client().get("/key")).value, "1")

    def test_memory_machine_has_latency(self) -> None:
        replica = FakeReplica()
        machine = self.enterContext(MemoryMachine(replica, latency_seconds=0.01))
        setting = machine.client().set("/key", "1")
        machine.advance(0.005)
        self.assertNoResult(setting)
        machine.result_of(setting)

    def test_memory_machine_has_users(self) -> None:
        """A program that has too few rights is refused, and its watch ends with its right."""
        admin, root = self.client.auth, self.machine.client(credentials=("root", "secret")).auth
        for changing in (
            lambda: admin.add_user("root", "secret"),
            lambda: admin.add_role("guest"),
            lambda: admin.add_role("web", read="/web*", write="/web*"),
            lambda: admin.add_user("ben", "secret", ["web"]),
            admin.enable,
        ):
            self.machine.result_of(changing())
        ben = self.machine.client(credentials=("ben", "secret"))
        event = self.machine.result_of(ben.set("/web/a", "1"))
        with self.assertRaises(InsufficientCredentials):
            self.machine.result_of(ben.set("/other", "1"))
        watch = ben.watch("/web", recursive=True, after_index=event.node.modified_index)
        self.machine.result_of(watch.connected())
        self.machine.result_of(root.revoke_roles("ben", "web"))
        with self.assertRaises(InsufficientCredentials):
            self.machine.result_of(watch.next())

    def test_what_does_not_come_in_time(self) -> None:
        self.assertRaises(AssertionError, self.machine.result_of, Deferred(), 1.0)
        error = self.assertRaises(AssertionError, self.machine.advance_until, lambda: False, 1.0)
        self.assertIn("the clock shows 2.000 seconds", str(error))

    def test_the_end_leaves_nothing_on_the_clock(self) -> None:
        with MemoryMachine() as machine:
            client = machine.client()
            machine.result_of(client.set("/key", "1", ttl_seconds=60))
            watch = client.watch("/key")
            waiting = watch.next()
            machine.advance(1)
        self.failureResultOf(waiting, ClientClosed)
        assert IReactorTime.providedBy(machine.clock)
        self.assertEqual(machine.clock.getDelayedCalls(), [])
