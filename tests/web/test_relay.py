"""
A standby's clients, which a member answers, over real sockets.
"""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.net.port import PortService
from etcd_twisted.testing.replica import OTHER, FakeReplica
from etcd_twisted.web.frontend import HttpFrontend
from etcd_twisted.web.http_connection import HttpConnection, Room
from etcd_twisted.web.member_connections import MemberConnections
from etcd_twisted.web.relay import ClientRequest, Relay
from tests.certificates import Authority
from tests.client.test_exchange import StillReactor
from tests.wires import STREAM, WATCH, Answer, ServedTest, put

UNKNOWN = "machine1 was asked and has not answered; whether it was done is unknown"
BIG = "x" * 200_000
MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class _Silent(Protocol):
    """A machine that closes each connection as soon as it has a request."""

    def dataReceived(self, data: bytes) -> None:
        self.factory.requests.append(data)  # type: ignore[union-attr,attr-defined]
        self.transport.loseConnection()  # type: ignore[union-attr]


class _Scripted(Protocol):
    """A machine that answers each request with the next of some responses, and ends the connection after the last."""

    def dataReceived(self, data: bytes) -> None:
        factory: Any = self.factory
        factory.requests.append(data)
        self.transport.write(factory.responses.pop(0))  # type: ignore[union-attr]
        if not factory.responses:
            self.transport.loseConnection()  # type: ignore[union-attr]


class RelayTest(ServedTest):
    """
    A standby, and the leader that it knows.

    @ivar leader: the leader's replica.
    @ivar other: how the standby knows the leader.
    """

    async def setUp(self) -> None:
        await super().setUp()
        self.leader = FakeReplica(reactor)
        self.addCleanup(self.leader.stop)
        config = Config(bind_addr=Address("127.0.0.1", 0), **self.settings)
        self.leading: PortService = HttpFrontend().service(reactor, config, {}, self.leader)
        await self.leading.startService()
        self.addCleanup(self._stop_leader)
        self.other = self.machine("machine1", self.leading.getHost().port)
        self.replica.stand_by(self.other)

    def machine(self, name: str, port: int) -> Machine:
        return Machine(name, f"http://127.0.0.1:{port}", "http://127.0.0.1:1")

    async def _stop_leader(self) -> None:
        if self.leading.running:
            await self.leading.stopService()

    async def request(self, method: str, path: str, body: str = "", fields: str = "") -> Answer:
        fields = f"Host: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{fields}"
        return await self.ask(f"{method} {path} HTTP/1.1\r\n{fields}\r\n{body}".encode(), method)

    async def silent(self) -> tuple[Machine, list[bytes]]:
        """Returns a machine that takes requests and never answers, and the requests."""
        return self.fake(Factory.forProtocol(_Silent))

    def scripted(self, *responses: bytes) -> list[bytes]:
        """Makes the leader one that sends these responses. Returns the requests."""
        factory: Any = Factory.forProtocol(_Scripted)
        factory.responses = list(responses)
        machine, requests = self.fake(factory)
        self.replica.stand_by(machine)
        return requests

    def fake(self, factory: Any) -> tuple[Machine, list[bytes]]:
        factory.requests = []
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return self.machine("machine1", port.getHost().port), factory.requests


