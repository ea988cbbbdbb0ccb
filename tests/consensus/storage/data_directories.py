"""
Data directories that tests make, look through and break.
"""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.storage.data_directory import DataDirectory, Identity
from etcd_twisted.errors import StorageError

IDENTITY = Identity("machine0", "0123456789abcdef", "fedcba9876543210")


def tree(path: Path) -> dict[str, bytes | None]:
    """Returns everything below a path; what is no file has the value C{None}."""
    return {str(found): found.read_bytes() if found.is_file() else None for found in path.rglob("*")}


class DirectoryTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.parent = Path(self.mktemp())
        self.parent.mkdir()
        self.path = self.parent / "data"

    def assert_refused(self, path: Path, *words: str) -> None:
        """Asserts that the directory is refused in one line with the option and the words, and nothing was changed."""
        before = tree(self.parent)
        error = self.assertRaises(StorageError, DataDirectory, path)
        for word in ("--data-dir", str(path), *words):
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))
        self.assertEqual(tree(self.parent), before)


def fail(number: int) -> object:
    def failing(*_arguments: object, **_more: object) -> None:
        raise OSError(number, os.strerror(number))

    return failing
