"""
Many HTTP/1.1 connections to one server from one process, on epoll, which write the keys and wait for changes.

The code is thin, because what it costs is part of what it measures. It is also bounded: every wait has a deadline, and
an answer that is no success ends the measurement.
"""

import itertools
import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

import httptools

from benchmarks.errors import BenchmarkError

_READ_BYTES = 65536
_SUCCESS = (200, 201)


def get(path: str) -> bytes:
    """Returns a C{GET} request."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


def put(path: str, value: str) -> bytes:
    """
    Returns a C{PUT} request with a form.

    @param value: needs no escaping in a form.
    """
    body = f"value={value}"
    return (
        f"PUT {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


class Connection:
    """
    One kept connection.

    @ivar accepted: how many answers' headers have come.
    @ivar answered: how many whole answers have come.
    """

    __slots__ = ("_parser", "_pieces", "_trouble", "accepted", "answered", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted = self.answered = 0
        self._pieces: list[bytes] = []
        self._trouble: str | None = None
        self._parser = httptools.HttpResponseParser(self)

    @property
    def body(self) -> bytes:
        """The latest answer's body, as far as it has come."""
        return b"".join(self._pieces)

    def send(self, requests: bytes) -> None:
        """Sends one or more whole requests."""
        self.socket.sendall(requests)

    def receive(self) -> None:
        """
        Reads what has come, after waiting for something.

        @raise BenchmarkError: the connection ends or an answer is no success.
        """
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise BenchmarkError("the server closed a connection that was in use")
        self._parser.feed_data(data)
        if self._trouble is not None:
            raise BenchmarkError(self._trouble)

    def ask(self, request: bytes) -> float:
        """Sends one request, waits for its whole answer, and returns the seconds that took."""
        awaited = self.answered + 1
        began = time.perf_counter()
        self.send(request)
        while self.answered < awaited:
            self.receive()
        return time.perf_counter() - began

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def on_headers_complete(self) -> None:
        """The parser has an answer's headers."""
        self.accepted += 1
        self._pieces = []
        status = self._parser.get_status_code()
        if status not in _SUCCESS:
            self._trouble = f"the server answered a request with status {status}"

    def on_body(self, data: bytes) -> None:
        """The parser has a piece of a body."""
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        """The parser has a whole answer."""
        self.answered += 1


class Crowd:
    """Connections that are read as soon as something comes for any of them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._connections.values())

    def __len__(self) -> int:
        return len(self._connections)

    def connect(self) -> Connection:
        """Adds a connection."""
        connection = Connection(self._port)
        self._connections[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket, select.EPOLLIN)
        return connection

    def read_until(self, finished: Callable[[], bool], seconds: float) -> Iterator[Connection]:
        """
        Reads, and yields each connection that something came for, until C{finished}.

        @raise BenchmarkError: it takes more than C{seconds}, or an answer is no success.
        """
        deadline = time.monotonic() + seconds
        while not finished():
            left = deadline - time.monotonic()
            if left <= 0:
                raise BenchmarkError(f"what was waited for did not come within {seconds:.0f} s")
            for descriptor, _event in self._epoll.poll(left, max(1, len(self))):
                connection = self._connections[descriptor]
                connection.receive()
                yield connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for connection in self:
            connection.close()
        self._epoll.close()


def write_all(
    port: int, requests: Iterable[bytes], connections: int = 32, window: int = 16, seconds: float = 300
) -> int:
    """
    Sends requests over several connections, with up to C{window} unanswered on each, and reads every answer.

    @return: how many there were.
    @raise BenchmarkError: one is refused, or it takes more than C{seconds}.
    """
    waiting = iter(requests)
    unanswered = written = 0
    with Crowd(port) as crowd:
        counted = {crowd.connect(): 0 for _ in range(connections)}

        def send(connection: Connection, count: int) -> None:
            nonlocal unanswered
            batch = list(itertools.islice(waiting, count))
            unanswered += len(batch)
            if batch:
                connection.send(b"".join(batch))

        def finished() -> bool:
            return not unanswered

        for connection in counted:
            send(connection, window)
        for connection in crowd.read_until(finished, seconds):
            answers = connection.answered - counted[connection]
            counted[connection] = connection.answered
            unanswered -= answers
            written += answers
            send(connection, answers)
    return written
