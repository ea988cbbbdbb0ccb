"""
Web pages of strangers: the server refuses what they make a browser ask before it does anything (spec, section 2).
"""

import json
from typing import ClassVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address, Endpoint
from etcd_twisted.httpd.browsers import BrowserPolicy, Cors
from etcd_twisted.httpd.fast.site import FastSite
from etcd_twisted.httpd.site import Site
from tests.logs.lines import Log
from tests.wires import Answer, Wire, read_answers

OWN = "http://127.0.0.1:4001"
STRANGER = "http://stranger.example"
ALLOWED = "https://ui.example:8443"
MARKS = ("Origin: http://etcd.example:4001", "Sec-Fetch-Site: none", "Accept-Language: de", "Accept-Language:",
         "User-Agent: Mozilla/5.0 (X11; Linux x86_64)", "user-agent: Mozilla/")  # fmt: skip
"""Header lines that only browsers send, one by one."""

PROGRAMS = ("", "User-Agent: curl/8.5.0", "User-Agent: python-etcd", "User-Agent: Go-http-client/1.1",
            "User-Agent: x Mozilla/5.0", "Accept: */*", "Referer: http://stranger.example/")  # fmt: skip
"""Header lines that programs send."""

NAMES = ("localhost", "LocalHost", "localhost.", "etcd.localhost", "127.0.0.1", "127.8.8.8", "192.0.2.7", "[::1]",
         "[2001:db8::7]", "[2001:DB8:0::7]", "machine0.example", "MACHINE0.example.", "peer.example", "bound.example",
         "etcd.example")  # fmt: skip
STRANGE_NAMES = ("stranger.example", "example", "machine0.example.stranger.example", "xlocalhost", "localhost.example",
                 "127.0.0.1.stranger.example", "x@localhost", "localhost:4001:1", "[::1", "[::1]x", "", ".",
                 "256.1.1.1", "127.0.0.1..", "localhost/", "[localhost]", "etcd.example,localhost",
                 "\xe4.example")  # fmt: skip

CONFIG = Config(
    addr=Address("machine0.example", 4001),
    bind_addr=Address("bound.example", 4001),
    peer_addr=Address("peer.example", 7001),
    peer_bind_addr=Endpoint("tcp:port=7001"),
    cors=(ALLOWED,),
    allowed_hosts=("etcd.example",),
)


