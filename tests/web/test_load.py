"""
What the statistics say of load that is made here: three machines, and clients that ask each of them.

The clock is the test's, a message takes a millisecond, and a disk no time: so each figure is known beforehand.
"""

import json
from typing import Any

from etcd_twisted.httpd.limits import Limits
from etcd_twisted.httpd.site import Site
from etcd_twisted.httpd.usage import Usage
from etcd_twisted.web.app import ClientPages
from etcd_twisted.web.keys import KeyEndpoint
from tests.consensus.cluster import LATENCY, ClusterMachine, ClusterTestCase
from tests.wires import Answer, ask, connect, read_answers

WRITES = 20
"""How many a second."""


class LoadTest(ClusterTestCase):
    """Three machines, each with its client port."""

    def setUp(self) -> None:
        self.group = self.cluster()
        self.group.start(3)
        self.leader = self.group.leader
        self.followers = self.group.followers
        self.sites = {machine.id: self.serve(machine) for machine in self.group.up}

    def serve(self, machine: ClusterMachine) -> Site:
        clock, usage = machine.clock, Usage()
        pages = ClientPages(machine.replica, clock, usage)
        return Site(clock, pages, KeyEndpoint(machine.replica, clock), Limits(1_000, 10_000, 10.0, 10.0), usage)

    def request(self, machine: ClusterMachine, method: str, path: str) -> Answer:
        """Ask a machine, and let happen what has to until it answers."""
        channel, transport = connect(self.sites[machine.id])
        channel.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.group.run_until(lambda: b"\r\n\r\n" in transport.value())
        (answer,) = read_answers(transport.value(), method)
        transport.client_goes()
        return answer

    def page(self, machine: ClusterMachine, name: str) -> dict[str, Any]:
        answer = ask(self.sites[machine.id], f"/v2/stats/{name}")
        self.assertEqual(answer.status, 200)
        page: dict[str, Any] = json.loads(answer.body)
        return page

    def grown(self, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
        """What is larger than it was, and by how much."""
        return {name: after[name] - before[name] for name in after if after[name] != before[name]}

    def wait_for_quiet(self) -> None:
        """Until nothing is on its way: a moment after a heartbeat was answered."""
        traffic = self.leader.replica.traffic
        sent = traffic.sent.count
        self.group.run_until(lambda: traffic.sent.count > sent)
        self.group.run(10 * LATENCY)

    def assertNear(self, value: float, expected: float) -> None:
        self.assertLess(abs(value - expected), 0.05 * expected, f"{value} is not {expected}")


class StoreTests(LoadTest):
    """C{/v2/stats/store} (api, "Store Statistics")."""

    CHANGES = (
        ("PUT", "/v2/keys/k?value=a", "setsSuccess"),
        ("PUT", "/v2/keys/k/below?value=a", "setsFail"),
        ("PUT", "/v2/keys/k?value=b&prevExist=true", "updateSuccess"),
        ("PUT", "/v2/keys/k?prevExist=true&refresh=true&ttl=100", "updateSuccess"),
        ("PUT", "/v2/keys/none?value=b&prevExist=true", "updateFail"),
        ("PUT", "/v2/keys/new?value=a&prevExist=false", "createSuccess"),
        ("PUT", "/v2/keys/k?value=a&prevExist=false", "createFail"),
        ("POST", "/v2/keys/queue?value=a", "createSuccess"),
        ("PUT", "/v2/keys/k?value=c&prevValue=b", "compareAndSwapSuccess"),
        ("PUT", "/v2/keys/k?value=c&prevValue=b", "compareAndSwapFail"),
        ("DELETE", "/v2/keys/k?prevValue=b", "compareAndDeleteFail"),
        ("DELETE", "/v2/keys/k?prevValue=c", "compareAndDeleteSuccess"),
        ("DELETE", "/v2/keys/new", "deleteSuccess"),
        ("DELETE", "/v2/keys/new", "deleteFail"),
        ("PUT", "/v2/keys/k?value=a&ttl=x", None),
    )

    def test_changes(self) -> None:
        """Each is counted on every machine, as what it is, and as often as it was asked for."""
        before = {machine.id: self.page(machine, "store") for machine in self.group.up}
        expected: dict[str, int] = {}
        for method, path, counter in self.CHANGES * 3:
            self.request(self.leader, method, path)
            if counter is not None:
                expected[counter] = expected.get(counter, 0) + 1
        self.group.settle()
        for machine in self.group.up:
            self.assertEqual(self.grown(before[machine.id], self.page(machine, "store")), expected)

    def test_reads_and_watchers(self) -> None:
        """They are counted where they were."""
        before = {machine.id: self.page(machine, "store") for machine in self.group.up}
        self.request(self.leader, "PUT", "/v2/keys/k?value=v")
        self.group.settle()
        for times, machine in enumerate(self.group.up, 1):
            for _ in range(times):
                self.request(machine, "GET", "/v2/keys/k")
                self.request(machine, "GET", "/v2/keys/?recursive=true")
                self.request(machine, "GET", "/v2/keys/none")
            for _ in range(times):
                connect(self.sites[machine.id])[0].dataReceived(
                    b"GET /v2/keys/w?wait=true&stream=true HTTP/1.1\r\nHost: x\r\n\r\n"
                )
        for times, machine in enumerate(self.group.up, 1):
            self.assertEqual(
                self.grown(before[machine.id], self.page(machine, "store")),
                {"setsSuccess": 1, "getsSuccess": 2 * times, "getsFail": times, "watchers": times},
            )

    def test_expiry(self) -> None:
        """On every machine."""
        for number in range(5):
            self.request(self.leader, "PUT", f"/v2/keys/k{number}?value=v&ttl=1")
        self.group.run(1.5)
        for machine in self.group.up:
            self.assertEqual(self.page(machine, "store")["expireCount"], 5)


class SelfTests(LoadTest):
    """C{/v2/stats/self} (api, "Self Statistics")."""

    def counts(self) -> list[int]:
        """How many requests to append the leader has sent, and each follower has received."""
        sent = self.page(self.leader, "self")["sendAppendRequestCnt"]
        return [sent, *(self.page(each, "self")["recvAppendRequestCnt"] for each in self.followers)]

    def test_what_is_sent_is_received(self) -> None:
        """Under load and without, to the last request."""
        for writes in (0, 50):
            self.wait_for_quiet()
            before = self.counts()
            for number in range(writes):
                self.request(self.leader, "PUT", f"/v2/keys/k{number}?value=v")
            self.group.run(1.0)
            self.wait_for_quiet()
            sent, *received = [after - earlier for after, earlier in zip(self.counts(), before, strict=True)]
            self.assertGreaterEqual(sent, 2 * writes)
            self.assertEqual(sum(received), sent)

    def test_rates(self) -> None:
        """Those of the role, in requests and bytes a second, over the last minute of steady load."""
        self.write_steadily(10)
        before, bytes_before = self.counts(), self.bytes()
        self.write_steadily(60)
        after, bytes_after = self.counts(), self.bytes()
        for machine, kind, earlier, later, less, more in zip(
            (self.leader, *self.followers),
            ("send", "recv", "recv"),
            before,
            after,
            bytes_before,
            bytes_after,
            strict=True,
        ):
            page = self.page(machine, "self")
            self.assertNear(page[f"{kind}PkgRate"], (later - earlier) / 60)
            self.assertNear(page[f"{kind}BandwidthRate"], (more - less) / 60)
            other = "recv" if kind == "send" else "send"
            self.assertEqual([name for name in page if name in (f"{other}PkgRate", f"{other}BandwidthRate")], [])

    def write_steadily(self, seconds: int) -> None:
        for _ in range(seconds):
            end = self.group.clock.seconds() + 1.0
            for number in range(WRITES):
                self.request(self.leader, "PUT", f"/v2/keys/k{number}?value=v")
            self.group.run(end - self.group.clock.seconds())

    def bytes(self) -> list[int]:
        """How many bytes of messages the leader has sent, and each follower has received."""
        sent = sum(peer.sent for peer in self.leader.replica.traffic.peers.values())
        return [sent, *(each.replica.traffic.peers[self.leader.id].received for each in self.followers)]

    def test_who_and_since_when(self) -> None:
        """Names, roles and times."""
        self.group.run(90.0)
        for machine in self.group.up:
            page = self.page(machine, "self")
            state = "leader" if machine is self.leader else "follower"
            self.assertEqual((page["name"], page["state"]), (machine.machine.name, state))
            self.assertEqual(page["leaderInfo"]["leader"], self.leader.machine.name)
            self.assertRegex(page["leaderInfo"]["uptime"], r"^1m3\d(\.\d+)?s$")


class LeaderTests(LoadTest):
    """C{/v2/stats/leader} (api, "Leader Statistics")."""

    def follower(self, machine: ClusterMachine) -> dict[str, Any]:
        page = self.page(self.leader, "leader")
        self.assertEqual(page["leader"], self.leader.machine.name)
        self.assertEqual(set(page["followers"]), {each.machine.name for each in self.followers})
        found: dict[str, Any] = page["followers"][machine.machine.name]
        return found

    def test_counts(self) -> None:
        """Every heartbeat is answered; nothing fails before somebody does, and then once."""
        self.wait_for_quiet()
        before = [self.follower(each)["counts"] for each in self.followers]
        sent = self.leader.replica.traffic.sent.count
        self.group.run(10.0)
        self.wait_for_quiet()
        sent = self.leader.replica.traffic.sent.count - sent
        for each, earlier in zip(self.followers, before, strict=True):
            self.assertEqual(self.grown(earlier, self.follower(each)["counts"]), {"success": sent // 2})
            self.assertEqual(earlier["fail"], 0)
        failing, other = self.followers
        failing.crash()
        self.group.run(1.0)
        self.assertGreaterEqual(self.follower(failing)["counts"]["fail"], 1)
        self.assertEqual(self.follower(other)["counts"]["fail"], 0)

    def test_latencies(self) -> None:
        """In milliseconds: there and back. What was before has its part in all but the last."""
        self.group.network.weather.latency = 2 * LATENCY
        self.group.run(1.0)
        self.group.network.weather.latency = LATENCY
        self.group.run(0.5)
        before = [self.follower(each) for each in self.followers]
        for number in range(50):
            self.request(self.leader, "PUT", f"/v2/keys/k{number}?value=v")
        self.group.run(1.0)
        for each, earlier in zip(self.followers, before, strict=True):
            now = self.follower(each)
            latency = now["latency"]
            for name in ("current", "minimum"):
                self.assertNear(latency[name], 2e3 * LATENCY)
            self.assertNear(self.mean(earlier, now), 2e3 * LATENCY)
            self.assertEqual(latency["maximum"], earlier["latency"]["maximum"])
            self.assertLess(latency["standardDeviation"], earlier["latency"]["standardDeviation"])

    def mean(self, before: dict[str, Any], after: dict[str, Any]) -> float:
        """The average of the latencies since then."""
        first, second = before["counts"]["success"], after["counts"]["success"]
        total = after["latency"]["average"] * second - before["latency"]["average"] * first
        return float(total / (second - first))

    def test_slow_disk(self) -> None:
        """It is in the latency of one, and not of the others."""
        slow, other = self.followers
        before = self.follower(other)["latency"]["maximum"]
        slow.disk.held = True
        write = self.leader.set("/k")
        self.group.run(0.15)
        slow.disk.held = False
        self.group.finish(write)
        self.group.run(0.5)
        self.assertNear(self.follower(slow)["latency"]["maximum"], 150.0)
        self.assertEqual(self.follower(other)["latency"]["maximum"], before)
