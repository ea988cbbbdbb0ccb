"""
Clients of simulated machines: HTTP over the simulated network, with everything that can happen to a connection.
"""

import json
import os
import subprocess
import sys
from typing import Any

import attrs
from treq.client import HTTPClient
from twisted.internet import error
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IAgent, IResponse
from zope.interface.verify import verifyObject

from etcd_twisted.client import Client
from etcd_twisted.testing import SimulatedCluster, SimulatedMachine, Weather
from etcd_twisted.testing.simulation.streams import MOST_RETRANSMISSION_SECONDS
from tests.testing.client_scenario import run

LOCK = "/mod/v2/lock/mylock"


class Body(Protocol):
    """The body of a response."""

    def __init__(self, response: IResponse) -> None:
        self.data = b""
        self.lost: Failure | None = None
        response.deliverBody(self)

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason

    @property
    def values(self) -> list[str]:
        """The values of the events that have come."""
        return [json.loads(line)["node"]["value"] for line in self.data.splitlines()]


class ClusterTest(SynchronousTestCase):
    """Tests of a cluster and its clients."""

    def setUp(self) -> None:
        self.cluster = self.enterContext(SimulatedCluster(seed=1))

    def start(self, size: int = 3) -> SimulatedMachine:
        """Starts a cluster, and returns its leader."""
        self.cluster.start(size)
        self.http = self.cluster.http()
        return self.cluster.await_leader()

    def request(
        self, method: str, machine: SimulatedMachine, path: str, http: HTTPClient | None = None, **options: Any
    ) -> "Deferred[tuple[int, Any]]":
        """Makes a request of a client. The Deferred fires with its status and the body, which is JSON."""

        async def read() -> tuple[int, Any]:
            client = self.http if http is None else http
            response = await client.request(method, machine.config.client_url + path, **options)
            return response.code, await response.json()

        return ensureDeferred(read())

    def answer(self, *arguments: Any, **options: Any) -> Any:
        """Makes a request as L{request} does, and returns the status and the body."""
        return self.cluster.result_of(self.request(*arguments, **options))

    def put(self, machine: SimulatedMachine, value: str) -> int:
        """Sets the key, and returns the status."""
        status: int = self.answer("PUT", machine, "/v2/keys/a", data={"value": value})[0]
        return status

    def watch(self, machine: SimulatedMachine) -> Body:
        """Returns the body of a stream of the changes of the key."""
        url = f"{machine.config.client_url}/v2/keys/a?wait=true&stream=true"
        response: IResponse = self.cluster.result_of(ensureDeferred(self.http.get(url, unbuffered=True)))
        return Body(response)


