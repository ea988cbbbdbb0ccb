"""
Clients of the HTTP server that are slow or go: what they are given, for how long, and what it costs.
"""

import itertools
import json
import tracemalloc

from etcd_twisted.httpd import lifetime
from tests.httpd.wire import WireTest
from tests.wires import GET, STREAM, VERSION, WATCH, Transport, Wire, put, read_answers


class TimeTests(WireTest):
    """The read and write timeouts are 10 seconds in these tests."""

    def test_half_a_request_is_closed_after_the_read_timeout(self) -> None:
        self.send(GET[:20])
        self.wire.pass_time(9)
        self.assertIsNone(self.transport.how_lost)
        self.wire.pass_time(2)
        self.assertEqual(self.transport.how_lost, "closed")

    def test_half_a_request_behind_a_whole_one_has_the_same_time(self) -> None:
        """The time begins with the request's first byte."""
        for half in (GET[:1], GET[:20]):
            self.channel, self.transport = self.wire.connect()
            self.send(GET + half)
            self.wire.pass_time(9)
            self.send(GET[len(half) : -2])
            self.assertIsNone(self.transport.how_lost)
            self.wire.pass_time(2)
            self.assertEqual(self.transport.how_lost, "closed")

    def test_half_a_request_after_one_in_two_parts_has_the_same_time(self) -> None:
        """The time of a request ends with it: the next one does not have the idle timeout."""
        for part in (GET[:20], GET[20:], GET[:20]):
            self.send(part)
        self.wire.pass_time(9)
        self.assertIsNone(self.transport.how_lost)
        self.wire.pass_time(2)
        self.assertEqual(self.transport.how_lost, "closed")

    def test_a_trickle_of_bytes_does_not_prolong_the_read_timeout(self) -> None:
        """This holds in the head and in the body."""
        for request in (GET + b"x", put("v" * 100)):
            self.channel, self.transport = self.wire.connect()
            for byte in request:
                if self.transport.how_lost is None:
                    self.send(bytes([byte]))
                    self.wire.pass_time(1)
            self.assertEqual(self.transport.how_lost, "closed")
        self.assertEqual(self.wire.replica.proposed, [])

    def test_an_idle_connection_is_closed_after_the_idle_timeout(self) -> None:
        """This holds before the first request and between two requests."""
        silent, idle = self.transport, self.wire.connect()
        idle[0].dataReceived(GET)
        self.wire.pass_time(int(self.wire.site.limits.idle_timeout_seconds) - 2)
        self.assertEqual((silent.how_lost, idle[1].how_lost), (None, None))
        idle[0].dataReceived(GET)
        self.wire.pass_time(3)
        self.assertEqual((silent.how_lost, idle[1].how_lost), ("closed", None))
        self.wire.pass_time(int(self.wire.site.limits.idle_timeout_seconds))
        self.assertEqual(idle[1].how_lost, "closed")

    def test_waits_for_events_and_slow_changes_are_not_timed(self) -> None:
        self.send(WATCH)
        stream, streaming = self.wire.connect()
        stream.dataReceived(STREAM)
        self.wire.replica.holding = True
        slow, writing = self.wire.connect()
        slow.dataReceived(put("v"))
        self.wire.pass_time(1_000)
        self.assertEqual([each.how_lost for each in (self.transport, streaming, writing)], [None] * 3)
        self.wire.replica.release()
        self.wire.clock.advance(0)
        self.assertEqual(json.loads(self.answer().body)["node"]["value"], "v")
        self.assertEqual(read_answers(writing.value(), "PUT")[0].status, 201)
        self.wire.pass_time(1_000)
        self.assertIsNone(streaming.how_lost)

    def test_a_client_that_reads_nothing_is_dropped(self) -> None:
        """A client that takes some of its response in time keeps its connection."""
        self.send(VERSION)
        connection = self.transport.producer
        connection.pauseProducing()
        self.wire.pass_time(9)
        connection.resumeProducing()
        connection.pauseProducing()
        self.wire.pass_time(9)
        self.assertIsNone(self.transport.how_lost)
        self.wire.pass_time(2)
        self.assertEqual(self.transport.how_lost, "aborted")

    def test_a_client_that_reads_slowly_stays(self) -> None:
        """The client stays although there is no room for more, until it stops reading."""
        taken = 0
        self.patch(lifetime, "bytes_taken", lambda _transport: taken)
        self.send(VERSION)
        self.transport.producer.pauseProducing()
        for _ in range(5):
            self.wire.pass_time(9)
            taken += 1
        self.wire.pass_time(9)
        self.assertIsNone(self.transport.how_lost)
        self.wire.pass_time(2)
        self.assertEqual(self.transport.how_lost, "aborted")

    def test_a_client_that_takes_the_end_slowly_stays(self) -> None:
        """This holds for the last response on a connection."""
        taken = 0
        self.patch(lifetime, "bytes_taken", lambda _transport: taken)
        self.patch(Transport, "loseConnection", lambda _transport: None)
        self.send(GET[:-2] + b"Connection: close\r\n\r\n")
        for _ in range(5):
            self.wire.pass_time(9)
            taken += 1
        self.wire.pass_time(9)
        self.assertIsNone(self.transport.how_lost)
        self.wire.pass_time(2)
        self.assertEqual(self.transport.how_lost, "aborted")

    def test_a_client_that_never_takes_the_end_is_dropped(self) -> None:
        """A connection that is closing does not wait for ever."""
        self.patch(Transport, "loseConnection", lambda _transport: None)
        self.send(GET[:-2] + b"Connection: close\r\n\r\n")
        self.wire.pass_time(9)
        self.assertIsNone(self.transport.how_lost)
        self.wire.pass_time(2)
        self.assertEqual(self.transport.how_lost, "aborted")


