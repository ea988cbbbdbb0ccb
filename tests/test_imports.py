"""
What a start of C{etcd-twisted} imports before the machine serves keys: each module takes its time, and clients wait.
"""

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

MOST_MODULES = 225
"""How many modules of this package may be imported. Raise it only for what every machine needs for its keys."""

UNWANTED = (
    "klein",
    "werkzeug",
    "prometheus_client",  # these three are for pages, see web/late_pages.py
    "etcd_twisted.client.answers",
    "etcd_twisted.client.client",
    "etcd_twisted.ctl",
    "etcd_twisted.datadir",
    "etcd_twisted.testing",
    "etcd_twisted.web.admin",
    "etcd_twisted.web.app",
    "etcd_twisted.workers",
    "pkg_resources",
    "setuptools",
    "tomllib",
    "twisted.names",
    "twisted.scripts",
    "twisted.trial",
)
"""What most machines do without, or need only when they serve keys already."""


def imported(statement: str) -> set[str]:
    """Returns the names of all modules that a new process has imported after a statement."""
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(ran.stdout.split())


class StartTests(SynchronousTestCase):
    def test_a_machine_imports_what_its_keys_need(self) -> None:
        """The machine is made, but not started."""
        modules = imported(
            "from twisted.internet import reactor\n"
            "from etcd_twisted import __main__, foreground\n"
            "from etcd_twisted.config import Config\n"
            "from etcd_twisted.service import EtcdService\n"
            "EtcdService(reactor, Config(), print)"
        )
        self.assertIn("etcd_twisted.web.keys", modules)
        self.assertEqual([each for each in UNWANTED if each in modules], [])
        own = sorted(each for each in modules if each.startswith("etcd_twisted."))
        self.assertLess(len(own), MOST_MODULES, own)
