"""
What is to happen, in the order of time, and all chance: the one clock and the one source of randomness of a run.

A machine does not see this clock but its own, which may go faster or slower, and what is scheduled for a process ends
with the process. Must never ask the system for the time or for a random number.
"""

import heapq
import random
import zlib
from collections.abc import Callable
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

Call = Callable[..., object]

_SLOWEST_TURN = 0.0003
"""Seconds of which a call may be late at the most when nothing holds its process up: others have their turn before."""


class Event:
    """Something that is to happen."""

    __slots__ = ("args", "call", "kind", "process")

    def __init__(self, process: "Process | None", kind: str, call: Call | None, args: tuple[Any, ...]) -> None:
        self.process = process
        self.kind = kind
        self.call = call
        self.args = args


class Schedule:
    """
    One queue of events.

    @ivar now: seconds since the run began.
    @ivar random: all chance comes from here.
    @ivar steps: how many events there were.
    @ivar digest: of all that happened, to tell whether two runs were the same.
    @ivar after_step: called after each event, with the process that it happened to.
    """

    def __init__(self, seed: int, lateness_seconds: float = _SLOWEST_TURN) -> None:
        """
        @param lateness_seconds: by how much a timer may be late while nothing holds its process up.
        """
        self.now = 0.0
        self.lateness_seconds = lateness_seconds
        self.random = random.Random(seed)
        self.steps = 0
        self.digest = 0
        self.after_step: Callable[[Process | None], None] = lambda _: None
        self._queue: list[tuple[float, int, Event]] = []
        self._count = 0

    def at(self, time: float, process: "Process | None", kind: str, call: Call, *args: Any) -> Event:
        """
        Have something happen.

        @param process: what it happens to; when that has ended by then, it does not happen. C{None} for what is
            outside of all of them.
        @param kind: what it is, in a word.
        """
        event = Event(process, kind, call, args)
        self.put(time, event)
        return event

    def put(self, time: float, event: Event) -> None:
        """Have an event happen, or happen after all."""
        self._count += 1
        heapq.heappush(self._queue, (max(time, self.now), self._count, event))

    def after(self, delay: float, process: "Process | None", kind: str, call: Call, *args: Any) -> Event:
        """Have something happen so many seconds from now."""
        return self.at(self.now + delay, process, kind, call, *args)

    def run_until(self, time: float, met: Callable[[], bool] = lambda: False) -> bool:
        """
        Let everything happen that is to happen until then, or until a condition is met.

        @param met: asked after each event.
        @return: whether it was met.
        """
        while not met():
            if not self._queue or self._queue[0][0] > time:
                self.now = max(self.now, time)
                return met()
            self.now, _, event = heapq.heappop(self._queue)
            if event.call is not None:
                self._run(event)
        return True

    def pending(self) -> list[Event]:
        """Returns what is still to happen, but for what processes have planned that have ended."""
        events = [event for _, _, event in self._queue]
        return [each for each in events if each.call is not None and (each.process is None or each.process.alive)]

    def clear(self) -> None:
        """Nothing happens any more."""
        self._queue.clear()

    def _run(self, event: Event) -> None:
        process = event.process
        if process is not None and not process.alive:
            return
        if process is not None and process.paused:
            process.held.append(event)
            return
        self._note(event, "" if process is None else process.name)
        _call(event)
        self.after_step(process)

    def _note(self, event: Event, name: str) -> None:
        self.steps += 1
        self.digest = zlib.crc32(f"{self.now:.9f} {name} {event.kind}".encode(), self.digest)


def _call(event: Event) -> None:
    call, event.call = event.call, None
    if call is not None:
        call(*event.args)