class BackPressureTests(WireTest):
    """
    A slow client costs only itself.

    @cvar together: how many responses may be sent together.
    """

    together = 1

    def setUp(self) -> None:
        self.wire = Wire(most_body=1 << 24, kind=self.kind)
        self.addCleanup(self.wire.stop)
        self.channel, self.transport = self.wire.connect()
        self.writer, _ = self.wire.connect()

    def write(self, value: str) -> None:
        self.writer.dataReceived(put(value))
        self.wire.clock.advance(0)

    def test_a_long_body_is_sent_as_it_is_read(self) -> None:
        """The body is sent piece by piece and is complete in the end."""
        self.write("x" * 1_000_000)
        self.transport.room = 10_000
        self.send(GET)
        sent, reads = 0, 0
        while len(self.transport.value()) < 1_000_000:
            self.wire.clock.advance(0)
            self.assertLess(len(self.transport.value()) - sent, 100_000)
            sent = len(self.transport.value())
            self.transport.client_reads()
            reads += 1
        self.assertGreater(reads, 10)
        self.wire.clock.advance(0)
        self.assertEqual(len(json.loads(self.answer().body)["node"]["value"]), 1_000_000)

    def test_requests_wait_while_responses_are_not_read(self) -> None:
        """The server does not make a response before the client has read the earlier ones."""
        self.write("x" * 1_000)
        self.transport.room = 3_000
        self.send(GET * 100)
        self.wire.clock.advance(0)
        self.assertLess(len(self.transport.value()), 3_000 + 1_500 * self.together)
        for _ in range(100):
            self.transport.client_reads()
            self.wire.clock.advance(0)
        self.assertEqual([each.status for each in self.answers(*["GET"] * 100)], [200] * 100)

    def test_a_long_event_is_sent_whole(self) -> None:
        """A long event is sent like any other body."""
        self.send(WATCH)
        self.write("x" * 1_000_000)
        self.wire.clock.advance(0)
        self.assertEqual(len(json.loads(self.answer().body)["node"]["value"]), 1_000_000)

    def test_a_long_listing_is_sent_in_chunks(self) -> None:
        """The connection stays open."""
        for number in range(3_000):
            self.writer.dataReceived(put("v", f"d/{number}"))
        self.send(b"GET /v2/keys/d?sorted=true HTTP/1.1\r\nHost: x\r\n\r\n" + VERSION)
        self.wire.clock.advance(0)
        listing, version = self.answers("GET", "GET")
        self.assertEqual(len(json.loads(listing.body)["node"]["nodes"]), 3_000)
        self.assertEqual(version.status, 200)

    def test_a_listing_stops_when_its_client_goes(self) -> None:
        for number in range(3_000):
            self.writer.dataReceived(put("v", f"d/{number}"))
        self.send(b"GET /v2/keys/d HTTP/1.1\r\nHost: x\r\n\r\n")
        self.wire.clock.advance(0)
        self.transport.client_goes()
        self.assertEqual([call.func for call in self.wire.clock.getDelayedCalls() if call.getTime() == 0], [])

    def test_a_slow_stream_keeps_up(self) -> None:
        """Events that happen while the client does not read are sent when it does."""
        self.send(STREAM)
        self.transport.room = 0
        self.write("1")
        self.write("2")
        self.write("3")
        held = self.transport.value()
        self.transport.room = None
        self.transport.client_reads()
        self.write("4")
        self.assertNotIn(b'"value":"2"', held)
        self.wire.site.closed(self.writer)
        self.wire.site.stop(5.0)
        events = [json.loads(line) for line in self.answer().body.splitlines()]
        self.assertEqual([event["node"]["value"] for event in events], ["1", "2", "3", "4"])

    def test_a_stream_that_is_not_read_is_cut_off(self) -> None:
        """
        This happens when the backlog is too long and the client has taken nothing for a second. Others do not notice
        (spec, "Watch").
        """
        self.send(STREAM)
        other, others = self.wire.connect()
        other.dataReceived(STREAM)
        self.transport.room = 0
        writes = 0
        while self.transport.how_lost is None and writes < 100:
            self.write(f"{writes:0100000}")
            writes += 1
            self.wire.pass_time(1)
        self.assertEqual(self.transport.how_lost, "aborted")
        self.assertEqual(self.watchers(), 1)
        sent_to_others = others.value()
        self.assertEqual(sent_to_others.count(b'"action":"set"'), writes)
        waited = len(sent_to_others) - len(self.transport.value())
        largest = 220_000
        most_waiting = self.wire.site.limits.stream_backlog_bytes
        self.assertGreater(waited, most_waiting)
        self.assertLess(waited, most_waiting + 3 * largest)

    def test_a_stream_that_falls_behind_is_cut_off(self) -> None:
        """This happens although the client takes some events, since its backlog is bounded (spec, "Watch")."""
        taken = itertools.count()
        self.patch(lifetime, "bytes_taken", lambda _transport: next(taken))
        self.send(STREAM)
        self.transport.room = 0
        writes = 0
        while self.transport.how_lost is None and writes < 100:
            self.write(f"{writes:0100000}")
            writes += 1
            self.wire.pass_time(1)
        self.assertEqual(self.transport.how_lost, "aborted")
        self.assertLess(writes, 20)


