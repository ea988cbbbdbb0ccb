"""
Gets a request answered by a cluster: asks one machine after the other, follows redirects to the leader, and waits out
elections.

What may change something is sent once. It is sent again only if it certainly was not carried out: it did not reach the
machine, or the machine says so. Otherwise the caller gets L{OutcomeUnknown}. This module must never send credentials
to an address that is not known to be a machine of the cluster, and never leave a request behind when it is closed.
"""

import urllib.parse
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from etcd_twisted.backoff import Backoff
from etcd_twisted.client.answers import Verdict, error_of, judge
from etcd_twisted.client.errors import (
    ClientClosed,
    ClientError,
    ClusterChanged,
    ConnectionFailed,
    OutcomeUnknown,
    RedirectRefused,
    RequestTimedOut,
)
from etcd_twisted.client.exchange import (
    Exchanges,
    NoAnswer,
    NotSent,
    NotTrusted,
    discard,
    whole,
)
from etcd_twisted.client.machines import Machines, read_endpoint
from etcd_twisted.client.messages import Answer, Request, header_of

_T = TypeVar("_T")

LONGEST_PAUSE_SECONDS = 0.5
"""How long to wait at the most after every machine was asked."""

LEAST_ATTEMPT_SECONDS = 0.05
"""
No further machine is asked when less time than this is left. A write would end with an unknown outcome without need,
and why the machines before have not answered a read says more than that one more had no time.
"""

MACHINES_TARGET = "/v2/machines"

MAX_REDIRECTS = 10
"""How many redirects are followed before there is a pause: machines may disagree during an election."""

_REDIRECTS = frozenset((301, 302, 307, 308))
_PROXY_FAILURES = frozenset((502, 503, 504))
"""
A proxy answers so when it has no machine, or has lost it. Some answer 503 too when a machine breaks the connection
after it has got the request. No machine answers a write so.
"""


@attrs.frozen
class Timeouts:
    """
    How long requests may take.

    @ivar total_seconds: how long a request may take in all, with every machine that is asked, and with its body.
    @ivar read_attempt_seconds: how long one machine may take over a read before another one is asked. A write is not
        taken away from a machine that may be carrying it out.
    @ivar connect_seconds: how long it may take until a connection to a machine is there.
    """

    total_seconds: float = 5.0
    read_attempt_seconds: float = 2.0
    connect_seconds: float = 1.0


@attrs.define
class _Attempts:
    """
    What has happened to one request.

    @ivar request: the request.
    @ivar machines: the machines that can be asked.
    @ivar deadline: the time by which it must be answered.
    @ivar read_seconds: how long one machine may take over it, if it is a read.
    @ivar backoff: the pauses after all machines were asked.
    @ivar reasons: why machines have not answered, by machine.
    @ivar may_pass: whether a machine that has not answered since the last pause may answer later.
    @ivar silent: whether a machine took the request, and did not answer.
    @ivar refusal_seconds: how long a machine took at the most to say that it can't answer the request now.
    @ivar redirects: how many redirects were followed since the last pause.
    @ivar cancelled: whether nobody wants an answer any more.
    """

    request: Request
    machines: Machines
    deadline: float
    read_seconds: float
    backoff: Backoff
    reasons: dict[str, str] = attrs.field(factory=dict)
    may_pass: bool = False
    silent: bool = False
    refusal_seconds: float = 0.0
    redirects: int = 0
    cancelled: bool = False

    def failure(self) -> ConnectionFailed:
        """Returns the exception that says why no machine has answered in time."""
        reasons = ", ".join(f"{machine}: {reason}" for machine, reason in self.reasons.items())
        kind = RequestTimedOut if self.silent or not reasons else ConnectionFailed
        return kind(f"no machine has answered: {reasons or 'there was no time'}")


class _Silent(NoAnswer):
    """The machine has the request, and has not answered in time."""


class _AskAnother(Exception):
    """The machine can't answer the request, and has not carried it out. The text says why."""