class AnsweredTests(RelayTest):
    """A member answers."""

    async def test_writes_and_reads_are_the_leaders(self) -> None:
        """The standby needs no copy for that (spec, "Standby")."""
        form = "Content-Type: application/x-www-form-urlencoded\r\n"
        made = await self.request("PUT", "/v2/keys/a%20b", "value=v+w", form)
        self.assertEqual((made.status, self.leader.get("/a b").value), (201, "v w"))
        self.assertEqual(made.headers["X-Etcd-Index"], str(self.leader.index))
        self.assertEqual(made.headers.get_all("Server"), ["etcd_twisted"])
        self.assertEqual(len(made.headers.get_all("X-Etcd-Cluster-Id")), 1)
        for query in ("", "?quorum=true", "?consistent=true"):
            read = await self.request("GET", f"/v2/keys/a%20b{query}")
            self.assertEqual((read.status, json.loads(read.body)["node"]["value"]), (200, "v w"))
            self.assertEqual(read.headers["X-Raft-Term"], "1")
        head = await self.request("HEAD", "/v2/keys/a%20b")
        self.assertEqual((head.status, head.headers["Content-Length"]), (200, str(len(read.body))))
        missing = await self.request("GET", "/v2/keys/none")
        self.assertEqual((missing.status, json.loads(missing.body)["errorCode"]), (404, 100))
        wrong = await self.request("PATCH", "/v2/keys/a")
        self.assertEqual((wrong.status, "DELETE" in wrong.headers["Allow"]), (405, True))
        self.assertEqual(self.replica.proposed, [])

    async def test_targets_and_methods_may_be_unusual(self) -> None:
        """A path may be raw UTF-8, and a method may be one that no agent sends."""
        made = await self.request("PUT", "/v2/keys/\u00fc?value=\u96ea")
        self.assertEqual((made.status, self.leader.get("/\u00fc").value), (201, "\u96ea"))
        self.assertEqual((await self.request("GET", "/v2/keys/%zz")).status, 400)
        self.assertEqual((await self.request("A-B", "/v2/keys/a")).status, 307)

    async def test_long_listing_comes_whole(self) -> None:
        for number in range(20):
            self.leader.keyspace.apply(Set(f"/d/{number}", 0, BIG))
        listing = await self.request("GET", "/v2/keys/d?recursive=true&sorted=true")
        self.assertEqual([len(each["value"]) for each in json.loads(listing.body)["node"]["nodes"]], 20 * [len(BIG)])

    async def test_long_listings_that_are_not_read_have_a_bound(self) -> None:
        """A client whose response finds no room is redirected, until others have read their responses or have gone."""
        for number in range(10):
            self.leader.keyspace.apply(Set(f"/d/{number}", 0, 10 * BIG))
        handler: Any = self.service._factory.handler  # type: ignore[attr-defined]
        room = handler._relay._connections._room
        all_bytes, path, clients = room.left_bytes, "/v2/keys/d?recursive=true", []
        for _ in range(3):
            client = await self.connect()
            clients.append(client)
            client.transport.pauseProducing()
            client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await self.until(lambda: room.left_bytes < all_bytes - len(clients) * 100 * len(BIG))
        answer = await self.request("GET", path)
        self.assertEqual((answer.status, answer.headers["Location"]), (307, self.other.client_url + path))
        self.assertEqual((await self.request("GET", "/v2/keys/none")).status, 404)
        for client in clients:
            client.transport.abortConnection()
        await self.until(lambda: room.left_bytes == all_bytes)
        self.assertEqual((await self.request("GET", path)).status, 200)

    async def test_head_of_a_long_listing_has_no_length(self) -> None:
        """The leader does not know it either."""
        for number in range(2_000):
            self.leader.keyspace.apply(Set(f"/d/{number}", 0, "v"))
        head = await self.request("HEAD", "/v2/keys/d?recursive=true")
        self.assertEqual((head.status, head.headers["Content-Length"]), (200, None))

    async def test_pages_are_the_leaders(self) -> None:
        """These are members, machines, locks and the discovery service, but no page about one machine."""
        listed = await self.request("GET", "/v2/members")
        self.assertEqual(json.loads(listed.body)["members"][0]["name"], "machine0")
        body = '{"peerURLs":["http://127.0.0.1:7009"]}'
        added = await self.request("POST", "/v2/members", body, "Content-Type: application/json\r\n")
        self.assertEqual((added.status, len(self.leader.shown_members())), (201, 2))
        self.assertEqual((await self.request("GET", "/v2/nothing")).status, 404)
        locked = await self.request("POST", "/mod/v2/lock/mine?ttl=60")
        self.assertEqual((locked.status, locked.body), (200, b"3"))
        token = await self.request("GET", "/discovery/new?size=1")
        self.assertTrue(token.body.startswith(b"http://x/discovery/"), token.body)
        for path in ("/v2/stats/self", "/mod/dashboard/"):
            referred = await self.request("GET", path)
            self.assertEqual((referred.status, referred.headers["Location"]), (307, self.other.client_url + path))

    async def test_credentials_travel_along(self) -> None:
        asked: list[bytes | None] = []
        handler: Any = self.leading._factory.handler
        handle = handler.handle
        self.patch(handler, "handle", lambda request: asked.append(request.authorization) or handle(request))
        basic = f"Basic {b64encode(b'u:p').decode()}"
        await self.request("GET", "/v2/keys/", fields=f"Authorization: {basic}\r\n")
        await self.request("GET", "/v2/keys/")
        self.assertEqual(asked, [basic.encode(), None])

    async def test_watches_get_events_as_they_come(self) -> None:
        watcher, stream = [await self.connect() for _ in range(2)]
        watcher.send(WATCH)
        stream.send(STREAM)
        for client in (watcher, stream):
            await client.when(lambda client=client: b"\r\n\r\n" in client.data)  # type: ignore[misc]
            self.assertIn(b"\r\nX-Etcd-Index: ", client.data)
        self.leader.put("/k", "one")
        await watcher.when_ends_with(b"\r\n0\r\n\r\n")
        self.assertIn(b'"value":"one"', watcher.data)
        self.leader.put("/k", BIG)
        await stream.when(lambda: BIG.encode() in stream.data.replace(b"\r\n", b"") or b"two" in stream.data)
        self.leader.put("/k", "two")
        await stream.when(lambda: b'"value":"two"' in stream.data)
        self.assertEqual(stream.data.count(b'"action":"set"'), 3)
        self.assertFalse(stream.closed)

    async def test_watch_that_can_not_begin_is_an_error(self) -> None:
        for number in range(2_000):
            self.leader.keyspace.apply(Set("/k", 0, str(number)))
        answer = await self.request("GET", "/v2/keys/k?wait=true&waitIndex=3")
        self.assertEqual((answer.status, json.loads(answer.body)["errorCode"]), (400, 401))

    async def test_watch_ends_with_its_client(self) -> None:
        """The leader has no watcher any more."""
        client = await self.connect()
        client.send(STREAM)
        await client.when(lambda: b"\r\n\r\n" in client.data)
        self.assertEqual(self.leader.statistics().watchers, 1)
        client.transport.abortConnection()
        await self.until(lambda: self.leader.statistics().watchers == 0)

    async def test_watch_ends_with_its_leader(self) -> None:
        """The body is empty, as when the service of the machine itself stops."""
        client = await self.connect()
        client.send(WATCH)
        await client.when(lambda: b"\r\n\r\n" in client.data)
        await self.leading.stopService()
        await client.when_ends_with(b"\r\n\r\n0\r\n\r\n")

    async def test_client_that_goes_ends_its_request(self) -> None:
        """The leader is no longer asked for a lock that nobody waits for."""
        held = await self.request("POST", "/mod/v2/lock/mine?ttl=60")
        self.assertEqual(held.status, 200)
        client = await self.connect()
        client.send(b"POST /mod/v2/lock/mine?ttl=60 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        await self.until(lambda: self.entries() == 2)
        client.transport.abortConnection()
        await self.until(lambda: self.entries() == 1)

    def entries(self) -> int:
        return len(self.leader.get("/_etcd/mod/lock/mine").children)

    async def until(self, condition: Any) -> None:
        """Waits for a condition of the leader, which tells nobody of it."""
        while not condition():
            waited: Deferred[None] = Deferred()
            reactor.callLater(0, waited.callback, None)
            await waited


class UnansweredTests(RelayTest):
    """The leader does not answer."""

    async def test_another_member_is_asked_if_the_leader_can_not_be_reached(self) -> None:
        """Nothing was sent to the leader. Members that follow have the next leader do it."""
        await self.leading.stopService()
        self.replica._known_machines = [self.other]
        second = FakeReplica(reactor)
        self.addCleanup(second.stop)
        service = HttpFrontend().service(reactor, Config(bind_addr=Address("127.0.0.1", 0)), {}, second)
        await service.startService()
        self.addCleanup(service.stopService)
        self.replica._known_machines = [self.other, self.machine("machine2", service.getHost().port)]
        self.assertEqual((await self.request("PUT", "/v2/keys/k?value=v")).status, 201)
        self.assertEqual(second.get("/k").value, "v")

    async def test_client_is_redirected_if_no_member_can_be_reached(self) -> None:
        await self.leading.stopService()
        for method, path in (("PUT", "/v2/keys/k?value=v"), ("GET", "/v2/keys/k?wait=true"), ("GET", "/v2/members")):
            answer = await self.request(method, path)
            self.assertEqual((answer.status, answer.headers["Location"]), (307, self.other.client_url + path))

    async def test_unknown_outcome_is_told(self) -> None:
        """The leader may have made the change, so no other machine is asked."""
        machine, requests = await self.silent()
        self.replica._known_machines = [machine, self.other]
        self.replica.stand_by(machine)
        for path in ("/v2/keys/k?value=v", "/mod/v2/lock/mine?ttl=60"):
            answer = await self.request("PUT", path)
            self.assertEqual((answer.status, json.loads(answer.body)["cause"]), (500, UNKNOWN))
        self.assertEqual(len(requests), 2)
        self.assertEqual(self.leader.proposed, [])

    async def test_read_without_an_answer_is_redirected(self) -> None:
        machine, requests = await self.silent()
        self.replica.stand_by(machine)
        answer = await self.request("GET", "/v2/keys/k")
        self.assertEqual((answer.status, answer.headers["Location"]), (307, machine.client_url + "/v2/keys/k"))
        self.assertTrue(requests)

    async def test_without_a_leader_requests_wait(self) -> None:
        self.replica.lose_leader()
        client = await self.connect()
        client.send(put("v"))
        self.replica.follow(self.other)
        await client.when(lambda: b"HTTP/1.1 201 Created" in client.data)

    async def test_two_standbys_do_not_ask_each_other(self) -> None:
        """The one that is asked by the other redirects, and that is passed on."""
        self.leader.stand_by(self.machine("machine0", self.port))
        for path in ("/v2/keys/k?value=v", "/mod/v2/lock/mine?ttl=60"):
            answer = await self.request("PUT", path)
            self.assertEqual((answer.status, answer.headers["Location"]), (307, f"http://127.0.0.1:{self.port}{path}"))


class GoneTests(SynchronousTestCase):
    """The client goes before there is an answer."""

    def test_no_other_machine_is_asked(self) -> None:
        asked: list[str] = []

        class _Connections:
            def kept(self, _url: str) -> None: ...

            def connect(self, url: str) -> "Deferred[HttpConnection]":
                asked.append(url)
                connection = HttpConnection(Room())
                connection.makeConnection(StringTransport())
                return succeed(connection)

        replica = FakeReplica()
        self.addCleanup(replica.stop)
        replica.stand_by(OTHER)
        replica._known_machines = [OTHER, Machine("machine2", "http://127.0.0.1:2", "http://127.0.0.1:1")]
        for method in (b"GET", b"PUT"):
            answer = Relay(replica, cast(MemberConnections, _Connections())).answer(
                OTHER, ClientRequest(method, b"/v2/keys/k", b"", ())
            )
            answer.cancel()
            self.assertEqual(self.successResultOf(answer).status, 500)
        self.assertEqual(asked, 2 * [OTHER.client_url])

    def test_name_that_is_still_looked_up(self) -> None:
        """That attempt ends, and counts as no answer of a machine that can't be reached."""
        still: Any = StillReactor(None)
        replica = FakeReplica()
        self.addCleanup(replica.stop)
        replica.stand_by(Machine("machine1", "http://one:1", "http://one:2"))
        replica._known_machines = [Machine("machine2", "http://127.0.0.1:1", "http://127.0.0.1:2")]
        relay = Relay(replica, MemberConnections(still, lambda _: cast(Any, None)))
        answer = relay.answer(cast(Machine, replica.leader()), ClientRequest(b"PUT", b"/v2/keys/k", b"", ()))
        self.assertNoResult(answer)
        answer.cancel()
        self.assertEqual(self.successResultOf(answer).status, 500)
        self.assertEqual(still.tcpClients, [])


class TlsTests(ServedTest):
    """The client ports of the members use TLS."""

    async def setUp(self) -> None:
        self.authority = Authority(Path(self.mktemp()))
        certificate, key = self.authority.certificate("machine0")
        files = {"peer_cert_file": certificate, "peer_key_file": key, "peer_ca_file": self.authority.path}
        self.settings = files
        await super().setUp()

    async def ask_standby(self, issuer: Authority) -> Answer:
        """Returns the answer of a standby of a leader whose certificate is from an authority."""
        certificate, key = issuer.certificate("machine1")
        leader = FakeReplica(reactor)
        self.addCleanup(leader.stop)
        config = Config(bind_addr=Address("127.0.0.1", 0), cert_file=certificate, key_file=key)
        leading: PortService = HttpFrontend().service(reactor, config, {}, leader)
        await leading.startService()
        self.addCleanup(leading.stopService)
        url = f"https://127.0.0.1:{leading.getHost().port}"
        self.replica.stand_by(Machine("machine1", url, "https://127.0.0.1:1"))
        return await self.ask(put("v", fields=b"Connection: close\r\n"), "PUT")

    async def test_authority_of_the_machines_is_trusted(self) -> None:
        self.assertEqual((await self.ask_standby(self.authority)).status, 201)

    async def test_connection_is_used_again(self) -> None:
        """What TLS itself sends on it is no input that nobody has asked for."""
        made: list[str] = []
        connect = MemberConnections.connect
        self.patch(MemberConnections, "connect", lambda each, url: made.append(url) or connect(each, url))
        await self.ask_standby(self.authority)
        for _ in range(5):
            self.assertEqual((await self.ask(put("v", fields=b"Connection: close\r\n"), "PUT")).status, 200)
        self.assertEqual(len(made), 1)

    async def test_nothing_is_sent_to_a_machine_that_is_not_trusted(self) -> None:
        """The client is sent there, and finds out whether it trusts the machine."""
        other = Authority(Path(self.mktemp()), "other")
        self.assertEqual((await self.ask_standby(other)).status, 307)


class RedirectingTests(RelayTest):
    """A standby that is told to redirects its clients."""

    settings = {"follower_requests": "redirect"}  # noqa: RUF012

    async def test_everything_is_redirected(self) -> None:
        for method, path in (("PUT", "/v2/keys/k?value=v"), ("GET", "/v2/keys/k"), ("GET", "/v2/members")):
            answer = await self.request(method, path)
            self.assertEqual((answer.status, answer.headers["Location"]), (307, self.other.client_url + path))