class PolicyTests(SynchronousTestCase):
    """These tests show what the policy refuses."""

    policy = BrowserPolicy.of(CONFIG)

    def allows(self, method: str, *lines: str, authority: bytes = b"", secure: bool = False) -> bool:
        headers = Headers()
        for line in filter(None, lines):
            name, _, value = line.partition(":")
            headers.addRawHeader(name.encode(), value.strip().encode("latin-1"))
        return self.policy.refusal(method.encode(), headers, authority, secure) is None

    def test_browsers_may_use_only_the_names_of_this_machine(self) -> None:
        """Any port will do. Programs may use other names."""
        for port in ("", ":4001", ":80", ":"):
            for name in NAMES:
                for mark in MARKS:
                    self.assertTrue(self.allows("GET", f"Host: {name}{port}", mark), name)
            for name in STRANGE_NAMES:
                for mark in MARKS:
                    self.assertFalse(self.allows("GET", f"Host: {name}{port}", mark), name)
                for mark in PROGRAMS:
                    for method in ("GET", "PUT", "DELETE"):
                        self.assertTrue(self.allows(method, f"Host: {name}{port}", mark), name)

    def test_a_request_without_a_host_is_accepted(self) -> None:
        """HTTP/1.0 does not require a host, and every browser sends one."""
        self.assertTrue(self.allows("GET", "Accept-Language: de"))
        self.assertFalse(self.allows("PUT", f"Origin: {STRANGER}"))

    def test_the_host_of_an_absolute_target_counts(self) -> None:
        """The host in the header counts too."""
        for authority, allowed in ((b"localhost:4001", True), (b"stranger.example", False), (b"", True)):
            self.assertIs(self.allows("GET", "Host: localhost", "Accept-Language: de", authority=authority), allowed)
        self.assertFalse(self.allows("GET", "Host: stranger.example", "Accept-Language: de", authority=b"localhost"))
        self.assertTrue(self.allows("PUT", "Host: localhost", f"Origin: {OWN}", authority=b"127.0.0.1:4001"))
        self.assertFalse(self.allows("PUT", "Host: 127.0.0.1:4001", f"Origin: {OWN}", authority=b"localhost:4001"))

    def test_one_mark_of_a_browser_is_enough(self) -> None:
        lines = ("Host: stranger.example", "User-Agent: curl", "User-Agent: Mozilla/5.0")
        self.assertFalse(self.allows("GET", *lines))
        self.assertTrue(self.allows("GET", *lines[:2]))

    def test_pages_of_this_machine_may_change_something(self) -> None:
        """Such pages have the destination of the request, by any name, or an advertised URL as their origin."""
        for host, origin in (
            ("127.0.0.1:4001", "http://127.0.0.1:4001"),
            ("127.0.0.1:4001", "https://127.0.0.1:4001"),
            ("localhost:4001", "http://localhost:4001"),
            ("[::1]:4001", "http://[::1]:4001"),
            ("LOCALHOST.:4001", "http://localhost.:4001"),
            ("etcd.example", "https://etcd.example"),
            ("etcd.example:443", "https://etcd.example"),
            ("etcd.example:80", "http://etcd.example"),
            ("10.0.0.1:8080", "http://machine0.example:4001"),
            ("10.0.0.1:8080", "http://peer.example:7001"),
            ("10.0.0.1:8080", ALLOWED),
        ):
            for method in ("PUT", "POST", "DELETE", "PATCH", "put"):
                self.assertTrue(self.allows(method, f"Host: {host}", f"Origin: {origin}"), (host, origin))

    def test_pages_of_other_origins_may_change_nothing(self) -> None:
        for host, origin in (
            ("127.0.0.1:4001", "null"),
            ("127.0.0.1:4001", ""),
            ("127.0.0.1:4001", STRANGER),
            ("127.0.0.1:4001", "http://127.0.0.1:4002"),
            ("127.0.0.1:4001", "http://127.0.0.1"),
            ("127.0.0.1:4001", "http://localhost:4001"),
            ("127.0.0.1:4001", "http://192.0.2.7:4001"),
            ("127.0.0.1:4001", "http://127.0.0.1:4001.stranger.example"),
            ("127.0.0.1:4001", "http://127.0.0.1:4001/"),
            ("127.0.0.1:4001", "http://x@127.0.0.1:4001"),
            ("127.0.0.1:4001", "ftp://127.0.0.1:4001"),
            ("127.0.0.1:4001", "127.0.0.1:4001"),
            ("127.0.0.1:4001", "http://\xe4:4001"),
            ("etcd.example", "http://etcd.example:443"),
            ("10.0.0.1:8080", "http://ui.example:8443"),
            ("10.0.0.1:8080", "https://machine0.example:4001"),
            ("10.0.0.1:8080", "http://peer.example:4001"),
        ):
            for method in ("PUT", "POST", "DELETE", "PATCH", "put"):
                self.assertFalse(self.allows(method, f"Host: {host}", f"Origin: {origin}"), (host, origin))
            for method in ("GET", "HEAD", "OPTIONS"):
                self.assertTrue(self.allows(method, f"Host: {host}", f"Origin: {origin}"), (host, origin))

    def test_each_of_several_origins_has_to_be_allowed(self) -> None:
        self.assertFalse(self.allows("PUT", "Host: 127.0.0.1:4001", f"Origin: {OWN}", f"Origin: {STRANGER}"))
        self.assertFalse(self.allows("PUT", "Host: 127.0.0.1:4001", f"Origin: {OWN}, {STRANGER}"))

    def test_a_page_without_tls_may_change_nothing_over_tls(self) -> None:
        """Anybody on the network path could have changed that page."""
        for origin, allowed in (("http://localhost:4001", False), ("https://localhost:4001", True)):
            self.assertIs(self.allows("PUT", "Host: localhost:4001", f"Origin: {origin}", secure=True), allowed)
        self.assertFalse(self.allows("PUT", "Host: 10.0.0.1", "Origin: http://machine0.example:4001", secure=True))

    def test_a_star_allows_every_origin_and_every_host(self) -> None:
        self.policy = BrowserPolicy.of(Config(cors=("*",)))
        for origin in ("null", STRANGER):
            self.assertTrue(self.allows("PUT", "Host: localhost:4001", f"Origin: {origin}"))
        self.assertFalse(self.allows("GET", "Host: etcd.example", f"Origin: {STRANGER}"))
        self.policy = BrowserPolicy.of(Config(allowed_hosts=("a.example,*",)))
        self.assertTrue(self.allows("GET", "Host: etcd.example", "Accept-Language: de"))
        self.assertFalse(self.allows("PUT", "Host: etcd.example", f"Origin: {STRANGER}"))

    @given(st.binary(max_size=30), st.binary(max_size=30), st.binary(max_size=30))
    def test_no_origin_of_a_stranger_is_let_through(self, host: bytes, origin: bytes, authority: bytes) -> None:
        """The policy has a result for any request."""
        headers = Headers({b"Host": [host], b"Origin": [b"http://stranger.example" + origin]})
        if origin[:1] not in (b":", b""):
            self.assertIsNotNone(self.policy.refusal(b"PUT", headers, authority, False))
        self.policy.refusal(b"PUT", Headers({b"Host": [host], b"Origin": [origin]}), authority, False)


