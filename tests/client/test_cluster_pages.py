"""What a client asks about a cluster and its machines, and what it makes of the answers of different servers."""

from typing import TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from etcd_twisted import __version__
from etcd_twisted.client import (
    AdminMachine,
    Client,
    ClientError,
    ClusterConfig,
    ConnectionFailed,
    FollowerStatistics,
    ForbiddenMachine,
    InvalidActiveSize,
    KeyNotFound,
    LeaderStatistics,
    Machine,
    MachineStatistics,
    OutcomeUnknown,
    RaftFailed,
    RequestRefused,
    StoreStatistics,
    UnexpectedAnswer,
    Version,
)
from etcd_twisted.client.statistics import duration_seconds
from tests.client.stubs import A, B, Outcome, Reply, Sent, StubAgent, error, redirect
from tests.processes import machine as machines

_T = TypeVar("_T")

MEMBERS = b"""{"members": [
    {"id": "8e9e", "name": "m0", "peerURLs": ["http://p:7001"], "clientURLs": ["http://a:4001"]},
    {"id": "5a31", "name": "", "peerURLs": ["http://q:7001"], "clientURLs": []}]}"""

LEADER = b'{"id": "8e9e", "name": "m0", "peerURLs": ["http://p:7001"], "clientURLs": ["http://b:4001"]}'


class PageTestCase(SynchronousTestCase):
    """Pages that a stub serves, to show what each server's look like."""

    def client(self, pages: dict[str, Outcome], endpoints: str = A, machine: str = A) -> Client:
        """Returns a client of a machine that has these pages."""

        def serve(sent: Sent) -> Outcome:
            return pages.get(f"{sent.method} {sent.target}", Reply(404, b"404 page not found\n"))

        self.agent = StubAgent()
        self.agent.machines[machine] = serve
        return Client(endpoints, reactor=Clock(), agent=self.agent, refresh_seconds=None)

    def result(self, deferred: "Deferred[_T]") -> _T:
        return self.successResultOf(deferred)

    def failure(self, kind: type[ClientError], deferred: "Deferred[object]") -> str:
        return self.failureResultOf(deferred, kind).getErrorMessage()


class PageTests(PageTestCase):
    def test_machines(self) -> None:
        for body in (b"http://a:4001, http://b:4001", b"http://a:4001,http://b:4001\n"):
            client = self.client({"GET /v2/machines": Reply(body=body)})
            self.assertEqual(self.result(client.machines()), (A, B))
        for body in (b"", b"<html>", b"\xff"):
            self.failure(UnexpectedAnswer, self.client({"GET /v2/machines": Reply(body=body)}).machines())

    def test_members(self) -> None:
        client = self.client({"GET /v2/members": Reply(body=MEMBERS)})
        first, second = self.result(client.members())
        self.assertEqual(first, Machine("8e9e", "m0", (A,), ("http://p:7001",)))
        self.assertEqual(second, Machine("5a31", "", (), ("http://q:7001",)))
        self.failure(UnexpectedAnswer, self.client({"GET /v2/members": Reply(body=b"[]")}).members())

    def test_leader(self) -> None:
        client = self.client({"GET /v2/members/leader": Reply(body=LEADER)})
        self.assertEqual(self.result(client.leader()).client_urls, (B,))

    def test_leader_during_an_election(self) -> None:
        replies = [Reply(503, b'{"message": "During election"}'), Reply(body=LEADER)]
        clock = Clock()
        client = Client(A, reactor=clock, agent=StubAgent(a=replies), refresh_seconds=None)
        finding = client.leader()
        self.assertNoResult(finding)
        clock.advance(1)
        self.assertEqual(self.result(finding).id, "8e9e")

    def test_version(self) -> None:
        for body, version in (
            (b'{"etcdserver": "3.4.23", "etcdcluster": "3.4.0"}', Version("3.4.23", "3.4.0")),
            (b"etcd 0.4.6", Version("0.4.6")),
            (b"etcd_twisted 0.1.0", Version("0.1.0")),
        ):
            self.assertEqual(self.result(self.client({"GET /version": Reply(body=body)}).version()), version)
        for body in (b"", b"<html>", b"{}", b"nginx 1.2"):
            self.failure(UnexpectedAnswer, self.client({"GET /version": Reply(body=body)}).version())

    def test_health(self) -> None:
        for status, body, health in (
            (200, b'{"health": "true"}', True),
            (200, b'{"health": true}', True),
            (503, b'{"health": "false"}', False),
            (200, b'{"health": "false"}', False),
        ):
            self.assertIs(self.result(self.client({"GET /health": Reply(status, body)}).health()), health)
        self.failure(UnexpectedAnswer, self.client({"GET /health": Reply(503, b"<html>")}).health())

    def test_one_machine_is_asked(self) -> None:
        machine = Machine("1", "m1", (B,), ())
        for given in (B, machine):
            client = self.client({"GET /health": Reply(body=b'{"health": "true"}')}, machine=B)
            self.assertIs(self.result(client.health(given)), True)
            self.assertEqual([each.machine for each in self.agent.sent], [B])

    def test_a_machine_that_can_not_be_asked(self) -> None:
        client = self.client({}, endpoints="https://a:4001")
        for machine, named in (
            ("nonsense://", "nonsense://"),
            (B, "encrypted"),
            (Machine("1", "m1", (), ()), "m1"),
        ):
            for ask in (client.health, client.version, client.statistics.machine, client.statistics.store):
                with self.assertRaises(ValueError) as caught:
                    ask(machine)  # type: ignore[operator]  # each takes one
                self.assertIn(named, str(caught.exception))
        self.assertEqual(self.agent.sent, [])


