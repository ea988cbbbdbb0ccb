"""How a client finds its cluster by SRV records, from a name server of the test's own."""

import random
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime, IResolver
from twisted.internet.task import Clock
from twisted.names import dns, error
from twisted.names.authority import BindAuthority
from twisted.names.client import Resolver
from twisted.names.server import DNSServerFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.iweb import IAgent

from etcd_twisted.client import Client, ConnectionFailed, NoMachinesFound
from etcd_twisted.client import srv as srv_module
from etcd_twisted.client.srv import CLIENT_SERVICES, PEER_SERVICES, _Record, default_resolver, in_order
from tests.client.stubs import A, B, C, Outcome, Reply, StubAgent
from tests.processes.machine import Machine

Records = dict[str, list[tuple[int, int, str, int]]]

RECORDS = st.builds(_Record, st.integers(0, 3), st.integers(0, 3), st.just("a"), st.integers(1, 3))


class Names:
    """
    A resolver that knows what a test tells it.

    @ivar asked: the names that it was asked for.
    """

    def __init__(self, records: Records, problems: dict[str, Exception] | None = None) -> None:
        self.asked: list[str] = []
        self._records = records
        self._problems = problems or {}

    def lookupService(self, name: str, timeout: object = None) -> "Deferred[Any]":  # noqa: ARG002
        self.asked.append(name)
        service = name.removesuffix(".example.com")
        if service in self._problems:
            return fail(self._problems[service])
        if service not in self._records:
            return fail(error.DNSNameError(name))
        answers = [
            dns.RRHeader(name, dns.SRV, payload=dns.Record_SRV(priority, weight, port, target.encode()))
            for priority, weight, target, port in self._records[service]
        ]
        alias = dns.RRHeader(name, dns.CNAME, payload=dns.Record_CNAME("elsewhere.example.com"))
        return succeed(([alias, *answers], [], []))


class SrvTestCase(SynchronousTestCase):
    def find(self, names: Names, agent: IAgent | None = None, **settings: Any) -> "Deferred[Client]":
        return Client.from_srv(
            "example.com.",
            reactor=Clock(),
            resolver=cast(IResolver, names),
            agent=StubAgent() if agent is None else agent,
            chance=lambda: 0.99,
            **settings,
        )

    def found(self, names: Names, agent: IAgent | None = None, **settings: Any) -> list[str]:
        """Returns the machines of a client, in the order in which it asks them."""
        client = self.successResultOf(self.find(names, agent, **settings))
        return client._sender.machines.order(False)


class ClientRecordTests(SrvTestCase):
    def test_the_first_name_that_has_records(self) -> None:
        services = dict(CLIENT_SERVICES)
        records: Records = {service: [(0, 0, f"{service}.example.com", 4001)] for service in services}
        for count, service in enumerate(services, 1):
            names = Names(records)
            self.assertEqual(self.found(names), [f"{services[service]}://{service}.example.com:4001"])
            self.assertEqual(len(names.asked), count)
            del records[service]

    def test_priorities_come_first(self) -> None:
        records = [(20, 100, "c", 4001), (0, 0, "a.", 4001), (10, 0, "b", 4001)]
        self.assertEqual(self.found(Names({"_etcd-client._tcp": records})), [A, B, C])

    def test_a_target_that_says_that_there_is_none(self) -> None:
        records: Records = {"_etcd-client-ssl._tcp": [(0, 0, ".", 0)], "_etcd-client._tcp": [(0, 0, "a", 4001)]}
        self.assertEqual(self.found(Names(records)), [A])

    def test_a_name_without_records_of_this_kind(self) -> None:
        records: Records = {"_etcd-client-ssl._tcp": [], "_etcd-client._tcp": [(0, 0, "a", 4001)]}
        self.assertEqual(self.found(Names(records)), [A])

    def test_what_a_client_is_given(self) -> None:
        agent = StubAgent(a=Reply())
        client = self.successResultOf(
            self.find(Names({"_etcd-client._tcp": [(0, 0, "a", 4001)]}), agent, credentials=("u", "p"))
        )
        self.successResultOf(client.get("/key"))
        self.assertEqual(agent.sent[-1].header("Authorization"), "Basic dTpw")

    def test_nothing_is_found(self) -> None:
        names = Names({})
        text = self.failureResultOf(self.find(names), NoMachinesFound).getErrorMessage()
        self.assertIn("example.com", text)
        for service, _ in (*CLIENT_SERVICES, *PEER_SERVICES):
            self.assertIn(service, text)
            self.assertIn(f"{service}.example.com", names.asked)

    def test_a_name_server_that_fails_says_nothing_of_records(self) -> None:
        for problem in (
            error.DNSServerError(),
            error.DNSQueryRefusedError(),
            error.DNSQueryTimeoutError("1"),
            DeferredTimeoutError("no answer"),
            OSError("No domain name servers available"),
        ):
            names = Names({"_etcd-client._tcp": [(0, 0, "a", 4001)]}, {"_etcd-client-ssl._tcp": problem})
            text = self.failureResultOf(self.find(names), ConnectionFailed).getErrorMessage()
            self.assertIn("_etcd-client-ssl._tcp.example.com", text)