CHANGES = (
    ("PUT", "/v2/keys/k?value=v"),
    ("PUT", "/v2/keys/k"),
    ("POST", "/v2/keys/k?value=v"),
    ("DELETE", "/v2/keys/k"),
    ("POST", "/mod/v2/lock/k?ttl=5&timeout=0"),
    ("PUT", "/mod/v2/lock/k?ttl=5&index=1"),
    ("DELETE", "/mod/v2/lock/k?index=1"),
    ("PUT", "/mod/v2/leader/e?ttl=5&name=n"),
    ("DELETE", "/mod/v2/leader/e?name=n"),
    ("POST", "/v2/members"),
    ("PUT", "/v2/members/12"),
    ("DELETE", "/v2/members/12"),
    ("PATCH", "/v2/keys/k"),
    ("POST", "/mod/dashboard/"),
)
READS = (
    ("GET", "/v2/keys/k"),
    ("HEAD", "/v2/keys/k"),
    ("GET", "/v2/keys/?recursive=true"),
    ("GET", "/v2/keys/k?quorum=true"),
    ("GET", "/v2/keys/k?wait=true"),
    ("GET", "/v2/keys/k?wait=true&stream=true"),
    ("GET", "/v2/members"),
    ("GET", "/v2/machines"),
    ("GET", "/v2/stats/self"),
    ("GET", "/mod/v2/lock/k"),
    ("GET", "/mod/dashboard/"),
    ("GET", "/metrics"),
    ("GET", "/version"),
    ("OPTIONS", "/v2/keys/k"),
    ("GET", "/nope"),
)


