"""
Which responses pages of other origins may read (spec, section 2, "CORS").
"""

from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.httpd.browsers import BrowserPolicy, Cors
from etcd_twisted.httpd.fast.site import FastSite
from etcd_twisted.httpd.site import Site
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.web.frontend import EXPOSED
from tests.wires import Answer, ServedTest, Wire, read_answers

ORIGIN, OTHER_ORIGIN = "http://page.example:8080", "https://other.example"
STRANGER = "http://stranger.example"
ALLOW = "Access-Control-Allow-Origin"
EXPOSE = "Access-Control-Expose-Headers"

CHANGING = ("PUT", "POST", "DELETE", "PATCH")
"""Methods that a page may not use to change anything unless it may also read."""

REQUESTS = (
    ("PUT", "/v2/keys/k?value=v", 201),
    ("GET", "/v2/keys/k", 200),
    ("HEAD", "/v2/keys/k", 200),
    ("GET", "/v2/keys/k?quorum=true", 200),
    ("GET", "/v2/keys/?recursive=true", 200),
    ("GET", "/v2/keys/none", 404),
    ("GET", "/v2/keys/k?wait=sometimes", 400),
    ("GET", "/v2/keys/%zz", 400),
    ("PATCH", "/v2/keys/k", 405),
    ("GET", "/version", 200),
    ("GET", "/metrics", 200),
    ("GET", "/v2/members", 200),
    ("DELETE", "/v2/members/12", 404),
    ("GET", "/v2/stats/self", 200),
    ("GET", "/nope", 404),
    ("GET", "/%zz", 400),
    ("POST", "/version", 405),
)
"""Requests that go through both doors and get responses of all kinds."""


class CorsTest(SynchronousTestCase):
    """
    A port.

    @cvar origins: the origins whose pages may read.
    @cvar kind: the door that requests come in by.
    """

    origins: ClassVar[tuple[str, ...]] = ("*",)
    kind: ClassVar[type[Site]] = Site

    def setUp(self) -> None:
        cors = Cors(self.origins, EXPOSED) if self.origins else None
        self.wire = Wire(kind=self.kind, cors=cors, browsers=BrowserPolicy(["x"], allowed=self.origins))
        self.replica = self.wire.replica
        self.addCleanup(self.wire.stop)

    def ask(self, method: str, path: str, origin: str | None = ORIGIN, fields: str = "") -> Answer:
        channel, transport = self.wire.connect()
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{fields}"
        head += "" if origin is None else f"Origin: {origin}\r\n"
        channel.dataReceived(f"{head}\r\n".encode())
        (answer,) = read_answers(transport.value(), method)
        return answer


