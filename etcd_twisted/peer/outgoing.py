"""
The end of an AMP connection that this machine has made: it sends requests, and the other machine answers them.

This module must never answer requests: those come over the connections that other machines make.
"""

from typing import Any, NoReturn, cast

from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from etcd_twisted.errors import CannotForwardError, RequestDroppedError
from etcd_twisted.net.reasons import NETWORK_ERRORS
from etcd_twisted.net.sockets import UNACKNOWLEDGED_TIMEOUT_SECONDS
from etcd_twisted.peer.boxes import MAX_BOX_BYTES, Box
from etcd_twisted.peer.commands import Forward, Withdraw
from etcd_twisted.peer.connection import MessageConnection
from etcd_twisted.peer.dialer import PeerUrlError

FORWARDED_PIECE_BYTES = 128 * 1024
"""A forwarded request is sent in parts of this size."""


class DisconnectedError(Exception):
    """The connection is gone, or there is none; the text says why."""


class AnswerError(Exception):
    """What came does not answer the request."""


CONNECTION_ERRORS = (*NETWORK_ERRORS, AnswerError, DisconnectedError, PeerUrlError)
"""The errors of connecting and of requests that say nothing about what was requested."""


class OutgoingConnection(MessageConnection):
    """
    A connection that this machine has made.

    @ivar commands: the names of the commands that the other machine says it knows.
    """

    def __init__(
        self, clock: IReactorTime, unacknowledged_timeout_seconds: float = UNACKNOWLEDGED_TIMEOUT_SECONDS
    ) -> None:
        super().__init__(clock, MAX_BOX_BYTES, unacknowledged_timeout_seconds)
        self._pending: dict[bytes, tuple[type[amp.Command], Deferred[dict[str, Any]]]] = {}
        self._last_tag = 0
        self._last_forwarded = 0
        self.commands: frozenset[bytes] = frozenset()

    def request(self, command: type[amp.Command], **arguments: object) -> "Deferred[dict[str, Any]]":
        """
        Send a request. Returns a Deferred that fires with the results; it errbacks with one of the command's errors,
        with L{DisconnectedError} or with L{AnswerError}.
        """
        if self.closing:
            return fail(DisconnectedError(self.problem or "the connection is closed"))
        box: amp.AmpBox = command.makeArguments(arguments, self)
        self._last_tag += 1
        tag = b"%x" % self._last_tag
        box[amp.COMMAND] = command.commandName
        box[amp.ASK] = tag
        answer: Deferred[dict[str, Any]] = Deferred()
        self._pending[tag] = (command, answer)
        self.send_box(box)
        return answer

    def forward(self, request: bytes) -> "Deferred[bytes]":
        """See L{etcd_twisted.interfaces.ITransport.forward}."""
        if self.closing:
            return fail(RequestDroppedError("there is no connection to the leader"))
        if Forward.commandName not in self.commands:
            return fail(CannotForwardError("the leader takes no requests of other machines"))
        self._last_forwarded = number = self._last_forwarded + 1

        def withdraw(_: object) -> None:
            self._withdraw(number)

        answered: Deferred[bytes] = Deferred(withdraw)
        if len(request) <= FORWARDED_PIECE_BYTES:
            asked = self.request(Forward, number=number, data=request)
        else:
            asked = ensureDeferred(self._forward_in_parts(number, request))

        def come_back(result: bytes | Failure) -> None:
            if not answered.called:  # it may have been cancelled
                answered.callback(result)

        asked.addCallbacks(lambda values: values["answer"], _unanswered).addBoth(come_back)
        return answered

    async def _forward_in_parts(self, number: int, request: bytes) -> dict[str, Any]:
        """Send a long request. A heartbeat waits for one part of it at most, as each is answered before the next."""
        *others, last = range(0, len(request), FORWARDED_PIECE_BYTES)
        for start in others:
            await self.request(Forward, number=number, data=request[start : start + FORWARDED_PIECE_BYTES], more=True)
        return await self.request(Forward, number=number, data=request[last:])

    def _withdraw(self, number: int) -> None:
        if not self.closing:
            command: type[amp.Command] = Withdraw
            box: amp.AmpBox = command.makeArguments({"number": number}, self)
            box[amp.COMMAND] = Withdraw.commandName
            self.send_box(box)

    def other_box_received(self, box: Box) -> None:
        """Take an answer."""
        request = self._pending.pop(box.get(amp.ANSWER) or box.get(amp.ERROR) or b"", None)
        if request is None:
            self.refuse("it sent an answer without a request")
            return
        command, answer = request
        if amp.ERROR in box:
            answer.errback(_error(command, box))
        else:
            self._answered(command, answer, box)

    def _answered(self, command: type[amp.Command], answer: "Deferred[dict[str, Any]]", box: Box) -> None:
        try:
            values: dict[str, Any] = command.parseResponse(box, self)
        except (KeyError, TypeError, ValueError) as error:
            problem = f"its answer to {command.commandName.decode()} can't be read: {error!r}"
            answer.errback(AnswerError(problem))
            self.refuse(problem)
        else:
            answer.callback(values)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail the requests that have no answer."""
        super().connectionLost(reason)
        pending, self._pending = self._pending, {}
        for _, answer in pending.values():
            answer.errback(DisconnectedError(self.problem))


def _unanswered(failure: Failure) -> NoReturn:
    failure.trap(DisconnectedError, AnswerError)
    raise ConnectionError(failure.getErrorMessage())


def _error(command: type[amp.Command], box: Box) -> Exception:
    """Returns the error that an answer stands for."""
    kinds: dict[bytes, type[Exception]] = cast(Any, command).reverseErrors
    kind = kinds.get(box.get(amp.ERROR_CODE, b""), AnswerError)
    return kind(box.get(amp.ERROR_DESCRIPTION, b"").decode("utf-8", "replace"))
