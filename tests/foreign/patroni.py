"""
Nodes of Patroni, each with its PostgreSQL, with the configuration of the page about Patroni.

Only the ports, the paths and the name differ from the page's. This module must never leave a process behind.
"""

import os
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import TestCase

from etcd_twisted.testing.ports import free_ports
from tests.docs.pages import blocks
from tests.foreign import programs
from tests.processes.child import SOURCE, ChildProcess, spawn
from tests.processes.client import Client
from tests.processes.cluster import until

PAGE = SOURCE / "docs" / "patroni.md"

_POSTGRESQL = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)

MISSING = programs.MISSING or (None if _POSTGRESQL else "PostgreSQL is not installed (apt-get install postgresql)")
"""Why these tests are skipped, if they are."""

KEYS = "/service/accounts"
"""The directory in the store that the page's scope leads to."""

_USER = ("--map-user=postgres", "--map-group=postgres") if os.geteuid() == 0 else ("--map-current-user",)
"""PostgreSQL does not run as root. In this user namespace root's processes and files are another user's."""

_CONTAINER = ("unshare", "--user", *_USER, "--pid", "--fork", "--kill-child", "--mount-proc")
"""All processes that a node starts end with the one that is spawned, however it ends."""


_SUPERVISOR = ("sh", "-c", 'while true; do "$@"; done', "sh")
"""Starts Patroni again when it has ended, as a service manager does; and what else the node runs is not ended then."""


class Node:
    """
    A node that can be killed and started again on the same ports and data directory.

    @ivar name: its name.
    @ivar path: its configuration.
    @ivar api: a client of its REST API.
    """

    child: ChildProcess

    def __init__(
        self,
        test: TestCase,
        name: str,
        machine_ports: Sequence[int],
        credentials: tuple[str, str] | None = None,
        supervised: bool = False,
    ) -> None:
        """
        @param machine_ports: the client ports of three machines.
        @param credentials: a user of theirs and the password, if they have users.
        @param supervised: whether Patroni is started again when it ends, without PostgreSQL.
        """
        self.name = name
        self._test = test
        self._directory = Path(test.mktemp()).resolve()
        self._directory.mkdir()
        sockets = tempfile.TemporaryDirectory()  # the path of a socket has to be short
        test.addCleanup(sockets.cleanup)
        self._sockets = sockets.name
        self._api_port, self._port = free_ports(2)
        self._supervisor = _SUPERVISOR if supervised else ()
        self.path = self._directory / "patroni.yml"
        self.use(machine_ports, credentials)
        self._children: list[ChildProcess] = []
        test.addCleanup(self._keep_output)
        self.api = Client(f"http://127.0.0.1:{self._api_port}")
        test.addCleanup(self.api.close)

    def use(self, machine_ports: Sequence[int], credentials: tuple[str, str] | None = None) -> None:
        """Writes the configuration, which Patroni reads when it starts; see L{Node.__init__}."""
        (text,) = blocks(PAGE, "yaml")
        own = {
            "name: node1": f"name: {self.name}",
            "127.0.0.1:8008": f"127.0.0.1:{self._api_port}",
            "127.0.0.1:5432": f"127.0.0.1:{self._port}",
            "/usr/lib/postgresql/15/bin": str(_POSTGRESQL.parent) if _POSTGRESQL else "",
            "/var/lib/postgresql": str(self._directory),
            "/run/postgresql": self._sockets,
        }
        own |= {f"127.0.0.1:{4001 + at}": f"127.0.0.1:{port}" for at, port in enumerate(machine_ports)}
        if credentials is not None:
            own["\netcd:\n"] = "\netcd:\n  username: {}\n  password: {}\n".format(*credentials)
        for shown, value in own.items():
            self._test.assertIn(shown, text)
            text = text.replace(shown, value)
        self.path.write_text(text)

    @property
    def output(self) -> str:
        """What its processes have said, of all its starts."""
        return "".join(child.output + child.errors for child in self._children)

    def _keep_output(self) -> None:
        """Keeps that beside their data, to help find out why a test failed."""
        (self._directory / "patroni.log").write_text(self.output)

    def start(self) -> None:
        """Starts the process, and does not wait for it."""
        command = [*_CONTAINER, *self._supervisor, programs.BIN / "patroni", self.path]
        self.child = spawn(self._test, command, self._directory, {"PYTHONPATH": ""})
        self._children.append(self.child)

    async def kill(self) -> None:
        """Ends Patroni and PostgreSQL at once, as the crash of a computer would."""
        self.child.signal(signal.SIGKILL)
        await self.child.when_ended()

    async def ask(self, method: str, path: str, settings: dict[str, Any] | None = None) -> Any:
        """Returns what its REST API answers, which has to accept the request."""
        body = None if settings is None else msgspec.json.encode(settings)
        answer = await self.api.request(method, path, body)
        self._test.assertIn(answer.status, (200, 202), answer)
        return answer.json() if answer.body.startswith((b"{", b"[")) else answer.body.decode()

    async def becomes(self, role: str) -> None:
        """Waits until it runs as the primary, or as a replica that receives the primary's changes."""
        state = "running" if role == "primary" else "streaming"

        async def there() -> bool | None:
            if self.child.status is not None:
                raise RuntimeError(f"Patroni has ended with status {self.child.status}: {self.child.errors}")
            listed = (await self.ask("GET", "/cluster"))["members"]
            own = [(each["role"], each["state"]) for each in listed if each["name"] == self.name]
            self._test.assertEqual(own, [("leader" if role == "primary" else role, state)], listed)
            return (await self.api.request("GET", f"/{role}")).status == 200 or None

        await until(there, f"{self.name} is a {role}")

    def kill_postgresql(self) -> None:
        """Ends PostgreSQL's first process as a crash would, and leaves Patroni alone."""
        os.kill(
            _process(f"{_POSTGRESQL and _POSTGRESQL.with_name('postgres')}\0-D\0{self._directory}/"), signal.SIGKILL
        )

    async def restart(self) -> None:
        """Ends Patroni as its service manager does, and waits until that has started it again."""
        before = _process(f"{programs.BIN / 'patroni'}\0{self.path}\0", 1)
        os.kill(before, signal.SIGTERM)

        async def restarted() -> bool | None:
            return _process(f"{programs.BIN / 'patroni'}\0{self.path}\0", 1) != before or None

        await until(restarted, f"Patroni of {self.name} is started again")

    async def sql(self, statement: str) -> str:
        """Returns what a statement answers, which has to succeed."""
        psql = _POSTGRESQL.with_name("psql") if _POSTGRESQL else ""
        database = f"host=127.0.0.1 port={self._port} user=postgres password=secret-of-the-superuser"
        child = spawn(self._test, [psql, "-Atqc", statement, database], self._directory)
        self._test.assertEqual((await child.when_ended(), child.errors), (0, ""), statement)
        return child.output.strip()


def _process(command: str, words: int = 0) -> int:
    """
    Returns the id of the process whose command line begins with a text.

    @param words: how many words are before that.
    """
    found = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if "\0".join(_read(path).split("\0")[words:]).startswith(command)
    ]
    if len(found) != 1:
        raise AssertionError(f"{command!r} is the command of {len(found)} processes")
    return found[0]


def _read(path: Path) -> str:
    """Returns what is in a file of a process, which may have ended meanwhile."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
