"""
Requests that only the leader can serve, on whatever port (spec, section 3, "Redirects").

Must never change what was asked for, nor have anyone wait longer than for a few elections.
"""

import re
from collections.abc import Awaitable, Callable, Mapping

from twisted.internet import defer
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.config import Config
from etcd_twisted.errors import ErrorCode, EtcdError, NotDoneError
from etcd_twisted.httpd.responses import Response, plain
from etcd_twisted.interfaces import IReplica
from etcd_twisted.interfaces.cluster import Machine

LEAST_WAIT = 1.0
"""How long a request waits for a leader if need be, in seconds, however short the election timeout is."""

PAUSE = 0.01
"""How long a request pauses that could not be served though a leader is known, in seconds."""

_ELECTIONS = 5
"""How many election timeouts it waits otherwise."""

_SWITCH = {b"true": True, b"1": True, b"t": True, b"false": False, b"0": False, b"f": False}

# What would end a header or its URL, and a fragment, which clients don't send.
_UNSAFE = re.compile(rb"[^\x21\x22\x24-\x7e]")


def longest_wait(config: Config) -> float:
    """How long a request waits for a leader if need be, in seconds."""
    return max(LEAST_WAIT, _ELECTIONS * config.peer_election_timeout / 1_000)


def no_leader() -> EtcdError:
    """What is said when nobody leads."""
    return EtcdError(ErrorCode.RAFT_INTERNAL, "no leader is known; try again")


def nobody_known() -> EtcdError:
    """Returns the error that is sent instead of an empty list of machines, which a client would accept."""
    return EtcdError(ErrorCode.RAFT_INTERNAL, "this machine does not know the machines of its cluster yet; try again")


def may_return(name: str) -> str:
    """Returns what the answer to a removal says: the machine may come back at once."""
    return (
        f"{name} is out of the cluster; if it still runs it joins again as soon as there is a place: "
        "stop it, or remove it with ?forbid=true to keep it out"
    )


def redirect(url: str, target: bytes) -> Response:
    """
    Send the client to another machine.

    @param url: the machine's, without a path.
    @param target: path and query, as they came; byte for byte what the other machine will be asked for, but that what
        can't stand in a URL is percent-encoded.
    """
    location = _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], url.encode() + target)
    return plain(307, "307 the leader is elsewhere", b"Location: %s\r\n" % location)


def wants_forbidden(arguments: Mapping[bytes, list[bytes]]) -> bool | None:
    """
    What a request about a machine says of C{forbid}; C{None} if nothing.

    @param arguments: the query's.
    @raise EtcdError: 209, it is neither true nor false.
    """
    values = arguments.get(b"forbid")
    if values is None:
        return None
    try:
        return _SWITCH[values[0].lower()]
    except KeyError:
        raise EtcdError(ErrorCode.INVALID_FIELD, "forbid should be true or false") from None


class LeaderWait:
    """Where requests wait for a leader."""

    _log = Logger()

    def __init__(self, replica: IReplica, clock: IReactorTime, longest: float) -> None:
        """
        @param longest: how long a request waits in all, in seconds.
        """
        self._replica = replica
        self._clock = clock
        self._longest = longest

    def until_led(self, deadline: float | None) -> "Deferred[float]":
        """
        Wait until a leader is known, this machine or another. Fires with the deadline, for when that one is lost too.

        Errbacks with an L{EtcdError} when there is none in time, or this machine stops before.

        @param deadline: until when, by the clock; C{None} for a request that has not waited yet.
        """
        now = self._clock.seconds()
        until = now + self._longest if deadline is None else deadline
        if now >= until:
            return fail(no_leader())
        if self._replica.leader() is not None:  # this machine has lost the lead and won it again
            return deferLater(self._clock, PAUSE, lambda: until)
        led = self._replica.when_led()
        led.addTimeout(until - now, self._clock)
        return led.addCallbacks(lambda _: until, _not_led)


    async def at_leader(
        self, change: Callable[[], Awaitable[Response]], refer: Callable[[Machine], Response]
    ) -> Response:
        """
        Have the leader make a change: this machine, or the one that the client is sent to.

        @param change: makes it; may raise L{NotDoneError}.
        @param refer: sends the client to a machine.
        @raise EtcdError: there is no leader in time.
        """
        deadline: float | None = None
        while True:
            if self._replica.is_leader:
                try:
                    return await change()
                except NotDoneError:
                    self._log.info("This machine no longer leads: a change is the next leader's")
            leader = self._replica.leader()
            if leader is not None and not self._replica.is_leader:
                return refer(leader)
            deadline = await self.until_led(deadline)


def _not_led(reason: Failure) -> Failure:
    return Failure(no_leader()) if reason.check(defer.TimeoutError) else reason
