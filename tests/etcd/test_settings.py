"""
The settings of the installed etcd.
"""

import re
import subprocess

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.config.config import OPTIONS
from etcd_twisted.config.etcd2 import FOREIGN_SETTINGS
from tests.docs.test_etcd2_page import PAGE
from tests.etcd.machine import ETCD, MISSING

_FLAG = re.compile(r"^ {2}--([a-z0-9-]+)", re.MULTILINE)


class SettingsTests(SynchronousTestCase):
    if MISSING:
        skip = MISSING

    def test_every_setting_of_etcd_is_known(self) -> None:
        """What its help text has is an option here, or it is decided what becomes of it."""
        assert ETCD is not None
        shown = subprocess.run([ETCD, "--help"], capture_output=True, text=True, check=False)
        flags = set(_FLAG.findall(shown.stdout + shown.stderr))
        self.assertGreater(len(flags), 70)
        foreign = {setting.name for setting in FOREIGN_SETTINGS}
        self.assertEqual(flags - foreign - {option.name for option in OPTIONS}, set())
        (named,) = re.findall(r"These have the same name here,(.*?)\.\n", PAGE.read_text(), re.DOTALL)
        self.assertEqual(set(re.findall(r"`--([a-z-]+)`", named)), flags - foreign)
