"""
What is fuzzed: the form of a target, and what all targets use.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import attrs
from hypothesis import strategies as st
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

LONGEST_SECONDS = 20
"""How many seconds one example may take on a busy machine before it counts as hanging."""

_MOST_MANGLED = 4
"""How often the bytes of one example are changed."""


@attrs.frozen
class Target:
    """
    Something that is fuzzed.

    @ivar name: its name on the command line.
    @ivar examples: generates examples.
    @ivar check: tries one; raises L{AssertionError}, or whatever the program raises that it must not.
    """

    name: str
    examples: st.SearchStrategy[Any]
    check: Callable[[Any], None]

    def attempt(self, example: Any) -> None:
        """Tries an example. It must end in time, and must not log anything unexpected."""
        with _within(LONGEST_SECONDS), _nothing_unexpected():
            self.check(example)


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    """
    Raises L{TimeoutError} in code that takes too long, even while it waits for the system.

    @raise TimeoutError: the time is over.
    """

    def late(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"not done after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _nothing_unexpected() -> Iterator[None]:
    """
    Raises L{AssertionError} if a failure was logged, because only what nobody expected is logged as one.

    @raise AssertionError: a failure was logged.
    """
    told: list[str] = []

    def note(event: LogEvent) -> None:
        if "log_failure" in event:
            told.append(f"{formatEvent(event)}\n{event['log_failure'].getTraceback()}")

    globalLogPublisher.addObserver(note)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(note)
    assert not told, "\n".join(told)


@st.composite
def mangled(draw: st.DrawFn, data: bytes) -> bytes:
    """Returns the bytes with a few changes: some are flipped, removed, repeated, cut off or inserted."""
    for _ in range(draw(st.integers(0, _MOST_MANGLED))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(1, 8) | st.integers(1, 300)))
        match draw(st.sampled_from(["flip", "leave out", "repeat", "put in", "cut off"])):
            case "flip":
                data = data[:start] + bytes(each ^ draw(st.integers(1, 255)) for each in data[start:end][:4]) \
                    + data[start:end][4:] + data[end:]  # fmt: skip
            case "leave out":
                data = data[:start] + data[end:]
            case "repeat":
                data = data[:end] + data[start:end] + data[end:]
            case "put in":
                data = data[:start] + draw(st.binary(max_size=8) | st.sampled_from(_SPECIAL)) + data[start:]
            case _:
                data = data[:start]
    return data


_SPECIAL = (b"\r\n", b"\n", b"\r\n\r\n", b"\0", b" ", b":", b"%", b"/", b"?", b"\xff", b"\xe9\x9b\xaa", b"HTTP/1.1")


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Returns the same bytes, cut into a few pieces anywhere, or into single bytes if there are few."""
    if len(data) <= 200 and draw(st.integers(0, 9)) == 0:
        return [data[at : at + 1] for at in range(len(data))]
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=5)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True) if start < end]
