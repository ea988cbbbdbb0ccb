"""
What recipes wait with: pauses that end with the client, and requests that a cancellation does not end.

This module must never decide what a recipe does next.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from etcd_twisted.client import (
    Client,
    ClientClosed,
    ClientError,
    ConnectionFailed,
    DuringElection,
    Event,
    HistoryLost,
    OutcomeUnknown,
    RaftFailed,
    StandbyFailed,
)

_T = TypeVar("_T")

_PASSING = (ConnectionFailed, DuringElection, OutcomeUnknown, RaftFailed, StandbyFailed)


def may_pass(error: ClientError) -> bool:
    """
    Returns whether the same request may succeed in a while, as the cluster could not decide or could not be reached.
    """
    return isinstance(error, _PASSING) and not isinstance(error, ClientClosed)


def pause(client: Client, seconds: float) -> "Deferred[None]":
    """Returns a Deferred that fires after a while, or fails with L{ClientClosed} when the client closes."""
    return client.run(deferLater(client.reactor, seconds))


def shielded(deferred: "Deferred[_T]") -> "Deferred[_T]":
    """
    Returns a Deferred that fires like another one, but whose cancellation does not reach it. Whoever has cancelled can
    wait for the other one itself.
    """
    outer: Deferred[_T] = Deferred()

    def relay(result: "_T | Failure") -> "_T | Failure | None":
        if outer.called:
            return result
        outer.callback(result)
        return None if isinstance(result, Failure) else result

    deferred.addBoth(relay)
    return outer


async def until_event(
    client: Client,
    directory: str,
    after_index: int,
    is_wanted: Callable[[Event], bool],
    ended: "Deferred[Any]",
    seconds: float | None = None,
) -> None:
    """
    Return when something has happened in a directory that makes it worth to look there again, or may have.

    @param is_wanted: returns whether an event is such a thing.
    @param ended: has this return too when it fires. It is cancelled in the end.
    @param seconds: after how long this returns in any case.
    """
    watch = client.watch(directory, recursive=True, after_index=after_index)
    ended.addCallbacks(lambda _: watch.close(), lambda failure: failure.trap(CancelledError) and None)
    timer = None if seconds is None else client.reactor.callLater(max(0.0, seconds), watch.close)
    try:
        async for item in watch:
            if isinstance(item, HistoryLost) or is_wanted(item):
                return
    finally:
        ended.cancel()
        watch.close()
        if timer is not None and timer.active():
            timer.cancel()
