"""
The commands of the page about systemd, as far as they work without systemd. The tests install below a directory of
their own, and start by hand what systemd would start.

L{tests.test_packaging} shows that the package can be installed in a virtual environment of its own.
"""

import re
import shlex
import shutil
from pathlib import Path

from twisted.trial.unittest import TestCase

from etcd_twisted.testing.ports import free_ports
from tests.docs.pages import blocks
from tests.processes.child import SOURCE, spawn
from tests.processes.client import Client
from tests.processes.manager import Manager
from tests.units import Unit

PAGE = SOURCE / "docs" / "systemd.md"
UNITS = "etc/systemd/system"
PORTS = ("4001", "4002", "4003", "7001", "7002", "7003")


class PageTests(TestCase):
    timeout = 240

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).resolve()
        (self.root / UNITS).mkdir(parents=True)

    async def run_line(self, line: str) -> None:
        """Types a command, with the test's directory as the root of the system."""
        root = shlex.quote(str(self.root))
        command = re.sub(r" (/etc/\S*)", lambda found: f" {root}{found[1]}", line)
        command = command.replace("systemctl enable --now ", f"systemctl --root={root} enable ")
        child = spawn(self, ["/bin/sh", "-c", command], SOURCE)
        self.assertEqual(await child.when_ended(), 0, f"{command}\n{child.errors}")

    async def test_units_are_installed(self) -> None:
        """Each unit is installed and enabled under the names that the page gives it."""
        if shutil.which("systemctl") is None:
            self.skipTest("systemctl is not installed (apt-get install systemd)")
        for line in "".join(blocks(PAGE, "sh")).splitlines():
            if line.startswith(("cp ", "mkdir ", "systemctl enable ")):
                await self.run_line(line)
        enabled = {path.name for path in (self.root / UNITS).glob("*.wants/*")}
        machines = {f"etcd-twisted@machine{number}.service" for number in range(3)}
        self.assertEqual(enabled, {"etcd-twisted.service", "etcd-twisted.socket", *machines})
        units = {path.name for path in (self.root / UNITS).iterdir() if path.is_file()}
        self.assertEqual(units, {"etcd-twisted.service", "etcd-twisted@.service", "etcd-twisted.socket"})

    async def test_three_machines_become_one_cluster(self) -> None:
        """They run from the template with the page's settings."""
        taken = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
        shown = [text for text in blocks(PAGE, "sh") if text.startswith("# /etc/etcd-twisted/etcd-twisted@")]
        states = []
        for text in shown:
            (name,) = re.findall(r"^# /etc/etcd-twisted/(\S+)\.env$", text, re.MULTILINE)
            unit, manager = Unit("etcd-twisted.service", f"{name}.service"), Manager(self)
            (self.root / name).mkdir()
            settings = re.sub("|".join(f"(?<=:){port}" for port in PORTS), lambda found: taken[found[0]], text)
            environment = {"NOTIFY_SOCKET": manager.address, **unit.environment(self.root, settings)}
            ready = manager.when_told("READY")
            spawn(self, unit.command(), self.root / name, environment)
            states.append(await ready)
        self.assertEqual([state.split()[0] for state in states], ["machine0", "machine1", "machine2"])
        client = Client(f"http://127.0.0.1:{taken['4003']}")
        self.addCleanup(client.close)
        machines = (await client.request("GET", "/v2/machines")).body.decode().split(", ")
        self.assertEqual(sorted(machines), sorted(f"http://127.0.0.1:{taken[port]}" for port in PORTS[:3]))
