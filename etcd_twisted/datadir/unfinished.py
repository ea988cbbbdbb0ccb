"""
A place for what is being made, beside the place where it will be: it has its final name only when it is whole.

A process that is killed meanwhile leaves the place behind, and the next one for the same name begins anew there. This
module must never take a place that another process uses, nor replace anything that has the final name.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from etcd_twisted.consensus.storage.files import naming, sync_directory
from etcd_twisted.errors import StorageError


@contextlib.contextmanager
def unfinished(path: Path, option: str) -> Iterator[Path]:
    """
    Make an empty directory beside a path, and remove it at the end, whatever is left in it.

    @param path: the final path of what is made there.
    @param option: what named that path, for messages.
    @raise StorageError: there is something at the path, or another process is making something for it.
    """
    check_free(path, option)
    place = path.with_name(f".{path.name}.unfinished")
    with naming(place):
        path.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(f"{option} {path} is being made by another process; let it end") from None
        with naming(place):
            _empty(place)
        try:
            yield place
        finally:
            if place.exists():
                shutil.rmtree(place)
    finally:
        os.close(descriptor)


def check_free(path: Path, option: str) -> None:
    """
    Check that nothing is at a path, or an empty directory.

    @raise StorageError: there is something else.
    """
    with naming(path):
        if os.path.lexists(path) and (path.is_symlink() or not path.is_dir() or os.listdir(path)):
            raise StorageError(f"{option} {path} exists already; name another, or move it away")


def put_in_place(made: Path, path: Path) -> None:
    """Give what was made its final name, durably."""
    with naming(path):
        made.rename(path)
        sync_directory(path.parent)


def _empty(place: Path) -> None:
    for left in place.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()