class DoorTests(SynchronousTestCase):
    """
    These tests are about the client port (spec, "Other client endpoints").

    @cvar kind: the door that requests come in by.
    """

    kind: ClassVar[type[Site]] = Site

    def setUp(self) -> None:
        policy = BrowserPolicy.of(CONFIG)
        self.wire = Wire(kind=self.kind, cors=Cors(CONFIG.origins, ()), browsers=policy)
        self.addCleanup(self.wire.stop)
        self.log = Log(self)

    def ask(self, method: str, path: str, *lines: str) -> Answer:
        channel, self.transport = self.wire.connect()
        channel.dataReceived("\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1"))
        self.wire.clock.advance(0)
        (answer,) = read_answers(self.transport.value(), method)
        return answer

    def assert_refused(self, answer: Answer, *words: str) -> None:
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (403, "application/json"))
        self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
        message = json.loads(answer.body)["message"]
        for each in words:
            self.assertIn(each, message)
        self.assertEqual(self.wire.replica.proposed, [])
        self.assertEqual(self.wire.replica.keyspace.hub.count, 0)

    def test_changes_by_pages_of_other_origins_are_refused(self) -> None:
        """Nothing is done for them."""
        for method, path in CHANGES:
            for origin in (STRANGER, "null", "http://127.0.0.1:4002"):
                answer = self.ask(method, path, "Host: 127.0.0.1:4001", f"Origin: {origin}")
                self.assert_refused(answer, origin, "--cors")
                self.assertNotIn("Access-Control-Allow-Origin", answer.headers)

    def test_requests_for_a_rebound_name_are_refused(self) -> None:
        """Not even reads are answered."""
        for method, path in (*CHANGES, *READS):
            for mark in MARKS:
                answer = self.ask(method, path, "Host: stranger.example:4001", mark.replace("etcd", "stranger"))
                if method == "HEAD":
                    self.assertEqual(answer.status, 403)
                else:
                    self.assert_refused(answer, "stranger.example", "--allowed-hosts")

    def test_a_standby_refuses_them_too(self) -> None:
        """A standby does not redirect them either."""
        for change in (self.wire.replica.follow, self.wire.replica.stand_by):
            change()
            for path in ("/v2/keys/k?value=v", "/v2/members/12"):
                self.assert_refused(self.ask("PUT", path, "Host: 127.0.0.1", f"Origin: {STRANGER}"), "--cors")
                self.assert_refused(self.ask("GET", path, "Host: s.example", "Accept-Language: de"), "--allowed-hosts")

    def test_own_pages_allowed_origins_and_programs_are_served(self) -> None:
        """C{--cors} allows origins, and programs may use any name."""
        for lines in (
            ("Host: 127.0.0.1:4001", f"Origin: {OWN}", "Sec-Fetch-Site: same-origin", "User-Agent: Mozilla/5.0"),
            ("Host: 127.0.0.1:4001", f"Origin: {ALLOWED}", "Sec-Fetch-Site: cross-site", "User-Agent: Mozilla/5.0"),
            ("Host: etcd.example", "Origin: https://etcd.example", "Accept-Language: de"),
            ("Host: stranger.example", "User-Agent: curl/8.5.0", "Accept: */*"),
            ("Host: etcd.internal:2379", "User-Agent: Go-http-client/1.1"),
        ):
            self.assertIn(self.ask("PUT", "/v2/keys/k?value=v", *lines).status, (200, 201), lines)
            self.assertEqual(self.ask("GET", "/v2/keys/k", *lines).status, 200, lines)
            self.assertEqual(self.ask("GET", "/v2/members", *lines).status, 200, lines)
            self.assertIn(self.ask("POST", "/mod/v2/lock/k?ttl=5&timeout=0", *lines).status, (200, 412), lines)

    def test_reads_by_pages_of_other_origins_are_answered(self) -> None:
        """The browser keeps the response from a page that may not read it."""
        for method, path in READS:
            if "wait" not in path:
                answer = self.ask(method, path, "Host: 127.0.0.1:4001", f"Origin: {STRANGER}")
                self.assertNotEqual(answer.status, 403)
                self.assertNotIn("Access-Control-Allow-Origin", answer.headers)

    def test_the_connection_of_a_refused_request_stays_open(self) -> None:
        """The next request on the connection is answered."""
        channel, transport = self.wire.connect()
        head = b"PUT /v2/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n"
        channel.dataReceived(head + b"Origin: null\r\n\r\nvalue=v" + head + b"\r\nvalue=w")
        answers = read_answers(transport.value(), "PUT", "PUT")
        self.assertEqual([answer.status for answer in answers], [403, 201])
        self.assertEqual(self.wire.replica.get("/k").value, "w")

    def test_refusals_are_logged(self) -> None:
        """Each has a line, but there are never thousands of lines, and no request can forge a line."""
        self.ask("PUT", "/v2/keys/k", "Host: localhost:4001", "Origin: http://x\x1b[1my")
        (line,) = self.log.warnings
        self.assertIn("--cors", line)
        self.assertNotIn("\x1b", line)
        for _ in range(50):
            self.ask("GET", "/v2/keys/k", "Host: stranger.example", "Accept-Language: de")
        self.assertLess(len(self.log.warnings), 25)

    def test_no_response_lets_a_browser_guess_its_type(self) -> None:
        requests = (*READS, *CHANGES, ("GET", "/v2/keys/%zz"), ("GET", "/%zz"), ("GET", "/v2/keys/none"))
        for method, path in requests:
            if "wait" not in path:
                self.assert_nosniff(self.ask(method, path, "Host: x"))
        for line in ("Content-Length: 100000", "Content-Length: x", "no header", "Host: y", "X: " + "x" * 70_000):
            self.assert_nosniff(self.ask("PUT", "/v2/keys/k", "Host: x", line))
        for path in ("/v2/keys/k?wait=true", "/v2/keys/k?wait=true&stream=true"):
            channel, transport = self.wire.connect()
            channel.dataReceived(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            self.assertEqual(transport.value().count(b"\r\nX-Content-Type-Options: nosniff\r\n"), 1)
        self.assert_nosniff(self.ask("GET", "/v2/keys/k?wait=true&waitIndex=1", "Host: x"))
        self.wire.replica.stand_by()
        for path in ("/v2/keys/k", "/v2/members"):
            self.assert_nosniff(self.ask("GET", path, "Host: x"))

    def assert_nosniff(self, answer: Answer) -> None:
        self.assertEqual(answer.headers.get_all("X-Content-Type-Options"), ["nosniff"])


class FastDoorTests(DoorTests):
    """The same tests use the client port's fast door (spec, "Other client endpoints")."""

    kind = FastSite
