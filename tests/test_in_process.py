"""
A program that embeds a machine makes requests to it without a socket: L{EtcdService.agent}.

The machines listen on other ports than their URLs say, so that no request can get there by a socket by mistake.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import attrs
import treq
from treq.client import HTTPClient
from twisted.internet import error, reactor
from twisted.internet.defer import Deferred, ensureDeferred, fail, gatherResults
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.iweb import IAgent, IResponse
from zope.interface import implementer
from zope.interface.verify import verifyObject

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.service import EtcdService
from etcd_twisted.testing import free_ports
from tests.certificates import Authority

NOWHERE = "http://192.0.2.1:4001"
"""An address of a network that is for examples only (RFC 5737)."""


class Body(Protocol):
    """The body of a response, which can be read a part at a time."""

    def __init__(self, response: IResponse) -> None:
        self.data = b""
        self.lost: Failure | None = None
        self._changed: Deferred[None] = Deferred()
        response.deliverBody(self)

    def _note(self) -> None:
        changed, self._changed = self._changed, Deferred()
        changed.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self._note()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason
        self._note()

    async def when_contains(self, text: bytes) -> None:
        while text not in self.data:
            await self._changed

    async def when_lost(self) -> Failure:
        while self.lost is None:
            await self._changed
        return self.lost


@implementer(IAgent)
class RecordingAgent:
    """Fails each request, and remembers it."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def request(
        self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None
    ) -> "Deferred[IResponse]":
        self.asked.append((method, uri, headers, bodyProducer))
        return fail(error.ConnectError("elsewhere"))


class InProcessTest(TestCase):
    """Tests of one machine or several."""

    timeout = 60

    def machine(self, **settings: Any) -> EtcdService:
        """Returns a machine that is not started, and is stopped at the end of the test."""
        number = len(self.services)
        options: dict[str, Any] = {
            "name": f"machine{number}",
            "data_dir": Path(self.mktemp()),
            "bind_addr": Address("127.0.0.1", 0),
            "peer_bind_addr": Address("127.0.0.1", 0),
        } | settings
        self.config = Config(**options)
        service = EtcdService(reactor, self.config, self.fail)
        self.services.append(service)
        return service

    def setUp(self) -> None:
        self.services: list[EtcdService] = []

    async def tearDown(self) -> None:
        for service in reversed(self.services):
            await self.stop(service)

    async def stop(self, service: EtcdService) -> None:
        if service.running:
            await service.stopService()

    async def start(self, **settings: Any) -> EtcdService:
        """Returns a machine that serves."""
        service = self.machine(**settings)
        service.startService()
        await service.started
        self.http = HTTPClient(service.agent())
        return service

    async def put(self, key: str, value: str, base: str = "http://127.0.0.1:4001") -> IResponse:
        return await self.http.request("PUT", f"{base}/v2/keys{key}", data={"value": value})


