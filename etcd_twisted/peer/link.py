"""
The link to one other machine: a connection for this machine's messages, which is made again whenever it is lost.

Twisted's C{ClientService} can't do this: it fails with C{NoTransition} if the other side closes a connection that is
still being prepared, as a machine does that refuses L{Hello}. Nor does its retry policy learn why an attempt failed.

This module must never keep a message for later while there is no connection: the sender has newer ones by then.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.backoff import LONGEST_PAUSE_SECONDS, Backoff
from etcd_twisted.interfaces import IRaftPeer
from etcd_twisted.interfaces.cluster import PROTOCOL_VERSION, StatusReport
from etcd_twisted.net.reasons import reason_of
from etcd_twisted.peer.commands import (
    ClusterError,
    Hello,
    IdleError,
    MachineError,
    NotMemberError,
    Status,
    VersionError,
)
from etcd_twisted.peer.connected_machines import ConnectedMachines
from etcd_twisted.peer.connection import MessageConnection
from etcd_twisted.peer.dialer import Dialer
from etcd_twisted.peer.outgoing import CONNECTION_ERRORS, AnswerError, DisconnectedError, OutgoingConnection

REFUSED_PAUSE_SECONDS = 5.0
"""How long to wait before the next attempt after a machine has refused this one."""

_T = TypeVar("_T")
_REFUSALS = (ClusterError, MachineError, NotMemberError, VersionError)


@attrs.frozen
class LinkContext:
    """
    What all links of this machine share.

    @ivar unacknowledged_timeout_seconds: see L{etcd_twisted.net.sockets.UNACKNOWLEDGED_TIMEOUT_SECONDS}.
    @ivar chance: returns a random number from 0 to 1.
    @ivar name: returns this machine's name.
    @ivar peer_url: this machine's peer URL.
    """

    clock: IReactorTime
    raft: IRaftPeer
    connected: ConnectedMachines
    dialer: Dialer
    unacknowledged_timeout_seconds: float
    chance: Callable[[], float]
    name: Callable[[], str]
    peer_url: str


class Link:
    """
    The link to one machine.

    While it is not connected, it tries in turn the peer URL that the group knows, and the one that the machine itself
    has named. A machine that has moved may need a snapshot, which only a connection from here can bring it, before the
    group can note its new address.

    @ivar machine_id: the id of the other machine.
    @ivar url: its peer URL, as the group knows it.
    @ivar connection: the connection to it, once it has answered L{Hello}; C{None} while there is none.
    """

    _log = Logger()

    def __init__(self, context: LinkContext, machine_id: str, url: str) -> None:
        self.machine_id = machine_id
        self.url = url
        self.connection: OutgoingConnection | None = None
        self._context = context
        self._named_url = ""
        """Where the machine says that it is; empty if it has not said so, or agrees with the group."""
        self._dials_named = False
        self._backoff = Backoff(context.chance)
        self._stopped = False
        self._awaited: Deferred[Any] | None = None
        self._pausing = False
        self._is_dropping = False
        self._logged_problem = ""
        self._lost_at: float | None = None
        self._ended = False
        self._when_ended: list[Deferred[None]] = []

    # Messages

    def send(self, payload: bytes) -> bool:
        """
        Send a payload, or drop it and report that the machine is unreachable. Payloads that are dropped in a row are
        reported once.

        While there is no connection, the one that the other machine has made serves.

        @return: whether the payload is sent.
        """
        connection = self._usable_connection
        return self._note_sent(connection is not None and connection.deliver(payload))

    def send_ahead(self, payload: bytes) -> bool:
        """Send a payload as L{send} does, but ahead of those that wait."""
        connection = self._usable_connection
        return self._note_sent(connection is not None and connection.deliver_ahead(payload))

    @property
    def _usable_connection(self) -> MessageConnection | None:
        return self.connection or self._context.connected.connection(self.machine_id)

    def _note_sent(self, sent: bool) -> bool:
        if sent:
            self._is_dropping = False
        else:
            self._report_loss()
        return sent

    def _report_loss(self) -> None:
        if not self._is_dropping and not self._stopped:
            self._is_dropping = True
            self._context.raft.unreachable(self.machine_id)

    def ask_status(self) -> "Deferred[StatusReport | None]":
        """See L{etcd_twisted.interfaces.ITransport}."""
        connection = self.connection
        if connection is None:
            if self._context.connected.connection(self.machine_id) is not None:
                return succeed(None)
            return fail(ConnectionError(self._logged_problem or "there is no connection"))
        if Status.commandName not in connection.commands:
            return succeed(None)
        return connection.request(Status).addCallbacks(_report_of, _not_answered)

    def sweep(self, now: float) -> None:
        """Give up a connection that makes no progress. Called about once a second."""
        if self.connection is not None:
            self.connection.check_progress(now)

    # Connecting

    def start(self) -> None:
        """Connect, and stay connected."""
        ensureDeferred(self._keep_connected()).addCallback(self._end)

    def _end(self, _: None) -> None:
        self._ended = True
        waiting, self._when_ended = self._when_ended, []
        for each in waiting:
            each.callback(None)

    def stop(self) -> "Deferred[None]":
        """Close. What was written may still be sent. Returns a Deferred that fires when nothing is left."""
        ended: Deferred[None] = Deferred()
        self._when_ended.append(ended)
        self._stopped = True
        if self._ended:
            self._end(None)
        elif self.connection is not None:
            self.connection.close()
        elif self._awaited is not None:
            self._awaited.cancel()
        return ended

    def redial(self, named_url: str) -> None:
        """
        End the pause before the next attempt, because the machine has connected to this one.

        @param named_url: where it says that it is; empty if it does not say so.
        """
        self._named_url = "" if named_url == self.url else named_url
        self._dials_named = bool(self._named_url)
        self._backoff.reset()
        if self._pausing and self._awaited is not None:
            self._awaited.cancel()

    async def _keep_connected(self) -> None:
        while not self._stopped:
            try:
                pause_seconds = await self._use_one_connection()
            except CancelledError:  # by L{stop}
                return
            except Exception:
                self._log.failure("Sending to {machine} failed", machine=self._label)
                pause_seconds = LONGEST_PAUSE_SECONDS
            await self._pause(pause_seconds)

    async def _use_one_connection(self) -> float:
        """Connect, and return once the connection is lost: with the number of seconds to wait after that."""
        named, self._dials_named = self._dials_named, not self._dials_named and bool(self._named_url)
        try:
            connection = await self._connect(self._named_url if named else self.url)
        except IdleError:  # it is starting, or this machine does not know yet that the other one is a standby
            return self._backoff.next()
        except _REFUSALS as error:
            self._refused(error)
            return REFUSED_PAUSE_SECONDS
        except CONNECTION_ERRORS as error:
            if not named:  # the log gives the machine the other URL
                self._log_problem(reason_of(error))
            return self._backoff.next()
        self._dials_named = named  # whatever it is lost by, the machine was there
        problem = await self._use(connection)
        self._lost_at = self._context.clock.seconds()
        self._log_problem(problem, "{machine} is not connected any more: {problem}; trying again")
        return self._backoff.next()

    async def _connect(self, url: str) -> OutgoingConnection:
        """
        Connect to C{url}, and exchange L{Hello}.

        @raise Exception: L{IdleError}, one of L{_REFUSALS} or L{CONNECTION_ERRORS}, or L{CancelledError}.
        """
        self._log.debug("Connecting to {machine}", machine=self._label)
        dialer = self._context.dialer
        connection = OutgoingConnection(self._context.clock, self._context.unacknowledged_timeout_seconds)
        await self._cancellable(maybeDeferred(dialer.dial, url, connection))
        try:
            hello = self._say_hello(connection).addTimeout(dialer.timeout_seconds, self._context.clock)
            answer = await self._cancellable(hello)
            if answer["machine_id"] != self.machine_id:
                raise MachineError(f"the machine {answer['machine_id']} is there")
            connection.commands = frozenset(answer["commands"] or ())
        except BaseException:
            connection.abort()
            await connection.when_lost()
            raise
        return connection

    def _say_hello(self, connection: OutgoingConnection) -> "Deferred[dict[str, Any]]":
        raft = self._context.raft
        return connection.request(
            Hello,
            version=PROTOCOL_VERSION,
            cluster_id=raft.cluster_id,
            sender=raft.machine_id,
            name=self._context.name(),
            configuration_index=raft.configuration_index,
            receiver=self.machine_id,
            peer_url=self._context.peer_url,
        )

    async def _use(self, connection: OutgoingConnection) -> str:
        """Use a connection until it is lost. Returns why it was."""
        clock = self._context.clock
        since = clock.seconds()
        self.connection = connection
        raft = self._context.raft
        connection.received = lambda payload: raft.received(self.machine_id, payload)
        self._logged_problem = ""
        after = "" if self._lost_at is None else f" again, after {since - self._lost_at:.0f} s"
        self._log.info("Connected to {machine}{after}", machine=self._label, after=after)
        if self._stopped:
            connection.close()
        problem = await connection.when_lost()
        self.connection = None
        if connection.has_sent:
            self._report_loss()
        if clock.seconds() - since >= LONGEST_PAUSE_SECONDS:
            self._backoff.reset()
        return problem

    def _refused(self, error: Exception) -> None:
        if isinstance(error, NotMemberError) and not self._stopped:
            self._context.raft.excluded()
        self._log_problem(f"it refuses this machine: {reason_of(error)}")

    @property
    def _label(self) -> str:
        return self._context.raft.label(self.machine_id)

    def _log_problem(self, problem: str, line: str = "Can't connect to {machine}: {problem}; trying again") -> None:
        """Log what is wrong, unless the last line said the same."""
        if not self._stopped and problem != self._logged_problem:
            self._logged_problem = problem
            self._log.warn(line, machine=self._label, problem=problem)

    async def _pause(self, seconds: float) -> None:
        """Wait, unless L{stop} was called."""
        if self._stopped:
            return
        self._pausing = True
        try:
            await self._cancellable(deferLater(self._context.clock, seconds, lambda: None))
        except CancelledError:
            return
        finally:
            self._pausing = False

    async def _cancellable(self, step: "Deferred[_T]") -> _T:
        """Wait for a step that L{stop} may cancel."""
        self._awaited = step
        try:
            return await step
        finally:
            self._awaited = None


def _report_of(answer: dict[str, Any]) -> StatusReport:
    report: StatusReport = answer["report"]
    return report


def _not_answered(failure: Failure) -> StatusReport:
    failure.trap(DisconnectedError, AnswerError)
    raise ConnectionError(failure.getErrorMessage())
