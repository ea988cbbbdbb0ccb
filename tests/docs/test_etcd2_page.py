"""
The page about etcd 2 says what the table of options says.
"""

import re

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.config.config import OPTIONS
from tests.processes.child import SOURCE

PAGE = SOURCE / "docs" / "etcd2.md"


def rows(heading: str) -> list[list[str]]:
    """Returns the cells of the table whose first heading is C{heading}, without their backticks."""
    (table,) = re.findall(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE.read_text(), re.MULTILINE)
    lines = table.replace("`", "").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


class TableTests(SynchronousTestCase):
    """Tests of the tables on the page."""

    def test_profiles(self) -> None:
        """The first table has what a profile sets, and nothing else."""
        expected = [
            [option.flag, option.default, option.profile_defaults["etcd2"]]
            for option in OPTIONS
            if option.profile_defaults
        ]
        self.assertEqual(rows("setting"), expected)
