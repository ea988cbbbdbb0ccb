"""
The file that holds the process id of a running C{twistd}, so that it can be found and stopped.

C{twistd} itself refuses to start while any process at all has the id in the file, and ends with a traceback when it
can't write the file. A container that was killed starts with the same few ids again and again, so that it would never
start. Here, only a C{twistd} that still runs prevents a start. Must never be relied on to keep two machines out of
one data directory: the directory's own lock does that.
"""

import contextlib
import os
import stat
from pathlib import Path

import attrs

from etcd_twisted.errors import StartError

PROCESSES = Path("/proc")

_LONGEST = 64
"""Bytes. No pid file is longer."""

_REMEDY = "name another before etcd, as in twistd --pidfile=/run/machine1.pid etcd, or none with --pidfile="


@attrs.define
class PidFile:
    """
    One process's.

    @ivar path: where it is, absolute; C{None} for no file.
    """

    path: Path | None
    _processes: Path = PROCESSES
    _written: bool = False

    def write(self) -> None:
        """
        Put this process's id into the file.

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
        The C{twistd} whose id is in the file; C{None} when it does not run any more.

        @raise StartError: what is there is no pid file, and should not be written over.
        """
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise StartError(f"the pid file {path} is no file; {_REMEDY}")
            with path.open("rb") as file:
                content = file.read(_LONGEST).strip(b"\0 \t\r\n")
        except FileNotFoundError:
            return None
        if not content:  # it was killed, or the disk was full, before it was written
            return None
        if not content.isdigit():
            raise StartError(f"the pid file {path} holds something other than a process id; {_REMEDY}")
        pid = int(content)
        return pid if pid != os.getpid() and self._is_twistd(pid) else None

    def _is_twistd(self, pid: int) -> bool:
        """Whether a process has this id and is C{twistd}, or may be C{twistd} because the system does not tell."""
        try:
            arguments = (self._processes / str(pid) / "cmdline").read_bytes().split(b"\0")
        except PermissionError:
            return True
        except OSError:
            return False
        names = [os.path.basename(argument) for argument in arguments]
        # python [OPTION...] /usr/bin/twistd ..., or python -m twisted ...: not a shell that was told to run twistd.
        return names[0].startswith((b"python", b"pypy", b"twist")) and any(
            name.startswith(b"twist") for name in names[:6]
        )
