"""
Small files about the machine: JSON that people can read, with a checksum.

This module must never accept a damaged file. It blocks, and knows no reactor.
"""

import zlib
from pathlib import Path
from typing import TypeVar

import msgspec

from etcd_twisted.consensus.storage.files import REMEDY, read_small, replace_file
from etcd_twisted.consensus.storage.framing import FORMAT_VERSION, wrong_version
from etcd_twisted.errors import StorageError

_MOST_FILE_BYTES = 64 << 10


class Checked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """
    The content of such a file. A subclass adds its own fields between these two.

    @ivar version: the version of the format.
    @ivar checksum: the checksum of all other fields; see C{docs/storage.md}.
    """

    version: int = FORMAT_VERSION
    checksum: str = ""


class _Version(msgspec.Struct, frozen=True):
    version: int


_T = TypeVar("_T", bound=Checked)


def load_checked(path: Path, shape: type[_T]) -> _T | None:
    """
    Read such a file.

    @return: its content, or C{None} if there is no file.
    @raise StorageError: the file is damaged, of a format that this program does not read, or unreadable.
    """
    data = read_small(path, _MOST_FILE_BYTES)
    if data is None:
        return None
    try:
        version = msgspec.json.decode(data, type=_Version).version
        if version != FORMAT_VERSION:
            raise wrong_version(path, version)
        file = msgspec.json.decode(data, type=shape)
        if file.checksum != _checksum(_fields(file)):
            raise ValueError("its checksum is wrong")
    except (ValueError, msgspec.MsgspecError) as error:
        raise damaged(path, error) from error
    return file


def damaged(path: Path, reason: Exception) -> StorageError:
    """Returns the error for a file that does not hold what it should."""
    return StorageError(f"{path} is damaged: {reason}; {REMEDY}")


def save_checked(path: Path, file: Checked) -> None:
    """
    Write such a file durably, and replace the one that is there.

    @raise OSError: the disk failed or is full.
    """
    fields = _fields(file)
    content = {**fields, "checksum": _checksum(fields)}
    replace_file(path, msgspec.json.format(msgspec.json.encode(content)) + b"\n")


def _fields(file: Checked) -> dict[str, object]:
    """Returns the fields to be saved, except for the checksum. The version comes first."""
    names = [name for name in file.__struct_fields__ if name not in ("version", "checksum")]
    return {name: getattr(file, name) for name in ("version", *names)}


def _checksum(fields: dict[str, object]) -> str:
    return f"{zlib.crc32(msgspec.json.encode(list(fields.values()))):08x}"
