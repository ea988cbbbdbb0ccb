"""
The data directory: one process's alone, and where the machine remembers who it is.

Must never change anything on disk when it can be seen beforehand that the directory can't be used, and never
overwrite an identity. Blocking; knows no reactor.
"""

import errno
import fcntl
import os
import re
import zlib
from pathlib import Path

import attrs
import msgspec

from etcd_twisted.consensus.framing import (
    FORMAT_VERSION,
    REMEDY,
    naming,
    remedy,
    sync_directory,
    write_all,
    wrong_version,
)
from etcd_twisted.errors import StorageError

_ID = re.compile(r"[0-9a-f]{16}")
_LOG = "log"
_SNAPSHOTS = "snapshots"
_LOCK = "lock"
_IDENTITY = "identity.json"
_UNFINISHED = f"{_IDENTITY}.tmp"

_ACCESS = "is not writable for this user; change its owner or mode"
_TROUBLES = {
    errno.EACCES: _ACCESS,
    errno.EPERM: _ACCESS,
    errno.EROFS: "is on a file system that is not writable; make that writable",
    errno.ENOTDIR: "is not a directory; move it away",
    errno.EEXIST: "is not a directory; move it away",
    errno.EISDIR: "is a directory and should be a file; move it away",
    errno.ENOSPC: "has no space left on its disk; make room",
    errno.EDQUOT: "has no space left in this user's quota; make room",
    errno.ENAMETOOLONG: "has a name that is too long; shorten it",
}
_CONTROL_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NUMBERED = re.compile(r"[0-9]{20}\D.*")
"""What the names of segments and of snapshots look like."""

_PASSED_OVER = {_LOCK, "lost+found"}
"""Names that may stand in a directory which is empty otherwise."""


