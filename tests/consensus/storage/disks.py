"""
Disks that fail, or lose their power, at a call that the test chooses.
"""

import os
import shutil
from pathlib import Path

_SYNCS = frozenset({"fsync", "fdatasync"})


def _sync(descriptor: int) -> None:
    """Raises OSError if the descriptor is not open, as a sync does, and returns at once otherwise."""
    os.fstat(descriptor)


class Disk:
    """
    The C{os} module as the log sees it: the real one, but the call number C{fail_at} raises C{error}.

    A sync does not wait for the real disk, since these tests never cut the real power.
    """

    watched = frozenset({"open", "pwrite", "fsync", "fdatasync", "ftruncate", "posix_fallocate"})

    def __init__(self, fail_at: int, error: BaseException) -> None:
        self.fail_at = fail_at
        self.error = error
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> object:
        function = _sync if name in _SYNCS else getattr(os, name)
        if name not in self.watched:
            return function

        def call(*arguments: object) -> object:
            self.calls.append(name)
            if len(self.calls) == self.fail_at:
                self.failing(name, *arguments)
                raise self.error
            result = function(*arguments)
            self.done(name, result, *arguments)
            return result

        return call

    def failing(self, name: str, *arguments: object) -> None:
        """Half of a write that fails is written."""
        if name == "pwrite":
            descriptor, data, offset = arguments
            os.pwrite(descriptor, bytes(data)[: len(data) // 2], offset)  # type: ignore[arg-type, call-overload]

    def done(self, name: str, result: object, *arguments: object) -> None:
        """The call is over, and did what it should."""


class PowerCut(BaseException):
    """The machine stops here."""


class CuttableDisk(Disk):
    """A disk that keeps what was synced, and of the rest only what the test wants."""

    def __init__(self, directory: Path, fail_at: int) -> None:
        super().__init__(fail_at, PowerCut())
        self.directory = directory
        self.paths: dict[int, Path] = {}
        self.synced: dict[str, bytes] = {}
        self.names: set[str] = set()

    def done(self, name: str, result: object, *arguments: object) -> None:
        if name == "open":
            self.paths[result] = Path(str(arguments[0]))
        elif name in {"fsync", "fdatasync"}:
            path = self.paths[arguments[0]]
            if path == self.directory:
                self.names = {file.name for file in path.iterdir()}
            else:
                self.synced[path.name] = path.read_bytes()

    def restart(self, *, keep_names: bool) -> None:
        """Make of the directory what a power cut leaves, with or without the names that were not synced."""
        names = self.names | ({file.name for file in self.directory.iterdir()} if keep_names else set())
        shutil.rmtree(self.directory)
        self.directory.mkdir()
        for name in names:
            (self.directory / name).write_bytes(self.synced.get(name, bytes(100)))
