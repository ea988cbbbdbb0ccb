"""
Whatever clients do, a line is what a small, obviously right model says it is.
"""

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace.nodes import File
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.modules.line import Line, place_key, read_line
from etcd_twisted.web.modules.locks import Locks, Named, Wish
from etcd_twisted.web.modules.place import RENEWALS, LostError
from tests import examples
from tests.web.modules.lockers import LINE, STEP

_SECOND = 1_000_000

VALUES = st.sampled_from(["", "", "a", "b", "c"])
TTLS = st.integers(1, 4)
TIMEOUTS = st.sampled_from([None, None, None, 0, 1 - STEP / 2, 3 - STEP / 2])
"""None ends at the same time as a TTL: which of the two came first would not be clear."""


@attrs.define(eq=False)
class Client:
    """
    One who asks.

    @ivar until: until when it waits.
    @ivar told: what it was told: the index of its place, or an error; C{None} while it waits.
    @ivar expected: what it should have been told: C{"not got"} and C{"lost"} for errors.
    """

    until: float | None
    told: object = None
    expected: object = None
    asked: "Deferred[int] | None" = None


@attrs.define(eq=False)
class ModelPlace:
    """
    A place as it should be.

    @ivar ttl: what was asked for last.
    @ivar ttls: all that were asked for.
    @ivar ends: when its TTL does, C{None} while clients keep it.
    """

    index: int
    value: str
    ttl: int
    ends: float | None = None
    clients: list[Client] = attrs.Factory(list)
    ttls: set[int] = attrs.Factory(set)

    def ask(self, ttl: int) -> None:
        """A TTL is asked for."""
        self.ttl = ttl
        self.ttls.add(ttl)


