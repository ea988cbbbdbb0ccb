"""
How far an import has come, in a file beside what is imported, so that it goes on there when it is run again.

The file is on the disk before anything is written to the cluster. Everything before its position was written; what
comes after it may have been. This module must never let an import go on in another cluster, or with another file.
"""

import os
from pathlib import Path

import attrs
import msgspec

from etcd_twisted.ctl.failures import BAD_ARGUMENTS, CommandFailedError


class _Wire(msgspec.Struct):
    source: str
    cluster: str
    target: str
    started: float
    position: int
    directory: str


@attrs.define
class ImportState:
    """
    The state of one import.

    @ivar path: where the file is; C{None} to keep none.
    @ivar source: what is imported: see L{etcd_twisted.ctl.sources.Survey.identity}.
    @ivar cluster: the id of the cluster that it is imported into.
    @ivar directory: which directory of the source is imported.
    @ivar target: the directory there.
    @ivar started: when it was begun, in seconds since the epoch.
    @ivar position: how many records were written for certain.
    """

    path: Path | None
    source: str
    cluster: str
    directory: str
    target: str
    started: float
    position: int = 0

    def load(self) -> bool:
        """
        Take the position of an import that has not ended, and return whether there is one.

        @raise CommandFailedError: there is a file, but of another import.
        """
        if self.path is None:
            return False
        try:
            wire = msgspec.json.decode(self.path.read_bytes(), type=_Wire)
        except FileNotFoundError:
            return False
        except (OSError, msgspec.MsgspecError) as error:
            raise self._failed(f"can't be read: {error}") from error
        if (wire.source, wire.target) != (self.source, self.target):
            raise self._failed(f"is of the import of another file, or into another directory ({wire.target})")
        if wire.directory != self.directory:
            raise self._failed(f"is of an import of another directory ({wire.directory})")
        if wire.cluster != self.cluster:
            raise self._failed(f"is of an import into another cluster ({wire.cluster})")
        self.position, self.started = wire.position, wire.started
        return True

    def _failed(self, text: str) -> CommandFailedError:
        return CommandFailedError(f"{self.path} {text}; remove it to begin a new import", BAD_ARGUMENTS)

    def save(self) -> None:
        """
        Write the file.

        @raise CommandFailedError: that is not possible.
        """
        if self.path is None:
            return
        wire = _Wire(self.source, self.cluster, self.target, self.started, self.position, self.directory)
        partial = self.path.with_name(f"{self.path.name}.partial")
        try:
            with partial.open("wb") as file:
                file.write(msgspec.json.encode(wire))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path)
        except OSError as error:
            text = f"can't write {partial}: {error.strerror}; name another file with --state"
            raise CommandFailedError(text, BAD_ARGUMENTS) from error

    def remove(self) -> None:
        """Remove the file, as the import has ended."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
