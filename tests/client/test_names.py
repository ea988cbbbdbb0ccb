"""
The public names, which are imported when they are used first.
"""

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

import etcd_twisted.client


class NameTests(SynchronousTestCase):
    """All names are there, and those that need no Twisted come without it."""

    def test_all_names(self) -> None:
        for name in etcd_twisted.client.__all__:
            self.assertEqual(getattr(etcd_twisted.client, name).__name__, name)
        self.assertLessEqual(set(etcd_twisted.client.__all__), set(dir(etcd_twisted.client)))

    def test_other_names(self) -> None:
        error = self.assertRaises(AttributeError, getattr, etcd_twisted.client, "Bogus")
        self.assertEqual(str(error), "module 'etcd_twisted.client' has no attribute 'Bogus'")
        self.assertRaises(ImportError, exec, "from etcd_twisted.client import Bogus")

    def test_exceptions_and_results_need_no_twisted(self) -> None:
        program = (
            "import sys; from etcd_twisted.client import ApiError, Node, keys, answers;"
            "print([each for each in ('twisted', 'treq', 'OpenSSL') if each in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "[]\n")
