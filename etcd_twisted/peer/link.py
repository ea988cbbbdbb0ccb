"""
The way to one other machine: a connection, made again whenever it is lost, over which this machine's messages go.

Must never keep a message for later while there is no connection: the sender has newer ones by then.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.interfaces import IRaftPeer
from etcd_twisted.interfaces.cluster import PROTOCOL_VERSION, StatusReport
from etcd_twisted.net.backoff import LONGEST_PAUSE_SECONDS, Backoff
from etcd_twisted.net.reasons import NETWORK_ERRORS, reason_of
from etcd_twisted.peer.commands import (
    ClusterError,
    Hello,
    IdleError,
    MachineError,
    NotMemberError,
    Status,
    VersionError,
)
from etcd_twisted.peer.dialing import Dialer, PeerUrlError
from etcd_twisted.peer.messages import MessageConnection
from etcd_twisted.peer.outgoing import AnswerError, LostError, Outgoing
from etcd_twisted.peer.visitors import Visitors

REFUSED_PAUSE = 5.0
"""Seconds until a machine that has refused this one is asked again."""

_T = TypeVar("_T")
_REFUSALS = (ClusterError, MachineError, NotMemberError, VersionError)
_PROBLEMS = (*NETWORK_ERRORS, AnswerError, LostError, PeerUrlError)


@attrs.frozen
class Sender:
    """
    What all links of this machine share.

    @ivar silence: see L{etcd_twisted.net.sockets.UNACKNOWLEDGED_TIMEOUT_SECONDS}.
    @ivar chance: a number from 0 to 1, another one each time.
    @ivar name: what people call this machine.
    """

    clock: IReactorTime
    raft: IRaftPeer
    visitors: Visitors
    dialer: Dialer
    silence: float
    chance: Callable[[], float]
    name: Callable[[], str]


class Link:
    """
    See the module.

    @ivar machine_id: the other machine.
    @ivar url: its peer URL.
    @ivar connection: to it, once it has said that it is the one; C{None} while there is none.
    """

    _log = Logger()

    def __init__(self, sender: Sender, machine_id: str, url: str) -> None:
        self.machine_id = machine_id
        self.url = url
        self.connection: Outgoing | None = None
        self._sender = sender
        self._backoff = Backoff(sender.chance)
        self._stopped = False
        self._awaited: Deferred[Any] | None = None
        self._pausing = False
        self._losing = False
        self._said = ""
        self._lost_at: float | None = None
        self._ended = False
        self._waiting: list[Deferred[None]] = []

    # Messages

    def send(self, payload: bytes) -> bool:
        """
        Send, or drop and say so, once for all that is dropped in a row; whether it is sent.

        While there is no connection, the one that the other machine has made will do.
        """
        way = self._way
        return self._note(way is not None and way.deliver(payload))

    def send_ahead(self, payload: bytes) -> bool:
        """Like L{send}, but ahead of what was sent and is not gone yet."""
        way = self._way
        return self._note(way is not None and way.deliver_ahead(payload))

    @property
    def _way(self) -> MessageConnection | None:
        return self.connection or self._sender.visitors.connection(self.machine_id)

    def _note(self, sent: bool) -> bool:
        if sent:
            self._losing = False
        else:
            self._lose()
        return sent

    def _lose(self) -> None:
        if not self._losing and not self._stopped:
            self._losing = True
            self._sender.raft.unreachable(self.machine_id)

    def ask_status(self) -> "Deferred[StatusReport | None]":
        """See L{etcd_twisted.interfaces.ITransport}."""
        connection = self.connection
        if connection is None:
            if self._sender.visitors.connection(self.machine_id) is not None:
                return succeed(None)
            return fail(ConnectionError(self._said or "there is no connection"))
        if Status.commandName not in connection.commands:
            return succeed(None)
        return connection.ask(Status).addCallbacks(_report_of, _not_answered)

    def sweep(self, now: float) -> None:
        """Give a connection up that does not go on. Called every second or so."""
        if self.connection is not None:
            self.connection.check_progress(now)

    # Its life

    def start(self) -> None:
        """Connect, and stay connected."""
        ensureDeferred(self._keep_connected()).addCallback(self._end)

    def _end(self, _: None) -> None:
        self._ended = True
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def stop(self) -> "Deferred[None]":
        """Close. What was written may still be sent; the Deferred fires when nothing is left."""
        ended: Deferred[None] = Deferred()
        self._waiting.append(ended)
        self._stopped = True
        if self._ended:
            self._end(None)
        elif self.connection is not None:
            self.connection.close()
        elif self._awaited is not None:
            self._awaited.cancel()
        return ended

    def redial(self) -> None:
        """The machine is there: if this link waits to try again, let it try now."""
        self._backoff.reset()
        if self._pausing and self._awaited is not None:
            self._awaited.cancel()

    async def _keep_connected(self) -> None:
        while not self._stopped:
            try:
                pause = await self._be_connected()
            except CancelledError:  # by L{stop}
                return
            except Exception:
                self._log.failure("Sending to {machine} failed", machine=self._called)
                pause = LONGEST_PAUSE_SECONDS
            await self._pause(pause)

    async def _be_connected(self) -> float:
        """Connect, and let messages go until the connection is lost; returns how long to wait after that."""
        try:
            connection = await self._connect()
        except IdleError:  # it starts, or this machine does not know yet that it is a standby
            return self._backoff.next()
        except _REFUSALS as error:
            self._refused(error)
            return REFUSED_PAUSE
        except _PROBLEMS as error:
            self._say(reason_of(error))
            return self._backoff.next()
        problem = await self._use(connection)
        self._lost_at = self._sender.clock.seconds()
        self._say(problem, "{machine} is not connected any more: {problem}; trying again")
        return self._backoff.next()

    async def _connect(self) -> Outgoing:
        """
        Connect, and say who this is.

        @raise Exception: L{IdleError}, one of L{_REFUSALS} or L{_PROBLEMS}, or it was cancelled.
        """
        self._log.debug("Connecting to {machine}", machine=self._called)
        dialer = self._sender.dialer
        connection = Outgoing(self._sender.clock, self._sender.silence)
        await self._cancellable(maybeDeferred(dialer.dial, self.url, connection))
        try:
            greeting = self._greet(connection).addTimeout(dialer.patience, self._sender.clock)
            answer = await self._cancellable(greeting)
            if answer["machine_id"] != self.machine_id:
                raise MachineError(f"the machine {answer['machine_id']} is there")
            connection.commands = frozenset(answer["commands"] or ())
        except BaseException:
            connection.abort()
            await connection.when_lost()
            raise
        return connection

    def _greet(self, connection: Outgoing) -> "Deferred[dict[str, Any]]":
        raft = self._sender.raft
        return connection.ask(
            Hello,
            version=PROTOCOL_VERSION,
            cluster_id=raft.cluster_id,
            sender=raft.machine_id,
            name=self._sender.name(),
            configuration_index=raft.configuration_index,
            receiver=self.machine_id,
        )

    async def _use(self, connection: Outgoing) -> str:
        """Let messages go over a connection until it is lost; returns why it was."""
        clock = self._sender.clock
        since = clock.seconds()
        self.connection = connection
        raft = self._sender.raft
        connection.received = lambda payload: raft.received(self.machine_id, payload)
        self._said = ""
        after = "" if self._lost_at is None else f" again, after {since - self._lost_at:.0f} s"
        self._log.info("Connected to {machine}{after}", machine=self._called, after=after)
        if self._stopped:
            connection.close()
        problem = await connection.when_lost()
        self.connection = None
        if connection.used:
            self._lose()
        if clock.seconds() - since >= LONGEST_PAUSE_SECONDS:
            self._backoff.reset()
        return problem

    def _refused(self, error: Exception) -> None:
        if isinstance(error, NotMemberError) and not self._stopped:
            self._sender.raft.excluded()
        self._say(f"it refuses this machine: {reason_of(error)}")

    @property
    def _called(self) -> str:
        return self._sender.raft.called(self.machine_id)

    def _say(self, problem: str, line: str = "Can't connect to {machine}: {problem}; trying again") -> None:
        """Log what is wrong, unless that was said before."""
        if not self._stopped and problem != self._said:
            self._said = problem
            self._log.warn(line, machine=self._called, problem=problem)

    async def _pause(self, seconds: float) -> None:
        """Wait, unless it was stopped meanwhile."""
        if self._stopped:
            return
        self._pausing = True
        try:
            await self._cancellable(deferLater(self._sender.clock, seconds, lambda: None))
        except CancelledError:
            return
        finally:
            self._pausing = False

    async def _cancellable(self, step: "Deferred[_T]") -> _T:
        """Wait for something that L{stop} can put an end to."""
        self._awaited = step
        try:
            return await step
        finally:
            self._awaited = None


def _report_of(answer: dict[str, Any]) -> StatusReport:
    report: StatusReport = answer["report"]
    return report


def _not_answered(failure: Failure) -> StatusReport:
    failure.trap(LostError, AnswerError)
    raise ConnectionError(failure.getErrorMessage())
