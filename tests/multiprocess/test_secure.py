"""
TLS, users and what else is between a client and a worker.
"""

import socket
import ssl
from base64 import b64encode

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.certificates import Authority
from tests.processes.child import spawn
from tests.processes.client import Answer, Client
from tests.processes.cluster import Cluster, Credentials
from tests.processes.machine import FOREGROUND, SERVES, STOPPED, TWISTD, Machine
from tests.processes.test_endpoints import ACTIVATED
from tests.processes.workers import kill_worker, worker_pids


class SecureTests(TestCase):
    """A machine whose port speaks TLS and requires certificates, with two workers."""

    timeout = 480

    async def test_certificates_name_users_at_workers_and_behind_them(self) -> None:
        """
        A client's certificate names its user for keys, which the worker serves, and for pages, which are relayed. The
        header that says so on the relay can't be sent by a client, as there is none.
        """
        cluster = Cluster(self, 1, "--workers", "2")
        (machine,) = cluster.machines
        authority = Authority(machine.directory / "certificates")
        machine.secure(authority, peers=False)
        await machine.start()
        client = machine.client
        for name in ("root", "machine0"):
            body = b'{"user":"%s","password":"pw"}' % name.encode()
            self.assertEqual((await client.request("PUT", f"/v2/auth/users/{name}", body)).status, 201)
        self.assertEqual((await client.request("PUT", "/v2/auth/enable")).status, 200)
        guest = b'{"role":"guest","revoke":{"kv":{"read":["/*"],"write":["/*"]}}}'
        root = {"Authorization": "Basic " + b64encode(b"root:pw").decode()}
        self.assertEqual((await self.send(client, "PUT", "/v2/auth/roles/guest", guest, root)).status, 200)
        role = b'{"role":"r","permissions":{"kv":{"read":["/m/*"],"write":["/m/*"]}}}'
        self.assertEqual((await self.send(client, "PUT", "/v2/auth/roles/r", role, root)).status, 201)
        granted = b'{"user":"machine0","grant":["r"]}'
        self.assertEqual((await self.send(client, "PUT", "/v2/auth/users/machine0", granted, root)).status, 200)
        answers = [await machine.connect(machine.url).put(f"/m/{number}", value="1") for number in range(4)]
        self.assertEqual([answer.status for answer in answers], [201] * 4)
        self.assertEqual((await client.put("/other", value="1")).status, 401)
        shown = await client.request("GET", "/mod/dashboard/user")
        self.assertEqual(shown.json(), {"user": "machine0"})
        certificate = authority.certificate("somebody")
        stranger = Client(machine.url, 0, Credentials(authority, certificate))
        self.addCleanup(stranger.close)
        self.assertEqual((await stranger.put("/m/x", value="1")).status, 401)
        self.assertEqual((await stranger.request("GET", "/mod/dashboard/user")).json(), {"user": ""})

    async def send(self, client: Client, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Sends a request with more header fields."""
        response = await client._http.request(
            method, client._url + path, data=body, headers=headers, allow_redirects=False
        )
        return Answer(response.code, response.headers, await response.content())


class RenewedTests(TestCase):
    """A machine with two workers, whose certificate is replaced while it runs."""

    timeout = 480

    async def test_all_workers_show_the_same_certificate(self) -> None:
        """One that is started again has that of the others, until the whole machine is started again."""
        (machine,) = Cluster(self, 1, "--workers", "2").machines
        authority = Authority(machine.directory / "certificates")
        machine.secure(authority, peers=False)
        self.context = ssl.create_default_context(cafile=authority.path)
        self.context.load_cert_chain(*authority.certificate("client"))
        await machine.start()
        before = await self.shown(machine)
        self.assertEqual(len(before), 1)
        authority.certificate("machine0")  # in the same files
        for number in (1, 2):
            await kill_worker(machine, number)
            self.assertEqual(await self.shown(machine), before)
        self.assertEqual(await machine.terminate(), STOPPED)
        await machine.start()
        after = await self.shown(machine)
        self.assertEqual(len(after), 1)
        self.assertNotEqual(after, before)

    async def shown(self, machine: Machine) -> set[bytes | None]:
        """Returns the certificates that 20 connections are shown, which the system spreads over the workers."""

        def certificate() -> bytes | None:
            plain = socket.create_connection(("127.0.0.1", machine.port))
            with self.context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                return secure.getpeercert(binary_form=True)

        return {await deferToThread(certificate) for _ in range(20)}


class LoginTests(TestCase):
    """Users have passwords, and the machine two workers."""

    timeout = 480

    async def test_wrong_passwords_are_slowed_down_for_the_whole_machine(self) -> None:
        """
        Log-ins of one name wait for each other at all workers: the pauses before the last of many are those that one
        process makes.
        """
        machine = Machine(self, "machine0")
        await machine.start("--workers", "2")
        client = machine.client
        body = b'{"user":"root","password":"pw"}'
        self.assertEqual((await client.request("PUT", "/v2/auth/users/root", body)).status, 201)
        self.assertEqual((await client.request("PUT", "/v2/auth/enable")).status, 200)
        began = reactor.seconds()

        async def attempt(number: int) -> int:
            header = b64encode(b"root:wrong%d" % number).decode()
            one = machine.connect(machine.url)
            response = await one._http.request(
                "GET", machine.url + "/v2/keys/", headers={"Authorization": f"Basic {header}"}
            )
            await response.content()
            return int(response.code)

        found = await gatherResults([ensureDeferred(attempt(number)) for number in range(8)])
        self.assertEqual(found, [401] * 8)
        # Of n attempts at a time the third waits for 0.25 s, and each further one for twice as long as the one before,
        # up to 4 s: for eight, the last begins after 0.25 + 0.5 + 1 + 2 + 4 s. Two halves would take 0.75 s.
        self.assertGreater(reactor.seconds() - began, 7)
        metrics = (await client.request("GET", "/metrics")).body.decode()
        self.assertIn("etcd_twisted_auth_failed_logins_total 8.0", metrics)
        self.assertEqual(machine.child.output.count("Log-ins as 'root' fail again and again"), 1)


class InheritedTests(TestCase):
    """A socket that a service manager has opened."""

    timeout = 240

    async def test_workers_share_an_inherited_socket(self) -> None:
        """All workers accept from it, and it is still open when the machine has ended."""
        machine = Machine(self)
        inherited = socket.create_server(("127.0.0.1", machine.port))
        self.addCleanup(inherited.close)
        flags = ("--bind-addr", "systemd:domain=INET:name=clients", "--workers", "2")
        command = [*ACTIVATED, *TWISTD, *FOREGROUND, "etcd", *machine.arguments(), *flags]
        environment = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "clients"}
        client = machine.connect(machine.url)
        answer = ensureDeferred(client.put("/message", value="1"))
        machine.child = spawn(self, command, machine.directory, environment, {3: inherited.fileno()})
        self.assertEqual((await answer).status, 201)
        await machine.child.when_printed(SERVES)
        self.assertEqual(sorted(worker_pids(machine)), [1, 2])
        self.assertEqual(await machine.terminate(), STOPPED)
        with socket.socket() as one:
            self.assertEqual(one.connect_ex(("127.0.0.1", machine.port)), 0)