class PeerRecordTests(SrvTestCase):
    """Where machines find each other, they are asked for their client URLs."""

    PEERS: Records = {"_etcd-server._tcp": [(0, 0, "p", 7001), (1, 0, "q", 7001)]}  # noqa: RUF012  # never changed

    def agent(self, **peers: Outcome | list[Outcome]) -> StubAgent:
        agent = StubAgent()
        for name, outcomes in peers.items():
            agent.machines[f"http://{name}:7001"] = outcomes if isinstance(outcomes, list) else [outcomes]
        return agent

    def test_machines_of_etcd(self) -> None:
        members = b"""[{"id":6499010255903351189,"peerURLs":["http://new:7001"]},
            {"id":10276657743932975437,"peerURLs":["http://p:7001"],"name":"m0","clientURLs":["http://a:4001"]},
            {"id":10276657743932975438,"peerURLs":["http://q:7001"],"name":"m1","clientURLs":["http://b:4001"]}]"""
        agent = self.agent(p=Reply(body=members))
        self.assertEqual(self.found(Names(self.PEERS), agent, credentials=("u", "p")), [A, B])
        (sent,) = agent.sent
        self.assertEqual((sent.target, sent.header("Authorization")), ("/members", None))

    def test_machines_of_this_project(self) -> None:
        machines = b"""[{"clientURL":"http://a:4001","name":"m0","peerURL":"http://p:7001","state":"leader"},
            {"clientURL":"","name":"m2","peerURL":"http://new:7001","state":"follower"},
            {"clientURL":"http://b:4001","name":"m1","peerURL":"http://q:7001","state":"follower"}]"""
        agent = self.agent(p=[Reply(404, b'{"message":"Not Found"}'), Reply(body=machines)])
        self.assertEqual(self.found(Names(self.PEERS), agent), [A, B])
        self.assertEqual([each.target for each in agent.sent], ["/members", "/v2/admin/machines"])

    def test_the_next_machine_is_asked(self) -> None:
        for first in (Reply(404, b""), Reply(200, b"<html>"), Reply(200, b"[]")):
            agent = self.agent(p=first, q=Reply(body=b'[{"clientURLs":["http://b:4001"]}]'))
            self.assertEqual(self.found(Names(self.PEERS), agent), [B])

    def test_no_machine_tells(self) -> None:
        agent = self.agent(p=Reply(404, b""), q=Reply(404, b""))
        text = self.failureResultOf(self.find(Names(self.PEERS), agent), NoMachinesFound).getErrorMessage()
        for part in ("example.com", "http://p:7001", "http://q:7001"):
            self.assertIn(part, text)

    def test_encrypted_peers_lead_to_no_plain_client_ports(self) -> None:
        agent = self.agent()
        agent.machines["https://p:7001"] = [Reply(body=b'[{"clientURLs":["http://a:4001"]}]')]
        names = Names({"_etcd-server-ssl._tcp": [(0, 0, "p", 7001)]})
        text = self.failureResultOf(self.find(names, agent), NoMachinesFound).getErrorMessage()
        self.assertIn("encrypted", text)
        agent.machines["https://p:7001"] = [Reply(body=b'[{"clientURLs":["http://a:4001","https://a:4001"]}]')]
        self.assertEqual(self.found(names, agent), ["https://a:4001"])


