"""
The example of a plug-in: the package in C{docs/examples/dns}, installed as a package of its own beside this one.

The package has tests of its own, which run here from where it is installed. These tests make a real resolver ask
machines that serve DNS.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from etcd_twisted.testing.ports import free_ports
from tests.docs.terminal import Terminal
from tests.docs.transcript import Step, steps
from tests.processes.child import SOURCE, spawn
from tests.processes.machine import FOREGROUND, SERVES, TWISTD, Machine

PACKAGE = SOURCE / "docs" / "examples" / "dns"
PAGE = PACKAGE / "README.md"
PORT = "5353"
"""The port on the page."""

NAME = "etcd_twisted_dns"
INSTALL, TEST = ".venv/bin/pip install docs/examples/dns", f".venv/bin/trial {NAME}"
"""Commands of the page that the tests replace, since they put nothing into their own environment."""


@functools.cache
def installation() -> Path:
    """Installs the package into a directory from a copy, since building leaves files, and without a network."""
    source, target = Path(tempfile.mkdtemp(dir=Path.cwd())), Path(tempfile.mkdtemp(dir=Path.cwd()))
    leftovers = shutil.ignore_patterns("__pycache__", "dropin.cache", "*.egg-info", "build")
    shutil.copytree(PACKAGE, source, ignore=leftovers, dirs_exist_ok=True)
    command = [sys.executable, "-m", "pip", "--quiet", "install", "--no-deps", "--no-build-isolation", "--no-index"]
    environment = {"PATH": os.defpath, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        [*command, "--target", target, source], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise AssertionError(f"{done.stdout}\n{done.stderr}")
    return target


def environment() -> dict[str, str]:
    """Returns an environment in which Python finds the package."""
    return {"PYTHONPATH": os.pathsep.join([str(installation()), str(SOURCE)])}


class PackageTests(SynchronousTestCase):
    """These tests use the installed package."""

    def test_its_own_tests_pass(self) -> None:
        """They run where the package is installed."""
        directory = Path(self.mktemp())
        directory.mkdir()
        trial = Path(TWISTD[1]).with_name("trial")
        done = subprocess.run(
            [sys.executable, trial, NAME],
            cwd=directory,
            env={"PATH": os.defpath, **environment()},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertRegex(done.stdout, r"\nPASSED \(successes=[1-9]\d+\)\n$", done.stderr)

    def test_package_has_every_module(self) -> None:
        """The plugin is there too, in Twisted's own directory."""
        ours = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
        theirs = {str(path.relative_to(installation())) for path in installation().rglob("*.py")}
        self.assertEqual(theirs, {path for path in ours if not path.startswith("build/")})


