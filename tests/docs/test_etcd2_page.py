"""
The page about etcd 2 says what the table of options says.
"""

import re

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.config.config import OPTIONS
from etcd_twisted.config.etcd2 import FOREIGN_SETTINGS
from tests.processes.child import SOURCE

PAGE = SOURCE / "docs" / "etcd2.md"


def rows(heading: str) -> list[list[str]]:
    """Returns the cells of the table whose first heading is C{heading}, as they are written."""
    (table,) = re.findall(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE.read_text(), re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


class TableTests(SynchronousTestCase):
    """Tests of the tables on the page."""

    def test_profiles(self) -> None:
        """The first table has what a profile sets, and nothing else."""
        expected = [
            [f"`{option.flag}`", option.default, option.profile_defaults["etcd2"]]
            for option in OPTIONS
            if option.profile_defaults
        ]
        self.assertEqual(rows("setting"), expected)

    def test_settings_of_etcd(self) -> None:
        """The second table has every setting of etcd that is not an option."""
        expected = [[f"`{setting.flag}`", setting.becomes] for setting in FOREIGN_SETTINGS]
        self.assertEqual(rows("setting of etcd"), expected)
