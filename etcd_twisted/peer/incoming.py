"""
The end of an AMP connection that another machine, or a stranger, has made: its requests are answered.

A stranger may ask a few times to join, to remove a machine, or for a description of the cluster. A member sends
L{commands.Hello} first, and may then send any command.

This module must never let what a stranger sends put a traceback into the log, nor let a stranger hold more than a few
kilobytes.
"""
# Twisted's AMP has no types.
# mypy: disallow-untyped-calls=False

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from etcd_twisted.interfaces import IRaftPeer
from etcd_twisted.logs.rate_limit import RateLimitedLog
from etcd_twisted.peer import commands
from etcd_twisted.peer.boxes import MAX_BOX_BYTES, Box
from etcd_twisted.peer.connected_machines import ConnectedMachines
from etcd_twisted.peer.connection import MessageConnection
from etcd_twisted.peer.forwarded import ForwardedRequests
from etcd_twisted.peer.responder import Responder, Values

MAX_STRANGER_BOX_BYTES = 1 << 14
"""How large a stranger's box may be."""

MAX_STRANGER_REQUESTS = 32
"""How many requests a stranger may send on one connection."""

MAX_PENDING_REQUESTS = 8
"""How many requests of one connection may be without an answer."""

_MAX_NAME_CHARACTERS = 255
_FOR_MEMBERS = (
    commands.OfferSnapshot,
    commands.SnapshotPiece,
    commands.Status,
    commands.Forward,
    commands.Withdraw,
)
_UNCOUNTED = (commands.Forward, commands.Withdraw)
"""Commands whose number is bounded by L{ForwardedRequests}."""


@attrs.define
class PortContext:
    """
    What all connections to the peer port share.

    @ivar timeout_seconds: how long the other side may take to go on.
    """

    clock: IReactorTime
    raft: IRaftPeer
    responder: Responder
    connected: ConnectedMachines
    rate_limited_log: RateLimitedLog
    timeout_seconds: float


class IncomingConnection(MessageConnection):
    """
    A connection that another machine, or a stranger, has made.

    @ivar sender: the id of the machine, once it is admitted; empty for a stranger.
    @ivar pending: how many requests are not answered yet, but for those that are forwarded.
    @ivar forwarded: the requests that the other machine forwards.
    """

    _log = Logger()

    def __init__(self, context: PortContext) -> None:
        super().__init__(context.clock, MAX_STRANGER_BOX_BYTES)
        self.sender = ""
        self.pending = 0
        self.forwarded = ForwardedRequests()
        self._context = context
        self._name = ""
        self._requests = 0
        self._has_read = False
        self._since = context.clock.seconds()

    def __str__(self) -> str:
        return f"{self._name or self.sender} at {self.peer}" if self.sender else self.peer

    # The connection

    def dataReceived(self, data: bytes) -> None:
        """Take bytes."""
        self._has_read = True
        super().dataReceived(data)

    def sweep(self, now: float) -> None:
        """
        Close the connection if the other side does not go on. Called about once a second.

        A member may be silent for any time, but not within a box; a stranger only while it waits for an answer.
        """
        self.check_progress(now)
        has_read, self._has_read = self._has_read, False
        if (has_read or not self.has_part) if self.sender else self.pending:
            self._since = now
        elif now - self._since >= self._context.timeout_seconds and not self.closing:
            if self.has_part:
                self.refuse(f"half a box, and not the rest of it within {self._context.timeout_seconds:g} s")
            else:
                self.close()

    def pauseProducing(self) -> None:
        """Stop writing until the other side reads; a stranger can't send more requests until then."""
        super().pauseProducing()
        if not self.sender:
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Go on to write, and to read."""
        super().resumeProducing()
        self.transport.resumeProducing()

    def refuse(self, reason: str) -> None:
        """End the connection because of what came, and say so in the log."""
        if not self.closing:
            self._log_closed("garbage", reason)
            super().refuse(reason)

    def _log_closed(self, cause: str, reason: str) -> None:
        self._context.rate_limited_log.warn(cause, f"Closed the connection from {self}: {reason}")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the machine, which may not have got the last messages."""
        if self.has_part and not self.sender and not self.closing:
            self._log_closed("garbage", "half a box, and the end")
        super().connectionLost(reason)
        self.forwarded.withdraw_all()
        if self.sender:
            self._context.connected.remove(self.sender, self)
            if self.has_sent:
                self._context.raft.unreachable(self.sender)

    # Requests

    def admit(self, sender: str, name: str, peer_url: str, received: Callable[[bytes], None]) -> None:
        """See L{etcd_twisted.peer.responder.Requester}."""
        self.sender = sender
        self._name = name if name.isprintable() and len(name) <= _MAX_NAME_CHARACTERS else ""
        self.reader.max_box_bytes = MAX_BOX_BYTES
        self.received = received
        self._context.connected.add(sender, self, peer_url)

    def other_box_received(self, box: Box) -> None:
        """Take a request, or what should be one."""
        name = box.get(amp.COMMAND, b"")
        command = commands.COMMANDS.get(name)
        if command is None:
            self.refuse(f"an unknown command, {name[:50]!r}" if name else "a box without a command")
            return
        try:
            arguments: Values = command.parseArguments(box, self)
        except (KeyError, TypeError, ValueError) as error:
            self.refuse(f"a {name.decode()} that can't be read: {error!r}")
            return
        if self._may_request(command):
            answer = maybeDeferred(self._context.responder.respond, self, command, arguments)
            if command not in _UNCOUNTED:
                self.pending += 1
                answer.addBoth(self._done)
            answer.addCallbacks(self._answered, self._failed, (command, box), {}, (command, box), {})
            answer.addErrback(self._internal_error)

    def _may_request(self, command: type[amp.Command]) -> bool:
        self._requests += 1
        if not self.sender and command in _FOR_MEMBERS:
            self.refuse(f"a {command.__name__}, and it has not said who it is")
        elif not self.sender and self._requests > MAX_STRANGER_REQUESTS:
            self.refuse(f"more than {MAX_STRANGER_REQUESTS} requests")
        elif self.pending >= MAX_PENDING_REQUESTS and command not in _UNCOUNTED:
            self.refuse(f"more than {MAX_PENDING_REQUESTS} requests at once")
        return not self.closing

    def _done(self, result: "Values | Failure") -> "Values | Failure":
        self.pending -= 1
        return result

    def _answered(self, values: Values, command: type[amp.Command], request: Box) -> None:
        if amp.ASK in request:
            box: amp.AmpBox = command.makeResponse(values, self)
            box[amp.ANSWER] = request[amp.ASK]
            self.send_box(box)

    def _failed(self, failure: Failure, command: type[amp.Command], request: Box) -> Failure | None:
        """Answer with an error, if it is one of the command's. Some of these end the connection."""
        kinds: dict[Any, bytes] = {**command.errors, **command.fatalErrors}
        code = kinds.get(failure.type)
        if amp.ASK in request:
            box = amp.AmpBox()
            box[amp.ERROR] = request[amp.ASK]
            box[amp.ERROR_CODE] = code or amp.UNKNOWN_ERROR_CODE
            box[amp.ERROR_DESCRIPTION] = (failure.getErrorMessage() if code else "an error").encode("utf-8", "replace")
            self.send_box(box)
        if code is None:
            return failure
        if failure.type in command.fatalErrors and not self.closing:
            self._log_closed(code.decode(), failure.getErrorMessage())
            self.close()
        return None

    def _internal_error(self, failure: Failure) -> None:
        self._log.failure("A request of {peer} could not be answered", failure, peer=str(self))
        self.close()
