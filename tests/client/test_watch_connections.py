"""The connections that a watch makes, one after the other, and with what index each begins."""

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from twisted.internet.defer import CancelledError, DeferredSemaphore
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from etcd_twisted.client import Event, HistoryLost, InsufficientCredentials, UnexpectedAnswer, WatchClosed
from etcd_twisted.client.watch import RENEW_SECONDS, Watch
from tests.client.stubs import A, B, Hang, Outcome, Reply, Sent, StubAgent, error, sender_of

EVENT = '{"action":"set","node":{"key":"/key","value":"%d","modifiedIndex":%d,"createdIndex":%d}}'


def event(index: int) -> bytes:
    return (EVENT % (index, index, index)).encode() + b"\n"


def watching(body: bytes = b"", index: int = 100, end: Exception | None = None) -> Reply:
    """Returns the answer to a watch, which stays open unless an end is given."""
    return Reply(200, body, {"X-Etcd-Index": str(index)}, end)


class ConnectionTests(SynchronousTestCase):
    def watch(
        self,
        *answers: Outcome | Callable[[Sent], Outcome],
        after_index: int | None = 4,
        endpoints: str = A,
        chance: float = 0.0,
        **machines: object,
    ) -> Watch:
        """
        Returns a watch.

        @param answers: what its first machine answers, one after the other; the last one stays. Or a function that
            returns an answer.
        """
        self.clock = Clock()
        script = answers[0] if callable(answers[0]) else list(answers)
        self.agent = StubAgent(a=script, **machines)
        sender = sender_of(self.agent, self.clock, endpoints)
        self.addCleanup(sender.close)
        watch = Watch(self.clock, sender, "/key", False, after_index, lambda: chance, DeferredSemaphore(1))
        self.addCleanup(watch.close)
        return watch

    def queries(self) -> list[dict[str, str]]:
        """Returns the parameters of each watch that was asked for."""
        found = [parse_qs(urlsplit(sent.target).query) for sent in self.agent.sent]
        return [{name: values[0] for name, values in query.items()} for query in found if "wait" in query]

    def begun(self) -> list[str | None]:
        """Returns with which index each watch began."""
        return [query.get("waitIndex") for query in self.queries()]

    def test_a_clean_end_without_an_event_moves_the_index(self) -> None:
        self.watch(watching(end=ResponseDone()), watching())
        self.clock.advance(1)
        self.assertEqual(self.begun(), ["5", "101"])

    def test_a_broken_connection_does_not_move_the_index(self) -> None:
        """The event may have been on its way."""
        self.watch(watching(end=ConnectionLost()), watching())
        self.clock.advance(1)
        self.assertEqual(self.begun(), ["5", "5"])

    def test_a_watch_from_now_on_is_bound_to_the_first_index(self) -> None:
        self.watch(watching(end=ConnectionLost()), watching(), after_index=None)
        self.clock.advance(1)
        self.assertEqual(self.begun(), [None, "101"])

    def test_half_an_event_is_no_event(self) -> None:
        watch = self.watch(watching(event(101)[:-20], end=ConnectionLost()), watching(event(101)))
        self.clock.advance(1)
        item = self.successResultOf(watch.next())
        assert isinstance(item, Event)
        self.assertEqual((item.node.modified_index, self.begun()), (101, ["5", "5"]))

    def test_a_stream_that_sends_one_event_of_the_history_alone(self) -> None:
        """etcd does that, and sends nothing after it: the watch asks for the next ones."""
        watch = self.watch(watching(event(7)), watching(event(9)), watching())
        items = [self.successResultOf(watch.next())]
        self.clock.advance(0)
        items.append(self.successResultOf(watch.next()))
        self.clock.advance(0)
        self.assertEqual([item.node.modified_index for item in items if item.node], [7, 9])
        self.assertEqual(self.begun(), ["5", "8", "10"])

    def test_a_stream_that_sends_the_whole_history(self) -> None:
        self.watch(watching(event(7) + event(9)))
        self.clock.advance(1)
        self.assertEqual(self.begun(), ["5"])

    def test_a_long_poll_behind_a_proxy_that_holds_headers_back(self) -> None:
        """A read is answered, but no watch is until it has an event: so no more streams are asked for."""

        def machine(sent: Sent) -> Outcome:
            if "wait=true" not in sent.target:
                return Reply(200, event(3).strip(), {"X-Etcd-Index": "3"})
            if "stream=true" in sent.target or "waitIndex=101" not in sent.target:
                return Hang()
            return watching(event(101).strip(), end=ResponseDone())

        watch = self.watch(machine, after_index=100)
        self.clock.pump([0.5] * 30)
        item = self.successResultOf(watch.next())
        assert isinstance(item, Event)
        self.assertEqual(item.node.modified_index, 101)
        self.assertNotIn("stream", self.queries()[-1])

    def test_an_event_that_only_the_renewal_brings(self) -> None:
        """Something has held it back on the stream: no more streams are asked for."""
        renewal = watching(event(102).strip(), index=105, end=ResponseDone())
        watch = self.watch(watching(index=100), renewal, watching())
        self.clock.advance(RENEW_SECONDS)
        item = self.successResultOf(watch.next())
        assert isinstance(item, Event)
        self.clock.advance(1)
        self.assertEqual(self.begun(), ["5", "5", "103"])
        self.assertEqual(["stream" in query for query in self.queries()], [True, False, False])

    def test_a_stream_that_is_cut_off_in_the_middle_of_the_history(self) -> None:
        """Nothing says so, as with a machine that has lost its network: the rest comes by the renewal."""
        stalled = watching(event(7) + event(9) + event(11)[:-20], index=100)
        renewal = watching(event(11).strip(), index=100, end=ResponseDone())
        watch = self.watch(stalled, renewal, watching())
        self.clock.pump([RENEW_SECONDS, 1])
        items = [self.successResultOf(watch.next()) for _ in range(3)]
        self.assertEqual([item.node.modified_index for item in items if item.node], [7, 9, 11])
        self.assertEqual(self.begun(), ["5", "10", "12"])

    def test_a_quiet_long_poll_moves_the_index(self) -> None:
        """It would have been answered at once if there was an event up to the index of the machine."""
        self.watch(watching(index=100), watching(index=200), watching(index=300))
        self.clock.pump([RENEW_SECONDS, RENEW_SECONDS])
        self.assertEqual(self.begun(), ["5", "5", "201"])

    def test_a_long_poll_without_a_length_ends_with_its_connection(self) -> None:
        """As behind a proxy of HTTP 1.0; what is only half there is no event."""
        half = watching(event(101)[:-20], end=PotentialDataLoss())
        watch = self.watch(half, watching(event(101).strip(), end=PotentialDataLoss()), watching())
        self.clock.advance(1)
        item = self.successResultOf(watch.next())
        assert isinstance(item, Event)
        self.assertEqual((item.node.modified_index, self.begun()[:2]), (101, ["5", "5"]))

    def test_for_each_is_cancelled_by_its_own_function(self) -> None:
        watch = self.watch(watching(end=ConnectionLost()), watching(event(101) + event(102)))
        seen: list[Event | HistoryLost] = []

        def take(item: Event | HistoryLost) -> None:
            seen.append(item)
            done.cancel()

        done = watch.for_each(take)
        self.clock.advance(1)
        self.failureResultOf(done, CancelledError)
        self.failureResultOf(watch.next(), WatchClosed)
        self.assertEqual(len(seen), 1)

    def test_a_connection_that_is_dead_without_a_sign_is_left_though_the_history_is_short(self) -> None:
        """The renewal is refused, and the state shows what the connection has not brought."""
        state = event(150).strip()

        def machine(sent: Sent) -> Outcome:
            if "wait=true" not in sent.target:
                return Reply(200, state, {"X-Etcd-Index": "200"})
            if "waitIndex=5" in sent.target and "stream=true" in sent.target:
                return watching(event(101))
            return watching(index=200) if "waitIndex=201" in sent.target else error(401, "cleared [140/102]")

        watch = self.watch(machine)
        self.assertIsInstance(self.successResultOf(watch.next()), Event)
        self.clock.advance(RENEW_SECONDS)
        lost = self.successResultOf(watch.next())
        assert isinstance(lost, HistoryLost)
        assert lost.node is not None
        self.assertEqual((lost.node.modified_index, self.begun()[-1]), (150, "201"))

    def test_a_lost_history_does_not_spin(self) -> None:
        """If the history is lost again and again the pauses grow."""

        def machine(sent: Sent) -> Outcome:
            if "wait=true" in sent.target:
                return error(401, "the requested history has been cleared [90/5]")
            return Reply(200, event(200).strip(), {"X-Etcd-Index": "200"})

        watch = self.watch(machine, chance=1.0)
        self.assertIsInstance(self.successResultOf(watch.next()), HistoryLost)
        self.clock.pump([0.01] * 1_000)
        self.assertLess(len(self.queries()), 20)

    def test_a_repetition_does_not_spin(self) -> None:
        """Something in between answers each watch with the same event."""
        watch = self.watch(watching(event(5).strip(), end=ResponseDone()), chance=1.0)
        self.successResultOf(watch.next())
        self.clock.pump([0.01] * 1_000)
        self.assertLess(len(self.queries()), 20)

    def test_it_goes_on_at_another_machine(self) -> None:
        self.watch(watching(end=ConnectionLost()), ConnectionLost(), endpoints=f"{A},{B}", b=[watching()])
        self.clock.advance(1)
        self.assertEqual(self.agent.asked(), [A, A, B])

    def test_what_is_no_event_ends_the_watch(self) -> None:
        watch = self.watch(watching(b"<html>login</html>\n"))
        self.failureResultOf(watch.next(), UnexpectedAnswer)
        self.clock.advance(60)
        self.assertEqual(len(self.queries()), 1)

    def test_a_watch_that_is_refused_ends(self) -> None:
        """No other machine is asked."""
        watch = self.watch(error(110, "Insufficient credentials", 401), endpoints=f"{A},{B}", b=watching())
        connected = watch.connected()
        self.failureResultOf(watch.next(), InsufficientCredentials)
        self.failureResultOf(connected, InsufficientCredentials)
        self.clock.advance(60)
        self.assertEqual(self.agent.asked(), [A])

    def test_a_watch_whose_right_is_revoked_ends(self) -> None:
        """The machine ends the stream, and refuses the next one. What came before is delivered."""
        refusal = error(110, "Insufficient credentials", 401)
        for last in (watching(event(101), end=ResponseDone()), watching(event(101), end=ConnectionLost())):
            watch = self.watch(last, refusal, watching())
            self.assertIsInstance(self.successResultOf(watch.next()), Event)
            self.clock.advance(1)
            self.failureResultOf(watch.next(), InsufficientCredentials)
            self.clock.advance(60)
            self.assertEqual(len(self.queries()), 2)

    def test_a_watch_whose_right_is_revoked_ends_though_its_connection_lives(self) -> None:
        """etcd leaves it open; the renewal is refused."""
        watch = self.watch(watching(), error(110, "Insufficient credentials", 401), watching())
        self.clock.advance(RENEW_SECONDS)
        self.failureResultOf(watch.next(), InsufficientCredentials)
        response = self.agent.sent[0].response
        assert response is not None
        self.assertTrue(response.closed)
        self.clock.advance(60)
        self.assertEqual(len(self.queries()), 2)

    def test_a_watch_whose_right_is_revoked_while_its_history_is_lost(self) -> None:
        """Then it is the read of the present state that is refused."""

        def machine(sent: Sent) -> Outcome:
            if "wait=true" in sent.target:
                return error(401, "the requested history has been cleared [90/5]")
            return error(110, "Insufficient credentials", 401)

        watch = self.watch(machine)
        self.failureResultOf(watch.next(), InsufficientCredentials)
