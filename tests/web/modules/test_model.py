"""
A property compares a queue with a small model that is obviously right, whatever clients do.
"""

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace.nodes import File
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.modules.lock_queue import LockQueue, entry_key, read_queue
from etcd_twisted.web.modules.locks import EntryReference, LockRequest, Locks
from etcd_twisted.web.modules.queue_entry import RENEWALS_PER_TTL, LeadershipLostError
from tests import examples
from tests.web.modules.lockers import QUEUE, STEP

_SECOND = 1_000_000

VALUES = st.sampled_from(["", "", "a", "b", "c"])
TTLS = st.integers(1, 4)
TIMEOUTS = st.sampled_from([None, None, None, 0, 1 - STEP / 2, 3 - STEP / 2])
"""None ends at the same time as a TTL, since the order of the two would not be clear."""


@attrs.define(eq=False)
class Client:
    """
    A client of the queue.

    @ivar until: when its wait ends.
    @ivar told: its answer: the index of its entry, or an error; C{None} while it waits.
    @ivar expected: the answer that it should have: C{"not acquired"} and C{"lost"} for errors.
    """

    until: float | None
    told: object = None
    expected: object = None
    asked: "Deferred[int] | None" = None


@attrs.define(eq=False)
class ModelEntry:
    """
    An entry of the model.

    @ivar ttl: the last TTL that a client asked for.
    @ivar ttls: all TTLs that clients asked for.
    @ivar ends: when its TTL ends; C{None} while clients keep the entry.
    """

    index: int
    value: str
    ttl: int
    ends: float | None = None
    clients: list[Client] = attrs.Factory(list)
    ttls: set[int] = attrs.Factory(set)

    def ask(self, ttl: int) -> None:
        """A client asks for a TTL."""
        self.ttl = ttl
        self.ttls.add(ttl)