class OwnPortTests(InProcessTest):
    """Requests to the machine itself."""

    async def test_own_agent_is_an_agent(self) -> None:
        """It is an agent as any other."""
        verifyObject(IAgent, self.machine().agent())

    async def test_client_port_is_served_in_the_process(self) -> None:
        """The keys are served, and the other pages of the client port."""
        await self.start()
        response = await self.put("/a", "1")
        self.assertEqual(response.code, 201)
        self.assertEqual(response.headers.getRawHeaders("X-Etcd-Index"), ["2"])
        answer = await (await self.http.get("http://127.0.0.1:4001/v2/keys/a")).json()
        self.assertEqual(answer["node"]["value"], "1")
        version = await (await self.http.get("http://127.0.0.1:4001/version", headers={"Accept": "text/plain"})).text()
        self.assertIn("etcd_twisted", version)
        self.assertEqual((await self.http.get("http://127.0.0.1:4001/v2/nothing")).code, 404)

    async def test_peer_port_is_served_in_the_process(self) -> None:
        """The peer port serves administrators."""
        await self.start()
        response = await self.http.get("http://127.0.0.1:7001/v2/admin/config")
        self.assertEqual((await response.json())["activeSize"], 9)
        response = await self.http.put("http://127.0.0.1:7001/v2/admin/config", data=b'{"activeSize": 5}')
        self.assertEqual((await response.json())["activeSize"], 5)

    async def test_machine_is_known_by_its_addresses_in_any_form(self) -> None:
        """The machine is known by the addresses that it advertises, however these are written."""
        await self.start(addr=Address("machine0.example.com", 4001))
        self.assertEqual((await self.put("/a", "1", "HTTP://Machine0.Example.COM:4001")).code, 201)
        await self.stop(self.services[0])
        await self.start(addr=Address("::1", 4001))
        # treq can't be told the address of an IPv6 host.
        response = await self.services[1].agent().request(b"GET", b"http://[::1]:4001/v2/keys/")
        self.assertEqual(response.code, 200)

    async def test_connections_are_kept(self) -> None:
        """Requests one after the other use one connection, and many at a time as many as they need."""
        await self.start()
        site = self.services[0]._frontends[1]._factory
        for number in range(3):
            await (await self.put("/a", str(number))).content()
        self.assertEqual(len(site.channels), 1)
        responses = await gatherResults([ensureDeferred(self.put(f"/{number}", "x")) for number in range(50)])
        self.assertEqual({each.code for each in responses}, {201})

    async def test_body_that_is_too_long_is_refused_in_the_process(self) -> None:
        """A body that is too long is refused, as it is on the network."""
        await self.start(max_request_bytes=1000)
        response = await self.put("/a", "x" * 1001)
        self.assertEqual(response.code, 413)
        self.assertEqual((await self.put("/a", "x" * 900)).code, 201)

    async def test_long_poll_ends_in_the_process(self) -> None:
        await self.start()
        waiting = ensureDeferred(self.http.get("http://127.0.0.1:4001/v2/keys/a?wait=true"))
        response = await waiting
        await self.put("/a", "1")
        self.assertEqual((await response.json())["node"]["value"], "1")

    async def test_stream_has_each_event_when_it_happens(self) -> None:
        """A stream has each event when it happens."""
        await self.start()
        url = "http://127.0.0.1:4001/v2/keys/a?wait=true&stream=true&recursive=true"
        body = Body(await self.http.get(url, unbuffered=True))
        for value in ("1", "2"):
            await self.put("/a/b", value)
            await body.when_contains(b'"value":"%s"' % value.encode())
        await self.services[0].stopService()
        await body.when_lost()

    async def test_a_slow_reader(self) -> None:
        """A listing waits for a client that does not read, and is whole when it does."""
        service = await self.start()
        replica = service.replica
        for number in range(40):
            await replica.propose(Set(f"/d/{number}", replica.now(), "x" * 100_000))
        response = await self.http.get("http://127.0.0.1:4001/v2/keys/d?recursive=true", unbuffered=True)
        for _ in range(100):
            await deferLater(reactor, 0)
        (channel,) = service._frontends[1]._factory.channels
        self.assertTrue(channel.lifetime.stalled)
        body = json.loads(await treq.content(response))
        self.assertEqual(len(body["node"]["nodes"]), 40)

    async def test_tls_port_is_reached_by_its_url(self) -> None:
        """A port that speaks TLS is reached by its URL too, though there is nobody to keep a secret from."""
        authority = Authority(self.mktemp())
        certificate, key = authority.certificate("machine0")
        await self.start(cert_file=certificate, key_file=key, ca_file=authority.path)
        self.assertEqual((await self.put("/a", "1", "https://127.0.0.1:4001")).code, 201)
        agent = self.services[0].agent(elsewhere := RecordingAgent())
        with self.assertRaises(error.ConnectError):
            await HTTPClient(agent).get("http://127.0.0.1:4001/v2/keys/a")
        self.assertEqual([uri for _, uri, *_ in elsewhere.asked], [b"http://127.0.0.1:4001/v2/keys/a"])


