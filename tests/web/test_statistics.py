"""
The pages of statistics: what a leader and a follower show of the traffic between them.
"""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.interfaces.statistics import FollowerTraffic
from etcd_twisted.keyspace.commands import Delete
from etcd_twisted.testing.replica import OTHER
from tests.wires import Wire, ask, connect

THIRD = Machine("machine2", "http://127.0.0.1:4003", "http://127.0.0.1:7003")


class StatisticsTest(SynchronousTestCase):
    """The pages, through the server."""

    def setUp(self) -> None:
        self.wire = Wire()
        self.replica = self.wire.replica
        self.traffic = self.replica.traffic
        self.addCleanup(self.wire.stop)

    def body(self, page: str) -> bytes:
        answer = ask(self.wire.site, page)
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "application/json"))
        return answer.body

    def json(self, page: str) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.body(page))
        return decoded


class SelfTests(StatisticsTest):
    """These tests are about C{/v2/stats/self}."""

    def test_leader_without_followers_has_no_rates(self) -> None:
        """It sends to nobody (api, "Self Statistics")."""
        self.wire.clock.advance(78.5)
        self.assertEqual(
            self.body("/v2/stats/self").decode(),
            '{"name":"machine0","state":"leader","startTime":"1970-01-01T00:00:00.000000Z",'
            '"leaderInfo":{"leader":"machine0","uptime":"1m18.5s"},"recvAppendRequestCnt":0,"sendAppendRequestCnt":0}',
        )

    def test_leader_shows_what_it_sends(self) -> None:
        """Of what it received while it followed another leader, only the count remains (api, "Self Statistics")."""
        self.traffic.received.add(0.0, 1_000)
        for _ in range(20):
            self.traffic.sent.add(0.0, 100)
        self.wire.clock.advance(10)
        statistics = self.json("/v2/stats/self")
        self.assertEqual((statistics["sendAppendRequestCnt"], statistics["recvAppendRequestCnt"]), (20, 1))
        self.assertEqual((statistics["sendPkgRate"], statistics["sendBandwidthRate"]), (2.0, 200.0))
        self.assertEqual([name for name in statistics if name.startswith("recv")], ["recvAppendRequestCnt"])

    def test_follower_shows_what_it_receives(self) -> None:
        """The page says how long the follower has had its leader (api, "Self Statistics")."""
        self.wire.clock.advance(5)
        self.replica.follow()
        self.traffic.sent.add(5.0, 1_000)
        for _ in range(4):
            self.traffic.received.add(5.0, 50)
        self.wire.clock.advance(2)
        statistics = self.json("/v2/stats/self")
        self.assertEqual(
            {name: statistics[name] for name in statistics if name not in ("name", "startTime")},
            {
                "state": "follower",
                "leaderInfo": {"leader": "machine1", "uptime": "2s"},
                "recvAppendRequestCnt": 4,
                "sendAppendRequestCnt": 1,
                "recvPkgRate": 2.0,
                "recvBandwidthRate": 100.0,
            },
        )

    def test_idle_machine_has_no_rates(self) -> None:
        """After a minute without a request only the count remains (spec, "Other client endpoints")."""
        self.traffic.sent.add(0.0, 100)
        self.wire.clock.advance(61)
        statistics = self.json("/v2/stats/self")
        self.assertEqual(statistics["sendAppendRequestCnt"], 1)
        self.assertNotIn("sendPkgRate", statistics)
        self.assertNotIn("sendBandwidthRate", statistics)

    def test_machine_without_a_leader_names_none(self) -> None:
        """The name is empty, and the time is zero."""
        self.wire.clock.advance(5)
        self.replica.lose_leader()
        statistics = self.json("/v2/stats/self")
        self.assertEqual((statistics["state"], statistics["leaderInfo"]), ("follower", {"leader": "", "uptime": "0s"}))