class QueueMachine(RuleBasedStateMachine):
    """A queue and its model, a list of entries in order of which the first has the lock."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.clock.advance(1_000)
        self.replica = FakeReplica(self.clock)
        self.locks = Locks(self.replica, self.clock)
        self.clients: list[Client] = []
        self.queue: list[ModelEntry] = []

    @initialize(pads=st.booleans())
    def begin(self, pads: bool) -> None:
        """The cluster has decided how in-order keys are named."""
        self.replica.keyspace.pads_in_order_keys = pads

    @property
    def now(self) -> float:
        return self.clock.seconds()

    # What clients do.

    @rule(value=VALUES, ttl=TTLS, timeout=TIMEOUTS)
    def ask(self, value: str, ttl: int, timeout: float | None) -> None:
        """A client asks for the lock."""
        client = Client(None if timeout is None else self.now + timeout)
        before = {entry.index for entry in self.queue}
        self._ask(client, LockRequest(QUEUE, ttl, value, None, timeout))
        entry = next((each for each in self.queue if value and each.value == value), None)
        if entry is None:
            if timeout == 0 and self.queue:
                client.expected = "not acquired"
                return
            (index,) = set(self._found()) - before
            entry = ModelEntry(index, value, ttl)
            self.queue.append(entry)
        self._wait(client, entry, ttl)

    @precondition(lambda self: any(client.told == "lost" for client in self.clients))
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        """A client comes back to its entry after this machine did not lead for a while, within the entry's TTL."""
        lost = [entry for entry in self.queue if entry.ends is not None and entry is not self.queue[0]]
        if not lost:
            return
        entry = data.draw(st.sampled_from(lost))
        client = Client(None)
        self._ask(client, LockRequest(QUEUE, entry.ttl, "", entry.index))
        self._wait(client, entry, entry.ttl)

    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        """A client goes while it waits."""
        waiting = [client for entry in self.queue for client in entry.clients]
        if not waiting:
            return
        client = data.draw(st.sampled_from(waiting))
        self.clients.remove(client)
        assert client.asked is not None
        client.asked.cancel()
        self._part(client)

    @rule(data=st.data(), by_value=st.booleans())
    def release(self, data: st.DataObject, by_value: bool) -> None:
        """A client releases an entry, whoever waits at it."""
        if not self.queue:
            return
        entry = data.draw(st.sampled_from(self.queue))
        named = (None, entry.value) if by_value and entry.value else (entry.index, "")
        self._succeed(self.locks.release(EntryReference(QUEUE, *named)))
        self._remove(entry)

    @rule(data=st.data(), ttl=TTLS)
    def renew(self, data: st.DataObject, ttl: int) -> None:
        """A client renews an entry, whose TTL begins anew."""
        if not self.queue:
            return
        entry = data.draw(st.sampled_from(self.queue))
        self._succeed(self.locks.renew(EntryReference(QUEUE, entry.index, ""), ttl))
        if entry.clients:
            entry.ask(ttl)
        else:
            entry.ends = self.now + ttl

    @rule(steps=st.integers(1, 64))
    def pass_time(self, steps: int) -> None:
        """Time passes."""
        for _ in range(steps):
            self.clock.advance(STEP)
            self.clock.advance(0)
            for client in [each for entry in self.queue for each in entry.clients]:
                if client.until is not None and client.until <= self.now:
                    client.expected = "not acquired"
                    self._part(client)
            while ended := [each for each in self.queue if each.ends is not None and each.ends <= self.now]:
                self._remove(ended[0])

    @rule()
    def be_deposed(self) -> None:
        """This machine stops leading, and then leads again."""
        self.replica.follow()
        self.replica.lead()
        for entry in self.queue:
            if entry.clients:
                for client in entry.clients:
                    client.expected = "lost"
                entry.clients.clear()
                entry.ends = self._ends(entry)

    # What should come of it.

    def _ask(self, client: Client, wish: LockRequest) -> None:
        self.clients.append(client)
        client.asked = ensureDeferred(self.locks.acquire(wish))
        client.asked.addCallbacks(lambda index: setattr(client, "told", index), lambda why: self._told(client, why))
        self.clock.advance(0)

    def _told(self, client: Client, reason: Failure) -> None:
        not_acquired = "not acquired" if reason.check(EtcdError) else "gone"
        client.told = "lost" if reason.check(LeadershipLostError) else not_acquired

    def _succeed(self, work: object) -> None:
        done: list[None] = []
        ensureDeferred(work).addCallback(done.append)  # type: ignore[call-overload]
        assert done == [None]
        self.clock.advance(0)

    def _wait(self, client: Client, entry: ModelEntry, ttl: int) -> None:
        entry.ask(ttl)
        entry.ends = None
        entry.clients.append(client)
        if entry is self.queue[0]:
            self._grant()
        elif client.until is not None and client.until <= self.now:
            client.expected = "not acquired"
            self._part(client)

    def _part(self, client: Client) -> None:
        """The client stops waiting at its entry."""
        (entry,) = [each for each in self.queue if client in each.clients]
        entry.clients.remove(client)
        if not entry.clients:
            self._remove(entry)

    def _remove(self, entry: ModelEntry) -> None:
        self.queue.remove(entry)
        for client in entry.clients:
            client.expected = "not acquired"
        entry.clients.clear()
        self._grant()

    def _grant(self) -> None:
        if self.queue and self.queue[0].clients:
            first = self.queue[0]
            for client in first.clients:
                client.expected = first.index
            first.clients.clear()
            first.ends = self.now + first.ttl

    def _ends(self, entry: ModelEntry) -> float:
        """Returns when an entry ends that no client keeps: the last renewal was within the last part of its TTL."""
        node = self.replica.get(entry_key(self.replica, QUEUE, entry.index))
        assert isinstance(node, File)
        assert node.expires is not None
        ends = node.expires / _SECOND
        assert self.now + min(entry.ttls) * (1 - 1 / RENEWALS_PER_TTL) - STEP <= ends <= self.now + max(entry.ttls)
        return ends

    def _found(self) -> LockQueue:
        return read_queue(self.replica, QUEUE) or LockQueue(self.replica)

    # What holds after each step.

    @invariant()
    def queue_is_as_it_should_be(self) -> None:
        self.clock.advance(0)
        assert list(self._found()) == [entry.index for entry in self.queue]
        assert {entry.index: entry.value for entry in self.queue} == self._found()._values

    @invariant()
    def clients_know_what_they_should(self) -> None:
        for client in self.clients:
            assert client.told == client.expected

    @invariant()
    def nothing_is_kept_for_nobody(self) -> None:
        kept = sorted(entry.index or 0 for watched in self.locks._queues.values() for entry in watched.entries)
        assert kept == [entry.index for entry in self.queue if entry.clients]
        assert self.replica.keyspace.hub.count == bool(kept)

    def teardown(self) -> None:
        self.replica.stop()


class ModelTests(SynchronousTestCase):
    def test_queue_agrees_with_its_model(self) -> None:
        """Entries, answers to clients, and renewals agree with the model."""
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            QueueMachine, settings=settings(max_examples=examples(60), stateful_step_count=30)
        )