def _hex_id(_instance: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    if not _ID.fullmatch(value):
        raise ValueError(f"{attribute.name} is {value!r} and should be 16 lower-case hexadecimal digits")


@attrs.frozen(slots=True)
class Identity:
    """
    Who a machine is, for as long as its data directory lives.

    @ivar name: what people call it.
    @ivar machine_id: what its Raft group calls it; 16 lower-case hexadecimal digits.
    @ivar cluster_id: which cluster it belongs to; likewise.
    """

    name: str = attrs.field(validator=attrs.validators.min_len(1))
    machine_id: str = attrs.field(validator=_hex_id)
    cluster_id: str = attrs.field(validator=_hex_id)


class _IdentityFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    name: str
    machine_id: str
    cluster_id: str
    checksum: str

    def expected_checksum(self) -> str:
        fields = [self.version, self.name, self.machine_id, self.cluster_id]
        return f"{zlib.crc32(msgspec.json.encode(fields)):08x}"


class _IdentityVersion(msgspec.Struct, frozen=True):
    version: int


class DataDirectory:
    """
    The directory of one machine, locked from when this is made until L{close}.

    @ivar path: where it is.
    @ivar option: what it was given as.
    """

    def __init__(self, path: Path, option: str = "--data-dir", fresh: bool = False) -> None:
        """
        Make the directory if need be, and lock it. One that can't be used, or is not a machine's, is left as it is.

        @param option: what the path was given as, for messages.
        @param fresh: whether what a machine has left in it is to be forgotten, even if it is damaged; see L{forget}.
        @raise StorageError: it is in use, damaged, or can't be used; one line with the path and the remedy.
        """
        self.path = path
        self.option = option
        self._lock = -1
        self._made: list[Path] = []
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
                for directory in (self.log_directory, self.snapshot_directory):
                    if not directory.exists():
                        directory.mkdir(mode=0o700)
                        self._made.append(directory)
                sync_directory(path)
            except BaseException:
                self.withdraw()
                self.close()
                raise
        except OSError as error:
            raise self._refusal(error) from error

    @property
    def log_directory(self) -> Path:
        """Where the write-ahead log's segments are."""
        return self.path / _LOG

    @property
    def snapshot_directory(self) -> Path:
        """Where the snapshots are."""
        return self.path / _SNAPSHOTS

    @property
    def is_to_forget(self) -> bool:
        """Whether what is in it is still to be forgotten. Nothing of it should be read then."""
        return self._to_forget

    def forget(self) -> None:
        """
        Forget what a machine has left, if that was asked for: once this one is certain to start.

        @raise StorageError: the disk fails.
        """
        if self._to_forget:
            try:
                self._erase()
            except OSError as error:
                raise self._refusal(error) from error
            self._to_forget = False

    def close(self) -> None:
        """Release the lock. The lock's file stays."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def withdraw(self) -> None:
        """
        Leave everything as it was found, if nothing was kept in the directory yet: its machine does not start. The
        lock is held until L{close}.
        """
        made, self._made = self._made, []
        try:
            if self._keeps_anything():
                return
            for path in reversed(made):
                if path == self.path / _LOCK:
                    path.unlink()
                else:
                    path.rmdir()
        except OSError:  # somebody else keeps something there, or the disk does not let go: the rest stays
            return

    def _keeps_anything(self) -> bool:
        """Whether the directory tells of a machine. There may be no such directory."""
        inside = [each for each in (self.log_directory, self.snapshot_directory) if os.path.isdir(each)]
        return os.path.lexists(self.path / _IDENTITY) or any(any(each.iterdir()) for each in inside)

    def load_identity(self) -> Identity | None:
        """
        Who this machine is, or C{None} when that was never saved.

        @raise StorageError: the file is damaged, of a format that this program does not read, or unreadable.
        """
        path = self.path / _IDENTITY
        with naming(path):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return None
        try:
            version = msgspec.json.decode(data, type=_IdentityVersion).version
            if version != FORMAT_VERSION:
                raise wrong_version(path, version)
            file = msgspec.json.decode(data, type=_IdentityFile)
            if file.checksum != file.expected_checksum():
                raise ValueError("its checksum is wrong")
            return Identity(name=file.name, machine_id=file.machine_id, cluster_id=file.cluster_id)
        except (ValueError, msgspec.MsgspecError) as error:
            raise StorageError(f"{path} is damaged: {error}; {REMEDY}") from error

    def save_identity(self, identity: Identity) -> None:
        """
        Remember who this machine is, once and for all.

        @raise StorageError: it is somebody already, or the disk failed or is full.
        """
        path = self.path / _IDENTITY
        if path.exists():
            raise StorageError(f"{path} exists already, and a machine keeps its identity; choose another directory")
        file = _IdentityFile(FORMAT_VERSION, identity.name, identity.machine_id, identity.cluster_id, checksum="")
        file = msgspec.structs.replace(file, checksum=file.expected_checksum())
        unfinished = self.path / _UNFINISHED
        with naming(path):
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                write_all(descriptor, msgspec.json.format(msgspec.json.encode(file)) + b"\n", 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            unfinished.rename(path)
            sync_directory(self.path)

    def _erase(self) -> None:
        """Forget who this machine is, first of all, and then what it knew."""
        (self.path / _IDENTITY).unlink(missing_ok=True)
        sync_directory(self.path)
        for directory in (self.log_directory, self.snapshot_directory):
            for name in sorted(_names(directory)):
                if _NUMBERED.fullmatch(name):
                    (directory / name).unlink()
            sync_directory(directory)

    def _refusal(self, error: OSError) -> StorageError:
        """Say which file stands in the way, which need not be the directory itself."""
        subject = "it" if error.filename is None or Path(error.filename) == self.path else str(error.filename)
        trouble = _TROUBLES.get(error.errno or 0)
        if trouble is None:
            reason = f"{error.strerror}; {remedy(error)}"
        else:
            reason = f"{subject} {trouble}, or choose another directory"
        return StorageError(f"{self.option} {self.path} can't be used: {reason}")

    def _check_shape(self) -> None:
        """Find what stands in the way, before anything is made."""
        within = (self.path, self.log_directory, self.snapshot_directory)
        for path in (*reversed(self.path.parents), *within):
            if not os.path.lexists(path):
                continue
            if not path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
            if path in within and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def _check_ours(self) -> None:
        """
        Refuse a directory that is not empty and not a machine's.

        A start that was cut short leaves no identity, and maybe nothing in its log or snapshots either.

        @raise StorageError: as said.
        """
        if not self.path.exists():
            return
        names = _names(self.path)
        if _IDENTITY in names:
            return
        inside = set[str]().union(*(_names(self.path / name) for name in names & {_LOG, _SNAPSHOTS}))
        if any(_NUMBERED.fullmatch(name) for name in inside):
            return
        if strange := (names - {_LOG, _SNAPSHOTS, _UNFINISHED}) | inside:
            raise StorageError(
                f"{self.option} {self.path} can't be used: it holds {min(strange)!r} and no {_IDENTITY}, so it is"
                " not a machine's; choose another directory, or an empty one"
            )

    def _make_missing(self) -> None:
        """Make the directory and what is missing above it, durably."""
        missing = [self.path, *self.path.parents]
        for directory in reversed([each for each in missing if not each.exists()]):
            directory.mkdir(mode=0o700 if directory == self.path else 0o777)
            self._made.append(directory)
            sync_directory(directory.parent)

    def _acquire(self) -> None:
        path = self.path / _LOCK
        while self._lock < 0:
            is_new = not path.exists()
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(path, descriptor):  # or its holder has withdrawn meanwhile, and it locks nothing
                    self._lock = descriptor
            except BlockingIOError:
                holder = os.pread(descriptor, 32, 0).strip()
                process = f"process {holder.decode()}" if holder.isdigit() else "another process"
                raise StorageError(
                    f"{self.option} {self.path} is in use by {process}; stop that, or choose another directory"
                ) from None
            finally:
                if self._lock < 0:
                    os.close(descriptor)
        if is_new:
            self._made.append(path)
        os.ftruncate(self._lock, 0)
        write_all(self._lock, b"%d\n" % os.getpid(), 0)


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - _PASSED_OVER


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
