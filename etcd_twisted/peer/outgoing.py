"""
The end of an AMP connection that was made by this machine: it asks, and the other one answers.

Must never answer a question itself: those come over the connections that others make.
"""

from typing import Any, cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from etcd_twisted.net.sockets import UNACKNOWLEDGED_TIMEOUT_SECONDS
from etcd_twisted.peer.boxes import Box
from etcd_twisted.peer.delivery import MOST_IN_BOX
from etcd_twisted.peer.messages import MessageConnection


class LostError(Exception):
    """The connection is gone, or there is none; the text says why."""


class AnswerError(Exception):
    """What came is no answer to what was asked."""


class Outgoing(MessageConnection):
    """
    A connection.

    @ivar commands: the names of the commands that the other machine knows, as far as it has said so.
    """

    def __init__(self, clock: IReactorTime, silence: float = UNACKNOWLEDGED_TIMEOUT_SECONDS) -> None:
        super().__init__(clock, MOST_IN_BOX, silence)
        self._asked: dict[bytes, tuple[type[amp.Command], Deferred[dict[str, Any]]]] = {}
        self._last_tag = 0
        self.commands: frozenset[bytes] = frozenset()

    def ask(self, command: type[amp.Command], **arguments: object) -> "Deferred[dict[str, Any]]":
        """
        Ask. Fires with the answer's values; errbacks with the command's errors, L{LostError} or L{AnswerError}.
        """
        if self.closing:
            return fail(LostError(self.problem or "the connection is closed"))
        box: amp.AmpBox = command.makeArguments(arguments, self)
        self._last_tag += 1
        tag = b"%x" % self._last_tag
        box[amp.COMMAND] = command.commandName
        box[amp.ASK] = tag
        answer: Deferred[dict[str, Any]] = Deferred()
        self._asked[tag] = (command, answer)
        self.send_box(box)
        return answer

    def other_received(self, box: Box) -> None:
        """An answer has come."""
        asked = self._asked.pop(box.get(amp.ANSWER) or box.get(amp.ERROR) or b"", None)
        if asked is None:
            self.refuse("it sent something that was not asked for")
            return
        command, answer = asked
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
        """It is gone, and with it what was asked."""
        super().connectionLost(reason)
        asked, self._asked = self._asked, {}
        for _, answer in asked.values():
            answer.errback(LostError(self.problem))


def _error(command: type[amp.Command], box: Box) -> Exception:
    """The error that an answer stands for."""
    kinds: dict[bytes, type[Exception]] = cast(Any, command).reverseErrors
    kind = kinds.get(box.get(amp.ERROR_CODE, b""), AnswerError)
    return kind(box.get(amp.ERROR_DESCRIPTION, b"").decode("utf-8", "replace"))
