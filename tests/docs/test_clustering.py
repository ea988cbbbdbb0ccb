"""
What the page about clusters tells people to type, typed, in its order; only the ports are others.
"""

import json
import re
import shutil
import sysconfig
from pathlib import Path

from twisted.trial.unittest import TestCase

from benchmarks.ports import free_ports
from tests.certificates import Authority
from tests.docs.pages import blocks
from tests.processes.child import SOURCE, spawn
from tests.processes.machine import SERVES, Machine

PAGE = SOURCE / "docs" / "clustering.md"
PORTS = ("4001", "4002", "4003", "4004", "7001", "7002", "7003", "7004")


class ClusteringTests(TestCase):
    """Every command on the page."""

    timeout = 60

    if shutil.which("curl") is None:
        skip = "curl is not installed (apt-get install curl)"

    async def test_shell(self) -> None:
        """Every machine starts, and every request is answered without an error."""
        directory = Machine(self).directory
        self.make_certificates(directory)
        taken = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
        printed = {}
        for line in "".join(blocks(PAGE, "sh")).splitlines():
            command = re.sub("|".join(f"(?<=:){port}" for port in PORTS), lambda found: taken[found[0]], line)
            command = command.replace(".venv/bin/", f"{sysconfig.get_path('scripts')}/")
            if "/twistd " in command:
                # The files about themselves would be one and the same.
                child = spawn(self, ["/bin/sh", "-c", f"exec {command.replace(' -n ', ' -n --pidfile= ')}"], directory)
                await child.said(SERVES)
                continue
            child = spawn(self, ["/bin/sh", "-c", command], directory)
            self.assertEqual(await child.ended(), 0, f"{line}\n{child.errors}")
            self.assertNotIn("errorCode", child.output, line)
            printed[line] = child.output
        self.assertEqual(len(printed["curl -L http://127.0.0.1:4001/v2/machines"].split(", ")), 3)
        read = printed["curl -L 'http://127.0.0.1:4003/v2/keys/message?quorum=true'"]
        self.assertEqual(json.loads(read)["node"]["value"], "Hello cluster")
        secret, machines = (json.loads(printed[line]) for line in printed if line.startswith("curl -L --cacert "))
        self.assertEqual(secret["node"]["value"], "Hello secret")
        self.assertEqual([each["name"] for each in machines], ["secure0"])

    def make_certificates(self, directory: Path) -> None:
        """The files that the page takes for granted."""
        authority = Authority(directory, "ca")
        authority.certificate("secure0")
        authority.certificate("client", hosts=())
