"""
The one clock and the one source of chance of a simulation: a queue of what is to happen.

A process does not see this clock but its own, which may go faster or slower. What is scheduled for a process does not
happen when the process has ended. This module must never ask the system for the time or for a random number.
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

LATENESS_SECONDS = 0.0003
"""How late a timer may be while nothing holds up its process, since other work of the process is done before it."""

_MOST_STEPS_AT_ONCE = 100_000
"""How many events may happen at the same time. More are taken for an endless loop."""


class ScheduledEvent:
    """
    Something that is to happen.

    @ivar process: the process that it happens to, or C{None}.
    @ivar kind: what it is, in one word.
    @ivar call: what is called then, with C{args}; C{None} when it was cancelled or has happened.
    """

    __slots__ = ("args", "call", "kind", "process")

    def __init__(self, process: "Process | None", kind: str, call: Call | None, args: tuple[Any, ...]) -> None:
        self.process = process
        self.kind = kind
        self.call = call
        self.args = args


class Schedule:
    """
    The events of a simulation, in the order of time.

    @ivar now: how many seconds have passed since the simulation began.
    @ivar random: the source of everything that is left to chance.
    @ivar steps: how many events have happened.
    @ivar digest: a checksum of all events that have happened: it is the same for two runs that were the same.
    @ivar after_step: called after each event, with the process that it happened to.
    @ivar lateness_seconds: how late a timer may be while nothing holds up its process.
    """

    def __init__(self, seed: int, lateness_seconds: float = LATENESS_SECONDS) -> None:
        """
        @param lateness_seconds: see the field.
        """
        self.now = 0.0
        self.lateness_seconds = lateness_seconds
        self.random = random.Random(seed)
        self.steps = 0
        self.digest = 0
        self.after_step: Callable[[Process | None], None] = lambda _: None
        self._queue: list[tuple[float, int, ScheduledEvent]] = []
        self._count = 0

    def at(self, time: float, process: "Process | None", kind: str, call: Call, *args: Any) -> ScheduledEvent:
        """
        Schedule a call for a time.

        @param process: the process that it happens to, which must not have ended by then; C{None} for what happens
            outside of all processes.
        @param kind: what it is, in one word.
        """
        event = ScheduledEvent(process, kind, call, args)
        self.put(time, event)
        return event

    def put(self, time: float, event: ScheduledEvent) -> None:
        """Schedule an event for a time, for the first time or again."""
        self._count += 1
        heapq.heappush(self._queue, (max(time, self.now), self._count, event))

    def after(self, delay: float, process: "Process | None", kind: str, call: Call, *args: Any) -> ScheduledEvent:
        """Schedule a call so many seconds from now, see L{at}."""
        return self.at(self.now + delay, process, kind, call, *args)

    def run_until(self, time: float, met: Callable[[], bool] = lambda: False) -> bool:
        """
        Have everything happen that is to happen until a time, or until a condition is met.

        @param met: the condition. It is asked after each event.
        @return: whether the condition is met.
        @raise AssertionError: time does not go on, however many events happen.
        """
        began, steps = self.now, self.steps
        while not met():
            if self.now != began:
                began, steps = self.now, self.steps
            elif self.steps - steps > _MOST_STEPS_AT_ONCE:
                raise AssertionError(f"{_MOST_STEPS_AT_ONCE} events happen at once: one causes the next")
            if not self._queue or self._queue[0][0] > time:
                self.now = max(self.now, time)
                return met()
            self.now, _, event = heapq.heappop(self._queue)
            if event.call is not None:
                self._run(event)
        return True

    def pending(self) -> list[ScheduledEvent]:
        """Returns the events that are still to happen, without those of processes that have ended."""
        events = [event for _, _, event in self._queue]
        return [each for each in events if each.call is not None and (each.process is None or each.process.alive)]

    def clear(self) -> None:
        """Forget everything that is to happen."""
        self._queue.clear()

    def _run(self, event: ScheduledEvent) -> None:
        process = event.process
        if process is not None and not process.alive:
            return
        if process is not None and process.paused:
            process.held.append(event)
            return
        self._note(event, "" if process is None else process.name)
        _call(event)
        self.after_step(process)

    def _note(self, event: ScheduledEvent, name: str) -> None:
        self.steps += 1
        self.digest = zlib.crc32(f"{self.now:.9f} {name} {event.kind}".encode(), self.digest)


def _call(event: ScheduledEvent) -> None:
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
    The clock of a machine, as one of its processes sees it. It counts from anywhere, at its own speed.

    @ivar speed: how many seconds it counts in one second of the simulation.
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
        """Never show an earlier time than this again, however sums are rounded."""
        self._least = max(self._least, time)

    def callLater(self, delay: float, callable: Call, *args: Any, **kwargs: Any) -> DelayedCall:  # noqa: A002
        """See L{IReactorTime}."""
        return DelayedCall(self, self.seconds() + delay, callable, args, kwargs)

    def getDelayedCalls(self) -> list[IDelayedCall]:
        """See L{IReactorTime}."""
        own = [event.call for event in self._schedule.pending() if event.process is self._process]
        return [call for each in own if isinstance(call := getattr(each, "__self__", None), DelayedCall)]

    def ring(self, time: float, call: Callable[[], None]) -> ScheduledEvent:
        """Schedule a call for a time of this clock, or a little later."""
        if not self._process.alive:
            return ScheduledEvent(None, "timer", None, ())  # objects of a process that has ended are being tidied up
        schedule = self._schedule
        due = (time - self._start) / self.speed + schedule.random.random() * schedule.lateness_seconds
        return schedule.at(due, self._process, "timer", call)


class Process:
    """
    One run of the program on one machine.

    @ivar name: the name of the machine.
    @ivar alive: whether it runs.
    @ivar paused: whether nothing reaches it, while its clock goes on.
    @ivar held: what has happened to it while it was paused, and takes effect when it goes on.
    @ivar connections: what happens when it ends, by the connection that this happens to.
    @ivar clock: its clock.
    """

    def __init__(self, schedule: Schedule, name: str, start: float, speed: float) -> None:
        """
        @param start: what its clock shows when the simulation begins.
        @param speed: how many seconds its clock counts in one second of the simulation.
        """
        self.name = name
        self.alive = True
        self.paused = False
        self.held: list[ScheduledEvent] = []
        self.connections: dict[object, Callable[[], object]] = {}
        self.schedule = schedule
        self._start = start
        self.clock = MachineClock(schedule, self, start, speed)

    def beside(self, name: str) -> "Process":
        """Returns a new process of the same machine, whose clock shows the same."""
        return Process(self.schedule, name, self._start, self.clock.speed)

    def after(self, delay: float, kind: str, call: Call, *args: Any) -> ScheduledEvent:
        """Schedule a call that happens to this process, so many seconds from now."""
        return self.schedule.after(delay, self, kind, call, *args)

    def end(self) -> None:
        """End. Nothing happens to it from now on."""
        self.alive = False
        self.paused = False
        self.held.clear()
        connections, self.connections = self.connections, {}
        for end in connections.values():
            end()

    def pause(self) -> None:
        """Have nothing reach it, until L{resume}."""
        self.paused = self.alive

    def resume(self) -> None:
        """
        Have it go on. As in Twisted's reactor, all timers that are due come first, and then what has arrived.
        """
        self.paused = False
        held, self.held = self.held, []
        for event in sorted(held, key=lambda each: each.kind != "timer"):
            self.schedule.put(self.schedule.now, event)