class OrderTests(SynchronousTestCase):
    @given(st.lists(RECORDS), st.data())
    def test_every_record_comes_once(self, records: list[_Record], data: st.DataObject) -> None:
        ordered = in_order(records, lambda: data.draw(st.floats(0, 1)))
        self.assertEqual(sorted(map(repr, ordered)), sorted(map(repr, records)))
        priorities = [record.priority for record in ordered]
        self.assertEqual(priorities, sorted(priorities))

    def test_weights(self) -> None:
        heavy, light, none = (_Record(0, weight, "a", weight) for weight in (30, 10, 0))
        chance = random.Random(1)
        firsts = [in_order([none, light, heavy], chance.random)[0] for _ in range(1_000)]
        self.assertGreater(firsts.count(heavy), 650)
        self.assertGreater(firsts.count(light), 150)
        self.assertLess(firsts.count(none), 20)


class NameServerTests(TestCase):
    """With a name server on a port."""

    async def setUp(self) -> None:
        self.machine = Machine(self)
        await self.machine.embed()

    def serve(self, records: list[str]) -> IResolver:
        """Returns a resolver that asks a name server with these records of C{example.com}."""
        lines = [
            "$ORIGIN example.com.",
            "$TTL 60",
            "example.com. 60 IN SOA ns.example.com. root.example.com. 1 60 60 60 60",
            *records,
        ]
        zone = self.mktemp()
        with open(zone, "w") as file:
            file.write("\n".join(lines) + "\n")
        factory = DNSServerFactory(authorities=[BindAuthority(zone)])
        factory.noisy = False
        protocol = dns.DNSDatagramProtocol(factory)
        protocol.noisy = False
        port = reactor.listenUDP(0, protocol, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return cast(IResolver, Resolver(servers=[("127.0.0.1", port.getHost().port)], reactor=reactor))

    async def use(self, record: str) -> None:
        """Find the machine by a record, and use it."""
        client = await Client.from_srv(
            "example.com", reactor=cast(IReactorTime, reactor), resolver=self.serve([record])
        )
        self.addCleanup(client.close)
        self.assertEqual((await client.set("/key", "1")).node.value, "1")

    async def test_a_client_port(self) -> None:
        await self.use(f"_etcd-client._tcp.example.com. 60 IN SRV 0 0 {self.machine.port} 127.0.0.1.")

    async def test_a_peer_port(self) -> None:
        await self.use(f"_etcd-server._tcp.example.com. 60 IN SRV 0 0 {self.machine.peer_port} 127.0.0.1.")

    async def test_nothing(self) -> None:
        with self.assertRaises(NoMachinesFound):
            await Client.from_srv("example.com", resolver=self.serve([]))


class DefaultResolverTests(SynchronousTestCase):
    def test_the_name_servers_of_the_computer(self) -> None:
        path = self.mktemp()
        self.patch(srv_module, "_RESOLV_CONF", srv_module.Path(path))
        with open(path, "w") as file:
            file.write("# comment\nsearch example.com\nnameserver 10.0.0.1\nnameserver ::1\nnameserver\n")
        clock = Clock()
        resolver = default_resolver(clock)
        self.assertEqual(resolver.servers, [("10.0.0.1", 53), ("::1", 53)])  # type: ignore[attr-defined]
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_there_are_none(self) -> None:
        path = self.mktemp()
        self.patch(srv_module, "_RESOLV_CONF", srv_module.Path(path))
        with self.assertRaises(ConnectionFailed) as caught:
            default_resolver(Clock())
        self.assertIn(path, str(caught.exception))
        with open(path, "w"):
            pass
        with self.assertRaises(ConnectionFailed):
            default_resolver(Clock())