class AnyOriginTests(CorsTest):
    """These tests allow any origin, C{*}."""

    def test_all_responses_may_be_read(self) -> None:
        """
        Each has the header that allows that, once, and names the headers that may be read (spec, "Other client
        endpoints").
        """
        for method, path, status in REQUESTS:
            for origin in (ORIGIN, STRANGER, None):
                answer = self.ask(method, path, origin)
                self.assertIn(answer.status, (status, 200) if method == "PUT" else (status,), path)
                self.assertEqual(answer.headers.get_all(ALLOW), ["*"], path)
                self.assertNotIn("Vary", answer.headers)
                self.assertEqual(answer.headers.get_all(EXPOSE), ["X-Etcd-Index, X-Raft-Index, X-Raft-Term"])

    def test_redirects_may_be_read(self) -> None:
        """This holds for both doors on followers and standbys. A browser's preflight request is answered here."""
        for change in (self.replica.follow, self.replica.stand_by):
            change()
            for method, path in (("PUT", "/v2/keys/k?value=v"), ("DELETE", "/v2/members/12")):
                answer = self.ask(method, path)
                self.assertEqual((answer.status, answer.headers[ALLOW]), (307, "*"))
                before = self.ask("OPTIONS", path)
                self.assertEqual((before.status, before.headers[ALLOW]), (200, "*"))
        self.assertEqual(self.ask("GET", "/v2/leader").headers[ALLOW], "*")

    def test_options_are_answered(self) -> None:
        """The answer is 200 with what is allowed, on every path (spec, "Other client endpoints")."""
        for path in ("/v2/keys/k", "/v2/keys", "/version", "/v2/members", "/nope", "/%zz"):
            answer = self.ask("OPTIONS", path, ORIGIN, "Access-Control-Request-Method: PUT\r\n")
            self.assertEqual((answer.status, answer.body, answer.headers["Content-Length"]), (200, b"", "0"))
            self.assertEqual(answer.headers[ALLOW], "*")
            methods = set(answer.headers["Access-Control-Allow-Methods"].split(", "))
            self.assertEqual(methods, {"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"})
            self.assertEqual(answer.headers["Access-Control-Allow-Headers"], "accept, content-type, authorization")

    def test_responses_that_wait_may_be_read(self) -> None:
        """A watch has the header when it is accepted, and a slow write when it is answered."""
        channel, transport = self.wire.connect()
        channel.dataReceived(b"GET /v2/keys/k?wait=true&stream=true HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b"\r\nAccess-Control-Allow-Origin: *\r\n", transport.value())
        self.replica.holding = True
        channel, transport = self.wire.connect()
        channel.dataReceived(b"PUT /v2/keys/k?value=v HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(transport.value(), b"")
        self.replica.release()
        (answer,) = read_answers(transport.value(), "PUT")
        self.assertEqual((answer.status, answer.headers[ALLOW]), (201, "*"))

    def test_refusals_may_be_read(self) -> None:
        """A request that is too long or malformed is read as far as possible."""
        for head in ("Content-Length: 100000\r\n", "Host: y\r\n"):
            answer = self.ask("PUT", "/v2/keys/k", ORIGIN, head)
            self.assertIn(answer.status, (400, 413))
            self.assertEqual(answer.headers[ALLOW], "*")
        channel, transport = self.wire.connect()
        channel.dataReceived(b"nonsense\r\n\r\n")
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 400 "))


class SomeOriginsTests(CorsTest):
    """These tests allow a list of origins."""

    origins = (ORIGIN, OTHER_ORIGIN)

    def test_allowed_origins_may_read(self) -> None:
        """
        Each response names the origin of its request, and no cache takes it for another's (spec, "Other client
        endpoints").
        """
        for method, path, _ in REQUESTS:
            for origin in self.origins:
                answer = self.ask(method, path, origin)
                self.assertEqual(answer.headers.get_all(ALLOW), [origin])
                self.assertEqual(answer.headers.get_all("Vary"), ["Origin"])
                self.assertEqual(len(answer.headers.get_all(EXPOSE, [])), 1)

    def test_other_origins_may_not_read(self) -> None:
        """Their reads are answered, but no page of theirs can read the response."""
        for method, path, _ in (*REQUESTS, ("OPTIONS", "/v2/keys/k", 200), ("OPTIONS", "/version", 200)):
            for origin in (STRANGER, None, "null", ORIGIN.upper(), ORIGIN + "0", f"{ORIGIN}, {OTHER_ORIGIN}", "*"):
                answer = self.ask(method, path, origin)
                self.assertIs(answer.status == 403, origin is not None and method in CHANGING)
                self.assertEqual([name for name in answer.headers if name.startswith("Access-Control")], [])
                self.assertEqual(answer.headers.get_all("Vary"), ["Origin"])

    def test_options_name_the_origin(self) -> None:
        answer = self.ask("OPTIONS", "/v2/keys/k", OTHER_ORIGIN)
        self.assertEqual((answer.status, answer.headers[ALLOW]), (200, OTHER_ORIGIN))
        self.assertIn("PUT", answer.headers["Access-Control-Allow-Methods"])


class NoOriginTests(CorsTest):
    """These tests do without the option."""

    origins = ()

    def test_responses_have_no_cors_headers(self) -> None:
        """This holds for every origin."""
        self.replica.keyspace.apply(Set("/k", 0, "v"))
        for method, path, status in (*REQUESTS, ("OPTIONS", "/v2/keys/k", 200), ("OPTIONS", "/version", 200)):
            answer = self.ask(method, path)
            self.assertEqual(answer.status, 403 if method in CHANGING else status, path)
            names = {name.lower() for name in answer.headers}
            self.assertEqual([name for name in names if name.startswith("access-control") or name == "vary"], [])


class FastAnyOriginTests(AnyOriginTests):
    """These tests allow any origin, C{*}, through the fast door."""

    kind = FastSite


class FastSomeOriginsTests(SomeOriginsTests):
    """These tests allow a list of origins through the fast door."""

    kind = FastSite


class FastNoOriginTests(NoOriginTests):
    """These tests do without the option, through the fast door."""

    kind = FastSite


class OptionTests(ServedTest):
    """These tests set the option through the frontend."""

    settings = {"cors": (f"{ORIGIN},{OTHER_ORIGIN}", STRANGER)}  # noqa: RUF012

    async def test_every_given_origin_is_allowed(self) -> None:
        """Origins may be given in several options or in one."""
        self.replica.keyspace.apply(Set("/k", 0, "v"))
        for origin in (ORIGIN, OTHER_ORIGIN, STRANGER):
            for path in ("/v2/keys/k", "/version"):
                head = f"GET {path} HTTP/1.1\r\nHost: [::1]\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n"
                self.assertEqual((await self.ask(head.encode())).headers[ALLOW], origin)
