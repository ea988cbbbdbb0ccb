"""
Tests of discovery with a directory in etcd itself.
"""

import shutil

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.trial.unittest import TestCase

from etcd_twisted.cluster.discovery import Discovery
from etcd_twisted.cluster.http_client import network_http_client
from etcd_twisted.errors import StartError
from etcd_twisted.interfaces import IReactor
from etcd_twisted.testing.ports import free_ports
from tests.processes.child import spawn
from tests.processes.machine import Machine

ETCD = shutil.which("etcd")

OUTPUT = ("/bin/sh", "-c", 'exec "$@" 2>&1', "sh")
"""Makes a command write to its standard output what it would write to its standard error."""


class EtcdTests(TestCase):
    """Tests with etcd from Debian's etcd-server, with version 2 of the API switched on."""

    timeout = 240

    if ETCD is None:
        skip = "etcd is not installed (apt-get install etcd-server)"

    async def setUp(self) -> None:
        """Starts one etcd."""
        directory = Machine(self).directory
        port, peer_port = free_ports(2)
        self.url, peer_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
        flags = ["--enable-v2", "--listen-client-urls", self.url, "--advertise-client-urls", self.url]
        flags += ["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url]
        flags += ["--initial-cluster", f"default={peer_url}", "--data-dir", str(directory / "data")]
        child = spawn(self, [*OUTPUT, str(ETCD), *flags], directory)
        await child.when_printed("ready to serve client requests")

    def discovery(self, path: str) -> Discovery:
        """Returns a machine's discovery in a directory there."""
        network: IReactor = reactor
        return Discovery(network_http_client(network, attempts=1), self.url + path)

    async def test_three_machines_find_each_other(self) -> None:
        """One machine is the first, the others find it, and their registrations expire after a week."""
        urls = [f"http://127.0.0.1:{port}" for port in (7001, 7002, 7003)]
        found = await gatherResults(
            [
                ensureDeferred(self.discovery("/v2/keys/discovery/token").find(f"machine{number}", url))
                for number, url in enumerate(urls)
            ]
        )
        (first,) = [url for url, peers in zip(urls, found, strict=True) if not peers]
        self.assertEqual([url for url, peers in zip(urls, found, strict=True) if first in peers],
                         [url for url in urls if url != first])  # fmt: skip
        answer = await Machine(self).connect(self.url).get("/discovery/token")
        listed = {node["value"]: node["ttl"] for node in answer.json()["node"]["nodes"]}
        self.assertEqual(listed.keys(), set(urls))
        self.assertTrue(all(604_700 < ttl <= 604_800 for ttl in listed.values()), listed)

    async def test_missing_directory_is_refused(self) -> None:
        """The error has etcd's answer."""
        await self.discovery("/v2/keys/discovery/token").find("machine0", "http://127.0.0.1:7001")
        for path, told in (
            ("/v2/keys/discovery/token/machine0", "error 104: Not a directory (/discovery/token/machine0)"),
            ("/v2/discovery", "PUT there was answered with status 404, and not as etcd does"),
        ):
            with self.assertRaises(StartError) as caught:
                await self.discovery(path).find("machine1", "http://127.0.0.1:7002")
            self.assertIn(told, str(caught.exception))