class AskedTests(TestCase):
    """These tests ask with C{dig}."""

    timeout = 240

    if missing := [tool for tool in ("curl", "dig") if shutil.which(tool) is None]:
        skip = f"not installed: {' '.join(missing)} (apt-get install curl bind9-dnsutils)"

    def setUp(self) -> None:
        (self.port,) = free_ports(1)

    async def test_page_is_right(self) -> None:
        """Every command of the page has the output that the page shows."""
        typed = steps(PAGE.read_text().replace(PORT, str(self.port)))
        rest = [step for step in typed if not (isinstance(step, Step) and step.command in {INSTALL, TEST})]
        self.assertEqual(len(typed) - len(rest), 2)
        terminal = Terminal(self, rest, environment())
        for step in rest:
            await terminal.take(step)

    async def start(self, *options: str, flags: tuple[str, ...] = ()) -> Machine:
        """Starts a machine that serves DNS."""
        machine = Machine(self)
        frontend = ":".join([f"dns:port={self.port}", *options])
        command = [*TWISTD, *FOREGROUND, "etcd", *machine.arguments(), *flags, "--frontend", frontend]
        machine.child = spawn(self, command, machine.directory, environment())
        await machine.child.when_printed(SERVES)
        machine.client = machine.connect(machine.url)
        return machine

    async def dig(self, *words: str) -> str:
        """Returns what C{dig} prints."""
        command = ["/usr/bin/env", "dig", "@127.0.0.1", "-p", str(self.port), "+tries=5", "+time=20", *words]
        child = spawn(self, command, Path.cwd())
        self.assertEqual(await child.when_ended(), 0, child.output)
        return child.output

    async def status(self, *words: str) -> tuple[str, str]:
        """Returns the status and the flags of an answer."""
        printed = await self.dig(*words)
        found = re.search(r"status: (\w+),.*\n;; flags: ([\w ]+);", printed)
        self.assertIsNotNone(found, printed)
        return found[1], found[2]

    async def test_answers_of_each_kind(self) -> None:
        """They come over UDP and TCP."""
        machine = await self.start("zone=example.com", "directory=/names", "ttl=30")
        for number in range(40):
            await machine.client.put(f"/names/com.example.www/A/{number}", value=f"192.0.2.{number}")
        await machine.client.put("/names/com.example.www/AAAA", value="2001:db8::1")
        await machine.client.put("/names/com.example._tcp._http/SRV/m", value="0 10 80 www.example.com")
        self.assertEqual(await self.dig("www.example.com", "AAAA", "+short"), "2001:db8::1\n")
        self.assertEqual(await self.dig("WWW.example.com", "AAAA", "+short", "+tcp"), "2001:db8::1\n")
        self.assertEqual(await self.dig("_http._tcp.example.com", "SRV", "+short"), "0 10 80 www.example.com.\n")
        # The answer is too long for a datagram: it says so, and dig asks again over TCP.
        self.assertEqual(len((await self.dig("www.example.com", "A", "+short")).splitlines()), 40)
        self.assertEqual(await self.status("www.example.com", "A", "+ignore"), ("NOERROR", "qr aa tc rd"))
        self.assertEqual(await self.status("www.example.com", "SRV"), ("NOERROR", "qr aa rd"))
        self.assertEqual(await self.status("other.example.com"), ("NXDOMAIN", "qr aa rd"))
        self.assertEqual(await self.status("www.example.org"), ("REFUSED", "qr rd"))
        start = await self.dig("other.example.com", "+noall", "+authority")
        self.assertRegex(start, r"^example\.com\.\s+30\s+IN\s+SOA\s+ns\.example\.com\. .* 30\n$")

    async def test_changes_are_seen_at_once(self) -> None:
        """The first question after a change sees it, and so it does when a key expires."""
        machine = await self.start()
        key, name = "/dns/internal.cluster.www/A", "www.cluster.internal"
        for value in ("192.0.2.1", "192.0.2.2"):
            await machine.client.put(key, value=value)
            self.assertEqual(await self.dig(name, "+short"), f"{value}\n")
        await machine.client.request("DELETE", f"/v2/keys{key}")
        self.assertEqual((await self.status(name))[0], "NXDOMAIN")
        await machine.client.put(key, value="192.0.2.3", ttl="1")
        while await self.dig(name, "+short"):
            await deferLater(reactor, 0.05, lambda: None)
        self.assertEqual((await self.status(name))[0], "NXDOMAIN")

    async def test_any_machine_answers(self) -> None:
        """A follower answers from its own copy."""
        leader = Machine(self)
        await leader.start("--name", "machine0")
        await self.start(flags=("--name", "machine1", "--peers", f"127.0.0.1:{leader.peer_port}"))
        for value in ("192.0.2.1", "192.0.2.2"):
            await leader.client.put("/dns/internal.cluster.www/A", value=value)
            while await self.dig("www.cluster.internal", "+short") != f"{value}\n":
                await deferLater(reactor, 0.05, lambda: None)

    async def test_bad_options_are_refused(self) -> None:
        """There is one line, and nothing is left."""
        machine = Machine(self)
        command = [*TWISTD, *FOREGROUND, "etcd", *machine.arguments(), "--frontend", "dns:port=none"]
        child = spawn(self, command, machine.directory, environment())
        self.assertEqual(await child.when_ended(), 1)
        self.assertEqual(
            child.errors, "twistd etcd: --frontend dns: port=none: should be a whole number from 1 to 65535\n"
        )
        self.assertEqual(list(machine.directory.iterdir()), [])
