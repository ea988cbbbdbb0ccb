"""
L{etcd_twisted_dns.follower}: the zone agrees with the keys, whatever happens to them.
"""

from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace import Refresh, Set
from etcd_twisted.logs import RateLimitedLog
from etcd_twisted_dns import follower as module
from etcd_twisted_dns.follower import Follower
from etcd_twisted_dns.test.copy import Copy

WWW = "/dns/com.example.www/A"


class FollowerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.copy = Copy()
        self.follower = self.follow("/dns")
        self.warnings: list[str] = []
        globalLogPublisher.addObserver(self.take)
        self.addCleanup(globalLogPublisher.removeObserver, self.take)

    def take(self, event: LogEvent) -> None:
        if event["log_level"] >= LogLevel.warn:
            self.warnings.append(formatEvent(event))

    def follow(self, directory: str) -> Follower:
        return Follower(self.copy.clock, self.copy, "example.com", directory, RateLimitedLog(self.copy.clock))

    def start(self) -> None:
        self.follower.startService()
        self.addCleanup(self.stop)
        self.copy.turn()

    def stop(self) -> None:
        """Asserts that no watcher, no waiting Deferred and no delayed call is left."""
        if self.follower.running:
            self.follower.stopService()
        self.copy.turn()
        self.assertEqual((self.copy.keyspace.hub.count, self.copy.waiting_to_be_served), (0, 0))
        self.copy.stop()
        self.assertEqual(self.copy.clock.getDelayedCalls(), [])
        self.assertIsNone(self.follower.zone)

    def addresses(self, name: str = "www.example.com") -> list[str]:
        """Returns the addresses in the zone."""
        zone = self.follower.zone
        self.assertIsNotNone(zone)
        return [record.payload.dottedQuad() for record in zone.records(name)]

    def test_existing_keys_are_read(self) -> None:
        self.copy.put(f"{WWW}/1", "192.0.2.1")
        self.start()
        self.assertEqual(self.addresses(), ["192.0.2.1"])
        self.assertEqual(self.follower.zone.serial, self.copy.index)

    def test_changes_are_followed(self) -> None:
        self.start()
        for value in ("192.0.2.1", "192.0.2.2"):
            self.copy.put(WWW, value)
            self.assertEqual(self.addresses(), [value])
            self.assertEqual(self.follower.zone.serial, self.copy.index)
        self.copy.delete(WWW)
        self.assertEqual(self.addresses(), [])
        self.assertFalse(self.follower.zone.exists("www.example.com"))

    def test_a_name_goes_with_its_directory(self) -> None:
        self.copy.put(f"{WWW}/1", "192.0.2.1")
        self.start()
        self.copy.delete("/dns/com.example.www")
        self.assertEqual(self.addresses(), [])

    def test_all_names_go_with_their_directory(self) -> None:
        """Later changes are followed as before."""
        self.copy.put(WWW, "192.0.2.1")
        self.start()
        self.copy.delete("/dns")
        self.assertEqual(self.addresses(), [])
        self.copy.put(WWW, "192.0.2.2")
        self.assertEqual(self.addresses(), ["192.0.2.2"])

    def test_many_names_take_many_turns(self) -> None:
        """
        Changes in the meantime are right at the end, whether they are read before or after. No question is answered
        until then.
        """
        self.patch(module, "NAMES_AT_ONCE", 2)
        for number in range(7):
            self.copy.put(f"/dns/com.example.n{number}/A", "192.0.2.1")
        self.follower.startService()
        self.addCleanup(self.stop)
        self.assertIsNone(self.follower.zone)
        for number in range(7):
            self.copy.keyspace.apply(Set(f"/dns/com.example.n{number}/A", 0, "192.0.2.2"))
        self.assertIsNone(self.follower.zone)
        self.copy.turn()
        for number in range(7):
            self.assertEqual(self.addresses(f"n{number}.example.com"), ["192.0.2.2"])

    def test_no_zone_without_a_copy(self) -> None:
        """The machine still recovers, or waits for the others."""
        self.copy.serving = False
        self.start()
        self.assertIsNone(self.follower.zone)
        self.copy.put(WWW, "192.0.2.1")
        self.copy.serve()
        self.assertEqual(self.addresses(), ["192.0.2.1"])

    def test_a_standby_has_no_zone(self) -> None:
        """When it serves again it does not use the old zone."""
        self.copy.put(WWW, "192.0.2.1")
        self.start()
        self.copy.stand_by()
        self.assertIsNone(self.follower.zone)
        self.copy.serve()
        self.assertEqual(self.addresses(), [])
        self.copy.put(WWW, "192.0.2.2")
        self.assertEqual(self.addresses(), ["192.0.2.2"])

    def test_missed_changes_are_read(self) -> None:
        """A snapshot from the leader does not have every event: the history was cleared (error 401)."""
        leader = Copy()
        for copy in (self.copy, leader):
            copy.put("/dns/com.example.old/A", "192.0.2.1")
        self.start()
        leader.delete("/dns/com.example.old")
        for value in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
            leader.put(WWW, value)
        asked_from = self.copy.index + 1
        self.copy.receive_snapshot_of(leader)
        with self.assertRaises(EtcdError) as caught:
            self.copy.watch("/dns", True, True, asked_from, self.fail)
        self.assertEqual(caught.exception.code, ErrorCode.HISTORY_CLEARED)
        self.assertEqual((self.addresses(), self.addresses("old.example.com")), (["192.0.2.3"], []))
        self.copy.put(WWW, "192.0.2.4")
        self.assertEqual(self.addresses(), ["192.0.2.4"])

    def test_seconds_left(self) -> None:
        """The number is that of the key and all its directories, rounded down, so that no answer outlives its key."""
        self.copy.put(f"{WWW}/1", "192.0.2.1")
        self.copy.put(f"{WWW}/2", "192.0.2.1", ttl_seconds=30)
        self.start()
        self.assertEqual([self.follower.seconds_left(f"{WWW}/{name}") for name in "123"], [None, 30, 0])
        self.copy.clock.advance(0.5)
        self.assertEqual(self.follower.seconds_left(f"{WWW}/2"), 29)
        self.copy.apply(Refresh(f"{WWW}/2", self.copy.now(), self.copy.now() + 90_000_000))
        self.assertEqual(self.follower.seconds_left(f"{WWW}/2"), 90)
        self.copy.apply(Refresh("/dns/com.example.www", self.copy.now(), self.copy.now() + 20_000_000))
        self.assertEqual([self.follower.seconds_left(f"{WWW}/{name}") for name in "12"], [20, 20])
        self.copy.clock.advance(25)
        self.assertEqual(self.follower.seconds_left(f"{WWW}/1"), 0)

    def test_keys_that_are_not_names_are_logged(self) -> None:
        """Each has one line. Later changes are followed."""
        for key in ("/dns/com.example.UP/A", "/dns/org.example/A", "/dns/com.example.www"):
            self.copy.put(key, "192.0.2.1")
        self.start()
        self.assertEqual(len(self.warnings), 3, self.warnings)
        self.copy.put("/dns/com.example.www.a/A", "192.0.2.1")
        self.assertEqual(self.addresses("a.www.example.com"), ["192.0.2.1"])
        self.assertEqual(len(self.warnings), 3, self.warnings)

    def test_a_file_in_place_of_the_directory(self) -> None:
        self.copy.put("/dns", "text")
        self.start()
        self.assertEqual(self.warnings, ["/dns should be a directory of names; it is left out"])
        self.assertFalse(self.follower.zone.exists("www.example.com"))

    def test_stopped_while_it_reads(self) -> None:
        self.patch(module, "NAMES_AT_ONCE", 1)
        for name in ("a", "b"):
            self.copy.put(f"/dns/com.example.{name}/A", "192.0.2.1")
        self.follower.startService()
        self.stop()

    def test_stopped_while_it_waits(self) -> None:
        self.copy.serving = False
        self.follower.startService()
        self.stop()

    def test_a_machine_that_stops_first(self) -> None:
        """A waiting follower learns that there will be no copy."""
        self.copy.serving = False
        self.follower.startService()
        self.copy.stop_serving(EtcdError(ErrorCode.RAFT_INTERNAL, "this machine is stopping"))
        self.stop()

    def test_records_are_of_their_types(self) -> None:
        self.copy.put("/dns/com.example._tcp._http/SRV", "0 10 80 www.example.com")
        self.start()
        (record,) = self.follower.zone.records("_http._tcp.example.com")
        self.assertEqual(record.kind, dns.SRV)
