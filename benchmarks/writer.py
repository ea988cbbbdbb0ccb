"""
A client that writes without a pause to whichever machine of a cluster accepts it, and notes when each write was
acknowledged.

It behaves like a careful user's client: it keeps to the machine that answers, follows a redirect, and goes to the next
machine when one is silent for a moment or gone. It never ends by itself, and never counts a write that was not
acknowledged.
"""

import http.client
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import attrs

from benchmarks.errors import BenchmarkError

PATH = "/v2/keys/written"

ATTEMPT_SECONDS = 0.1
"""How long one machine may take before the next is asked."""

BREATH_SECONDS = 0.001
"""The pause after a machine could not be used: the client shares two cores with those that hold an election."""

_ACKNOWLEDGED = (http.client.OK, http.client.CREATED)
_HEADERS = {"Content-Type": "application/x-www-form-urlencoded"}
_POLL_SECONDS = 0.005


@attrs.frozen
class Acknowledged:
    """
    An acknowledged write.

    @ivar at: when, in seconds of C{time.monotonic}.
    @ivar port: by which machine.
    """

    at: float
    port: int


class Target:
    """One machine, and a kept connection to it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ATTEMPT_SECONDS)

    def put(self, value: str) -> tuple[int, str]:
        """
        Writes.

        @return: the status, and where a redirect leads.
        @raise OSError: it can't be reached, or is silent.
        @raise http.client.HTTPException: it does not answer in HTTP.
        """
        try:
            self._connection.request("PUT", PATH, f"value={value}".encode(), _HEADERS)
            answer = self._connection.getresponse()
            answer.read()
        except BaseException:
            self.close()
            raise
        return answer.status, answer.headers.get("Location", "")

    def close(self) -> None:
        """Closes its connection; the next write opens one."""
        self._connection.close()


class Writer:
    """
    The client, in a thread of its own between C{with} and its end.

    @ivar acknowledged: the writes that were, in their order.
    """

    def __init__(self, ports: Sequence[int], first: int) -> None:
        """
        @param ports: where the machines serve clients.
        @param first: which of them is asked first.
        """
        self.acknowledged: list[Acknowledged] = []
        self._targets = {port: Target(port) for port in ports}
        self._port = first
        self._round = itertools.cycle(ports)
        self._told_to_end = threading.Event()
        self._threads = ThreadPoolExecutor(1, "writer")
        self._ended: Future[None] = Future()

    def wait_for(self, wanted: Callable[[Acknowledged], bool], seconds: float) -> Acknowledged:
        """
        Waits for a write of some kind.

        @return: the first one of the kind.
        @raise BenchmarkError: none is acknowledged in time.
        """
        deadline = time.monotonic() + seconds
        seen = 0
        while time.monotonic() < deadline and not self._ended.done():
            while seen < len(self.acknowledged):
                if wanted(self.acknowledged[seen]):
                    return self.acknowledged[seen]
                seen += 1
            time.sleep(_POLL_SECONDS)
        raise BenchmarkError(f"no write was acknowledged within {seconds:.0f} s")

    def __enter__(self) -> Self:
        self._ended = self._threads.submit(self._write)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._told_to_end.set()
        self._threads.shutdown()
        for target in self._targets.values():
            target.close()
        self._ended.result()  # raises what went wrong there

    def _write(self) -> None:
        for count in itertools.count():
            if self._told_to_end.is_set():
                return
            self._attempt(f"{count}")

    def _attempt(self, value: str) -> None:
        """Asks one machine, and decides from its answer which is the next."""
        try:
            status, location = self._targets[self._port].put(value)
        except (OSError, http.client.HTTPException):
            self._go_on()
            return
        if status in _ACKNOWLEDGED:
            self.acknowledged.append(Acknowledged(time.monotonic(), self._port))
        elif status == http.client.TEMPORARY_REDIRECT and (port := urlsplit(location).port) in self._targets:
            self._port = port
        else:
            self._go_on()

    def _go_on(self) -> None:
        time.sleep(BREATH_SECONDS)
        self._port = next(self._round)