@implementer(IDelayedCall)
class DelayedCall:
    """See L{IDelayedCall}."""

    __slots__ = ("_args", "_call", "_clock", "_event", "_kwargs", "_time", "called", "cancelled")

    def __init__(self, clock: "MachineClock", time: float, call: Call, args: Any, kwargs: Any) -> None:
        self.called = False
        self.cancelled = False
        self._clock = clock
        self._time = time
        self._call = call
        self._args = args
        self._kwargs = kwargs
        self._event = clock.ring(time, self._ring)

    def _ring(self) -> None:
        self.called = True
        self._clock.reached(self._time)
        self._call(*self._args, **self._kwargs)

    def _check(self) -> None:
        if self.cancelled:
            raise AlreadyCancelled
        if self.called:
            raise AlreadyCalled

    def getTime(self) -> float:
        """See L{IDelayedCall}."""
        return self._time

    def cancel(self) -> None:
        """See L{IDelayedCall}."""
        self._check()
        self.cancelled = True
        self._event.call = None

    def _move(self, time: float) -> None:
        self._check()
        self._event.call = None
        self._time = time
        self._event = self._clock.ring(time, self._ring)

    def delay(self, secondsLater: float) -> None:
        """See L{IDelayedCall}."""
        self._move(self._time + secondsLater)

    def reset(self, secondsFromNow: float) -> None:
        """See L{IDelayedCall}."""
        self._move(self._clock.seconds() + secondsFromNow)

    def active(self) -> bool:
        """See L{IDelayedCall}."""
        return not (self.called or self.cancelled)


@implementer(IReactorTime)
class MachineClock:
    """
    A machine's clock, as one of its processes sees it. It counts from anywhere and goes at its own speed.

    @ivar speed: how many of its seconds go by in one.
    """

    def __init__(self, schedule: Schedule, process: "Process", start: float, speed: float) -> None:
        self.speed = speed
        self._schedule = schedule
        self._process = process
        self._start = start
        self._least = start

    def seconds(self) -> float:
        """See L{IReactorTime}."""
        return max(self._least, self._start + self._schedule.now * self.speed)

    def reached(self, time: float) -> None:
        """It is not earlier than that, however the sums were rounded."""
        self._least = max(self._least, time)

    def callLater(self, delay: float, callable: Call, *args: Any, **kwargs: Any) -> DelayedCall:  # noqa: A002
        """See L{IReactorTime}."""
        return DelayedCall(self, self.seconds() + delay, callable, args, kwargs)

    def getDelayedCalls(self) -> list[IDelayedCall]:
        """See L{IReactorTime}."""
        own = [event.call for event in self._schedule.pending() if event.process is self._process]
        return [call for each in own if isinstance(call := getattr(each, "__self__", None), DelayedCall)]

    def ring(self, time: float, call: Callable[[], None]) -> Event:
        """Have something called at a time of this clock, or a little later."""
        if not self._process.alive:
            return Event(None, "timer", None, ())  # something is being tidied up that has ended
        schedule = self._schedule
        due = (time - self._start) / self.speed + schedule.random.random() * schedule.lateness_seconds
        return schedule.at(due, self._process, "timer", call)


class Process:
    """
    One run of the program on one machine.

    @ivar name: the machine's.
    @ivar alive: whether it runs.
    @ivar paused: whether it is held up: nothing reaches it, while its clock goes on.
    @ivar held: what waits for it meanwhile.
    """

    def __init__(self, schedule: Schedule, name: str, start: float, speed: float) -> None:
        """
        @param start: what its clock shows when the run begins.
        """
        self.name = name
        self.alive = True
        self.paused = False
        self.held: list[Event] = []
        self.schedule = schedule
        self.clock = MachineClock(schedule, self, start, speed)

    def after(self, delay: float, kind: str, call: Call, *args: Any) -> Event:
        """Have something happen to this process, so many seconds from now."""
        return self.schedule.after(delay, self, kind, call, *args)

    def end(self) -> None:
        """Nothing happens to it any more."""
        self.alive = False
        self.paused = False
        self.held.clear()

    def pause(self) -> None:
        """Hold it up."""
        self.paused = self.alive

    def resume(self) -> None:
        """
        Let it go on: as Twisted's reactor does, first with all timers that are due, and then with what has come.
        """
        self.paused = False
        held, self.held = self.held, []
        for event in sorted(held, key=lambda each: each.kind != "timer"):
            self.schedule.put(self.schedule.now, event)
