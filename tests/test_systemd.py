"""
The units in C{systemd/}, as checked by C{systemd-analyze}, and their commands run by hand.
"""

import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

from etcd_twisted.config.config import OPTIONS
from tests.docs.pages import blocks
from tests.processes.child import SOURCE, spawn
from tests.processes.machine import Machine
from tests.processes.manager import Manager
from tests.units import PROGRAM, UNITS, Unit

PAGE = SOURCE / "docs" / "systemd.md"
ETCD2_PAGE = SOURCE / "docs" / "etcd2.md"
SERVICE = "etcd-twisted.service"
SOCKET = "etcd-twisted.socket"

EXPOSURE = 20
"""The most that C{systemd-analyze security} may find, in tenths: it now finds 15, of 100 at worst."""


class AnalyzeTests(SynchronousTestCase):
    """These tests use systemd's own checks."""

    if shutil.which("systemd-analyze") is None:
        skip = "systemd-analyze is not installed (apt-get install systemd)"

    def setUp(self) -> None:
        """Copies the units as they are installed, with another program, since the real one is not installed."""
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        text = (UNITS / SERVICE).read_text().replace(PROGRAM, "/bin/true")
        for name in (SERVICE, "etcd-twisted@.service"):
            (self.directory / name).write_text(text)
        shutil.copy(UNITS / SOCKET, self.directory)

    def analyze(self, *arguments: str) -> str:
        """Returns what the tool printed, which has to find nothing wrong."""
        command = ["systemd-analyze", *arguments]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout

    def verify(self, unit: str) -> None:
        self.assertEqual(self.analyze("verify", "--man=no", str(self.directory / unit)), "")

    def test_units_are_valid(self) -> None:
        for unit in (SERVICE, "etcd-twisted@machine0.service", SOCKET):
            self.verify(unit)

    def test_errors_are_found(self) -> None:
        """Otherwise the other tests would show nothing."""
        path = self.directory / SERVICE
        path.write_text(path.read_text().replace("ProtectSystem=strict", "ProtectSystems=strict"))
        self.assertRaises(self.failureException, self.verify, SERVICE)

    def test_drop_ins_of_the_page_are_valid(self) -> None:
        dropins = self.directory / f"{SERVICE}.d"
        dropins.mkdir()
        for number, text in enumerate((*blocks(PAGE, "ini"), *blocks(ETCD2_PAGE, "ini"))):
            (dropins / f"{number}.conf").write_text(text)
        self.assertGreater(len(list(dropins.iterdir())), 2)
        self.verify(SERVICE)

    def test_exposure_is_small(self) -> None:
        """The service can do little beyond its purpose."""
        found = self.analyze(
            "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", str(self.directory / SERVICE)
        )
        self.assertIn("Overall exposure level", found)


class ServiceTests(TestCase):
    """These tests do what the service unit says, as systemd would."""

    timeout = 240

    def setUp(self) -> None:
        self.unit = Unit(SERVICE, "etcd-twisted@machine0.service")
        self.machine = Machine(self)
        self.manager = Manager(self)
        self.state = self.machine.directory
        (self.state / "etcd-twisted@machine0").mkdir()
        addresses = (f"ETCD_ADDR=127.0.0.1:{self.machine.port}", f"ETCD_PEER_ADDR=127.0.0.1:{self.machine.peer_port}")
        self.file = "\n".join(addresses)

    def launch(self) -> None:
        """Starts its command with its environment."""
        environment = {"NOTIFY_SOCKET": self.manager.address, **self.unit.environment(self.state, self.file)}
        directory = Path(self.unit.expanded(self.unit.value("Service", "WorkingDirectory"), self.state))
        self.machine.child = spawn(self, self.unit.command(), directory, environment)

    async def test_life_of_the_service(self) -> None:
        """Only the service may write where its data are. It is ready when it serves, and SIGTERM ends it cleanly."""
        ready = self.manager.when_told("READY")
        self.launch()
        self.assertEqual(self.unit.value("Service", "Type"), "notify")
        self.assertEqual(await ready, f"machine0 serves {self.machine.url}")
        state = self.unit.expanded(self.unit.value("Service", "StateDirectory"), self.state)
        self.assertTrue((self.state / state / "identity.json").exists())
        self.assertEqual(await self.machine.terminate(), 0)
        self.assertEqual(self.manager.states(), ["READY", "STOPPING"])

    async def test_settings_of_etcd(self) -> None:
        """A file of settings as Debian's package of etcd has it is read as it is."""
        urls, peer_urls = (f"http://127.0.0.1:{port}" for port in (self.machine.port, self.machine.peer_port))
        self.file = "\n".join((
            "## etcd(1) daemon options",
            "ETCD_PROFILE=etcd2",
            f"ETCD_LISTEN_CLIENT_URLS={urls}",
            f"ETCD_ADVERTISE_CLIENT_URLS={urls}",
            f"ETCD_LISTEN_PEER_URLS={peer_urls}",
            f"ETCD_INITIAL_ADVERTISE_PEER_URLS={peer_urls}",
            f"ETCD_INITIAL_CLUSTER=machine0={peer_urls}",
            "ETCD_INITIAL_CLUSTER_STATE=new",
            "ETCD_HEARTBEAT_INTERVAL=100",
            "ETCD_ELECTION_TIMEOUT=1000",
            "ETCD_MAX_WALS=5",
        ))  # fmt: skip
        ready = self.manager.when_told("READY")
        self.launch()
        self.assertEqual(await ready, f"machine0 serves {urls}")
        warnings = [
            line.partition("#warn] ")[2] for line in self.machine.child.errors.splitlines() if "#warn]" in line
        ]
        self.assertEqual(warnings, ["Settings of etcd that have no effect here: ETCD_MAX_WALS"])
        self.assertEqual(await self.machine.terminate(), 0)

    async def test_a_refusal_is_not_repeated_for_ever(self) -> None:
        """A refusal is a failure, after which systemd starts the service again a limited number of times."""
        self.file += "\nETCD_PEERS_FILE=missing"
        self.launch()
        self.assertEqual(await self.machine.child.when_ended(), 1)
        self.assertEqual(self.unit.value("Service", "Restart"), "on-failure")
        attempts, within = (int(self.unit.value("Unit", f"StartLimit{each}")) for each in ("Burst", "IntervalSec"))
        self.assertLess(attempts * (int(self.unit.value("Service", "RestartSec")) + 5), within)


class PageTests(SynchronousTestCase):
    """These tests read the page about the units."""

    def test_every_variable_is_an_option(self) -> None:
        settings = [line for text in blocks(PAGE, "sh") for line in text.splitlines() if line.startswith("ETCD_")]
        self.assertGreater(len(settings), 5)
        known = {option.variable for option in OPTIONS}
        self.assertEqual({line.partition("=")[0] for line in settings} - known, set())

    def test_socket_has_the_right_name(self) -> None:
        """The service takes the socket by the name that the socket unit gives it."""
        name = Unit(SOCKET, SOCKET).value("Socket", "FileDescriptorName")
        self.assertIn(f"ETCD_BIND_ADDR=systemd:domain=INET:name={name}\n", blocks(PAGE, "sh"))

    def test_settings_files_are_those_of_the_units(self) -> None:
        read = Unit(SERVICE, "etcd-twisted.service").value("Service", "EnvironmentFile")
        shown = [text.splitlines()[0] for text in blocks(PAGE, "sh") if text.startswith("# /")]
        for name, line in zip(["", "@machine0", "@machine1", "@machine2"], shown, strict=True):
            self.assertEqual(read.replace("%N", f"etcd-twisted{name}"), f"-{line.removeprefix('# ')}")
