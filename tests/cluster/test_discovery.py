"""
Tests of L{etcd_twisted.cluster.discovery}: which machine is the first, what the others find, and bad directories.
"""

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, fail, gatherResults, succeed
from twisted.internet.error import ConnectionRefusedError as RefusedError
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseFailed
from twisted.web.resource import Resource
from twisted.web.server import Site

from etcd_twisted.cluster.discovery import REFRESH_SECONDS, RETRY_SECONDS, TTL_SECONDS, Discovery, Registration
from etcd_twisted.cluster.http_client import RetryingHttpClient
from etcd_twisted.errors import ConfigError, StartError
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.testing.ports import free_ports
from tests.certificates import Authority
from tests.peer.scripted import Response, Said, Scripted, ServersTest, done, networked
from tests.wires import ServedTest

FIRST = "http://127.0.0.1:7001"
SECOND = "http://127.0.0.1:7002"
THIRD = "https://machine2.example.com:7003"


class FindTests(ServedTest):
    """Tests of discovery with this project's own client port."""

    def discovery(self, key: str = "/discovery/token") -> Discovery:
        return Discovery(networked(), f"http://127.0.0.1:{self.port}/v2/keys{key}")

    async def refusal(self, discovery: Discovery, name: str = "machine1", peer_url: str = SECOND) -> str:
        with self.assertRaises(StartError) as caught:
            await discovery.find(name, peer_url)
        self.assertEqual(len(str(caught.exception).splitlines()), 1)
        return str(caught.exception)

    async def test_machines_find_those_that_came_before(self) -> None:
        """
        The first machine finds nobody, and each other one finds those that came before it; nobody finds itself or the
        state key (spec, "Discovery").
        """
        self.assertEqual(await self.discovery().find("machine0", FIRST), [])
        self.assertEqual(await self.discovery().find("machine1", SECOND), [FIRST])
        self.assertEqual(set(await self.discovery().find("machine2", THIRD)), {FIRST, SECOND})

    async def test_registration_lasts_a_week(self) -> None:
        """
        The key is the machine's name, its value is the peer URL, and it expires after a week (spec, "Discovery").
        """
        await self.discovery().find("machine0", FIRST)
        node = self.replica.get("/discovery/token/machine0")
        self.assertEqual(node.value, FIRST)
        left = node.expires / 1e6 - reactor.seconds()
        self.assertTrue(TTL_SECONDS - 60 < left <= TTL_SECONDS, left)
        self.assertIsNone(self.replica.get("/discovery/token/_state").expires)

    async def test_one_of_many_is_the_first_and_found_by_all(self) -> None:
        """One machine is the first, and every other one finds it."""
        urls = {f"machine{number}": f"http://127.0.0.1:{7000 + number}" for number in range(8)}
        found = await gatherResults([ensureDeferred(self.discovery().find(name, url)) for name, url in urls.items()])
        (first,) = [url for url, peers in zip(urls.values(), found, strict=True) if not peers]
        for url, peers in zip(urls.values(), found, strict=True):
            self.assertTrue(url == first or first in peers, (first, url, peers))
            self.assertNotIn(url, peers)

    async def test_machine_that_lost_its_data_finds_the_others(self) -> None:
        """A machine that lost its data finds the others, but not itself, neither by its name nor by its address."""
        await self.discovery().find("machine0", FIRST)
        await self.discovery().find("machine1", SECOND)
        self.assertEqual(await self.discovery().find("machine0", FIRST), [SECOND])
        self.assertEqual(await self.discovery().find("renamed", FIRST), [SECOND])

    async def test_machine_of_a_cluster_finds_and_changes_nothing(self) -> None:
        """
        A machine that has been a member of a cluster only reads, and changes nothing even if it would be the first.
        """
        discovery = self.discovery()
        self.replica.keyspace.apply(Set("/discovery/token", 0, directory=True))
        self.assertEqual(await discovery.find_again("machine1", SECOND), [])
        self.assertEqual(self.replica.proposed, [])
        await self.discovery().find("machine0", FIRST)
        await self.discovery().find("machine2", THIRD)
        proposed = list(self.replica.proposed)
        self.assertEqual(set(await discovery.find_again("machine1", SECOND)), {FIRST, THIRD})
        self.assertEqual(await discovery.find_again("machine0", SECOND), [THIRD])
        self.assertEqual(self.replica.proposed, proposed)

    async def test_used_directory_is_refused(self) -> None:
        """A cluster was started and none of its machines is left, so this machine is not its first one."""
        self.replica.keyspace.apply(Set("/discovery/token/_state", 0, "started"))
        url = f"http://127.0.0.1:{self.port}/v2/keys/discovery/token"
        self.assertEqual(
            await self.refusal(self.discovery()),
            f"--discovery {url} can't be used: a cluster was started by it, and no other machine is registered there: "
            "give the URL of a new directory",
        )

    async def test_keys_that_are_no_machines_are_ignored(self) -> None:
        """Directories, and values that are no peer URLs, are ignored; the values of etcd 0.4 are not."""
        directory = "/discovery/token"
        for name, value in (("a", "nonsense"), ("b", "http://nobody"), ("c", ""), ("d", "http://[::1:1"),
                            ("e", "http://0.0.0.0:7001"),
                            ("machine0", FIRST), ("same", FIRST), ("slash", f"{THIRD}/")):  # fmt: skip
            self.replica.keyspace.apply(Set(f"{directory}/{name}", 0, value))
        self.replica.keyspace.apply(Set(f"{directory}/deeper/machine9", 0, "http://127.0.0.1:7009"))
        self.replica.keyspace.apply(Set(f"{directory}/_state", 0, "started"))
        self.assertEqual(set(await self.discovery().find("machine1", SECOND)), {FIRST, THIRD})

    async def test_what_is_no_directory_is_refused(self) -> None:
        """The error has the other cluster's own message and the remedy."""
        self.replica.keyspace.apply(Set("/file", 0, "value"))
        remedy = "give the URL of a directory, as in http://127.0.0.1:4001/v2/keys/discovery/TOKEN"
        text = await self.refusal(self.discovery("/file"))
        told = "its cluster answers with error 104: Not a directory (/file)"
        self.assertTrue(text.endswith(f"can't be used: {told}: {remedy}"), text)
        self.replica.keyspace.apply(Set("/full/machine1", 0, directory=True))
        self.assertIn("error 102: Not a file (/full/machine1)", await self.refusal(self.discovery("/full")))

    async def test_server_without_such_a_page_is_refused(self) -> None:
        discovery = Discovery(networked(), f"http://127.0.0.1:{self.port}/elsewhere", "ETCD_DISCOVERY")
        self.assertIn(
            f"ETCD_DISCOVERY http://127.0.0.1:{self.port}/elsewhere can't be used: "
            "PUT there was answered with status 404, and not as etcd does",
            await self.refusal(discovery),
        )

    async def test_hidden_name_is_refused(self) -> None:
        """A hidden name would not be listed, and might be that of the state key."""
        text = await self.refusal(self.discovery(), "_state")
        self.assertIn("it does not list names that begin with '_': give another --name than _state", text)
        self.assertEqual(self.replica.proposed, [])


