"""
Child processes that end with their test.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from etcd_twisted.testing import child_process
from etcd_twisted.testing.child_process import ChildEndedError, ChildProcess, clean_environment

__all__ = ["SOURCE", "ChildEndedError", "ChildProcess", "clean_environment", "spawn"]

SOURCE = Path(__file__).resolve().parent.parent.parent
"""The source tree that is tested."""


def spawn(
    test: TestCase,
    command: Sequence[str | Path],
    directory: Path,
    environment: Mapping[str, str] | None = None,
    descriptors: Mapping[int, int] | None = None,
) -> ChildProcess:
    """Starts a process (see L{child_process.spawn}) that the end of the test ends."""
    child = child_process.spawn(reactor, command, directory, environment, descriptors)
    test.addCleanup(child.stop)
    return child
