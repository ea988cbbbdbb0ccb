"""
What recipes wait with: pauses that end with the client, and requests that a cancellation does not end.

This module must never decide what a recipe does next.
"""

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from etcd_twisted.client import (
    Client,
    ClientClosed,
    ClientError,
    ConnectionFailed,
    DuringElection,
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