class Sender:
    """
    Sends requests to the machines of one cluster.

    @ivar machines: the machines.
    @ivar cluster_id: the id of the cluster, or C{None} while no answer has told it.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        exchanges: Exchanges,
        machines: Machines,
        timeouts: Timeouts,
        refresh_seconds: float | None,
        chance: Callable[[], float],
    ) -> None:
        """
        @param refresh_seconds: how old the list of machines may get; C{None} to use only the machines that were given.
        @param chance: returns a random number from 0 to 1, by which pauses differ from client to client.
        """
        self.machines = machines
        self.cluster_id: str | None = None
        self._clock = clock
        self._exchanges = exchanges
        self._timeouts = timeouts
        self._chance = chance
        self._refresh_seconds = refresh_seconds
        self._refresh_due = clock.seconds()
        self._running: set[Deferred[Any]] = set()
        self._closed = False

    @property
    def authorization(self) -> bytes | None:
        """The value of the header with the client's credentials, or C{None}."""
        return self._exchanges.authorization[0] if self._exchanges.authorization else None

    def send(
        self, request: Request, timeout_seconds: float | None = None, machines: Machines | None = None
    ) -> "Deferred[Answer]":
        """
        Returns a Deferred that fires with the whole answer. Cancelling it ends the request.

        @param timeout_seconds: how long it may take in all, if not as long as others.
        @param machines: the machines to ask, if not all of the cluster.
        @raise ConnectionFailed: (as a failure) no machine has answered, and nothing was changed.
        @raise OutcomeUnknown: (as a failure) the request may have changed something.
        @raise ClientError: (as a failure) the cluster answers with an error, or a machine answers what this API does
            not have.
        """
        return self.open(request, whole, timeout_seconds, machines=machines)

    def open(
        self,
        request: Request,
        read: "Callable[[str, IResponse], Awaitable[_T]]",
        timeout_seconds: float | None = None,
        attempt_seconds: float | None = None,
        machines: Machines | None = None,
    ) -> "Deferred[_T]":
        """
        Like L{send}, with what C{read} makes of an answer that is a success; see L{Exchanges.exchange}.

        @param attempt_seconds: how long one machine may take over a read, if not as long as others.
        """
        total_seconds = self._timeouts.total_seconds if timeout_seconds is None else timeout_seconds
        if attempt_seconds is None:
            attempt_seconds = self._timeouts.read_attempt_seconds
        deadline, backoff = self._clock.seconds() + total_seconds, Backoff(self._chance, LONGEST_PAUSE_SECONDS)
        attempts = _Attempts(request, machines or self.machines, deadline, attempt_seconds, backoff)
        running = Deferred.fromCoroutine(self._send(attempts, read))

        def cancel(_: "Deferred[_T]") -> None:
            attempts.cancelled = True
            running.cancel()

        def end(result: "_T | Failure") -> None:
            if not answered.called:  # it may have been cancelled by what C{read} has called
                answered.callback(result)

        answered: Deferred[_T] = Deferred(cancel)
        running.addBoth(end)
        return self.run(answered)

    def refresh_if_due(self) -> None:
        """Have the list of machines refreshed while other requests go on, if it is too old."""
        now = self._clock.seconds()
        if self._refresh_seconds is None or now < self._refresh_due or self._closed:
            return
        self._refresh_due = now + self._refresh_seconds
        refreshed = self.send(Request("GET", MACHINES_TARGET)).addCallback(self._take_machines)
        # A list that can't be had is no failure of anybody's request: the machines known so far stay.
        refreshed.addErrback(lambda failure: failure.trap(ClientError, CancelledError) and None)

    def run(self, deferred: "Deferred[_T]") -> "Deferred[_T]":
        """Have something that goes on for longer end with a L{ClientClosed} when this is closed."""

        def ended(result: "_T | Failure") -> "_T | Failure":
            self._running.discard(deferred)
            if self._closed and isinstance(result, Failure) and result.check(CancelledError):
                return Failure(_closed())
            return result

        self._running.add(deferred)
        deferred.addBoth(ended)
        if self._closed:
            deferred.cancel()
        return deferred

    def close(self) -> None:
        """End all requests under way: they fail, and so do later ones."""
        self._closed = True
        for deferred in list(self._running):
            deferred.cancel()

    async def _send(self, attempts: _Attempts, read: "Callable[[str, IResponse], Awaitable[_T]]") -> _T:
        request, machines = attempts.request, attempts.machines
        queue = machines.order(request.for_leader)
        while True:
            if self._closed:
                raise _closed()
            if not queue:
                await self._pause(attempts)
                queue = machines.order(request.for_leader)
            machine = queue.pop(0)
            try:
                answer = await self._attempt(machine, read, attempts)
            except (NotSent, _AskAnother) as error:
                if attempts.cancelled:
                    raise CancelledError from error
                machines.failed(machine)
                if machine not in attempts.reasons or self._clock.seconds() < attempts.deadline:
                    attempts.reasons[machine] = str(error)  # an attempt that the deadline cuts short says less
                attempts.may_pass = attempts.may_pass or not isinstance(error, NotTrusted)
            except NoAnswer as error:
                if attempts.cancelled:
                    raise self._given_up(request) from error
                machines.failed(machine)
                if request.changes:
                    raise OutcomeUnknown(f"{machine} has not answered: {error}") from error
                attempts.reasons[machine] = str(error)
                attempts.may_pass = True
                attempts.silent = attempts.silent or isinstance(error, _Silent)
            else:
                if not isinstance(answer, _Redirect):
                    return answer
                target = await self._redirected(machine, answer, attempts)
                queue = [target, *(each for each in queue if each != target)]

    def _given_up(self, request: Request) -> Exception:
        """Returns how a request ends that was cancelled after a machine may have got it."""
        if self._closed and request.changes:
            return OutcomeUnknown("the client was closed while the write was under way")
        return CancelledError()

    async def _pause(self, attempts: _Attempts) -> None:
        """Wait before all machines are asked again, or fail if there is no time left for that, or no use in it."""
        seconds = attempts.backoff.next()
        if self._clock.seconds() + seconds >= attempts.deadline or not attempts.may_pass:
            raise attempts.failure()
        attempts.may_pass = False
        attempts.redirects = 0
        await deferLater(self._clock, seconds)

    async def _attempt(
        self, machine: str, read: "Callable[[str, IResponse], Awaitable[_T]]", attempts: _Attempts
    ) -> "_T | _Redirect":
        request = attempts.request
        began = self._clock.seconds()
        remaining = attempts.deadline - began
        least = LEAST_ATTEMPT_SECONDS if attempts.reasons else 0.0
        if request.changes:  # another machine that knows no leader takes as long to say so as the one before
            least = max(least, attempts.refusal_seconds)
        if remaining < least or remaining <= 0:
            raise attempts.failure()

        async def look(machine: str, response: IResponse) -> "_T | _Redirect":
            self._check_cluster(response)
            if response.code < 300 or response.code in request.accepted:
                return await read(machine, response)
            return self._refused(await whole(machine, response))

        seconds = remaining if request.changes else min(remaining, attempts.read_seconds)
        try:
            return await self._in_time(self._exchanges.exchange(machine, request, look), seconds)
        except _AskAnother:
            attempts.refusal_seconds = max(attempts.refusal_seconds, self._clock.seconds() - began)
            raise

    async def _in_time(self, exchange: "Coroutine[Deferred[Any], Any, _T]", seconds: float) -> _T:
        """
        Limit the time of an exchange.

        @raise NotSent: the time was over before there was a connection.
        @raise NoAnswer: it was over later.
        """
        over = False

        def end() -> None:
            nonlocal over
            over = True
            running.cancel()

        running = Deferred.fromCoroutine(exchange)
        timeout = self._clock.callLater(seconds, end)
        try:
            return await running
        except NotSent as error:
            if not over:
                raise
            raise NotSent(f"no connection within {seconds:.3g} seconds") from error
        except NoAnswer as error:
            if not over:
                raise
            raise _Silent(f"no answer within {seconds:.3g} seconds") from error
        finally:
            if timeout.active():
                timeout.cancel()

    def _refused(self, answer: Answer) -> "_Redirect":
        """
        Take an answer that is no success.

        @raise _AskAnother: the machine has done nothing, and another one may.
        @raise NoAnswer: it does not tell whether it has done something.
        @raise ClientError: this is the final answer.
        """
        if answer.status in _REDIRECTS:
            return _Redirect(answer.header("Location") or "")
        if answer.status in _PROXY_FAILURES:
            raise NoAnswer(f"a proxy has no answer of a machine (status {answer.status})")
        error = error_of(answer)
        verdict = judge(error)
        if verdict is Verdict.TRY_AGAIN:
            raise _AskAnother(str(error))
        if verdict is Verdict.UNKNOWN:
            raise NoAnswer(str(error))
        raise error

    def _check_cluster(self, response: IResponse) -> None:
        """
        Take the id of the cluster that an answer comes from.

        @raise ClusterChanged: it is another one than before.
        """
        found = header_of(response.headers, "X-Etcd-Cluster-Id")
        if found is None or found == self.cluster_id:
            return
        if self.cluster_id is not None:
            discard(response)
            self._log.warn(
                "A machine answers for the cluster {found}, and earlier answers came from {expected}: the store was"
                " replaced",
                found=found,
                expected=self.cluster_id,
            )
            raise ClusterChanged(self.cluster_id, found)
        self.cluster_id = found

    async def _redirected(self, machine: str, redirect: "_Redirect", attempts: _Attempts) -> str:
        """
        Returns the machine to which another one redirects a request.

        @raise RedirectRefused: it is not known to be a machine of the cluster.
        """
        attempts.redirects += 1
        if attempts.redirects > MAX_REDIRECTS:
            attempts.reasons[machine] = "the machines redirect to each other"
            attempts.may_pass = True
            await self._pause(attempts)
        try:
            parts = urllib.parse.urlsplit(redirect.location)
            target = read_endpoint(f"{parts.scheme}://{parts.netloc}")
        except ValueError:
            raise RedirectRefused(
                f"{machine} redirects to {redirect.location!r}, which is no URL of a machine"
            ) from None
        machines = attempts.machines
        if target not in machines.known():
            await self._ask_for_machines(machine, attempts)
        if target not in machines.known():
            raise RedirectRefused(
                f"{machine} redirects to {target}, which it does not list as a machine of the cluster; if it is one,"
                " add it to the endpoints"
            )
        machines.leads(target)
        return target

    async def _ask_for_machines(self, machine: str, attempts: _Attempts) -> None:
        """Ask a machine for the list of machines, and leave the list as it is if there is no answer."""
        seconds = min(self._timeouts.read_attempt_seconds, attempts.deadline - self._clock.seconds())
        exchange = self._exchanges.exchange(machine, Request("GET", MACHINES_TARGET), whole)
        try:
            self._take_machines(await self._in_time(exchange, seconds))
        except (NotSent, NoAnswer) as error:
            if attempts.cancelled:
                raise CancelledError from error
            self._log.debug("Got no list of machines from {machine}: {reason}", machine=machine, reason=str(error))

    def _take_machines(self, answer: Answer) -> None:
        if answer.status == 200:
            self.machines.update(answer.body.decode("utf-8", "replace").split(","))


@attrs.frozen
class _Redirect:
    """
    A machine sends the request elsewhere.

    @ivar location: the URL to which it does.
    """

    location: str


def _closed() -> ClientClosed:
    return ClientClosed("the client is closed: make another one")
