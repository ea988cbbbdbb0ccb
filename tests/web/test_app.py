"""
The pages other than those of keys.
"""

import gc
import json
import re
import weakref
from typing import Any

from klein.interfaces import IKleinRequest
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted import __version__
from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.testing.replica import MACHINE, OTHER
from etcd_twisted.web.api_options import ApiOptions
from etcd_twisted.web.redirects import MIN_LEADER_WAIT_SECONDS
from etcd_twisted.web.statistics import go_duration
from tests.wires import Answer, Wire, ask, read_answers

PAGES = (
    "/version",
    "/health",
    "/metrics",
    "/v2/machines",
    "/v2/peers",
    "/v2/leader",
    "/v2/stats/store",
    "/v2/stats/self",
    "/v2/stats/leader",
)


class AppTests(SynchronousTestCase):
    """These tests ask for each page through the server."""

    def setUp(self) -> None:
        self.wire = Wire()
        self.replica = self.wire.replica
        self.addCleanup(self.wire.stop)

    def test_a_request_leaves_little_behind(self) -> None:
        """Klein leaves it in a cycle. What it holds goes at once, as the garbage collector may not come for a day."""
        gc.disable()
        self.addCleanup(gc.enable)
        self.replica.lose_leader()
        channel, transport = self.wire.connect()
        channel.dataReceived(b"DELETE /v2/members/x HTTP/1.1\r\nHost: x\r\n\r\n")
        held = weakref.ref(IKleinRequest(channel.requests[0]))
        self.assertIsNotNone(held())
        self.wire.clock.advance(MIN_LEADER_WAIT_SECONDS)
        (answer,) = read_answers(transport.value(), "DELETE")
        self.assertEqual(answer.status, 500)
        self.assertIsNone(held())

    def ask(self, path: str, method: str = "GET", fields: str = "") -> Answer:
        return ask(self.wire.site, path, method, fields)

    def text(self, path: str) -> str:
        answer = self.ask(path, fields="Accept: */*\r\n")
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "text/plain; charset=utf-8"))
        return answer.body.decode()

    def json(self, path: str, fields: str = "") -> dict[str, Any]:
        answer = self.ask(path, fields=fields)
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "application/json"))
        decoded: dict[str, Any] = json.loads(answer.body)
        return decoded

    def test_version_is_text_or_json(self) -> None:
        """
        The page is text, or JSON for a client that asks for JSON or for no type in particular (api, "Getting the etcd
        version"; spec, "Later additions").
        """
        self.assertEqual(self.text("/version"), f"etcd_twisted {__version__}")
        asked = self.json("/version", "Accept: text/html, Application/JSON;q=0.9\r\n")
        self.assertEqual(asked, {"etcdserver": __version__, "etcdcluster": __version__})
        self.assertEqual(self.json("/version"), asked)

    def test_version_is_json_if_configured(self) -> None:
        """The page is then JSON for a client that accepts anything, too."""
        self.wire.stop()
        self.wire = Wire(options=ApiOptions(json_version=True))
        for accepted in ("*/*", "text/plain"):
            shown = self.json("/version", f"Accept: {accepted}\r\n")
            self.assertEqual(shown, {"etcdserver": __version__, "etcdcluster": __version__})

    def test_machines_are_listed(self) -> None:
        """The leader comes first, on both pages (spec, "Other client endpoints")."""
        self.replica.register(OTHER)
        for page in ("/v2/machines", "/v2/peers"):
            self.assertEqual(self.text(page), "http://127.0.0.1:4001, http://127.0.0.1:4002")
        self.replica.follow()
        self.assertEqual(self.text("/v2/machines"), "http://127.0.0.1:4002, http://127.0.0.1:4001")
        self.replica.lose_leader()
        self.assertEqual(self.text("/v2/machines"), "http://127.0.0.1:4001, http://127.0.0.1:4002")

    def test_machines_without_a_client_url_are_left_out(self) -> None:
        """A machine of a static list that has not come yet has told nobody where it serves clients."""
        self.patch(self.replica, "machines", lambda: [MACHINE, Machine("machine2", "", "http://127.0.0.1:7003")])
        self.assertEqual(self.text("/v2/machines"), "http://127.0.0.1:4001")
        (shown,) = (each for each in json.loads(self.ask("/v2/members").body)["members"] if each["name"] == "machine2")
        self.assertEqual((shown["peerURLs"], shown["clientURLs"]), (["http://127.0.0.1:7003"], []))

    def test_machines_of_no_cluster_are_an_error(self) -> None:
        """A client would take an empty list for the answer."""
        self.patch(self.replica, "machines", list)
        for page in ("/v2/machines", "/v2/peers"):
            answer = self.ask(page)
            self.assertEqual((answer.status, json.loads(answer.body)["errorCode"]), (500, 300))

    def test_leader_is_a_peer_url(self) -> None:
        """Without a leader there is error 301 (spec, "Other client endpoints")."""
        self.assertEqual(self.text("/v2/leader"), "http://127.0.0.1:7001")
        self.replica.follow()
        self.assertEqual(self.text("/v2/leader"), "http://127.0.0.1:7002")
        self.replica.lose_leader()
        answer = self.ask("/v2/leader")
        self.assertEqual((answer.status, answer.headers["X-Etcd-Index"]), (500, "1"))
        self.assertEqual(json.loads(answer.body)["errorCode"], 301)

    def test_machine_without_a_leader_is_not_healthy(self) -> None:
        """
        The body has exactly this space. A machine is not healthy without a leader or before it has a copy to read
        (spec, "Later additions").
        """
        healthy, unhealthy = (200, b'{"health": "true"}'), (503, b'{"health": "false"}')
        for change, expected in (
            (self.replica.lead, healthy),
            (self.replica.follow, healthy),
            (self.replica.lose_leader, unhealthy),
            (lambda: self.replica.stand_by(None), unhealthy),
            (self.replica.stand_by, healthy),
        ):
            change()
            answer = self.ask("/health")
            self.assertEqual((answer.status, answer.body), expected)
        self.replica.standby = False
        self.assertEqual(self.ask("/health").status, 503)

    def test_store_statistics_are_counted(self) -> None:
        self.replica.propose(Set("/k", 0, "v"))
        statistics = self.json("/v2/stats/store")
        self.assertEqual((statistics["setsSuccess"], statistics["watchers"]), (2, 0))

    def test_head_has_the_headers_of_get(self) -> None:
        """Only the date differs, and on C{/metrics} the length, which changes with the process."""
        for page in PAGES:
            head, answer = self.ask(page, "HEAD"), self.ask(page)
            for changing in ("Date", "Content-Length") if page == "/metrics" else ("Date",):
                del head.headers[changing], answer.headers[changing]
            self.assertEqual((head.body, head.headers.items()), (b"", answer.headers.items()))

    def test_other_methods_are_refused(self) -> None:
        """The answer is 405 with the methods that are allowed."""
        for page in PAGES:
            for method in ("PUT", "POST", "DELETE", "PATCH"):
                answer = self.ask(page, method)
                self.assertEqual((answer.status, answer.body), (405, b'{"message":"Method Not Allowed"}\n'))
                self.assertEqual(set(re.split(", ?", answer.headers["Allow"])), {"GET", "HEAD", "OPTIONS"})

    def test_unknown_paths_are_not_found(self) -> None:
        """
        The answer is 404 in JSON, which no client takes for success, and never a redirect (spec, "Other client
        endpoints").
        """
        for path in ("/", "/nope", "/v2", "/v2/", "/v2/auth", "/v2/keysx", "/v2/stats", "/mod/x", "/a?b=%zz"):
            answer = self.ask(path)
            self.assertEqual((answer.status, answer.body), (404, b'{"message":"Not Found"}\n'), path)
            self.assertEqual(answer.headers["Content-Type"], "application/json")

    def test_paths_are_cleaned(self) -> None:
        """The page is served directly, without a redirect (spec, "Keys")."""
        for path in ("//v2/leader", "/v2//leader", "/./v2/leader/", "/v2/../v2/leader", "/x/..//v2/%6ceader"):
            self.assertEqual(self.text(path), "http://127.0.0.1:7001", path)
        self.assertIn(b"<html", self.ask("//mod//dashboard/").body)

    def test_options_are_answered(self) -> None:
        """
        The answer is 200 on every path, whether or not a page is there, and on a standby too (spec, "Other client
        endpoints").
        """
        paths = (*PAGES, "/", "/nope", "*", "/v2/keys", "/v2/keys/a", "/v2/keys/%zz", "/mod/v2/lock/x", "/%ff", "//v2")
        for path in paths:
            answer = self.ask(path, "OPTIONS")
            self.assertEqual((answer.status, answer.body), (200, b""), path)
            self.assertEqual([each for each in answer.headers if each.startswith("Access")], [])
        self.replica.stand_by()
        for path in paths:
            self.assertEqual(self.ask(path, "OPTIONS").status, 200, path)

    def test_undecodable_path_is_refused(self) -> None:
        """The error says what is wrong, and nothing is logged. This holds below the modules too."""
        for before in ("/", "/v2/stats/", "/mod/v2/lock/"):
            for path, cause in (("%ff", "bytes that are not UTF-8 (\\xff)"), ("%zz", 'the bad escape "%zz"')):
                answer = self.ask(before + path)
                self.assertEqual((answer.status, answer.headers["X-Etcd-Index"]), (400, "1"))
                error = json.loads(answer.body)
                self.assertEqual((error["errorCode"], error["cause"]), (210, f"the path has {cause}"))

    def test_unexpected_error_is_logged(self) -> None:
        """The answer does not reveal the error."""

        def broken() -> None:
            raise ZeroDivisionError("secret")

        self.patch(self.replica, "statistics", broken)
        answer = self.ask("/v2/stats/store")
        self.assertEqual((answer.status, json.loads(answer.body)["errorCode"]), (500, 300))
        self.assertNotIn(b"secret", answer.body)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class StandbyTests(SynchronousTestCase):
    """These tests are about a machine that only knows where the leader is."""

    paths = ("/", "/nope", "/v2", "/v2/", "/v2/stats/nothing", "/v2//nothing", "/version/", "/v2/keysx")

    def setUp(self) -> None:
        self.wire = Wire()
        self.addCleanup(self.wire.stop)
        self.wire.replica.stand_by()

    def test_pages_are_redirected(self) -> None:
        """Every page except those about the machine itself is redirected, as is every unknown path."""
        for path in (*PAGES[3:], *self.paths):
            for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH"):
                answer = ask(self.wire.site, f"{path}?a=%zz&b", method)
                self.assertEqual(answer.status, 307)
                self.assertEqual(answer.headers["Location"], f"http://127.0.0.1:4002{path}?a=%zz&b")
                self.assertEqual(answer.body, b"" if method == "HEAD" else b"307 the leader is elsewhere\n")

    def test_own_pages_are_answered(self) -> None:
        """They are answered here, whatever follows them."""
        for path in PAGES[:3]:
            self.assertEqual(ask(self.wire.site, f"{path}?a=b").status, 200)
            self.assertEqual(ask(self.wire.site, path, "PUT").status, 405)

    def test_no_leader_is_an_error(self) -> None:
        """The answer is error 300 at once, but the lists of machines show those that were known last."""
        self.wire.replica.stand_by(leader=None)
        for path in ("/v2/machines", "/v2/machines/", "/v2/peers", "/v2/members"):
            answer = ask(self.wire.site, path)
            self.assertEqual(answer.status, 200)
            self.assertIn(b"http://127.0.0.1:4001", answer.body)
        others = [page for page in PAGES[3:] if page not in {"/v2/machines", "/v2/peers"}]
        for path in (*others, *self.paths):
            answer = ask(self.wire.site, path)
            error = json.loads(answer.body)
            self.assertEqual((answer.status, error["errorCode"]), (500, 300))
            self.assertEqual(error["cause"], "no leader is known; try again")


class DurationTests(SynchronousTestCase):
    """These tests are about durations in Go's notation."""

    def test_durations_are_written_as_in_go(self) -> None:
        examples = {
            0: "0s",
            7: "7µs",
            1_500: "1.5ms",
            999_999: "999.999ms",
            1_000_000: "1s",
            24_648_619: "24.648619s",
            60_000_000: "1m0s",
            78_544_996: "1m18.544996s",
            3_600_000_000: "1h0m0s",
            360_000_000_001: "100h0m0.000001s",
        }
        for microseconds, text in examples.items():
            self.assertEqual(go_duration(microseconds), text)
