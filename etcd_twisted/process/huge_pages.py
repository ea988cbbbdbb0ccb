"""
Huge pages for the heap of a machine with many keys.

A change of one key touches dozens of places all over the heap. Where the heap has hundreds of megabytes in pages of
4 KiB, the processor has to look up most of these pages' addresses in memory, which makes a change of one of a million
keys a tenth dearer. Pages of 2 MiB are so few that it knows them. Linux has them for those who ask, unless its
administrator forbids that: C{/sys/kernel/mm/transparent_hugepage/enabled}. It then puts pages together in a thread of
its own, about 100 MB a minute, while this process goes on.

This module must never ask for memory that is hardly used, like a thread's stack: a huge page is used as a whole. It
must never be used by a program that embeds the service.
"""

import ctypes
import errno
import mmap
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

CHECK_INTERVAL_SECONDS = 10.0
"""How often to look whether the heap has grown."""

LEAST_BYTES = 32 << 20
"""The size of the smallest mapping to ask for: no stack is as large, and a smaller heap gains nothing."""

_HUGE_PAGE_BYTES = 2 << 20

_HEAP = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw-p 00000000 00:00 0 *(?:\[heap\])?$", re.MULTILINE)
"""A private mapping of no file, as C{/proc/self/maps} has it."""


def heap(maps: str) -> Iterator[tuple[int, int]]:
    """
    Yields the address and the length in bytes of the huge pages that the heap has room for.

    @param maps: what is in C{/proc/self/maps}.
    """
    for start, end in ((int(found[1], 16), int(found[2], 16)) for found in _HEAP.finditer(maps)):
        if end - start >= LEAST_BYTES:
            first = -(-start // _HUGE_PAGE_BYTES) * _HUGE_PAGE_BYTES
            yield first, end // _HUGE_PAGE_BYTES * _HUGE_PAGE_BYTES - first


def advise(address: int, length: int) -> None:
    """
    Tell the kernel that huge pages suit this memory of the process.

    @raise OSError: the kernel has none.
    """
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    if madvise(ctypes.c_void_p(address), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE) != 0:
        raise OSError(number := ctypes.get_errno(), os.strerror(number))


class HugePages:
    """Asks for huge pages for the heap as it grows, from L{start} to L{stop}."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        maps: Path = Path("/proc/self/maps"),
        advise: Callable[[int, int], None] = advise,
    ) -> None:
        self._maps = maps
        self._advise = advise
        self._asked: set[tuple[int, int]] = set()
        self._calling = LoopingCall(self.ask)
        self._calling.clock = clock

    def start(self) -> None:
        """Ask from now on."""
        self._calling.start(CHECK_INTERVAL_SECONDS, now=False).addErrback(self._refused)

    def stop(self) -> None:
        """Ask no more."""
        if self._calling.running:
            self._calling.stop()

    def ask(self) -> None:
        """
        Ask for what was not there the last time.

        @raise OSError: the kernel has no huge pages, or does not tell what is mapped.
        """
        found = set(heap(self._maps.read_text()))
        for address, length in found - self._asked:
            try:
                self._advise(address, length)
            except OSError as error:
                if error.errno != errno.ENOMEM:
                    raise
                found.discard((address, length))  # another thread has freed a part of it meanwhile
        self._asked = found

    def _refused(self, failure: object) -> None:
        self._log.debug("There are no huge pages: {failure}", failure=failure)
