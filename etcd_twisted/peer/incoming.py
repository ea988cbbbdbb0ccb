"""
The end of an AMP connection that another machine, or a stranger, has made: what is asked there is answered.

Whoever is not a member may ask to join or to leave and who is in the cluster, and no more than a few times. A member
says L{commands.Hello} first, and then whatever it likes.

Must never let what a stranger sends put a traceback into the log, nor let one hold more than a few kilobytes here.
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
from etcd_twisted.peer.answering import Answering, Values
from etcd_twisted.peer.boxes import Box
from etcd_twisted.peer.delivery import MOST_IN_BOX
from etcd_twisted.peer.messages import MessageConnection
from etcd_twisted.peer.visitors import Visitors

STRANGER_BYTES = 1 << 14
"""How many bytes a stranger's box may take."""

STRANGER_QUESTIONS = 32
"""How often a stranger may ask on one connection."""

MOST_PENDING = 8
"""How many questions a connection may have that are not answered yet."""

_LONGEST_NAME = 255
_FOR_MEMBERS = (commands.OfferSnapshot, commands.SnapshotPiece, commands.Status)


@attrs.define
class Host:
    """
    What all connections to this machine share.

    @ivar timeout: how long the other side may take to go on, in seconds.
    """

    clock: IReactorTime
    raft: IRaftPeer
    answering: Answering
    visitors: Visitors
    complaints: RateLimitedLog
    timeout: float


class Incoming(MessageConnection):
    """
    A connection.

    @ivar sender: the id of the machine, once it was admitted; empty for a stranger.
    @ivar pending: how many questions are not answered yet.
    """

    _log = Logger()

    def __init__(self, host: Host) -> None:
        super().__init__(host.clock, STRANGER_BYTES)
        self.sender = ""
        self.pending = 0
        self._host = host
        self._name = ""
        self._asked = 0
        self._fed = False
        self._since = host.clock.seconds()

    def __str__(self) -> str:
        return f"{self._name or self.sender} at {self.peer}" if self.sender else self.peer

    # Its life

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come."""
        self._fed = True
        super().dataReceived(data)

    def sweep(self, now: float) -> None:
        """
        Close the connection if the other side does not go on. Called every second or so.

        A member may be silent as long as it likes, but not within a box; a stranger only while it waits for an answer.
        """
        self.check_progress(now)
        fed, self._fed = self._fed, False
        if (fed or not self.has_part) if self.sender else self.pending:
            self._since = now
        elif now - self._since >= self._host.timeout and not self.closing:
            if self.has_part:
                self.refuse(f"half a box, and not the rest of it within {self._host.timeout:g} s")
            else:
                self.close()

    def pauseProducing(self) -> None:
        """The other side has to read before more is written; a stranger, before it may ask on."""
        super().pauseProducing()
        if not self.sender:
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """More can be written."""
        super().resumeProducing()
        self.transport.resumeProducing()

    def refuse(self, reason: str) -> None:
        """What has come is wrong: say so in the log, and end the connection."""
        if not self.closing:
            self._complain("garbage", reason)
            super().refuse(reason)

    def _complain(self, cause: str, reason: str) -> None:
        self._host.complaints.warn(cause, f"Closed the connection from {self}: {reason}")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone."""
        if self.has_part and not self.sender and not self.closing:
            self._complain("garbage", "half a box, and the end")
        super().connectionLost(reason)
        if self.sender:
            self._host.visitors.forget(self.sender, self)
            if self.used:
                self._host.raft.unreachable(self.sender)

    # Questions

    def admit(self, sender: str, name: str, received: Callable[[bytes], None]) -> None:
        """See L{etcd_twisted.peer.answering.Asker}."""
        self.sender = sender
        self._name = name if name.isprintable() and len(name) <= _LONGEST_NAME else ""
        self.reader.most = MOST_IN_BOX
        self.received = received
        self._host.visitors.welcome(sender, self)

    def other_received(self, box: Box) -> None:
        """A question has come, or something that is none."""
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
        if self._may_ask(command):
            self.pending += 1
            answer = maybeDeferred(self._host.answering.answer, self, command, arguments)
            answer.addBoth(self._done)
            answer.addCallbacks(self._answered, self._failed, (command, box), {}, (command, box), {})
            answer.addErrback(self._broken)

    def _may_ask(self, command: type[amp.Command]) -> bool:
        self._asked += 1
        if not self.sender and command in _FOR_MEMBERS:
            self.refuse(f"a {command.__name__}, and it has not said who it is")
        elif not self.sender and self._asked > STRANGER_QUESTIONS:
            self.refuse(f"more than {STRANGER_QUESTIONS} questions")
        elif self.pending >= MOST_PENDING:
            self.refuse(f"more than {MOST_PENDING} questions at once")
        return not self.closing

    def _done(self, result: "Values | Failure") -> "Values | Failure":
        self.pending -= 1
        return result

    def _answered(self, values: Values, command: type[amp.Command], question: Box) -> None:
        if amp.ASK in question:
            box: amp.AmpBox = command.makeResponse(values, self)
            box[amp.ANSWER] = question[amp.ASK]
            self.send_box(box)

    def _failed(self, failure: Failure, command: type[amp.Command], question: Box) -> Failure | None:
        """Tell of an error, if it is one that the command has; with some of them the connection ends."""
        kinds: dict[Any, bytes] = {**command.errors, **command.fatalErrors}
        code = kinds.get(failure.type)
        if amp.ASK in question:
            box = amp.AmpBox()
            box[amp.ERROR] = question[amp.ASK]
            box[amp.ERROR_CODE] = code or amp.UNKNOWN_ERROR_CODE
            box[amp.ERROR_DESCRIPTION] = (failure.getErrorMessage() if code else "an error").encode("utf-8", "replace")
            self.send_box(box)
        if code is None:
            return failure
        if failure.type in command.fatalErrors and not self.closing:
            self._complain(code.decode(), failure.getErrorMessage())
            self.close()
        return None

    def _broken(self, failure: Failure) -> None:
        self._log.failure("A question of {peer} could not be answered", failure, peer=str(self))
        self.close()