class StatisticsTests(PageTestCase):
    """The examples of the documentation, and what etcd 3.4 sends."""

    def test_a_follower(self) -> None:
        body = b"""{"leaderInfo": {"leader": "machine1", "uptime": "1m18.544996775s"}, "name": "machine0",
            "recvAppendRequestCnt": 5871307, "recvBandwidthRate": 630.3121596542599,
            "recvPkgRate": 19.272654323628185, "sendAppendRequestCnt": 3175763,
            "startTime": "2014-01-01T15:26:24.96569404Z", "state": "follower"}"""
        statistics = self.result(self.client({"GET /v2/stats/self": Reply(body=body)}).statistics.machine())
        self.assertEqual(
            statistics,
            MachineStatistics(
                "machine0",
                "follower",
                1388589984.965694,
                "machine1",
                78.544996775,
                5871307,
                3175763,
                recv_requests_per_second=19.272654323628185,
                recv_bytes_per_second=630.3121596542599,
            ),
        )

    def test_a_leader_of_etcd(self) -> None:
        body = b"""{"name":"m0","id":"8e9e05c52164694d","state":"StateLeader",
            "startTime":"2026-11-30T01:08:51.212509291Z","leaderInfo":{"leader":"8e9e05c52164694d",
            "uptime":"2.362617756s","startTime":"2026-11-30T01:08:51.830641966Z"},"recvAppendRequestCnt":0,
            "sendAppendRequestCnt":7,"sendPkgRate":1.5,"sendBandwidthRate":99}"""
        statistics = self.result(self.client({"GET /v2/stats/self": Reply(body=body)}).statistics.machine())
        self.assertEqual((statistics.state, statistics.leader), ("leader", "8e9e05c52164694d"))
        self.assertEqual((statistics.send_requests_per_second, statistics.send_bytes_per_second), (1.5, 99.0))
        self.assertEqual((statistics.recv_requests_per_second, statistics.recv_bytes_per_second), (None, None))

    def test_no_leader(self) -> None:
        body = b"""{"name":"m0","state":"candidate","startTime":"2014-01-01T15:26:24Z","leaderInfo":{"leader":"",
            "uptime":""},"recvAppendRequestCnt":0,"sendAppendRequestCnt":0}"""
        statistics = self.result(self.client({"GET /v2/stats/self": Reply(body=body)}).statistics.machine())
        self.assertEqual((statistics.leader, statistics.leader_uptime_seconds), ("", None))

    def test_what_can_not_be_read(self) -> None:
        good = b"""{"name":"m0","state":"leader","startTime":"2014-01-01T15:26:24Z","leaderInfo":{"leader":"",
            "uptime":"1s"},"recvAppendRequestCnt":0,"sendAppendRequestCnt":0}"""
        for body in (b"{}", good.replace(b"2014", b"year"), good.replace(b"1s", b"long"), good.replace(b"1s", b"1x")):
            self.failure(UnexpectedAnswer, self.client({"GET /v2/stats/self": Reply(body=body)}).statistics.machine())

    def test_followers(self) -> None:
        body = b"""{"followers": {"etcd-node1": {"counts": {"fail": 1212, "success": 4163176}, "latency": {
            "average": 2.7206299430775007, "current": 1.486487, "maximum": 2018.410279, "minimum": 1.011763,
            "standardDeviation": 6.246990702203536}}}, "leader": "etcd-node2"}"""
        pages: dict[str, Outcome] = {
            "GET /v2/members/leader": Reply(body=LEADER.replace(b"b:4001", b"a:4001")),
            "GET /v2/stats/leader": Reply(body=body),
        }
        follower = FollowerStatistics(
            1212, 4163176, 1.486487, 2.7206299430775007, 6.246990702203536, 1.011763, 2018.410279
        )
        self.assertEqual(
            self.result(self.client(pages).statistics.leader()),
            LeaderStatistics("etcd-node2", {"etcd-node1": follower}),
        )

    def test_a_new_leader_is_asked_again(self) -> None:
        not_leader = Reply(403, b"not current leader")
        followers = Reply(body=b'{"followers": {}, "leader": "m1"}')
        a = [Reply(body=LEADER.replace(b"b:4001", b"a:4001")), not_leader, Reply(body=LEADER)]
        client = Client(A, reactor=Clock(), agent=StubAgent(a=a, b=followers), refresh_seconds=None)
        self.assertEqual(self.result(client.statistics.leader()).leader, "m1")
        pages: dict[str, Outcome] = {
            "GET /v2/members/leader": Reply(body=LEADER.replace(b"b:4001", b"a:4001")),
            "GET /v2/stats/leader": not_leader,
        }
        self.failure(ConnectionFailed, self.client(pages).statistics.leader())

    def test_store(self) -> None:
        body = b"""{"compareAndSwapFail": 1, "compareAndSwapSuccess": 2, "createFail": 3, "createSuccess": 4,
            "deleteFail": 5, "deleteSuccess": 6, "expireCount": 7, "getsFail": 8, "getsSuccess": 9, "setsFail": 10,
            "setsSuccess": 11, "updateFail": 12, "updateSuccess": 13, "watchers": 14}"""
        self.assertEqual(
            self.result(self.client({"GET /v2/stats/store": Reply(body=body)}).statistics.store()),
            StoreStatistics(9, 8, 11, 10, 4, 3, 13, 12, 6, 5, 2, 1, None, None, 7, 14),
        )

    def test_durations(self) -> None:
        for text, seconds in (
            ("0s", 0.0),
            ("24.648619798s", 24.648619798),
            ("1h0m1s", 3601.0),
            ("1.5ms", 0.0015),
            ("250µs", 0.00025),
            ("3ns", 3e-9),
        ):
            self.assertAlmostEqual(duration_seconds(text), seconds, 12)
        for text in ("1", "s", "1s ", "-1s", "1d"):
            with self.assertRaises(ValueError):
                duration_seconds(text)


