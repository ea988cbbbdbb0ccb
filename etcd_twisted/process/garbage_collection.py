"""
The cyclic garbage collector, in helpings that fit into a turn of the reactor.

Left to itself it counts objects made less objects freed. A key space under writes makes as many as it frees, so it
comes late, with the whole tree among the young objects: tens of milliseconds for 100,000 keys. By the clock instead,
each helping is what a fraction of a second has made. What survives is set aside and not looked at again, but once a
day: the tree has no cycles, and what has some, like a finished request, seldom lives for seconds.

It changes how the collector works for the whole process, so it is for one that this service has to itself, and must
never be started in a program that embeds the service.
"""

import gc

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

INTERVAL = 0.1
"""Seconds between helpings."""

_SETTING_ASIDE = 10
"""Every so many helpings, what has survived several of them is looked at once more and set aside."""

_WHOLE = 864_000
"""Every so many helpings everything is looked at, at the price of one long turn."""


class Collector:
    """The collector under the clock, from L{start} to L{stop}."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._helpings = 0
        self._calling = LoopingCall(self.collect)
        self._calling.clock = clock

    def start(self) -> None:
        """Set aside all there is, and go by the clock from here on."""
        gc.disable()
        self.set_aside()
        self._calling.start(INTERVAL, now=False).addErrback(self._stopped)

    def _stopped(self, failure: Failure) -> None:
        self._log.failure("The garbage collector is left to itself", failure)
        gc.enable()

    def set_aside(self) -> None:
        """Look no more at what there is at this moment; it will live long."""
        gc.freeze()

    def stop(self) -> None:
        """Leave the collector to itself again."""
        self._calling.stop()
        gc.unfreeze()
        gc.enable()

    def collect(self) -> None:
        """One helping."""
        self._helpings += 1
        if self._helpings % _WHOLE == 0:
            self._whole()
        elif self._helpings % _SETTING_ASIDE == 0:
            gc.collect(1)
            gc.freeze()
        else:
            gc.collect(0)

    def _whole(self) -> None:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