class GoneTests(WireTest):
    """These clients go away."""

    def test_a_watcher_that_goes_is_forgotten_at_once(self) -> None:
        """No watcher is left in the replica (spec, "Watch")."""
        for request in (WATCH, STREAM):
            channel, transport = self.wire.connect()
            channel.dataReceived(request)
            self.assertEqual(self.watchers(), 1)
            transport.client_goes()
            self.assertEqual(self.watchers(), 0)

    def test_a_client_may_go_between_event_and_delivery(self) -> None:
        """The server sends nothing more, and no error comes of it."""
        self.send(WATCH)
        writer, _ = self.wire.connect()
        writer.dataReceived(put("v"))
        self.transport.client_goes()
        self.wire.clock.advance(0)
        self.assertNotIn(b"action", self.transport.value())

    def test_a_change_is_made_though_its_client_goes(self) -> None:
        self.wire.replica.holding = True
        self.send(put("v"))
        self.transport.client_goes()
        self.wire.replica.release()
        self.assertEqual(self.wire.replica.keyspace.get("/k").value, "v")
        self.assertEqual(self.transport.value(), b"")
        self.assertEqual(self.wire.site.usage.requests(), {})

    def test_a_watcher_whose_read_is_not_confirmed_may_go(self) -> None:
        """No watcher is made when the read is confirmed."""
        self.wire.replica.holding = True
        self.send(WATCH.replace(b"wait=true", b"wait=true&quorum=true"))
        self.transport.client_goes()
        self.wire.replica.release()
        self.assertEqual(self.watchers(), 0)
        self.assertEqual(self.transport.value(), b"")

    def test_a_client_that_waits_for_a_leader_may_go(self) -> None:
        """Nothing is left in the reactor, and no watcher is made later."""
        self.wire.replica.serving = False
        self.send(WATCH)
        self.transport.client_goes()
        self.wire.replica.serve()
        self.assertEqual(self.watchers(), 0)
        self.assertEqual(len(self.wire.clock.getDelayedCalls()), 1)  # the site's sweep


class WatchMemoryTests(WireTest):
    """These tests measure the server's memory for a waiting watcher, without its socket."""

    def test_a_waiting_watcher_takes_little_memory(self) -> None:
        """The request is gone, with its headers and its content."""
        request = WATCH[:-2] + b"User-Agent: %s\r\n\r\n" % (b"x" * 10_000)
        channels = [self.wire.connect()[0] for _ in range(100)]
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        for channel in channels:
            channel.dataReceived(request)
        after, _ = tracemalloc.get_traced_memory()
        self.assertEqual(self.watchers(), 100)
        self.assertLess((after - before) / 100, 4_000)
