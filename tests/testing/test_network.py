"""
Tests of the simulated network: what it does to messages.
"""

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from etcd_twisted.interfaces import ITransport
from etcd_twisted.testing.raft_peer import FakeRaftPeer, FakeSnapshotFile
from etcd_twisted.testing.simulation.network import Host, LostError, Network, Weather
from etcd_twisted.testing.simulation.schedule import Process, Schedule
from etcd_twisted.testing.simulation.transport import SimulatedTransport


class NetworkTests(SynchronousTestCase):
    """These tests are about L{Network} and L{SimulatedTransport}."""

    def setUp(self) -> None:
        self.schedule = Schedule(0)
        self.network = Network(self.schedule)
        self.network.weather = Weather(piece=10)
        ids = tuple(str(number) * 16 for number in range(2))
        self.peers = [FakeRaftPeer(each, ids) for each in ids]
        self.processes = [Process(self.schedule, f"machine{number}", 0.0, 1.0) for number in range(2)]
        self.hosts = [
            Host(process.name, process, peer) for process, peer in zip(self.processes, self.peers, strict=True)
        ]
        self.network.hosts = {f"http://{host.name}": host for host in self.hosts}
        self.sent: list[bytes] = []
        self.transport, self.other = (
            SimulatedTransport(self.network, process, host, peer, lambda _, __, payload: self.sent.append(payload))
            for process, host, peer in zip(self.processes, self.hosts, self.peers, strict=True)
        )
        self.there, self.here = self.peers[1].machine_id, self.peers[0].machine_id
        self.transport.connect({self.there: "http://machine1"})
        self._pass()

    def _pass(self, seconds: float = 10.0) -> None:
        self.schedule.run_until(self.schedule.now + seconds)

    def _send(self, count: int) -> list[bytes]:
        payloads = [b"%d" % number for number in range(count)]
        for payload in payloads:
            self.transport.send(self.there, payload)
        self._pass()
        return payloads

    def _seen(self) -> list[bytes]:
        return [payload for _, payload in self.peers[1].payloads]

    def test_transport_implements_its_interface(self) -> None:
        verifyObject(ITransport, self.transport)

    def test_fair_weather_delivers_everything_once(self) -> None:
        """Each message comes from its sender, and observers have seen it."""
        payloads = self._send(20)
        self.assertEqual(sorted(self._seen()), sorted(payloads))
        self.assertEqual({sender for sender, _ in self.peers[1].payloads}, {self.here})
        self.assertEqual(self.sent, payloads)

    def test_bad_weather_loses_and_repeats_messages(self) -> None:
        """They come in any order."""
        self.network.weather = Weather(loss=0.2, doubling=0.2, late=0.2)
        payloads = self._send(200)
        counts = Counter(self._seen())
        self.assertEqual({counts[payload] for payload in payloads}, {0, 1, 2})
        self.assertNotEqual(self._seen(), sorted(self._seen(), key=int))

    def test_a_machine_that_has_moved_is_reached_once_it_has_connected(self) -> None:
        """It is reached where it has connected from, as with a real transport."""
        self.network.hosts["http://moved"] = moved = self.hosts[1]
        self.transport.connect({self.there: "http://nobody"})
        self.assertIsInstance(self.failureResultOf(self.transport.ask_status(self.there)).value, ConnectionError)
        self.other.connect({self.here: "http://machine0"})
        self._pass()
        asked = self.transport.ask_status(self.there)
        self._pass()
        self.assertEqual(self.successResultOf(asked), self.peers[1].report)
        self.assertIs(moved.process, self.processes[1])

    def test_a_link_is_cut_one_way(self) -> None:
        """It stays open the other way."""
        self.network.cut = {("machine0", "machine1")}
        self._send(5)
        self.other.send(self.here, b"back")
        self._pass()
        self.assertEqual(self._seen(), [])
        self.assertEqual(self.peers[0].payloads, [(self.there, b"back")])

    def test_a_healed_link_delivers_some_messages(self) -> None:
        """They were sent while the link was cut."""
        self.network.cut = {("machine0", "machine1")}
        payloads = self._send(20)
        self.network.heal()
        self._pass()
        self.assertGreater(len(self._seen()), 0)
        self.assertLess(len(self._seen()), len(payloads))

    def test_answers_go_back_over_a_connection(self) -> None:
        """A machine that knows no address answers over the connection that the other one has made."""
        self.other.send(self.here, b"answer")
        self._pass()
        self.assertEqual(self.peers[0].payloads, [(self.there, b"answer")])

    def test_a_missing_machine_is_unreachable(self) -> None:
        """When it is there again it is found again."""
        self.processes[1].end()
        self._send(1)
        self.assertEqual(self.peers[0].lost[-1], self.there)
        self.hosts[1].process = Process(self.schedule, "machine1", 0.0, 1.0)
        self._pass()
        self._send(1)
        self.assertEqual(self._seen(), [b"0"])

    def test_an_ended_process_sends_nothing(self) -> None:
        self.processes[0].end()
        self._send(1)
        self.assertEqual((self._seen(), self.sent), ([], []))

    def test_an_excluded_machine_learns_so(self) -> None:
        """It learns this when it connects again."""
        self.peers[1].members.clear()
        self._send(1)
        self.assertGreater(self.peers[0].exclusions, 0)
        self.assertEqual(self._seen(), [])

    def test_an_unconfirmed_machine_connects_again(self) -> None:
        """It goes on until it is confirmed."""
        self.peers[1].members.clear()
        self.peers[1].configuration_index = 0  # it may not have heard of the newest
        self.transport.lose_connections()
        self._pass()
        self._send(1)
        self.assertEqual((self.peers[0].exclusions, self._seen()), (0, []))
        self.peers[1].members.add(self.here)
        self._pass()
        self._send(1)
        self.assertEqual(self._seen(), [b"0"])

    def test_a_snapshot_goes_in_pieces(self) -> None:
        """It goes on where it was interrupted."""
        data = bytes(range(95))
        self.peers[1].snapshot = data[:20]
        file = FakeSnapshotFile(data)
        sent = self.transport.send_snapshot(self.there, file)
        self._pass()
        self.successResultOf(sent)
        self.assertEqual(self.peers[1].snapshot, data)
        self.assertTrue(file.closed)

    def test_a_snapshot_fails_when_its_receiver_goes(self) -> None:
        """The file is closed."""
        file = FakeSnapshotFile(bytes(1_000))
        sent = self.transport.send_snapshot(self.there, file)
        self._pass(0.005)
        self.assertNoResult(sent)
        self.processes[1].end()
        self._pass()
        self.failureResultOf(sent, LostError)
        self.assertTrue(file.closed)