class RequestTests(ClusterTest):
    """Requests while nothing is wrong."""

    def test_each_machine_serves_its_client_url(self) -> None:
        """Each machine serves its client URL."""
        leader = self.start()
        self.assertEqual(self.put(leader, "1"), 201)
        self.cluster.settle()
        for machine in self.cluster.machines.values():
            status, body = self.answer("GET", machine, "/v2/keys/a")
            self.assertEqual((status, body["node"]["value"]), (200, "1"))
            self.assertEqual(self.answer("GET", machine, "/health")[1], {"health": "true"})

    def test_cluster_has_an_agent(self) -> None:
        verifyObject(IAgent, self.cluster.agent())

    def test_each_machine_serves_administrators(self) -> None:
        """Each machine serves administrators at its peer URL."""
        leader = self.start()
        url = f"{leader.config.peer_url}/v2/admin/machines"
        response: IResponse = self.cluster.result_of(ensureDeferred(self.http.get(url)))
        machines: Any = self.cluster.result_of(ensureDeferred(response.json()))
        self.assertEqual({each["name"] for each in machines}, {"machine0", "machine1", "machine2"})

    def test_a_follower_asks_the_leader(self) -> None:
        """It answers writes and consistent reads itself, and has what it has answered in its own copy."""
        self.start()
        for number, follower in enumerate(self.cluster.followers()):
            self.put(follower, f"{number}")
            for query in ("", "?consistent=true", "?quorum=true"):
                status, body = self.answer("GET", follower, f"/v2/keys/a{query}")
                self.assertEqual((status, body["node"]["value"]), (200, f"{number}"))

    def test_a_follower_has_locks(self) -> None:
        """
        Its clients get them, wait for them, and give them up when they go away, as the leader's do (spec, "Other
        client endpoints").
        """
        leader = self.start()
        first, second = self.cluster.followers()
        held = self.text("POST", first, data={"ttl": "60", "value": "first"})
        self.assertEqual(self.text("POST", first, data={"ttl": "60", "value": "first"}), held)
        lost = ensureDeferred(self.http.post(second.config.client_url + LOCK, data={"ttl": "60", "value": "lost"}))
        self.cluster.advance(1)
        waiting = ensureDeferred(
            self.http.post(second.config.client_url + LOCK, data={"ttl": "60", "value": "second"})
        )
        self.cluster.advance(1)
        for machine in (leader, first, second):
            self.assertEqual(self.text("GET", machine, "?field=value"), "first")
        lost.addErrback(lambda _: None)
        lost.cancel()
        self.cluster.advance(1)
        self.text("PUT", second, data={"ttl": "60", "index": held})
        self.text("DELETE", second, f"?index={held}")
        response: IResponse = self.cluster.result_of(waiting)
        self.assertEqual(response.code, 200)
        self.assertEqual(self.text("GET", first, "?field=value"), "second")
        self.assertEqual(self.answer("DELETE", first, f"{LOCK}?index={held}")[0], 404)

    def text(self, method: str, machine: SimulatedMachine, query: str = "", **options: Any) -> str:
        """Makes a request about a lock that succeeds, and returns the body."""

        async def read() -> str:
            response = await self.http.request(method, machine.config.client_url + LOCK + query, **options)
            self.assertEqual(response.code, 200)
            return await response.text()

        return self.cluster.result_of(ensureDeferred(read()))

    def test_a_waiting_client_of_a_follower_outlives_the_leader(self) -> None:
        """The next leader finds its entry again."""
        leader = self.start()
        (follower, _) = self.cluster.followers()
        held = self.text("POST", leader, data={"ttl": "60", "value": "first"})
        url = follower.config.client_url + LOCK
        waiting = ensureDeferred(self.http.post(url, data={"ttl": "60", "value": "second"}))
        self.cluster.advance(1)
        leader.crash()
        self.cluster.advance(5)
        self.text("DELETE", follower, f"?index={held}")
        response: IResponse = self.cluster.result_of(waiting)
        self.assertEqual(response.code, 200)
        self.assertEqual(self.text("GET", follower, "?field=value"), "second")

    def test_a_follower_waits_for_the_next_leader(self) -> None:
        """A write through a follower is made once the others have elected another leader."""
        leader = self.start()
        (follower, _) = self.cluster.followers()
        leader.crash()
        status, body = self.answer("POST", follower, "/v2/keys/queue", data={"value": "x"})
        self.assertEqual(status, 201, body)
        listed = self.answer("GET", follower, "/v2/keys/queue")[1]
        self.assertEqual([each["value"] for each in listed["node"]["nodes"]], ["x"])

    def test_a_follower_sends_clients_to_the_leader(self) -> None:
        """It does so if it is told to."""
        leader = self.start()
        (follower, *_) = self.cluster.followers()
        follower.crash()
        follower.config = attrs.evolve(follower.config, follower_requests="redirect")
        self.cluster.result_of(follower.launch())
        self.cluster.settle()
        url = f"{follower.config.client_url}/v2/keys/a"
        asked = ensureDeferred(self.http.put(url, data={"value": "1"}, allow_redirects=False))
        response: IResponse = self.cluster.result_of(asked)
        self.assertEqual(response.code, 307)
        self.assertEqual(response.headers.getRawHeaders("Location"), [f"{leader.config.client_url}/v2/keys/a"])

    def test_stream_has_each_event_after_it_happened(self) -> None:
        """A stream has each event, some time after it happened."""
        leader = self.start()
        body = self.watch(leader)
        for value in ("1", "2"):
            self.put(leader, value)
        self.cluster.advance(1)
        self.assertEqual(body.values, ["1", "2"])

    def test_it_takes_time(self) -> None:
        """A request takes four times what the network takes for a message, as the connection is made first."""
        leader = self.start()
        self.cluster.network.weather = Weather(latency=1.0, spread=(1.0, 1.0))
        began = self.cluster.clock.seconds()
        self.answer("GET", leader, "/v2/keys/")
        self.assertAlmostEqual(self.cluster.clock.seconds() - began, 4.0, places=2)
        began = self.cluster.clock.seconds()
        self.answer("GET", leader, "/v2/keys/")
        self.assertAlmostEqual(self.cluster.clock.seconds() - began, 2.0, places=2)

    def test_lost_packets_are_sent_again(self) -> None:
        """What is lost is sent again: all of it comes once, in order, and later."""
        leader = self.start()
        body = self.watch(leader)
        self.cluster.network.weather = Weather(loss=0.1, doubling=0.2, late=0.3)
        values = [str(number) for number in range(30)]
        for value in values:
            self.cluster.result_of(self.request("PUT", leader, "/v2/keys/a", data={"value": value}), 60)
        self.cluster.advance(10)
        self.assertEqual(body.values, values)

    def test_large_bodies_come_whole(self) -> None:
        """Large bodies come whole in both directions."""
        leader = self.start(1)
        for number in range(10):
            self.answer("PUT", leader, f"/v2/keys/d/{number}", data={"value": "x" * 500_000})
        status, body = self.answer("GET", leader, "/v2/keys/d")
        self.assertEqual((status, len(body["node"]["nodes"])), (200, 10))

    def test_the_clock_is_the_cluster_s(self) -> None:
        """A connection that is idle for a minute is closed, by the clock of the machine."""
        leader = self.start(1)
        self.put(leader, "1")
        ports = self.cluster.streams.listener(leader.config.addr)
        assert ports is not None
        site: Any = ports.factory(leader.config.addr.port)
        self.assertEqual(len(site.channels), 1)
        self.cluster.advance(63)
        self.assertEqual(len(site.channels), 0)
        self.assertEqual(self.put(leader, "2"), 200)

    def test_client_library_works_over_the_simulated_network(self) -> None:
        """The client library works over the simulated network, also when the leader is gone."""
        leader = self.start()
        urls = [machine.config.client_url for machine in self.cluster.machines.values()]
        client = Client(urls, reactor=self.cluster.clock, agent=self.cluster.agent())
        self.cluster.result_of(client.set("/a", "1"))
        leader.crash()
        self.cluster.advance(1)  # or the client can't know whether the machine still got its request
        self.cluster.result_of(client.set("/a", "2"), 30)
        reading = self.cluster.result_of(client.get("/a", quorum=True), 30)
        self.assertEqual(reading.node.value, "2")
        self.cluster.result_of(client.close())