class LineMachine(RuleBasedStateMachine):
    """A line, and the model of one: places in order, of which the first has the lock."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.clock.advance(1_000)
        self.replica = FakeReplica(self.clock)
        self.locks = Locks(self.replica, self.clock)
        self.clients: list[Client] = []
        self.line: list[ModelPlace] = []

    @property
    def now(self) -> float:
        return self.clock.seconds()

    # What clients do

    @rule(value=VALUES, ttl=TTLS, timeout=TIMEOUTS)
    def ask(self, value: str, ttl: int, timeout: float | None) -> None:
        """Want the lock."""
        client = Client(None if timeout is None else self.now + timeout)
        before = {place.index for place in self.line}
        self._ask(client, Wish(LINE, ttl, value, None, timeout))
        place = next((each for each in self.line if value and each.value == value), None)
        if place is None:
            if timeout == 0 and self.line:
                client.expected = "not got"
                return
            (index,) = set(self._found()) - before
            place = ModelPlace(index, value, ttl)
            self.line.append(place)
        self._wait(client, place, ttl)

    @precondition(lambda self: any(client.told == "lost" for client in self.clients))
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        """Come back to a place after this machine did not lead for a while; no longer than its TTL lasts."""
        lost = [place for place in self.line if place.ends is not None and place is not self.line[0]]
        if not lost:
            return
        place = data.draw(st.sampled_from(lost))
        client = Client(None)
        self._ask(client, Wish(LINE, place.ttl, "", place.index))
        self._wait(client, place, place.ttl)

    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        """Go while waiting."""
        waiting = [client for place in self.line for client in place.clients]
        if not waiting:
            return
        client = data.draw(st.sampled_from(waiting))
        self.clients.remove(client)
        assert client.asked is not None
        client.asked.cancel()
        self._part(client)

    @rule(data=st.data(), by_value=st.booleans())
    def release(self, data: st.DataObject, by_value: bool) -> None:
        """Give back a place, whoever waits at it."""
        if not self.line:
            return
        place = data.draw(st.sampled_from(self.line))
        named = Named(LINE, None, place.value) if by_value and place.value else Named(LINE, place.index, "")
        self._succeed(self.locks.release(named))
        self._remove(place)

    @rule(data=st.data(), ttl=TTLS)
    def renew(self, data: st.DataObject, ttl: int) -> None:
        """Begin the TTL of a place anew."""
        if not self.line:
            return
        place = data.draw(st.sampled_from(self.line))
        self._succeed(self.locks.renew(Named(LINE, place.index, ""), ttl))
        if place.clients:
            place.ask(ttl)
        else:
            place.ends = self.now + ttl

    @rule(steps=st.integers(1, 64))
    def pass_time(self, steps: int) -> None:
        """Let time go by."""
        for _ in range(steps):
            self.clock.advance(STEP)
            self.clock.advance(0)
            for client in [each for place in self.line for each in place.clients]:
                if client.until is not None and client.until <= self.now:
                    client.expected = "not got"
                    self._part(client)
            while ended := [each for each in self.line if each.ends is not None and each.ends <= self.now]:
                self._remove(ended[0])

    @rule()
    def be_deposed(self) -> None:
        """Lead no longer, and again."""
        self.replica.follow()
        self.replica.lead()
        for place in self.line:
            if place.clients:
                for client in place.clients:
                    client.expected = "lost"
                place.clients.clear()
                place.ends = self._ends(place)

    # What should come of it

    def _ask(self, client: Client, wish: Wish) -> None:
        self.clients.append(client)
        client.asked = ensureDeferred(self.locks.acquire(wish))
        client.asked.addCallbacks(lambda index: setattr(client, "told", index), lambda why: self._told(client, why))
        self.clock.advance(0)

    def _told(self, client: Client, reason: Failure) -> None:
        client.told = "lost" if reason.check(LostError) else "not got" if reason.check(EtcdError) else "gone"

    def _succeed(self, work: object) -> None:
        done: list[None] = []
        ensureDeferred(work).addCallback(done.append)  # type: ignore[call-overload]
        assert done == [None]
        self.clock.advance(0)

    def _wait(self, client: Client, place: ModelPlace, ttl: int) -> None:
        place.ask(ttl)
        place.ends = None
        place.clients.append(client)
        if place is self.line[0]:
            self._grant()
        elif client.until is not None and client.until <= self.now:
            client.expected = "not got"
            self._part(client)

    def _part(self, client: Client) -> None:
        """It does not wait at its place any longer."""
        (place,) = [each for each in self.line if client in each.clients]
        place.clients.remove(client)
        if not place.clients:
            self._remove(place)

    def _remove(self, place: ModelPlace) -> None:
        self.line.remove(place)
        for client in place.clients:
            client.expected = "not got"
        place.clients.clear()
        self._grant()

    def _grant(self) -> None:
        if self.line and self.line[0].clients:
            first = self.line[0]
            for client in first.clients:
                client.expected = first.index
            first.clients.clear()
            first.ends = self.now + first.ttl

    def _ends(self, place: ModelPlace) -> float:
        """When a place ends that nobody keeps any more: it was renewed within the last part of its TTL."""
        node = self.replica.get(place_key(LINE, place.index))
        assert isinstance(node, File)
        assert node.expires is not None
        ends = node.expires / _SECOND
        assert self.now + min(place.ttls) * (1 - 1 / RENEWALS) - STEP <= ends <= self.now + max(place.ttls)
        return ends

    def _found(self) -> Line:
        return read_line(self.replica, LINE) or Line()

    # What is so after each step

    @invariant()
    def line_is_as_it_should_be(self) -> None:
        self.clock.advance(0)
        assert list(self._found()) == [place.index for place in self.line]
        assert {place.index: place.value for place in self.line} == self._found()._values

    @invariant()
    def clients_know_what_they_should(self) -> None:
        for client in self.clients:
            assert client.told == client.expected

    @invariant()
    def nothing_is_kept_for_nobody(self) -> None:
        kept = sorted(place.index or 0 for queue in self.locks._queues.values() for place in queue.places)
        assert kept == [place.index for place in self.line if place.clients]
        assert self.replica.keyspace.hub.count == bool(kept)

    def teardown(self) -> None:
        self.replica.stop()


class ModelTests(SynchronousTestCase):
    def test_model(self) -> None:
        """Places, what clients are told, and what is kept."""
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            LineMachine, settings=settings(max_examples=examples(60), stateful_step_count=30)
        )
