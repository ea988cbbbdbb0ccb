"""
How much the server does in a turn of the reactor, whatever clients send at once. The tests count responses and measure
no time.
"""

import itertools
from typing import ClassVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.httpd.fast.site import FastSite
from etcd_twisted.httpd.site import Site
from etcd_twisted.httpd.turns import (
    BYTES_SHIFT,
    WORK_OF_LISTING,
    WORK_OF_ORDINARY_REQUEST,
    WORK_OF_PAGE,
    WORK_PER_TURN,
    Turns,
)
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.testing.replica import FakeReplica
from tests.wires import GET, HEAD, VERSION, WATCH, Transport, Wire, put, read_answers

METRICS = VERSION.replace(b"/version", b"/metrics")
LOCK = VERSION.replace(b"/version", b"/mod/v2/lock/x")
LISTING = VERSION.replace(b"/version", b"/v2/keys/d?recursive=true")


class TurningClock(Clock):
    """A clock that works in turns like a reactor: a call that is scheduled in one turn is made in the next."""

    def turn(self) -> None:
        due = [call for call in self.calls if call.getTime() <= self.seconds()]
        for call in due:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


class TurnsTests(SynchronousTestCase):
    """These tests are about the queue of requests that wait for a turn."""

    def setUp(self) -> None:
        self.clock = TurningClock()
        self.turns = Turns(self.clock, 10)
        self.done: list[object] = []

    def wait(self, who: object, work: int = 1) -> None:
        self.turns.wait(who, lambda: self.do(who, work))

    def do(self, who: object, work: int) -> None:
        self.done.append(who)
        self.turns.spend(work)

    @given(st.lists(st.integers(1, 12), max_size=30))
    def test_a_turn_is_bounded(self, works: list[int]) -> None:
        """The turn ends with the request that uses up its time. All requests have their turn, in order."""
        self.setUp()
        for who, work in enumerate(works):
            self.wait(who, work)
        while self.turns.waiting:
            before = len(self.done)
            self.clock.turn()
            *first, _ = works[before : len(self.done)]
            self.assertLess(sum(first), 10)
        self.clock.turn()
        self.assertEqual((self.done, self.clock.getDelayedCalls()), (list(range(len(works))), []))

    def test_a_turn_is_busy_until_there_is_time_and_nobody_waits(self) -> None:
        self.turns.spend(9)
        self.assertFalse(self.turns.is_busy)
        self.turns.spend(1)
        self.assertTrue(self.turns.is_busy)
        self.clock.turn()
        self.assertFalse(self.turns.is_busy)
        self.wait("a")
        self.assertTrue(self.turns.is_busy)
        self.clock.turn()
        self.assertFalse(self.turns.is_busy)

    def test_a_wait_can_be_given_up(self) -> None:
        """A request that is cancelled leaves nothing in the reactor."""
        self.wait("a")
        self.wait("b")
        self.turns.give_up("a")
        self.turns.give_up("c")
        self.clock.turn()
        self.assertEqual(self.done, ["b"])
        self.wait("a")
        self.turns.give_up("a")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_error_does_not_take_the_turn_of_others(self) -> None:
        self.turns.wait("a", lambda: 1 / 0)
        self.wait("b")
        self.assertRaises(ZeroDivisionError, self.clock.turn)
        self.clock.turn()
        self.assertEqual(self.done, ["b"])


