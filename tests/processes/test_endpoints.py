"""
Tests of machines that listen on an endpoint string: a socket that a service manager has opened, or a Unix socket.
"""

import json
import shutil
import socket
import tempfile
from pathlib import Path

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import TestCase

from tests.certificates import Authority
from tests.processes.child import ChildProcess, spawn
from tests.processes.machine import FOREGROUND, SERVES, STOPPED, TWISTD, Machine

ACTIVATED = ("/bin/sh", "-c", 'export LISTEN_PID=$$; exec "$@"', "sh")
"""Runs a command as systemd does: the command finds its own process id in its environment (sd_listen_fds(3))."""


class InheritedTests(TestCase):
    """A socket is open before the machine is there, and after it is gone."""

    timeout = 240

    def setUp(self) -> None:
        self.machine = Machine(self)
        # If another process served this port, a connection to it would wait for ever.
        self.socket = socket.create_server(("127.0.0.1", self.machine.port))
        self.addCleanup(self.socket.close)

    def launch(self, endpoint: str) -> ChildProcess:
        """Starts the machine with the socket."""
        command = [*ACTIVATED, *TWISTD, *FOREGROUND, "etcd", *self.machine.arguments(), "--bind-addr", endpoint]
        environment = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "clients"}
        descriptors = {3: self.socket.fileno()}
        self.machine.child = spawn(self, command, self.machine.directory, environment, descriptors)
        return self.machine.child

    async def test_clients_wait_until_it_is_there(self) -> None:
        """Clients that come before the machine, or while it is restarted, are served and not refused."""
        client = self.machine.connect(self.machine.url)
        for endpoint, index in (("systemd:domain=INET:index=0", 2), ("systemd:domain=INET:name=clients", 3)):
            answer = ensureDeferred(client.put("/message", value=endpoint))
            child = self.launch(endpoint)
            self.assertEqual((await answer).index, index)
            await child.when_printed(SERVES)
            self.assertEqual(await self.machine.terminate(), STOPPED)
            client = self.machine.connect(self.machine.url)

    async def test_start_without_the_socket_is_refused(self) -> None:
        """Nothing is opened instead, and nothing is written."""
        child = self.launch("systemd:domain=INET:name=other")
        self.assertEqual(await child.when_ended(), 1)
        self.assertEqual(
            child.errors,
            "twistd etcd: --bind-addr systemd:domain=INET:name=other names a socket that this process was not given; "
            "start it through its .socket unit\n",
        )
        self.assertFalse(self.machine.data.exists())


class UnixTests(TestCase):
    """Tests of files that can be connected to."""

    timeout = 240

    if shutil.which("curl") is None:
        skip = "curl is not installed (apt-get install curl)"

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()  # the path of a socket has to be short
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.clients, self.machines = self.directory / "clients", self.directory / "machines"
        self.machine = Machine(self)

    async def start(self, *flags: str | Path) -> None:
        endpoints = ("--bind-addr", f"unix:{self.clients}", "--peer-bind-addr", f"unix:{self.machines}")
        self.machine.launch("--name", "m", *endpoints, *flags)
        await self.machine.child.when_printed(SERVES)

    async def asked(self, path: Path, url: str, *flags: str | Path) -> str:
        """Returns the answer on the socket."""
        command = ["/usr/bin/env", "curl", "--silent", "--show-error", "--fail", "--unix-socket", path, *flags, url]
        child = spawn(self, command, Path.cwd())
        self.assertEqual(await child.when_ended(), 0, child.errors)
        json.loads(child.output)
        return child.output

    async def test_both_ports_are_served_on_unix_sockets(self) -> None:
        """Clients and administrators are served as they are over TCP; afterwards the files are gone."""
        await self.start()
        self.assertIn("/_etcd/machines/m", await self.asked(self.clients, "http://localhost/v2/keys/_etcd/machines"))
        self.assertIn('"state":"leader"', await self.asked(self.machines, "http://localhost/v2/admin/machines"))
        self.assertEqual(await self.machine.terminate(), STOPPED)
        self.assertEqual(list(self.directory.iterdir()), [])
        self.assertNotIn("Error", self.machine.child.output)

    async def test_files_of_a_killed_machine_are_replaced(self) -> None:
        """The files of a machine that was killed do not prevent a start."""
        await self.start()
        await self.machine.kill()
        self.assertTrue(self.clients.is_socket())
        await self.start()
        await self.asked(self.clients, "http://localhost/v2/keys/")

    async def test_unix_sockets_may_use_tls(self) -> None:
        """TLS on a Unix socket uses the port's certificate."""
        authority = Authority(self.machine.directory / "certificates")
        certificate, key = authority.certificate("m")
        await self.start("--cert-file", certificate, "--key-file", key)
        await self.asked(self.clients, "https://127.0.0.1/v2/keys/", "--cacert", authority.path)