class AdminTests(PageTestCase):
    """Administrators' requests go to the peer ports."""

    P = "http://p:7001"

    def admin(self, outcome: Outcome, endpoints: str = A, members: bytes = MEMBERS) -> Client:
        """Returns a client of a machine whose peer port gives this answer."""
        self.agent = StubAgent()
        self.agent.machines[endpoints] = [Reply(body=members)]
        self.agent.machines[self.P] = [outcome]
        return Client(
            endpoints,
            reactor=Clock(),
            agent=self.agent,
            credentials=("root", "secret"),
            refresh_seconds=None,
            chance=lambda: 0.0,
        )

    def test_the_configuration(self) -> None:
        client = self.admin(Reply(body=b'{"activeSize":3,"removeDelay":1800,"syncInterval":5}'))
        self.assertEqual(self.result(client.admin.config()), ClusterConfig(3, 1800, 5))
        self.assertEqual(self.result(client.admin.configure(active_size=3)), ClusterConfig(3, 1800, 5))
        sent = self.agent.sent[-1]
        self.assertEqual((sent.machine, sent.method, sent.target), (self.P, "PUT", "/v2/admin/config"))
        self.assertEqual(sent.body, b'{"activeSize":3}')
        self.result(client.admin.configure(active_size=5, remove_delay_seconds=0.5, sync_interval_seconds=2))
        self.assertEqual(self.agent.sent[-1].body, b'{"activeSize":5,"removeDelay":0.5,"syncInterval":2}')
        with self.assertRaises(ValueError):
            client.admin.configure()

    def test_machines(self) -> None:
        one = b'{"clientURL":"http://a:4001","name":"m0","peerURL":"http://p:7001","state":"leader"}'
        machine = AdminMachine("m0", "leader", A, self.P)
        self.assertEqual(self.result(self.admin(Reply(body=b"[" + one + b"]")).admin.machines()), (machine,))
        client = self.admin(Reply(body=one))
        self.assertEqual(self.result(client.admin.machine("m/0")), machine)
        self.assertEqual(self.agent.sent[-1].target, "/v2/admin/machines/m%2F0")

    def test_removing_and_allowing(self) -> None:
        client = self.admin(Reply(body=b"m0 is out of the cluster\n"))
        for ask, line in (
            (lambda: client.admin.remove_machine("m0"), "DELETE /v2/admin/machines/m0"),
            (lambda: client.admin.remove_machine("m0", forbid=True), "DELETE /v2/admin/machines/m0?forbid=true"),
            (lambda: client.admin.allow_machine("m0"), "PUT /v2/admin/machines/m0?forbid=false"),
        ):
            self.assertIsNone(self.result(ask()))
            sent = self.agent.sent[-1]
            self.assertEqual((sent.machine, f"{sent.method} {sent.target}"), (self.P, line))

    def test_who_is_kept_out(self) -> None:
        client = self.admin(Reply(body=b'[{"name":"m0","by":"10.0.0.1","since":"2014-01-01T15:26:24Z"}]'))
        kept_out = (ForbiddenMachine("m0", "10.0.0.1", 1388589984.0),)
        self.assertEqual(self.result(client.admin.forbidden_machines()), kept_out)
        client = self.admin(Reply(body=b'[{"name":"m0","by":"10.0.0.1","since":"once"}]'))
        self.failure(UnexpectedAnswer, client.admin.forbidden_machines())

    def test_errors(self) -> None:
        self.failure(KeyNotFound, self.admin(error(100, "x", 404)).admin.machine("m1"))
        self.failure(InvalidActiveSize, self.admin(error(403)).admin.configure(active_size=1))
        too_few = error(300, "too few machines are alive to go on without that one: start others first", 500)
        self.failure(RaftFailed, self.admin(too_few).admin.remove_machine("m0"))
        self.failure(OutcomeUnknown, self.admin(Reply(500, b"<html>")).admin.remove_machine("m0"))
        self.failure(UnexpectedAnswer, self.admin(Reply(404, b"404 page not found")).admin.config())

    def test_redirects_go_to_other_peer_ports(self) -> None:
        client = self.admin(redirect("http://q:7001", "/v2/admin/machines/m0"))
        self.agent.machines["http://q:7001"] = [Reply()]
        self.result(client.admin.remove_machine("m0"))
        self.assertEqual([each.machine for each in self.agent.sent], [A, self.P, "http://q:7001"])
        client = self.admin(redirect("http://stranger:7001", "/v2/admin/machines/m0"))
        self.failure(ConnectionFailed, client.admin.remove_machine("m0"))
        self.assertNotIn("http://stranger:7001", [each.machine for each in self.agent.sent])

    def test_plain_peer_ports_get_no_credentials_of_an_encrypted_client(self) -> None:
        client = self.admin(Reply(), "https://a:4001")
        self.assertIn("encrypted", self.failure(ConnectionFailed, client.admin.config()))
        self.assertEqual([each.machine for each in self.agent.sent], ["https://a:4001"])
        none = self.admin(Reply(), members=b'{"members": []}')
        self.failure(ConnectionFailed, none.admin.config())

    def test_members(self) -> None:
        client = self.client({"POST /v2/members": Reply(201, LEADER)})
        self.assertEqual(self.result(client.admin.add_member(["http://p:7001"])).id, "8e9e")
        self.assertEqual(self.agent.sent[-1].body, b'{"peerURLs":["http://p:7001"]}')
        self.assertEqual(self.agent.sent[-1].header("Content-Type"), "application/json")
        client = self.client({"PUT /v2/members/8e9e": Reply(204, b""), "DELETE /v2/members/8e9e": Reply(204, b"")})
        self.assertIsNone(self.result(client.admin.update_member("8e9e", "http://p:7001")))
        self.assertEqual(self.agent.sent[-1].body, b'{"peerURLs":["http://p:7001"]}')
        self.assertIsNone(self.result(client.admin.remove_member("8e9e")))

    def test_members_that_are_refused(self) -> None:
        for status in (400, 404, 409, 410, 415):
            client = self.client({"DELETE /v2/members/1": Reply(status, b'{"message": "no"}')})
            self.assertIn("no", self.failure(RequestRefused, client.admin.remove_member("1")))
        client = self.client({"DELETE /v2/members/1": Reply(500, b'{"message":"Internal Server Error"}')})
        self.failure(OutcomeUnknown, client.admin.remove_member("1"))


