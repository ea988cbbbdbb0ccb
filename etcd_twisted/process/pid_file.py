"""
The file that holds the process id of a running C{twistd}, so that it can be found and stopped.

C{twistd} itself refuses to start while any process has the id in the file, and ends with a traceback when it can't
write the file. The processes of a container get the same few ids at every start, so a container that was killed would
never start again. Here, only a C{twistd} that still runs prevents a start.

This module must never be relied on to keep two machines out of one data directory: the directory's own lock does that.
"""

import contextlib
import os
import stat
from pathlib import Path

import attrs

from etcd_twisted.errors import StartError

PROCESSES = Path("/proc")
"""Where the system shows its processes."""

_LONGEST_BYTES = 64
"""No pid file is longer."""

_REMEDY = "name another before etcd, as in twistd --pidfile=/run/machine1.pid etcd, or none with --pidfile="


@attrs.define
class PidFile:
    """
    The file of one process.

    @ivar path: the absolute path of the file; C{None} if there is none.
    @ivar _processes: where the system shows its processes.
    @ivar _written: whether this process has written the file and has not removed it.
    """

    path: Path | None
    _processes: Path = PROCESSES
    _written: bool = False

    def write(self) -> None:
        """
        Write this process's id into the file.

        @raise StartError: another C{twistd} runs, or the file can't be written.
        """
        if self.path is None:
            return
        try:
            holder = self._holder(self.path)
            if holder is not None:
                raise StartError(
                    f"the pid file {self.path} is that of process {holder}, which runs; stop it, or {_REMEDY}"
                )
            self._written = True
            self.path.write_text(str(os.getpid()))
        except OSError as error:
            self.remove()
            raise StartError(f"the pid file {self.path} can't be written: {error.strerror}; {_REMEDY}") from error

    def remove(self) -> None:
        """Remove the file, if this process has written it and may still do so."""
        if self._written and self.path is not None:
            self._written = False
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _holder(self, path: Path) -> int | None:
        """
        Returns the id in the file, or C{None} when no C{twistd} runs with it any more.

        @raise StartError: the file is not a pid file, and should not be overwritten.
        """
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise StartError(f"the pid file {path} is not a file; {_REMEDY}")
            with path.open("rb") as file:
                content = file.read(_LONGEST_BYTES).strip(b"\0 \t\r\n")
        except FileNotFoundError:
            return None
        if not content:  # its process was killed, or the disk was full, before the id was written
            return None
        if not content.isdigit():
            raise StartError(f"the pid file {path} holds something other than a process id; {_REMEDY}")
        pid = int(content)
        return pid if pid != os.getpid() and self._is_twistd(pid) else None

    def _is_twistd(self, pid: int) -> bool:
        """Returns whether a process has this id and is C{twistd}, or may be, because the system does not show it."""
        try:
            arguments = (self._processes / str(pid) / "cmdline").read_bytes().split(b"\0")
        except PermissionError:
            return True
        except OSError:
            return False
        names = [os.path.basename(argument) for argument in arguments]
        # It is python [OPTION...] /usr/bin/twistd ..., or python -m twisted ..., but not a shell that runs twistd.
        return names[0].startswith((b"python", b"pypy", b"twist")) and any(
            name.startswith(b"twist") for name in names[:6]
        )