class RunningTests(InProcessTest):
    """When the machine is started and stopped."""

    async def assertRefused(self, request: Any) -> None:
        with self.assertRaises(error.ConnectionRefusedError) as caught:
            await request
        self.assertIn("the machine's client port is not running", str(caught.exception))

    async def test_before_and_after(self) -> None:
        """Requests are refused until the machine is started, and once it is stopped."""
        service = self.machine()
        self.http = HTTPClient(service.agent())
        await self.assertRefused(self.put("/a", "1"))
        service.startService()
        await service.started
        self.assertEqual((await self.put("/a", "1")).code, 201)
        await service.stopService()
        await self.assertRefused(self.put("/a", "1"))

    async def test_while_it_starts(self) -> None:
        """Requests that come before the machine can answer them wait for that."""
        service = self.machine()
        self.http = HTTPClient(service.agent())
        service.startService()
        while service._storage is None:
            await deferLater(reactor, 0)
        self.assertFalse(service.started.called)
        self.assertEqual((await self.put("/a", "1")).code, 201)
        await service.started

    async def test_nothing_is_left(self) -> None:
        """When the machine has stopped, nothing of its connections is left, whatever they were doing."""
        await deferLater(reactor, 0)  # trial schedules the end of the test's time meanwhile
        before = set(reactor.getDelayedCalls())
        service = await self.start()
        replica = service.replica
        for number in range(40):
            await replica.propose(Set(f"/d/{number}", replica.now(), "x" * 100_000))
        await (await self.put("/a", "1")).content()
        listing = await self.http.get("http://127.0.0.1:4001/v2/keys/d?recursive=true", unbuffered=True)
        stream = await self.http.get("http://127.0.0.1:4001/v2/keys/a?wait=true&stream=true", unbuffered=True)
        body = Body(stream)
        poll = Body(await self.http.get("http://127.0.0.1:4001/v2/keys/a?wait=true", unbuffered=True))
        await (await self.http.get("http://127.0.0.1:7001/v2/admin/config")).content()
        site = service._frontends[1]._factory
        site.limits = attrs.evolve(site.limits, write_timeout_seconds=0.2)
        lock = ensureDeferred(self.http.post("http://127.0.0.1:4001/mod/v2/lock/x?ttl=60"))
        waiting = ensureDeferred(self.http.post("http://127.0.0.1:4001/mod/v2/lock/x?ttl=60"))
        await lock
        await deferLater(reactor, 0.01)
        await service.stopService()
        self.assertEqual(set(reactor.getDelayedCalls()) - before, set())
        await body.when_lost()
        self.assertTrue((await poll.when_lost()).check(ResponseDone))
        self.assertEqual(poll.data, b"")
        with self.assertRaises(ResponseFailed):
            await listing.content()
        waiting.addErrback(lambda failure: failure.trap(ResponseFailed))
        await waiting


class OtherMachineTests(InProcessTest):
    """Requests to other machines."""

    async def test_everything_is_passed_on(self) -> None:
        """They go to the agent that is given, as they are."""
        service = self.machine()
        elsewhere = RecordingAgent()
        agent = service.agent(elsewhere)
        asked = (b"PUT", NOWHERE.encode() + b"/v2/keys/a", object(), object())
        self.failureResultOf(agent.request(*asked), error.ConnectError)
        self.assertEqual(elsewhere.asked, [asked])

    async def test_a_follower_sends_clients_to_the_leader(self) -> None:
        """The same agent reaches the leader that a follower redirects to, over the network."""
        ports = free_ports(4)
        addresses = [Address("127.0.0.1", port) for port in ports]
        await self.start(
            addr=addresses[0], bind_addr=addresses[0], peer_addr=addresses[1], peer_bind_addr=addresses[1]
        )
        await self.start(
            addr=addresses[2],
            follower_requests="redirect",
            bind_addr=Address("127.0.0.1", 0),
            peer_addr=addresses[3],
            peer_bind_addr=addresses[3],
            peers=(addresses[1],),
        )
        follower = self.services[1]
        self.assertFalse(follower.replica.is_leader)
        response = await self.http.request(
            "PUT", f"http://{addresses[2]}/v2/keys/a", data={"value": "1"}, allow_redirects=False
        )
        self.assertEqual(response.code, 307)
        (location,) = response.headers.getRawHeaders("Location")
        self.assertEqual(location, f"http://{addresses[0]}/v2/keys/a")
        response = await self.http.request("PUT", location, data=urlencode({"value": "1"}).encode())
        self.assertEqual(response.code, 201)
        await response.content()
