"""
The data directory, which belongs to one process at a time and holds the identity of the machine.

This module must never change anything on disk when it can tell beforehand that the directory can't be used, and never
overwrite an identity. It blocks, and knows no reactor.
"""

import contextlib
import errno
import fcntl
import os
import re
import stat
from pathlib import Path

import attrs

from etcd_twisted.consensus.storage.checked import Checked, damaged, load_checked, save_checked
from etcd_twisted.consensus.storage.files import (
    kind_of,
    names_in,
    naming,
    open_file,
    remedy,
    sync_directory,
    unfinished_path,
    write_all,
)
from etcd_twisted.errors import StorageError
from etcd_twisted.interfaces.ids import is_id

_LOG = "log"
_SNAPSHOTS = "snapshots"
_LOCK = "lock"
_IDENTITY = "identity.json"
_STATE = "state.json"
_UNFINISHED = {unfinished_path(Path(name)).name for name in (_IDENTITY, _STATE)}
_MAX_LOCK_BYTES = 64
"""The size in bytes of the longest lock file, which holds a process id."""

_LEAST_FREE_BYTES = 4 << 20
"""How many bytes the log allocates first."""


_ACCESS = "is not writable for this user; change its owner or mode"
_TROUBLES = {
    errno.EACCES: _ACCESS,
    errno.EPERM: _ACCESS,
    errno.EROFS: "is on a read-only file system; mount that for writing (mount -o remount,rw)",
    errno.ENOTDIR: "is not a directory; move it away",
    errno.EEXIST: "is not a directory; move it away",
    errno.ENOSPC: "has no space left on its disk (the log allocates 4 MiB at a time); make room",
    errno.EDQUOT: "has no space left in this user's quota; make room",
    errno.ENAMETOOLONG: "has a name that is too long; shorten it",
}
_CONTROL_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NUMBERED = re.compile(r"[0-9]{20}\D.*")
"""Matches the names of segments and snapshots, whole or not."""

_PASSED_OVER = {_LOCK, "lost+found"}
"""The names that may be in a directory which counts as empty."""