class MachineTests(TestCase):
    """Against a machine of this project."""

    async def setUp(self) -> None:
        self.machine = machines.Machine(self)
        await self.machine.embed()
        self.client = Client(self.machine.url, reactor=reactor)
        self.addCleanup(self.client.close)

    async def test_the_cluster(self) -> None:
        self.assertEqual(await self.client.machines(), (self.machine.url,))
        (member,) = await self.client.members()
        self.assertEqual(member, Machine(member.id, "machine0", (self.machine.url,), (self.machine.peer_url,)))
        self.assertEqual(await self.client.leader(), member)
        self.assertEqual((await self.client.version(member)).server, __version__)
        self.assertIs(await self.client.health(self.machine.url), True)

    async def test_statistics(self) -> None:
        await self.client.set("/key", "1")
        statistics = await self.client.statistics.machine()
        self.assertEqual((statistics.name, statistics.state, statistics.leader), ("machine0", "leader", "machine0"))
        store = await self.client.statistics.store()
        self.assertEqual((store.sets_success, store.sets_fail, store.watchers), (1, 0, 0))
        self.assertNotIn(None, (store.compare_and_delete_success, store.compare_and_delete_fail))
        self.assertEqual(await self.client.statistics.leader(), LeaderStatistics("machine0", {}))

    async def test_the_configuration(self) -> None:
        admin = self.client.admin
        config = await admin.config()
        self.assertEqual((config.active_size, config.sync_interval_seconds), (9, 5.0))
        changed = await admin.configure(active_size=5, sync_interval_seconds=2.5)
        self.assertEqual(changed, ClusterConfig(5, config.remove_delay_seconds, 2.5))
        self.assertEqual(await admin.config(), changed)

    async def test_machines(self) -> None:
        admin = self.client.admin
        machine = AdminMachine("machine0", "leader", self.machine.url, self.machine.peer_url)
        self.assertEqual(await admin.machines(), (machine,))
        self.assertEqual(await admin.machine("machine0"), machine)
        for ask in (admin.machine, admin.remove_machine, admin.allow_machine):
            with self.assertRaises(KeyNotFound):
                await ask("nobody")
        with self.assertRaises(RaftFailed):
            await admin.remove_machine("machine0")

    async def test_members(self) -> None:
        admin = self.client.admin
        added = await admin.add_member(["http://127.0.0.1:1"])
        self.assertEqual((added.name, added.peer_urls, added.client_urls), ("", ("http://127.0.0.1:1",), ()))
        self.assertIn(added, await self.client.members())
        with self.assertRaises(RequestRefused) as caught:
            await admin.add_member(["http://127.0.0.1:1"])
        self.assertIn("peerURL exists", str(caught.exception))
        await admin.remove_member(added.id)
        with self.assertRaises(RequestRefused):
            await admin.remove_member("123")
        (member,) = await self.client.members()
        with self.assertRaises(RequestRefused) as caught:
            await admin.remove_member(member.id)
        self.assertIn("too few machines", str(caught.exception))
