"""
Measures how long a sync takes on the disk that the servers write to. A write costs at least one, so no figure of
writes means anything without it.
"""

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

COUNT = 500
"""How many syncs are measured at a time."""

BYTES = 256
"""How much is written before each: about as much as the record of one write has."""


def durations(directory: Path, count: int = COUNT) -> list[float]:
    """Returns how long each of some syncs took after a short write to a file with reserved room, in milliseconds."""
    path = directory / "syncs"
    taken = []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        os.posix_fallocate(descriptor, 0, count * BYTES)
        os.fsync(descriptor)
        for number in range(count):
            began = time.perf_counter()
            os.pwrite(descriptor, b"x" * BYTES, number * BYTES)
            os.fdatasync(descriptor)
            taken.append((time.perf_counter() - began) * 1e3)
    finally:
        os.close(descriptor)
        path.unlink()
    return taken


def summary(taken: Sequence[float]) -> str:
    """Returns the durations as text. There must be two or more of them."""
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    return f"a sync took {cuts[49]:.3f} ms (p50), {cuts[89]:.3f} ms (p90), {cuts[98]:.3f} ms (p99)"