def _hex_id(_instance: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    if not is_id(value):
        raise ValueError(f"{attribute.name} is {value!r} and should be 16 lower-case hexadecimal digits")


@attrs.frozen(slots=True)
class Identity:
    """
    The identity of a machine, which stays the same for as long as its data directory exists.

    @ivar name: the name that people use.
    @ivar machine_id: the id that its Raft group uses: 16 lower-case hexadecimal digits.
    @ivar cluster_id: the id of its cluster: 16 lower-case hexadecimal digits.
    """

    name: str = attrs.field(validator=attrs.validators.min_len(1))
    machine_id: str = attrs.field(validator=_hex_id)
    cluster_id: str = attrs.field(validator=_hex_id)


class _IdentityFile(Checked, frozen=True, kw_only=True):
    name: str
    machine_id: str
    cluster_id: str


class DataDirectory:
    """
    The directory of one machine. It is locked from the creation of this object until L{close}.

    @ivar path: the path of the directory.
    @ivar option: the option that named it, for messages.
    """

    def __init__(self, path: Path, option: str = "--data-dir", fresh: bool = False) -> None:
        """
        Make the directory if it is missing, and lock it. A directory that can't be used, or is not a machine's, is
        left as it is.

        @param option: the option that named the path, for messages.
        @param fresh: whether to forget what a machine has left in it, even if that is damaged; see L{forget}.
        @raise StorageError: the directory is in use, damaged, or can't be used. The text is one line with the path and
            the remedy.
        """
        self.path = path
        self.option = option
        self._lock = -1
        self._taking_back = contextlib.ExitStack()
        self._to_forget = fresh
        if _CONTROL_CHARACTER.search(str(path)):
            raise StorageError(
                f"{option} {str(path)!r} can't be used: there is a line break or another control character in it;"
                " choose another directory"
            )
        try:
            self._check_shape()
            self._check_ours()
            if not fresh:
                self.load_identity()
            try:
                self._make_missing()
                self._acquire()
            except BaseException:
                self.withdraw()
                self.close()
                raise
        except OSError as error:
            raise self._refusal(error) from error

    def room(self) -> tuple[int, int]:
        """
        Returns how many bytes this process may still write to the file system of the directory, and how many bytes
        that has. Both are 0 if the system does not tell.
        """
        try:
            disk = os.statvfs(self.path)
        except OSError:
            return 0, 0
        return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize

    @property
    def log_directory(self) -> Path:
        """The directory of the write-ahead log's segments."""
        return self.path / _LOG

    @property
    def snapshot_directory(self) -> Path:
        """The directory of the snapshots."""
        return self.path / _SNAPSHOTS

    @property
    def identity_path(self) -> Path:
        """The path of the file that holds the identity of the machine."""
        return self.path / _IDENTITY

    @property
    def state_path(self) -> Path:
        """The path of the state file, which holds the term and the vote beside the log."""
        return self.path / _STATE

    @property
    def is_to_forget(self) -> bool:
        """Whether its content is still to be forgotten. Nothing in it should be read then."""
        return self._to_forget

    def forget(self) -> None:
        """
        Forget what a machine has left, if that was asked for. The caller does this once its own start is certain.

        @raise StorageError: the disk fails.
        """
        if self._to_forget:
            try:
                self._erase()
            except OSError as error:
                raise self._refusal(error) from error
            self._to_forget = False

    def close(self) -> None:
        """Release the lock. The lock file stays."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def keep(self) -> None:
        """
        Make what is missing in the directory, as its machine is certain to start. L{withdraw} undoes nothing after
        this.

        @raise StorageError: the disk fails, or is full.
        """
        try:
            self._check_room()
            for directory in (self.log_directory, self.snapshot_directory):
                if not directory.exists():
                    directory.mkdir(mode=0o700)
                    self._taking_back.callback(directory.rmdir)
            sync_directory(self.path)
        except OSError as error:
            raise self._refusal(error) from error
        self._taking_back.pop_all()

    def _check_room(self) -> None:
        """Refuse a full disk before anything is written to it."""
        disk = os.statvfs(self.path)
        blocks = disk.f_bavail if os.geteuid() else disk.f_bfree
        if disk.f_blocks and blocks * disk.f_frsize < _LEAST_FREE_BYTES:  # some file systems don't count
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def withdraw(self) -> None:
        """
        Leave everything as it was found, as the machine does not start. After L{keep} this does nothing. The lock is
        held until L{close}.
        """
        with contextlib.suppress(OSError):  # somebody else has put something there, or the disk has failed
            self._taking_back.close()

    def load_identity(self) -> Identity | None:
        """
        Returns the identity of this machine, or C{None} if none was ever saved.

        @raise StorageError: the file is damaged, of a format that this program does not read, or unreadable.
        """
        file = load_checked(self.identity_path, _IdentityFile)
        try:
            return None if file is None else Identity(file.name, file.machine_id, file.cluster_id)
        except ValueError as error:
            raise damaged(self.identity_path, error) from error

    def save_identity(self, identity: Identity) -> None:
        """
        Save the identity of this machine, once and for all.

        @raise StorageError: it has an identity already, or the disk failed or is full.
        """
        path = self.identity_path
        if os.path.lexists(path):
            raise StorageError(f"{path} exists already, and a machine keeps its identity; choose another directory")
        with naming(path):
            save_checked(
                path,
                _IdentityFile(name=identity.name, machine_id=identity.machine_id, cluster_id=identity.cluster_id),
            )

    def _erase(self) -> None:
        """Remove the identity of the machine first, and then everything else that it has left."""
        for path in (self.identity_path, self.state_path):
            path.unlink(missing_ok=True)
            sync_directory(self.path)
        for path in self._numbered():
            path.unlink()
        for directory in (self.log_directory, self.snapshot_directory):
            if directory.exists():
                sync_directory(directory)

    def _numbered(self) -> list[Path]:
        """Returns the paths of the segments and snapshots, whole or not."""
        return [
            directory / name
            for directory in (self.log_directory, self.snapshot_directory)
            for name in sorted(names_in(directory))
            if _NUMBERED.fullmatch(name)
        ]

    def _refusal(self, error: OSError) -> StorageError:
        """Returns the error that names the file which can't be used. It need not be the directory itself."""
        subject = "it" if error.filename is None or Path(error.filename) == self.path else str(error.filename)
        trouble = _TROUBLES.get(error.errno or 0)
        if trouble is None:
            reason = f"{error.strerror}; {remedy(error)}"
        else:
            reason = f"{subject} {trouble}, or choose another directory"
        return StorageError(f"{self.option} {self.path} can't be used: {reason}")

    def _check_shape(self) -> None:
        """Refuse what can't be used before anything is made. The directory itself may be a symbolic link."""
        for path in (*reversed(self.path.parents), self.path):
            if os.path.lexists(path) and not path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        for path in (self.log_directory, self.snapshot_directory):
            self._check_kind(path, stat.S_IFDIR, "a directory")
        for path in (self.path, self.log_directory, self.snapshot_directory):
            if path.exists() and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                read_only = os.statvfs(path).f_flag & os.ST_RDONLY
                number = errno.EROFS if read_only else errno.EACCES
                raise OSError(number, os.strerror(number), str(path))
        self._check_kind(self.path / _LOCK, stat.S_IFREG, "a file", _MAX_LOCK_BYTES)
        for path in (self.path / name for name in _UNFINISHED):
            self._check_kind(path, stat.S_IFREG, "a file")
        for path in (self.identity_path, self.state_path, *self._numbered()):
            if not self._to_forget or path.is_dir():
                self._check_kind(path, stat.S_IFREG, "a file")

    def _check_kind(self, path: Path, kind: int, called: str, most_bytes: int | None = None) -> None:
        """
        Check that a path is missing or of the right kind.

        @param most_bytes: how many bytes a file may have.
        @raise StorageError: the path is of another kind, or the file is larger.
        """
        if not os.path.lexists(path):
            return
        status = os.lstat(path)
        if stat.S_IFMT(status.st_mode) != kind:
            advice = "put what it points to in its place" if stat.S_ISLNK(status.st_mode) else "move it away"
            raise StorageError(
                f"{self.option} {self.path} can't be used: {path} is {kind_of(status) or 'a file'} and should be"
                f" {called}; {advice}, or choose another directory"
            )
        if most_bytes is not None and status.st_size > most_bytes:
            raise StorageError(
                f"{self.option} {self.path} can't be used: {path} has {status.st_size} bytes, and this program's lock"
                " holds no more than a process id; move it away, or choose another directory"
            )

    def _check_ours(self) -> None:
        """
        Refuse a directory that is not empty and not a machine's.

        A start that was cut short leaves no identity, and maybe nothing in its log or snapshots either.

        @raise StorageError: as said.
        """
        if not self.path.exists():
            return
        names = names_in(self.path) - _PASSED_OVER
        if {_IDENTITY, _STATE} & names or self._numbered():
            return
        inside = set[str]().union(*(names_in(self.path / name) for name in names & {_LOG, _SNAPSHOTS}))
        if strange := (names - {_LOG, _SNAPSHOTS} - _UNFINISHED) | (inside - _PASSED_OVER):
            raise StorageError(
                f"{self.option} {self.path} can't be used: it holds {min(strange)!r} and no {_IDENTITY}, so it is"
                " not a machine's; choose another directory, or an empty one"
            )

    def _make_missing(self) -> None:
        """Make the directory and its missing parents, durably."""
        missing = [self.path, *self.path.parents]
        for directory in reversed([each for each in missing if not each.exists()]):
            directory.mkdir(mode=0o700 if directory == self.path else 0o777)
            self._taking_back.callback(directory.rmdir)
            sync_directory(directory.parent)

    def _acquire(self) -> None:
        path = self.path / _LOCK
        before = os.stat(self.path)
        while self._lock < 0:
            is_new = not path.exists()
            descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(path, descriptor):  # otherwise its holder has removed the file, and the lock means nothing
                    self._lock = descriptor
            except BlockingIOError:
                raise self._in_use(os.pread(descriptor, _MAX_LOCK_BYTES, 0)) from None
            finally:
                if self._lock < 0:
                    os.close(descriptor)
        if is_new:
            self._taking_back.callback(_set_times, self.path, before)
            self._taking_back.callback(path.unlink)
        else:
            self._taking_back.callback(_set_times, path, os.stat(path))
            self._taking_back.callback(self._write_lock, os.pread(self._lock, _MAX_LOCK_BYTES, 0))
        self._write_lock(b"%d\n" % os.getpid())

    def _in_use(self, lock: bytes) -> StorageError:
        """Returns the error for a directory that another process has locked."""
        holder = lock.strip()
        process = f"process {holder.decode()}" if holder.isdigit() else "another process"
        return StorageError(
            f"{self.option} {self.path} is in use by {process}; stop that, or choose another directory"
        )

    def _write_lock(self, content: bytes) -> None:
        os.ftruncate(self._lock, 0)
        write_all(self._lock, content, 0)


def _set_times(path: Path, status: os.stat_result) -> None:
    """Restore the times of a file or directory."""
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _is_at(path: Path, descriptor: int) -> bool:
    """Returns whether an open file is still the one at C{path}."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


class ReadOnlyDirectory(DataDirectory):
    """
    The directory of a machine, to be read alone: nothing in it is made, changed or removed.

    A machine that is started meanwhile is refused, as the directory is locked for it until L{close}.
    """

    def __init__(self, path: Path, option: str, in_use: bool = False) -> None:
        """
        @param option: what named the path, for messages.
        @param in_use: whether its machine may run: then it is not locked.
        @raise StorageError: the directory is none of a machine, is in use, or can't be read.
        """
        self.path = path
        self.option = option
        self._lock = -1
        self._taking_back = contextlib.ExitStack()
        self._to_forget = False
        with naming(path):
            names = set(os.listdir(path))
        if _IDENTITY not in names:
            raise StorageError(f"{option} {path} is no data directory of a machine: there is no {_IDENTITY} in it")
        if _LOCK in names and not in_use:
            self._acquire_shared()

    def _acquire_shared(self) -> None:
        path = self.path / _LOCK
        with naming(path):
            self._lock = open_file(path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            error = self._in_use(os.pread(self._lock, _MAX_LOCK_BYTES, 0))
            self.close()
            raise error from None
