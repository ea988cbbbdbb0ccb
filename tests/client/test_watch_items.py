"""
Tests of L{etcd_twisted.client.watch_items}: in whatever order items and questions come, the consumer gets every item.
"""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client.results import HistoryLost, Index
from etcd_twisted.client.watch_items import WatchItems
from tests import examples

MOST = 4


class _Consuming(RuleBasedStateMachine):
    """A watch and its consumer, who may change its mind."""

    def __init__(self) -> None:
        super().__init__()
        self.items = WatchItems(MOST)
        self.put: list[Any] = []
        self.got: list[Any] = []
        self.asked: Deferred[Any] | None = None

    @rule()
    def another_item_comes(self) -> None:
        item = HistoryLost(None, Index(len(self.put) + 1))
        self.put.append(item)
        self.items.put(item)

    @precondition(lambda self: self.asked is None)
    @rule()
    def consumer_asks(self) -> None:
        self.asked = self.items.next().addCallback(self._take)
        if self.asked.called:
            self.asked = None

    def _take(self, item: Any) -> None:
        self.got.append(item)
        self.asked = None

    @precondition(lambda self: self.asked is not None)
    @rule()
    def consumer_asks_no_longer(self) -> None:
        assert self.asked is not None
        self.asked.addErrback(lambda failure: failure.trap(CancelledError) and None).cancel()
        self.asked = None

    @precondition(lambda self: self.asked is not None)
    @rule(count=st.integers(1, 3))
    def second_question_is_refused(self, count: int) -> None:
        for _ in range(count):
            try:
                self.items.next()
            except RuntimeError:
                continue
            raise AssertionError("two consumers wait")

    @invariant()
    def nothing_is_lost(self) -> None:
        waiting = len(self.items)
        assert self.got == self.put[: len(self.put) - waiting]
        assert not (waiting and self.asked is not None)
        assert (self.items.is_full, self.items.has_room) == (waiting >= MOST, waiting <= MOST // 2)


class ItemTests(SynchronousTestCase):
    def test_any_order_of_items_and_questions(self) -> None:
        """Every item is handed out once and in order, and none is lost with a question that is withdrawn."""
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            _Consuming, settings=settings(max_examples=examples(40), stateful_step_count=30)
        )


class EndTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.items = WatchItems(MOST)
        self.reason = Failure(ValueError("it has ended"))

    def test_consumer_that_waits_is_told_the_end(self) -> None:
        waiting = self.items.next()
        self.items.finish(self.reason)
        self.assertIs(self.failureResultOf(waiting).value, self.reason.value)

    def test_items_come_before_the_end(self) -> None:
        """What has come is not lost, unless it is dropped."""
        first, second = HistoryLost(None, Index(1)), HistoryLost(None, Index(2))
        self.items.put(first)
        self.items.put(second)
        self.items.finish(self.reason)
        self.assertIs(self.successResultOf(self.items.next()), first)
        self.items.clear()
        self.assertIs(self.failureResultOf(self.items.next()).value, self.reason.value)