class FaultTests(ClusterTest):
    """What happens to connections when something is wrong."""

    def failure(self, deferred: "Deferred[Any]", *kinds: type[Exception], seconds: float = 40.0) -> Exception:
        """Returns what a Deferred fails with."""
        return self.assertRaises(kinds, self.cluster.result_of, deferred, seconds)  # type: ignore[call-overload,no-any-return]

    def test_connection_to_no_process_is_refused(self) -> None:
        """Nobody listens where no process runs, or no machine ever was."""
        leader = self.start()
        leader.crash()
        self.failure(self.request("GET", leader, "/v2/keys/"), error.ConnectionRefusedError)
        unknown = ensureDeferred(self.http.get("http://10.0.0.1:4001/"))
        self.failure(unknown, error.ConnectionRefusedError)
        unsafe = ensureDeferred(self.http.get("https://127.0.0.1:10001/"))
        self.failure(unsafe, SchemeNotSupported)

    def test_crash_resets_connections(self) -> None:
        """The connections of a process that crashes are reset, and those of the next one work."""
        leader = self.start(1)
        body = self.watch(leader)
        poll = self.request("GET", leader, "/v2/keys/a?wait=true")
        self.cluster.advance(1)
        leader.crash()
        self.failure(poll, ResponseFailed, ResponseNeverReceived)
        assert body.lost is not None
        self.assertTrue(body.lost.check(ResponseFailed))
        leader.start()
        self.cluster.await_leader()
        self.assertEqual(self.put(leader, "1"), 201)
        self.assertEqual(body.values, [])

    def test_machine_that_stops_ends_its_watches(self) -> None:
        """A machine that stops in order ends its watches in order."""
        leader = self.start()
        body = self.watch(leader)
        self.put(leader, "1")
        leader.stop()
        self.cluster.advance_until(lambda: not leader.process)
        assert body.lost is not None
        self.assertTrue(body.lost.check(ResponseDone))
        self.assertEqual(body.values, ["1"])
        self.failure(self.request("GET", leader, "/v2/keys/"), error.ConnectionRefusedError)

    def test_a_stop_before_a_client_came(self) -> None:
        """A machine whose ports were never used closes them all the same."""
        leader = self.start(1)
        leader.stop()
        self.cluster.advance_until(lambda: not leader.process)
        self.failure(self.request("GET", leader, "/v2/keys/"), error.ConnectionRefusedError)

    def test_nothing_arrives_while_the_way_is_cut(self) -> None:
        """While the way is cut nothing arrives, and then all of it does."""
        leader = self.start()
        body = self.watch(leader)
        host = leader.name
        self.cluster.network.cut |= {("clients", host), (host, "clients")}
        asked = self.request("PUT", leader, "/v2/keys/a", data={"value": "1"})
        results: list[object] = []
        asked.addCallback(results.append)
        self.cluster.result_of(leader.put("/a", "2"))
        self.cluster.advance(20)
        self.assertEqual((results, body.values), ([], []))
        self.cluster.heal()
        self.cluster.advance(MOST_RETRANSMISSION_SECONDS + 1)
        self.assertEqual(len(results), 1)
        self.assertEqual(body.values, ["2", "1"])

    def test_only_answers_are_cut_off(self) -> None:
        """What a client has sent may be done although it hears nothing of it."""
        leader = self.start()
        self.put(leader, "1")
        self.cluster.network.cut.add((leader.name, "clients"))
        asked = self.request("PUT", leader, "/v2/keys/a", data={"value": "2"})
        self.cluster.advance(5)
        self.assertNoResult(asked)
        self.assertEqual(leader.get("/a"), "2")
        self.cluster.heal()
        self.cluster.result_of(asked)

    def test_no_connection_is_made(self) -> None:
        """Who tries to connect to a machine that is cut off gives up after a while; so does one that is paused."""
        leader = self.start()
        self.cluster.partition([leader], ["clients"])
        self.failure(self.request("GET", leader, "/v2/keys/"), error.TimeoutError)
        self.cluster.heal()
        leader.pause()
        self.failure(self.request("GET", leader, "/v2/keys/"), error.TimeoutError)
        leader.resume()
        self.cluster.advance(1)
        self.assertEqual(self.answer("GET", leader, "/v2/keys/")[0], 200)

    def test_paused_machine_answers_when_it_goes_on(self) -> None:
        """A paused machine answers when it goes on."""
        leader = self.start(1)
        self.put(leader, "1")
        leader.pause()
        asked = self.request("GET", leader, "/v2/keys/a")
        self.cluster.advance(5)
        self.assertNoResult(asked)
        leader.resume()
        self.assertEqual(self.cluster.result_of(asked)[0], 200)

    def test_a_crash_behind_a_cut(self) -> None:
        """
        A client that is cut off does not see a crash. Afterwards it learns of it when it sends something on the
        connection, but not while it waits.
        """
        leader = self.start(1)
        body = self.watch(leader)
        self.put(leader, "1")
        self.cluster.partition([leader], ["clients"])
        asked = self.request("PUT", leader, "/v2/keys/a", data={"value": "2"})
        leader.crash()
        leader.start()
        self.cluster.advance(2)
        self.cluster.heal()
        self.failure(asked, ResponseFailed, ResponseNeverReceived)
        self.cluster.advance(30)
        self.assertIsNone(body.lost)
        self.assertEqual(self.put(leader, "3"), 200)

    def test_hosts_of_their_own(self) -> None:
        """Clients of several hosts are cut off one by one, and on whichever side of a partition they are."""
        leader = self.start()
        (follower, *_) = others = self.cluster.followers()
        there = self.cluster.http("there")
        self.cluster.partition([leader, "there"], [*others, "clients"])
        self.assertEqual(self.answer("GET", leader, "/v2/stats/self", there)[0], 200)
        self.assertEqual(self.answer("GET", follower, "/v2/stats/self")[0], 200)
        waiting = self.request("GET", follower, "/v2/stats/self", there)
        self.cluster.advance(5)
        self.assertNoResult(waiting)
        self.cluster.heal()
        self.assertEqual(self.cluster.result_of(waiting)[0], 200)

    def test_an_isolated_machine(self) -> None:
        """A machine that is isolated from all others still has its clients, and soon no leader."""
        leader = self.start()
        self.put(leader, "1")
        self.cluster.isolate(leader)
        self.cluster.advance(5)
        status, body = self.answer("GET", leader, "/v2/keys/a")
        self.assertEqual((status, body["node"]["value"]), (200, "1"))
        status, _ = self.answer("GET", leader, "/v2/keys/a?quorum=true")
        self.assertGreaterEqual(status, 300)

    def test_a_client_that_gives_up(self) -> None:
        """A request that is cancelled closes its connection, and a machine forgets about it."""
        leader = self.start(1)
        self.put(leader, "1")
        listener = self.cluster.streams.listener(leader.config.addr)
        assert listener is not None
        site: Any = listener.factory(leader.config.addr.port)
        self.cluster.network.weather = Weather(latency=1.0, spread=(1.0, 1.0))
        waiting = self.request("GET", leader, "/v2/keys/a?quorum=true", http=self.cluster.http("there"))
        self.cluster.advance(3.5)
        self.assertEqual(len(site.channels), 2)
        waiting.cancel()
        self.failureResultOf(waiting)
        self.cluster.advance(1.1)
        self.assertEqual(len(site.channels), 1)

    def test_a_machine_that_moves(self) -> None:
        """It is no longer served where it was."""
        leader = self.start(1)
        self.put(leader, "1")
        before = leader.config.client_url
        leader.move()
        leader.start()
        self.cluster.await_leader()
        self.assertEqual(self.put(leader, "2"), 200)
        self.assertNotEqual(leader.config.client_url, before)
        self.failure(ensureDeferred(self.http.get(f"{before}/v2/keys/")), error.ConnectionRefusedError)


class SeedTests(SynchronousTestCase):
    """The same seed does the same."""

    def test_the_same_seed(self) -> None:
        """Also in another process, where sets are in another order."""
        digests = set()
        for hash_seed in ("0", "1"):
            environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
            program = [sys.executable, "-m", "tests.testing.client_scenario", "7"]
            done = subprocess.run(program, capture_output=True, text=True, check=True, env=environment)
            digests.add(done.stdout)
        self.assertEqual(len(digests), 1, digests)

    def test_another_seed_gives_another_run(self) -> None:
        self.assertNotEqual(run(7), run(8))
