"""
The cyclic garbage collector, run by the clock in passes that fit into a turn of the reactor.

Left to itself, the collector runs when the number of objects made exceeds the number freed by a threshold. A key space
under writes frees as many as it makes, so the collector runs late, and finds the whole tree among the young objects:
that takes tens of milliseconds for 100,000 keys. When it runs by the clock instead, each pass looks at what a fraction
of a second has made. What survives several passes is frozen: the collector looks at it again only once a day. The tree
has no cycles, and objects that have some, like a finished request, seldom live for seconds. While much of a large tree
is made anew, as after a snapshot, objects are frozen after fewer passes, so that no pass has many to look at.

This changes the collector of the whole process, so it must never be started in a program that embeds the service.
"""

import gc

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

COLLECTION_INTERVAL_SECONDS = 0.1
"""The time between passes."""

_PASSES_PER_FREEZE = 10
"""Every so many passes, what has survived several of them is looked at once more, and what is left is frozen."""

_MANY_SURVIVORS = 4_000
"""
If so many objects have survived at least one pass, that is done in the next one. To look at one takes about 0.4 us.
"""

_MOST_OBJECTS = 30_000
"""
If so many objects or more are there that the next pass would look at, it does not: it would take longer than a turn of
the reactor may. So many are parts of a tree, which is loaded from a snapshot.
"""

_PASSES_PER_FULL_COLLECTION = 864_000
"""Every so many passes, which is a day, everything is looked at, at the price of one long turn."""


class Collector:
    """Runs the collector by the clock, from L{start} to L{stop}."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._passes = 0
        self._starting = True
        self._calling = LoopingCall(self.collect)
        self._calling.clock = clock

    def start(self) -> None:
        """Freeze all objects that exist, and run by the clock from now on."""
        gc.disable()
        gc.freeze()
        self._calling.start(COLLECTION_INTERVAL_SECONDS, now=False).addErrback(self._stopped)

    def _stopped(self, failure: Failure) -> None:
        self._log.failure("The garbage collector is left to itself", failure)
        gc.enable()

    def freeze(self) -> None:
        """The program has started: keep the collector from looking at any object that exists now. Those live long."""
        self._starting = False
        gc.freeze()

    def stop(self) -> None:
        """Leave the collector to itself again."""
        self._calling.stop()
        gc.unfreeze()
        gc.enable()

    def collect(self) -> None:
        """Run one pass."""
        self._passes += 1
        if self._passes % _PASSES_PER_FULL_COLLECTION == 0:
            self._collect_all()
            return
        survivors = len(gc.get_objects(generation=1))
        if self._starting and gc.get_count()[0] >= _MOST_OBJECTS:
            gc.freeze()
        elif self._passes % _PASSES_PER_FREEZE == 0 or survivors >= _MANY_SURVIVORS:
            if survivors < _MOST_OBJECTS:
                gc.collect(1)
            gc.freeze()
        else:
            gc.collect(0)

    def _collect_all(self) -> None:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
