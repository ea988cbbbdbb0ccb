"""
The effects of importing L{etcd_twisted.testing} on the program that imports it.
"""

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted import testing


class ImportTests(SynchronousTestCase):
    def test_nothing_is_forced_on_the_importer(self) -> None:
        """The import brings neither a reactor nor a test framework."""
        unwanted = ["twisted.internet.reactor", "twisted.trial.unittest", "hypothesis", "pytest", "tests"]
        program = f"import sys, etcd_twisted.testing; print([each for each in {unwanted} if each in sys.modules])"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "[]\n")

    def test_all_names_are_there(self) -> None:
        for name in testing.__all__:
            self.assertTrue(getattr(testing, name).__doc__, name)
