"""
The requests that one machine forwards to this one over one connection: puts their parts together, and withdraws what
nobody waits for any more.

This module must never hold more than a bound of what was not asked for yet.
"""

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

MAX_FORWARDED_BYTES = 64 << 20
"""How many bytes of parts of requests one connection may hold."""

MAX_FORWARDED_REQUESTS = 65_536
"""How many requests of one connection may be without an answer."""

MAX_ANSWER_BYTES = 250_000
"""An answer has to fit into one box."""


class ForwardedRequests:
    """The forwarded requests of one connection."""

    def __init__(self) -> None:
        self._parts: dict[int, list[bytes]] = {}
        self._size = 0
        self._running: dict[int, Deferred[bytes]] = {}

    def take(self, number: int, data: bytes, more: bool) -> bytes | None:
        """
        Returns the request that is complete with this part; C{None} if it is not.

        @raise ValueError: there is too much, or the number is in use.
        """
        if number in self._running or len(self._running) >= MAX_FORWARDED_REQUESTS:
            raise ValueError(f"request {number} can't be taken beside {len(self._running)} others")
        parts = self._parts.get(number)
        if not more:
            if parts is None:
                return data
            del self._parts[number]
            self._size -= sum(map(len, parts))
            return b"".join((*parts, data))
        self._size += len(data)
        if self._size > MAX_FORWARDED_BYTES:
            raise ValueError(f"parts of requests of more than {MAX_FORWARDED_BYTES} bytes")
        self._parts.setdefault(number, []).append(data)
        return None

    def answer(self, number: int, answer: "Deferred[bytes]") -> "Deferred[bytes]":
        """
        Returns a Deferred that fires with the answer to send, which is empty if the request was withdrawn.

        @param answer: fires with the answer, and can be cancelled.
        """
        if not answer.called:
            self._running[number] = answer
        return answer.addBoth(self._answered, number)

    def _answered(self, result: "bytes | Failure", number: int) -> "bytes | Failure":
        self._running.pop(number, None)
        if isinstance(result, Failure):
            return b"" if result.check(CancelledError) else result
        if len(result) > MAX_ANSWER_BYTES:
            raise ValueError(f"an answer of {len(result)} bytes")
        return result

    def withdraw(self, number: int) -> None:
        """Withdraw a request, if it is not answered yet."""
        self._size -= sum(map(len, self._parts.pop(number, ())))
        running = self._running.get(number)
        if running is not None:
            running.cancel()

    def withdraw_all(self) -> None:
        """Withdraw all requests: the connection is lost."""
        self._parts.clear()
        for running in list(self._running.values()):
            running.cancel()
