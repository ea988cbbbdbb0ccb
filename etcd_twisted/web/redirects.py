"""
Requests that only the leader can serve, on whatever port (spec, section 3, "Redirects"): clients are redirected to it,
and wait while no leader is known.

This module must never change what was asked for, nor let a request wait for longer than a few elections take.
"""

import re
from collections.abc import Awaitable, Callable

from twisted.internet import defer
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.config import Config
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.httpd.responses import Response, plain
from etcd_twisted.interfaces import IReplica
from etcd_twisted.interfaces.cluster import Machine

MIN_LEADER_WAIT_SECONDS = 1.0
"""How long a request waits for a leader, however short the election timeout is."""

READ_WAIT_SECONDS = 4.0
"""
How long a request waits until this machine's copy can be read. Clients give a request 5 seconds, and a write without
an answer leaves them in doubt.
"""

_LEADER_WAIT_ELECTIONS = 4
"""How many election timeouts it waits otherwise: with etcd's timeout of one second, for less than clients wait too."""

RETRY_PAUSE_SECONDS = 0.01
"""How long a request pauses that could not be served although a leader is known."""

# Characters that would end a header or its URL, and the one of a fragment, which clients do not send.
_UNSAFE = re.compile(rb"[^\x21\x22\x24-\x7e]")


def leader_wait_seconds(config: Config) -> float:
    """Returns how long a request waits for a leader."""
    return max(MIN_LEADER_WAIT_SECONDS, _LEADER_WAIT_ELECTIONS * config.peer_election_timeout / 1_000)


def no_leader() -> EtcdError:
    """Returns the error for a request that has found no leader."""
    return EtcdError(ErrorCode.RAFT_INTERNAL, "no leader is known; try again")


def no_machines_known() -> EtcdError:
    """Returns the error to send in place of an empty list of machines, which a client would accept."""
    return EtcdError(ErrorCode.RAFT_INTERNAL, "this machine does not know the machines of its cluster yet; try again")


def redirect(url: str, target: bytes) -> Response:
    """
    Returns the response that sends a client to another machine.

    See L{url_at}.
    """
    return plain(307, "307 the leader is elsewhere", b"Location: %s\r\n" % url_at(url, target))


def url_at(url: str, target: bytes) -> bytes:
    """
    Returns the URL of a request at another machine.

    @param url: the URL of the other machine, without a path.
    @param target: the path and query of the request. They stay as they are, byte for byte, except that characters that
        can't be in a URL are percent-encoded.
    """
    return _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], url.encode() + target)


async def until_serving(replica: IReplica, clock: IReactorTime) -> None:
    """
    Wait until this machine has a copy, by which users and rights are known. A standby has none.

    @raise EtcdError: it has none in time.
    """
    if not (replica.serving or replica.standby):
        try:
            await replica.when_serving().addTimeout(READ_WAIT_SECONDS, clock)
        except defer.TimeoutError:
            raise no_leader() from None


class LeaderWait:
    """Lets requests wait for a leader."""

    _log = Logger()

    def __init__(self, replica: IReplica, clock: IReactorTime, max_seconds: float) -> None:
        """
        @param max_seconds: how long a request waits in all.
        """
        self._replica = replica
        self._clock = clock
        self._max_seconds = max_seconds

    def until_led(self, deadline: float | None) -> "Deferred[float]":
        """
        Wait until a leader is known, which may be this machine. Fires with the deadline, in case that leader is lost,
        too.

        Errbacks with an L{EtcdError} when there is no leader in time, or when this machine stops before.

        @param deadline: when the wait ends, by the clock; C{None} for a request that has not waited yet.
        """
        now = self._clock.seconds()
        until = now + self._max_seconds if deadline is None else deadline
        if now >= until:
            return fail(no_leader())
        if self._replica.leader() is not None:  # this machine lost the lead and won it again
            return deferLater(self._clock, RETRY_PAUSE_SECONDS, lambda: until)
        led = self._replica.when_led()
        led.addTimeout(until - now, self._clock)
        return led.addCallbacks(lambda _: until, _not_led)

    async def at_leader(
        self, change: Callable[[], Awaitable[Response]], elsewhere: Callable[[Machine], Awaitable[Response]]
    ) -> Response:
        """
        Make a change if this machine leads, or turn to the leader.

        @param change: makes the change. It may raise L{RequestDroppedError}.
        @param elsewhere: has the leader make the change, or sends the client to it. So may this.
        @raise EtcdError: there is no leader in time.
        """
        deadline: float | None = None
        while True:
            if self._replica.is_leader:
                try:
                    return await change()
                except RequestDroppedError:
                    self._log.info("This machine no longer leads: a change is the next leader's")
            leader = self._replica.leader()
            if leader is not None and not self._replica.is_leader:
                try:
                    return await elsewhere(leader)
                except RequestDroppedError:
                    self._log.debug("The machine that was asked does not lead: a change is the next leader's")
            deadline = await self.until_led(deadline)


def _not_led(reason: Failure) -> Failure:
    return Failure(no_leader()) if reason.check(defer.TimeoutError) else reason