class LeaderTests(StatisticsTest):
    """These tests are about C{/v2/stats/leader}."""

    def test_leader_without_followers(self) -> None:
        self.assertEqual(self.body("/v2/stats/leader"), b'{"leader":"machine0","followers":{}}')

    def test_leader_shows_all_followers(self) -> None:
        """
        Every machine of the cluster but the leader has its counts. A machine that was removed is gone (api, "Leader
        Statistics").
        """
        self.replica.register(OTHER, THIRD)
        counted = FollowerTraffic()
        for latency in (1.0, 3.0, 2.0):
            counted.succeeded(latency)
        counted.failed()
        self.traffic.followers.update({OTHER.name: counted, "gone": FollowerTraffic()})
        self.assertEqual(
            self.body("/v2/stats/leader").decode(),
            '{"leader":"machine0","followers":{'
            '"machine1":{"latency":{"current":2.0,"average":2.0,"standardDeviation":%s,"minimum":1.0,"maximum":3.0},'
            '"counts":{"fail":1,"success":3}},'
            '"machine2":{"latency":{"current":0.0,"average":0.0,"standardDeviation":0.0,"minimum":0.0,"maximum":0.0},'
            '"counts":{"fail":0,"success":0}}}}' % (2 / 3) ** 0.5,
        )
        self.replica.keyspace.apply(Delete(OTHER.key, 0))
        self.assertEqual(list(self.json("/v2/stats/leader")["followers"]), ["machine2"])

    def test_other_machines_refuse(self) -> None:
        """
        The answer is 403 with a line that gives the reason, whichever machine leads (spec, "Other client endpoints").
        """
        for change in (self.replica.follow, self.replica.lose_leader):
            change()
            answer = ask(self.wire.site, "/v2/stats/leader")
            self.assertEqual((answer.status, answer.body), (403, b"not current leader\n"))


class StoreTests(StatisticsTest):
    """These tests are about C{/v2/stats/store}."""

    def ask_all(self, *requests: tuple[str, str, str]) -> None:
        """Sends these requests, each a method, a key and parameters."""
        for method, key, parameters in requests:
            ask(self.wire.site, f"/v2/keys/{key}?{parameters}", method)

    def test_each_kind_of_request_has_its_counters(self) -> None:
        """
        Each kind of request has a counter of its successes and one of its failures (api, "Store Statistics"; spec,
        "Other client endpoints").
        """
        before = self.json("/v2/stats/store")
        self.ask_all(
            *[("PUT", "a", "value=1")] * 5,
            *[("PUT", "a/b", "value=1")] * 2,
            ("PUT", "new", "value=1&prevExist=false"),
            *[("PUT", "new", "value=1&prevExist=false")] * 3,
            *[("POST", "queue", "value=1")] * 2,
            *[("PUT", "a", "value=2&prevExist=true")] * 3,
            *[("PUT", "missing", "value=2&prevExist=true")] * 4,
            *[("PUT", "a", "value=2&prevValue=2")] * 2,
            ("PUT", "a", "value=2&prevValue=other"),
            ("DELETE", "a", "prevValue=2"),
            *[("DELETE", "new", "prevValue=other")] * 2,
            ("DELETE", "new", ""),
            *[("DELETE", "new", "")] * 3,
            *[("GET", "queue", "")] * 4,
            *[("GET", "missing", "")] * 2,
            ("PUT", "brief", "value=1&ttl=1"),
        )
        channel, _ = connect(self.wire.site)
        channel.dataReceived(b"GET /v2/keys/queue?wait=true HTTP/1.1\r\nHost: x\r\n\r\n")
        self.wire.clock.advance(2)
        after = self.json("/v2/stats/store")
        self.assertEqual(
            {name: after[name] - before[name] for name in after},
            {
                "setsSuccess": 6,
                "setsFail": 2,
                "createSuccess": 3,
                "createFail": 3,
                "updateSuccess": 3,
                "updateFail": 4,
                "compareAndSwapSuccess": 2,
                "compareAndSwapFail": 1,
                "compareAndDeleteSuccess": 1,
                "compareAndDeleteFail": 2,
                "deleteSuccess": 1,
                "deleteFail": 3,
                "expireCount": 1,
                "getsSuccess": 4,
                "getsFail": 2,
                "watchers": 1,
            },
        )