class PortTests(SynchronousTestCase):
    """
    A port.

    @cvar kind: the door that requests come in by.
    """

    kind: ClassVar[type[Site]] = Site

    def setUp(self) -> None:
        self.clock = TurningClock()
        self.replica = FakeReplica(self.clock)
        self.wire = Wire(self.replica, kind=self.kind, work=WORK_PER_TURN)
        self.addCleanup(self.wire.stop)
        self.channel, self.transport = self.wire.connect()

    @staticmethod
    def answered(*transports: Transport) -> int:
        return sum(transport.value().count(b"HTTP/1.1 ") for transport in transports)

    def turns(self, *transports: Transport) -> list[int]:
        """Returns how many requests are answered in each turn, until there is nothing left to do."""
        counts, before = [self.answered(*transports)], self.answered(*transports)
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.turn()
            counts.append(self.answered(*transports) - before)
            before += counts[-1]
        return counts

    def test_few_pages_are_answered_in_a_turn(self) -> None:
        """The limit holds for pages of all kinds, and the responses are in order."""
        refused = VERSION.replace(b"GET", b"PUT")
        for request, method in ((VERSION, "GET"), (METRICS, "GET"), (LOCK, "GET"), (refused, "PUT")):
            channel, transport = self.wire.connect()
            channel.dataReceived(request * 100 + GET)
            counts = self.turns(transport)
            self.assertLessEqual(max(counts), WORK_PER_TURN // WORK_OF_PAGE + 1)
            self.assertEqual(len(read_answers(transport.value(), *[method] * 100, "GET")), 101)

    def test_many_keys_are_answered_in_a_turn(self) -> None:
        """The number of keys is bounded too."""
        self.channel.dataReceived((GET * 3 + put("v")) * 1_000)
        counts = self.turns(self.transport)
        self.assertLessEqual(max(counts), WORK_PER_TURN + 1)
        self.assertEqual(sum(counts), 4_000)

    def test_long_values_cost_by_their_length(self) -> None:
        """This holds for connections with one request each."""
        self.replica.apply(Set("/k", 0, "x" * 40_000))
        several = [self.wire.connect() for _ in range(100)]
        for channel, _ in several:
            channel.dataReceived(GET)
        counts = self.turns(*(transport for _, transport in several))
        self.assertEqual(sum(counts), 100)
        self.assertLessEqual(max(counts), (WORK_PER_TURN << BYTES_SHIFT) // 40_000 + 1)

    def test_listings_cost_by_their_length(self) -> None:
        self.replica.apply(*(Set(f"/d/{number}", 0, "x" * 100) for number in range(200)))
        self.channel.dataReceived(LISTING)
        size = len(self.transport.value())
        self.turns(self.transport)
        self.channel.dataReceived(LISTING * 300)
        counts = self.turns(self.transport)
        self.assertEqual(sum(counts), 301)
        self.assertLessEqual(max(counts) * size, (WORK_PER_TURN << BYTES_SHIFT) + size)

    def test_few_long_listings_begin_in_a_turn(self) -> None:
        """All of the listings are completed."""
        self.replica.apply(*(Set(f"/d/{number}", 0, "x") for number in range(2_000)))
        several = [self.wire.connect() for _ in range(20)]
        for channel, _ in several:
            channel.dataReceived(LISTING * 2)
        transports = [transport for _, transport in several]
        counts = self.turns(*transports)
        self.assertLessEqual(max(counts), WORK_PER_TURN // WORK_OF_LISTING + 1)
        for transport in transports:
            for answer in read_answers(transport.value(), "GET", "GET"):
                self.assertEqual(answer.body.count(b'"value"'), 2_000)

    def test_responses_to_head_cost_as_much(self) -> None:
        """A response without a body takes as much work as one with its body."""
        self.replica.apply(Set("/k", 0, "x" * 500_000), *(Set(f"/d/{number}", 0, "x") for number in range(2_000)))
        long_value, long_listing = HEAD, LISTING.replace(b"GET", b"HEAD")
        for request, work in ((long_value, 500_000 >> BYTES_SHIFT), (long_listing, WORK_OF_LISTING)):
            channel, transport = self.wire.connect()
            channel.dataReceived(request * 10)
            counts = self.turns(transport)
            self.assertLessEqual(max(counts), WORK_PER_TURN // work + 1)
            self.assertEqual(sum(counts), 10)

    def test_refusals_and_options_cost_something(self) -> None:
        options = VERSION.replace(b"GET", b"OPTIONS")
        stranger = VERSION.replace(b"Host: x", b"Host: x\r\nOrigin: http://x.example")
        for request in (options, stranger):
            channel, transport = self.wire.connect()
            channel.dataReceived(request * 200)
            counts = self.turns(transport)
            self.assertLessEqual(max(counts), WORK_PER_TURN // WORK_OF_ORDINARY_REQUEST + 1)
            self.assertEqual(sum(counts), 200)

    def test_long_targets_cost_much(self) -> None:
        """The server does not examine a target with thousands of segments."""
        targets = (b"/a" * 30_000, b"/%2e" * 15_000, b"/" * 60_000, b"/%2F" * 10_000, b"/x" + b"%2F%41" * 10_000)
        self.patch(self.wire.site.resource, "render", self.fail)  # these reach no page
        for target in targets[:4]:
            channel, transport = self.wire.connect()
            channel.dataReceived(VERSION.replace(b"/version", target))
            self.turns(transport)
            (answer,) = read_answers(transport.value(), "GET")
            self.assertEqual((answer.status, answer.body), (404, b'{"message":"Not Found"}\n'))
        several = [self.wire.connect() for _ in targets]
        for (channel, _), target in zip(several, targets, strict=True):
            channel.dataReceived(VERSION.replace(b"GET", b"OPTIONS").replace(b"/version", target))
        counts = self.turns(*(transport for _, transport in several))
        self.assertLessEqual(max(counts), 2)
        self.assertEqual(sum(counts), len(targets))

    def test_few_pieces_are_sent_in_a_turn(self) -> None:
        """The limit holds however fast the client reads."""
        self.replica.apply(Set("/k", 0, "x" * 3_000_000))
        self.channel.dataReceived(GET)
        sent = [len(self.transport.value())]
        while self.wire.site.turns.waiting:
            self.clock.turn()
            sent.append(len(self.transport.value()))
        most = max(after - before for before, after in itertools.pairwise([0, *sent]))
        self.assertLess(most, 2 * WORK_PER_TURN << BYTES_SHIFT)
        self.assertGreater(sent[-1], 3_000_000)

    def test_many_connections_share_a_turn(self) -> None:
        several = [self.wire.connect() for _ in range(100)]
        for channel, _ in several:
            channel.dataReceived(METRICS)
        transports = [transport for _, transport in several]
        counts = self.turns(*transports)
        self.assertLessEqual(max(counts), WORK_PER_TURN // WORK_OF_PAGE + 1)
        self.assertEqual([self.answered(each) for each in transports], [1] * 100)

    def test_many_connections_with_one_key_each_share_a_turn(self) -> None:
        """Each has its answer after a few turns."""
        several = [self.wire.connect() for _ in range(2 * WORK_PER_TURN)]
        for channel, _ in several:
            channel.dataReceived(GET)
        transports = [transport for _, transport in several]
        self.assertLessEqual(max(self.turns(*transports)), WORK_PER_TURN)
        self.assertEqual({self.answered(each) for each in transports}, {1})

    def test_a_small_request_does_not_wait_for_many(self) -> None:
        self.channel.dataReceived(METRICS * 200 + GET * 1_000)
        for request in (GET, METRICS, put("v")):
            channel, transport = self.wire.connect()
            channel.dataReceived(request)
            for _ in range(3):
                self.clock.turn()
            self.assertEqual(self.answered(transport), 1)
        self.assertLess(self.answered(self.transport), 200)

    def test_a_client_that_goes_waits_no_longer(self) -> None:
        for request in (METRICS, GET, LISTING):
            channel, transport = self.wire.connect()
            channel.dataReceived(request * 1_000)
            transport.client_goes()
            self.assertEqual(len(self.wire.site.turns.waiting), 0)
        self.turns(self.transport)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)  # the site's sweep

    def test_a_request_that_waits_is_answered_when_the_service_stops(self) -> None:
        """A request that waits for its turn counts as under way."""
        self.channel.dataReceived(METRICS * 100)
        channel, transport = self.wire.connect()
        channel.dataReceived(GET)
        self.wire.site.stop(5.0)
        self.turns(transport)
        self.assertEqual(read_answers(transport.value(), "GET")[0].headers["Connection"], "close")

    def test_an_uncommon_request_that_waits_is_the_last_on_its_connection(self) -> None:
        requests = ((VERSION, b""), (HEAD, b""), (WATCH, b""), (GET, b""), (GET, GET[:9]), (GET[:9], b""))
        for request, behind in requests:
            busy, _ = self.wire.connect()
            busy.dataReceived(METRICS * 10)
            channel, transport = self.wire.connect()
            channel.dataReceived(request + behind)
            self.wire.site.stop(5.0)
            self.turns(transport)
            self.assertEqual(self.answered(transport), int(request.endswith(b"\r\n\r\n")), request + behind)
            self.assertEqual(transport.how_lost, "closed", request + behind)

    def test_a_request_that_waits_for_its_turn_is_not_late(self) -> None:
        """A request that came in time is answered, however long it waits for its turn."""
        channel, transport = self.wire.connect()
        channel.dataReceived(GET[:-2])
        self.clock.rightNow += 9.9
        self.channel.dataReceived(METRICS * 10)
        channel.dataReceived(GET[-2:])
        self.clock.rightNow += 1
        self.wire.site._sweep()
        self.turns(transport)
        self.assertEqual(self.answered(transport), 1)

    def test_a_request_that_fails_in_its_turn_closes_its_connection(self) -> None:
        """The client must not wait for ever."""
        self.channel.dataReceived(METRICS * 10)
        self.patch(self.wire.site.browsers, "refusal", lambda *_: 1 / 0)
        channel, transport = self.wire.connect()
        channel.dataReceived(VERSION)
        self.turns(transport)
        self.assertEqual((self.transport.how_lost, transport.how_lost), ("aborted", "aborted"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_requests_behind_a_wait_have_turns_too(self) -> None:
        self.channel.dataReceived(WATCH + METRICS * 50)
        self.replica.apply(Set("/k", 0, "v"))
        counts = self.turns(self.transport)
        self.assertLessEqual(max(counts), WORK_PER_TURN // WORK_OF_PAGE + 1)
        self.assertEqual(sum(counts), 51)


class FastPortTests(PortTests):
    """The same tests use the fast door."""

    kind = FastSite

    def test_a_connection_that_waited_for_a_turn_is_read_again(self) -> None:
        """It was not read any more, as much had come while it waited."""
        wire = Wire(self.replica, most_body=100_000, kind=self.kind, work=WORK_PER_TURN)
        busy, _ = wire.connect()
        busy.dataReceived(GET * 1_000)
        channel, transport = wire.connect()
        request = put("x" * 20_000)
        channel.dataReceived(request[:-1])
        channel.dataReceived(request[-1:])
        self.assertEqual(transport.producerState, "paused")
        self.turns(transport)
        self.assertEqual(self.answered(transport), 1)
        self.assertEqual(transport.producerState, "producing")

    def test_connections_with_much_to_do_take_turns(self) -> None:
        """None of them does more in a turn than others that wait."""
        several = [self.wire.connect() for _ in range(4)]
        for channel, _ in several:
            channel.dataReceived(GET * 1_000)
        first = [self.answered(transport) for _, transport in several]
        self.clock.turn()
        second = [self.answered(transport) for _, transport in several]
        self.assertEqual(first[1:], [0] * 3)
        (share,) = {after - before for before, after in zip(first, second, strict=True)}
        self.assertGreater(share, 0)