class StrangerTests(ServersTest):
    """Tests with something at the URL that is not etcd."""

    async def refusal(self, url: str, attempts: int = 1) -> str:
        with self.assertRaises(StartError) as caught:
            await Discovery(networked(attempts), url).find("machine0", FIRST)
        text = str(caught.exception)
        self.assertEqual(len(text.splitlines()), 1)
        self.assertTrue(text.startswith(f"--discovery {url} can't be used: "), text)
        return text

    async def test_unreachable_directory_is_refused(self) -> None:
        """The error has the reason and the remedy."""
        (port,) = free_ports(1)
        text = await self.refusal(f"http://127.0.0.1:{port}/v2/keys/d", attempts=2)
        self.assertIn("refused", text)
        self.assertTrue(text.endswith(": see that the cluster that serves it runs, or give another URL"), text)
        with self.assertRaises(StartError) as caught:
            await Discovery(networked(), f"http://127.0.0.1:{port}/v2/keys/d").find_again("machine0", FIRST)
        self.assertEqual(str(caught.exception), text)

    async def test_unknown_host_is_refused(self) -> None:
        await self.refusal(f"http://{'.'.join(['a' * 63] * 3)}.invalid:4001/v2/keys/d")

    async def test_tls_on_one_side_is_refused(self) -> None:
        """TLS on one side alone, or with a certificate that nobody trusts, is refused."""
        authority = Authority(Path(self.mktemp()))
        certificate, key = authority.certificate("directory")
        options = PrivateCertificate.loadPEM(certificate.read_bytes() + key.read_bytes()).options()
        port = reactor.listenSSL(0, Site(Resource()), options, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number = port.getHost().port
        with_tls = f"http://127.0.0.1:{number}/v2/keys/d"
        without = self.answer_with(lambda _: (200, {}, b"")).replace("http:", "https:")
        for url in (with_tls, with_tls.replace("http:", "https:"), without):
            self.assertNotIn("SSL routines", await self.refusal(url))

    async def test_other_json_is_refused(self) -> None:
        """JSON over HTTP that is not from this API is refused."""
        for body in (b"", b"<html>", b"[]", b'{"node":1}', b'{"action":"set"}', b"\xff", b"[" * 100_000,
                     b'{"node":' + b'{"nodes":[' * 10_000):  # fmt: skip
            for status in (200, 412):
                text = await self.refusal(self.answer_with(lambda _, said=(status, {}, body): said))
                self.assertIn(f"PUT there was answered with status {status}, and not as etcd does", text)


class RedirectTests(ServedTest, ServersTest):
    """The other cluster's machine redirects writes, and reads that must not be stale, to its leader."""

    async def test_redirects_to_the_leader_are_followed(self) -> None:
        """The machine finds what the leader knows."""
        redirected = []

        def answer(request: Any) -> Said:
            redirected.append((request.method, request.uri))
            return 307, {"Location": f"http://127.0.0.1:{self.port}{request.uri.decode()}"}, b""

        url = f"{self.answer_with(answer)}/v2/keys/d"
        self.assertEqual(await Discovery(networked(), url).find("machine0", FIRST), [])
        self.assertEqual(self.replica.get("/d/machine0").value, FIRST)
        self.assertEqual(await Discovery(networked(), f"{url}/").find("machine1", SECOND), [FIRST])
        self.assertIn((b"PUT", b"/v2/keys/d/_state?prevExist=false"), redirected)
        self.assertIn((b"GET", b"/v2/keys/d?quorum=true"), redirected)


class LostAnswerTests(SynchronousTestCase):
    """The other cluster carries out a request, and its answer is lost."""

    def test_lost_response_to_the_state_still_makes_a_first_machine(self) -> None:
        """
        The machine that made the state key is the first machine, even if the answer is that the key exists already.
        """
        clock = Clock()
        states: list[str] = []

        def answer(method: str, path: str, _query: object, form: dict[str, str]) -> "Deferred[Response]":
            if not path.endswith("/_state"):
                return done(path, form["value"])
            if method == "GET":
                return done(path, states[0])
            states.append(form["value"])
            if len(states) == 1:
                return fail(ResponseFailed([Failure(RefusedError())]))
            return succeed(Response(412, {"errorCode": 105, "message": "Key already exists", "cause": "/d/_state"}))

        http = Scripted(answer)
        discovery = Discovery(RetryingHttpClient(clock, http, attempts=2), "http://x/d")
        finding = ensureDeferred(discovery.find("machine0", FIRST))
        self.assertNoResult(finding)
        clock.advance(0.5)
        self.assertEqual(self.successResultOf(finding), [])
        self.assertEqual(http.asked, ["PUT /d/machine0", "PUT /d/_state", "PUT /d/_state", "GET /d/_state"])


class RegistrationTests(SynchronousTestCase):
    """Tests that a machine stays registered while it runs."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.works = True
        self.http = Scripted(self.answer)
        discovery = Discovery(RetryingHttpClient(self.clock, self.http, 1), "http://x/d")
        self.registration = Registration(self.clock, discovery, "machine0", FIRST)

    def answer(self, _method: str, path: str, _query: object, form: dict[str, str]) -> "Deferred[Response]":
        return done(path, form["value"]) if self.works else fail(RefusedError())

    def stop(self) -> None:
        self.successResultOf(ensureDeferred(self.registration.stop()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_registration_is_refreshed_daily(self) -> None:
        """The registration is refreshed a day after it was made, and then every day (spec, "Discovery")."""
        self.registration.start(REFRESH_SECONDS)
        self.clock.advance(REFRESH_SECONDS - 1)
        self.assertEqual(self.http.asked, [])
        self.clock.advance(1)
        self.assertEqual(self.http.asked, ["PUT /d/machine0"])
        self.clock.advance(REFRESH_SECONDS)
        self.assertEqual(len(self.http.asked), 2)
        self.stop()

    def test_registration_can_be_made_at_once(self) -> None:
        """A machine that had no need to look for others registers itself all the same."""
        self.registration.start(0.0)
        self.clock.advance(0)
        self.assertEqual(self.http.asked, ["PUT /d/machine0"])
        self.stop()

    def test_failed_registration_is_tried_again(self) -> None:
        """A failed registration is tried again soon, and nobody has to wait for it."""
        self.works = False
        self.registration.start(0.0)
        self.clock.advance(0)
        self.clock.advance(RETRY_SECONDS)
        self.assertEqual(len(self.http.asked), 2)
        self.works = True
        self.clock.advance(RETRY_SECONDS)
        self.assertEqual(len(self.http.asked), 3)
        self.clock.advance(REFRESH_SECONDS - 1)
        self.assertEqual(len(self.http.asked), 3)
        self.stop()

    def test_registration_is_stopped_during_a_request(self) -> None:
        """Stopping cancels the request."""
        self.http.answer = lambda *_: Deferred()
        self.registration.start(0.0)
        self.clock.advance(0)
        self.assertEqual(len(self.http.asked), 1)
        self.stop()
        self.stop()


class UrlTests(SynchronousTestCase):
    """Tests that a URL that can't be a directory is refused without a request."""

    def test_bad_directory_urls_are_refused(self) -> None:
        bad = [
            "",
            "token",
            "127.0.0.1:4001",
            "ftp://127.0.0.1/d",
            "http://",
            "http://:80/d",
            "http://x:0/d",
            "http://[",
        ]
        bad += ["http://x:99999/d", "http://x/d?a=b", "http://x/d#a", "http://a:b@x/d", "http://x/a b", "http://x/\n"]
        for url in bad:
            with self.assertRaises(ConfigError) as caught:
                Discovery(networked(), url, "ETCD_DISCOVERY")
            text = str(caught.exception)
            self.assertTrue(text.startswith(f"ETCD_DISCOVERY {url!r}: is not the URL of a directory; "), text)
