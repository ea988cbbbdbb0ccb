"""
What the statistics show of load that the test makes: three machines, and clients that ask each of them.

The test sets the clock, a message takes a millisecond, and a disk takes no time, so each figure is known beforehand.
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
"""How many writes there are in a second."""


class LoadTest(ClusterTestCase):
    """Three machines, each with its client port."""

    def setUp(self) -> None:
        self.group = self.cluster()
        self.group.start(3)
        self.leader = self.group.leader
        self.followers = self.group.followers
        self.sites = {machine.id: self.serve(machine) for machine in self.group.running}

    def serve(self, machine: ClusterMachine) -> Site:
        clock, usage = machine.clock, Usage()
        pages = ClientPages(machine.replica, clock, usage)
        return Site(clock, pages, KeyEndpoint(machine.replica, clock), Limits(1_000, 10_000, 10.0, 10.0), usage)

    def request(self, machine: ClusterMachine, method: str, path: str) -> Answer:
        """Sends a request to a machine, and runs the cluster until it is answered."""
        channel, transport = connect(self.sites[machine.id])
        channel.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.group.advance_until(lambda: b"\r\n\r\n" in transport.value())
        (answer,) = read_answers(transport.value(), method)
        transport.client_goes()
        return answer

    def page(self, machine: ClusterMachine, name: str) -> dict[str, Any]:
        answer = ask(self.sites[machine.id], f"/v2/stats/{name}")
        self.assertEqual(answer.status, 200)
        page: dict[str, Any] = json.loads(answer.body)
        return page

    def grown(self, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
        """Returns the counters that grew, each with the difference."""
        return {name: after[name] - before[name] for name in after if after[name] != before[name]}

    def wait_for_quiet(self) -> None:
        """Waits until no message is on its way, a moment after a heartbeat was answered."""
        traffic = self.leader.replica.traffic
        sent = traffic.sent.count
        self.group.advance_until(lambda: traffic.sent.count > sent)
        self.group.advance(10 * LATENCY)

    def assertNear(self, value: float, expected: float) -> None:
        self.assertLess(abs(value - expected), 0.05 * expected, f"{value} is not {expected}")


class StoreTests(LoadTest):
    """These tests are about C{/v2/stats/store} (api, "Store Statistics")."""

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

    def test_changes_are_counted_everywhere(self) -> None:
        """Each machine counts each kind of change as often as it was asked for."""
        before = {machine.id: self.page(machine, "store") for machine in self.group.running}
        expected: dict[str, int] = {}
        for method, path, counter in self.CHANGES * 3:
            self.request(self.leader, method, path)
            if counter is not None:
                expected[counter] = expected.get(counter, 0) + 1
        self.group.settle()
        for machine in self.group.running:
            self.assertEqual(self.grown(before[machine.id], self.page(machine, "store")), expected)

    def test_reads_and_watchers_are_counted_where_they_are(self) -> None:
        before = {machine.id: self.page(machine, "store") for machine in self.group.running}
        self.request(self.leader, "PUT", "/v2/keys/k?value=v")
        self.group.settle()
        for times, machine in enumerate(self.group.running, 1):
            for _ in range(times):
                self.request(machine, "GET", "/v2/keys/k")
                self.request(machine, "GET", "/v2/keys/?recursive=true")
                self.request(machine, "GET", "/v2/keys/none")
            for _ in range(times):
                connect(self.sites[machine.id])[0].dataReceived(
                    b"GET /v2/keys/w?wait=true&stream=true HTTP/1.1\r\nHost: x\r\n\r\n"
                )
        for times, machine in enumerate(self.group.running, 1):
            self.assertEqual(
                self.grown(before[machine.id], self.page(machine, "store")),
                {"setsSuccess": 1, "getsSuccess": 2 * times, "getsFail": times, "watchers": times},
            )

    def test_expired_keys_are_counted_everywhere(self) -> None:
        for number in range(5):
            self.request(self.leader, "PUT", f"/v2/keys/k{number}?value=v&ttl=1")
        self.group.advance(1.5)
        for machine in self.group.running:
            self.assertEqual(self.page(machine, "store")["expireCount"], 5)


class SelfTests(LoadTest):
    """These tests are about C{/v2/stats/self} (api, "Self Statistics")."""

    def counts(self) -> list[int]:
        """Returns how many requests to append the leader has sent, and how many each follower has received."""
        sent = self.page(self.leader, "self")["sendAppendRequestCnt"]
        return [sent, *(self.page(each, "self")["recvAppendRequestCnt"] for each in self.followers)]

    def test_every_sent_message_is_received(self) -> None:
        """The counts agree to the last request, with load and without."""
        for writes in (0, 50):
            self.wait_for_quiet()
            before = self.counts()
            for number in range(writes):
                self.request(self.leader, "PUT", f"/v2/keys/k{number}?value=v")
            self.group.advance(1.0)
            self.wait_for_quiet()
            sent, *received = [after - earlier for after, earlier in zip(self.counts(), before, strict=True)]
            self.assertGreaterEqual(sent, 2 * writes)
            self.assertEqual(sum(received), sent)

    def test_rates_are_of_the_last_minute(self) -> None:
        """Each machine shows the rates of its role, in requests and bytes a second, under steady load."""
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
            self.group.advance(end - self.group.clock.seconds())

    def bytes(self) -> list[int]:
        """Returns how many bytes of messages the leader has sent, and how many each follower has received."""
        sent = sum(peer.sent for peer in self.leader.replica.traffic.peers.values())
        return [sent, *(each.replica.traffic.peers[self.leader.id].received for each in self.followers)]

    def test_every_machine_names_the_leader(self) -> None:
        """The page also has the machine's name, its role, and the leader's uptime."""
        self.group.advance(90.0)
        for machine in self.group.running:
            page = self.page(machine, "self")
            state = "leader" if machine is self.leader else "follower"
            self.assertEqual((page["name"], page["state"]), (machine.machine.name, state))
            self.assertEqual(page["leaderInfo"]["leader"], self.leader.machine.name)
            self.assertRegex(page["leaderInfo"]["uptime"], r"^1m3\d(\.\d+)?s$")


class LeaderTests(LoadTest):
    """These tests are about C{/v2/stats/leader} (api, "Leader Statistics")."""

    def follower(self, machine: ClusterMachine) -> dict[str, Any]:
        page = self.page(self.leader, "leader")
        self.assertEqual(page["leader"], self.leader.machine.name)
        self.assertEqual(set(page["followers"]), {each.machine.name for each in self.followers})
        found: dict[str, Any] = page["followers"][machine.machine.name]
        return found

    def test_successes_and_failures_are_counted(self) -> None:
        """Every heartbeat is a success, and a machine that crashes makes its sends fail."""
        self.wait_for_quiet()
        before = [self.follower(each)["counts"] for each in self.followers]
        sent = self.leader.replica.traffic.sent.count
        self.group.advance(10.0)
        self.wait_for_quiet()
        sent = self.leader.replica.traffic.sent.count - sent
        for each, earlier in zip(self.followers, before, strict=True):
            self.assertEqual(self.grown(earlier, self.follower(each)["counts"]), {"success": sent // 2})
            self.assertEqual(earlier["fail"], 0)
        failing, other = self.followers
        failing.crash()
        self.group.advance(1.0)
        self.assertGreaterEqual(self.follower(failing)["counts"]["fail"], 1)
        self.assertEqual(self.follower(other)["counts"]["fail"], 0)

    def test_latencies_are_round_trips_in_milliseconds(self) -> None:
        """Earlier ones count in every figure except the current one."""
        self.group.network.weather.latency = 2 * LATENCY
        self.group.advance(1.0)
        self.group.network.weather.latency = LATENCY
        self.group.advance(0.5)
        before = [self.follower(each) for each in self.followers]
        for number in range(50):
            self.request(self.leader, "PUT", f"/v2/keys/k{number}?value=v")
        self.group.advance(1.0)
        for each, earlier in zip(self.followers, before, strict=True):
            now = self.follower(each)
            latency = now["latency"]
            for name in ("current", "minimum"):
                self.assertNear(latency[name], 2e3 * LATENCY)
            self.assertNear(self.mean(earlier, now), 2e3 * LATENCY)
            self.assertEqual(latency["maximum"], earlier["latency"]["maximum"])
            self.assertLess(latency["standardDeviation"], earlier["latency"]["standardDeviation"])

    def mean(self, before: dict[str, Any], after: dict[str, Any]) -> float:
        """Returns the average of the latencies since then."""
        first, second = before["counts"]["success"], after["counts"]["success"]
        total = after["latency"]["average"] * second - before["latency"]["average"] * first
        return float(total / (second - first))

    def test_slow_disk_raises_one_latency(self) -> None:
        """The latencies of the other followers stay as they were."""
        slow, other = self.followers
        before = self.follower(other)["latency"]["maximum"]
        slow.disk_thread.held = True
        write = self.leader.set("/k")
        self.group.advance(0.15)
        slow.disk_thread.held = False
        self.group.result_of(write)
        self.group.advance(0.5)
        self.assertNear(self.follower(slow)["latency"]["maximum"], 150.0)
        self.assertEqual(self.follower(other)["latency"]["maximum"], before)
