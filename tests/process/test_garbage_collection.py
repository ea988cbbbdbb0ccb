"""
Tests of L{etcd_twisted.process.garbage_collection}.
"""

import gc
import weakref

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.process.garbage_collection import COLLECTION_INTERVAL_SECONDS, Collector


class Cycle:
    def __init__(self) -> None:
        self.itself = self


class CollectorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.collector = Collector(self.clock)
        self.collector.start()
        self.stopped = False
        self.addCleanup(self.stop)

    def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.collector.stop()

    def test_young_garbage_goes_with_the_next_pass(self) -> None:
        gone = weakref.ref(Cycle())
        self.assertIsNotNone(gone())
        self.clock.advance(COLLECTION_INTERVAL_SECONDS)
        self.assertIsNone(gone())

    def test_garbage_that_lived_for_some_passes_goes_within_a_second(self) -> None:
        cycle = Cycle()
        gone = weakref.ref(cycle)
        self.clock.pump([COLLECTION_INTERVAL_SECONDS] * 3)
        del cycle
        self.clock.pump([COLLECTION_INTERVAL_SECONDS] * 7)
        self.assertIsNone(gone())

    def test_a_large_tree_that_is_loaded_is_frozen_unseen(self) -> None:
        """The passes before the start of the program has ended do not look at so many objects."""
        gone = weakref.ref(Cycle())
        tree = [[] for _ in range(40_000)]
        self.clock.advance(COLLECTION_INTERVAL_SECONDS)
        self.assertIsNotNone(gone())
        self.assertFalse(any(each is tree[0] for each in gc.get_objects()))

    def test_once_the_program_has_started_young_garbage_goes_beside_many_objects(self) -> None:
        """However many they are. What has survived is frozen without a second look."""
        self.collector.freeze()
        lived = Cycle()
        gone, frozen = weakref.ref(Cycle()), weakref.ref(lived)
        tree = [[] for _ in range(40_000)]
        self.clock.advance(COLLECTION_INTERVAL_SECONDS)
        self.assertIsNone(gone())
        del lived
        self.clock.pump([COLLECTION_INTERVAL_SECONDS] * 9)
        self.assertIsNotNone(frozen())
        self.assertFalse(any(each is tree[0] for each in gc.get_objects()))

    def test_many_survivors_are_looked_at_once_more_and_frozen_early(self) -> None:
        """So no pass has much to look at while a tree is made anew."""
        self.collector.freeze()
        cycle = Cycle()
        gone = weakref.ref(cycle)
        tree = [[] for _ in range(5_000)]
        self.clock.advance(COLLECTION_INTERVAL_SECONDS)
        del cycle
        self.assertTrue(any(each is tree[0] for each in gc.get_objects()))
        self.clock.advance(COLLECTION_INTERVAL_SECONDS)
        self.assertFalse(any(each is tree[0] for each in gc.get_objects()))
        self.assertIsNone(gone())

    def test_surviving_objects_are_frozen_until_the_next_day(self) -> None:
        cycle = Cycle()
        gone = weakref.ref(cycle)
        self.clock.pump([COLLECTION_INTERVAL_SECONDS] * 10)
        self.assertFalse(any(each is cycle for each in gc.get_objects()))
        del cycle
        self.clock.pump([COLLECTION_INTERVAL_SECONDS] * 20)
        self.assertIsNotNone(gone())
        self.collector._passes += 24 * 3600 * 10 - 31
        self.clock.advance(COLLECTION_INTERVAL_SECONDS)
        self.assertIsNone(gone())

    def test_stopping_restores_garbage_collection(self) -> None:
        self.assertFalse(gc.isenabled())
        self.stop()
        self.assertTrue(gc.isenabled())
        self.assertEqual(gc.get_freeze_count(), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
