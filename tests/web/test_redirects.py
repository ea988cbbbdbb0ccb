"""
Redirects as clients see them: neither the request nor the connection is lost on the way to the leader.
"""

import json
import re
from urllib.parse import quote, unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.httpd.handler import ParsedRequest
from etcd_twisted.httpd.limits import Limits
from etcd_twisted.httpd.responses import Response, plain
from etcd_twisted.httpd.site import Site
from etcd_twisted.httpd.usage import Usage
from etcd_twisted.testing.replica import OTHER, FakeReplica
from etcd_twisted.web.app import ClientPages
from etcd_twisted.web.keys import KeyEndpoint
from etcd_twisted.web.redirects import MIN_LEADER_WAIT_SECONDS
from tests.wires import Answer, Wire, ask, connect, read_answers

ODD = (b"%2F", b"%ff", b"%zz", b"%", b"//", b"/../", b"a=b&", b"%0D%0A")
"""Values that are easily mistaken for something else."""
VISIBLE = st.sampled_from([bytes((byte,)) for byte in range(0x21, 0x7F)])
QUERIES = st.lists(VISIBLE | st.sampled_from(ODD)).map(b"".join)
PATHS = QUERIES.map(lambda text: b"/" + text.replace(b"?", b""))
ANY_QUERIES = st.lists(st.binary(max_size=3) | st.sampled_from(ODD)).map(b"".join)
ANY_PATHS = ANY_QUERIES.map(lambda text: b"/" + text.replace(b"?", b""))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


class _Noted:
    """A handler that records its requests."""

    prefix = b"/v2/keys"

    def __init__(self) -> None:
        self.requests: list[ParsedRequest] = []

    def target_of_alias(self, _target: bytes) -> None:
        return None

    def handle(self, request: ParsedRequest) -> Response:
        self.requests.append(request)
        return plain(200, "noted")


def get(site: Site, target: bytes) -> Answer:
    """Sends a request whose target may be any bytes."""
    channel, transport = connect(site)
    channel.dataReceived(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
    site.reactor.advance(0)
    (answer,) = read_answers(transport.value(), "GET")
    return answer


class AnyTargetTests(SynchronousTestCase):
    """Whatever a client asks of a machine that does not lead, its request arrives unchanged at the leader."""

    def setUp(self) -> None:
        self.wire = Wire()
        self.addCleanup(self.wire.stop)
        self.wire.replica.stand_by()
        self.leader = _Noted()
        clock = Clock()
        pages = ClientPages(FakeReplica(clock), clock, Usage())
        self.site = Site(clock, pages, self.leader, Limits(1_000, 1_000, 10.0, 10.0))

    def redirected(self, target: bytes) -> bytes:
        """Returns the target that a redirected client sends to the leader."""
        answer = get(self.wire.site, target)
        self.assertEqual(answer.status, 307)
        self.wire.site.channels.clear()
        location = answer.headers["Location"]
        self.assertTrue(location.startswith(OTHER.client_url + "/"), location)
        return location.removeprefix(OTHER.client_url).encode("ascii")

    def asked_for(self, location: bytes) -> ParsedRequest:
        """Returns the request as the leader reads it."""
        self.assertEqual(get(self.site, location).status, 200)
        self.site.channels.clear()
        return self.leader.requests.pop()

    @given(PATHS, QUERIES)
    def test_targets_of_keys_are_kept(self, path: bytes, query: bytes) -> None:
        """
        They stay the same byte for byte, except for the sign of a fragment, which clients do not send (spec,
        "Redirects").
        """
        target = b"/v2/keys" + path + (b"?" + query if query else b"")
        location = self.redirected(target)
        self.assertEqual(location, target.replace(b"#", b"%23"))
        asked = self.asked_for(location)
        self.assertEqual((asked.path, asked.query), (path.replace(b"#", b"%23"), query.replace(b"#", b"%23")))

    @given(ANY_PATHS, ANY_QUERIES)
    def test_any_bytes_are_kept(self, path: bytes, query: bytes) -> None:
        """Bytes that cannot stand in a URL are percent-encoded, and mean the same."""
        endpoint = KeyEndpoint(self.wire.replica, self.wire.clock)
        answer = self.successResultOf(endpoint.handle(ParsedRequest(b"GET", path, query)))
        found = re.fullmatch(rb"Content-Type: [^\r\n]+\r\nLocation: ([\x21-\x7e]+)\r\n", answer.fields)
        assert found is not None, answer.fields
        asked = self.asked_for(found[1].removeprefix(OTHER.client_url.encode()))
        self.assertEqual(unquote_to_bytes(asked.path), unquote_to_bytes(path))
        self.assertEqual(unquote_to_bytes(asked.query), unquote_to_bytes(query))

    @given(TEXTS, QUERIES)
    def test_targets_of_pages_are_kept(self, path: str, query: bytes) -> None:
        """They are kept like those of keys."""
        target = b"/v2/" + quote(path).encode() + (b"?" + query if query else b"")
        self.assertEqual(self.redirected(target), target.replace(b"#", b"%23"))


class ConnectionTests(SynchronousTestCase):
    """A redirect is a response like any other."""

    def setUp(self) -> None:
        self.wire = Wire()
        self.addCleanup(self.wire.stop)
        self.wire.replica.follow()

    def send(self, data: bytes, *methods: str) -> list[Answer]:
        channel, transport = self.wire.connect()
        channel.dataReceived(data)
        return read_answers(transport.value(), *methods)

    def assert_redirected(self, answer: Answer, target: str) -> None:
        self.assertEqual((answer.status, answer.headers["Location"]), (307, f"http://127.0.0.1:4002{target}"))
        self.assertEqual(answer.headers["Content-Type"], "text/plain; charset=utf-8")

    def test_bodies_are_read_to_their_end(self) -> None:
        """This holds for every kind of body, and the server answers the next request."""
        long = b"value=" + b"x" * 900
        form = b"Content-Type: application/x-www-form-urlencoded\r\n"
        for head, body in (
            (b"Content-Length: %d\r\n" % len(long), long),
            (b"Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(long), long)),
            (form + b"Content-Length: 9\r\n", b"value=%zz"),
            (b"Content-Type: application/json\r\nContent-Length: 2\r\n", b"{}"),
            (b"Content-Length: 4\r\n", b"\xff\x00\r\n"),
        ):
            for method in (b"PUT", b"POST", b"DELETE"):
                request = b"%s /v2/keys/k?ttl=5 HTTP/1.1\r\nHost: x\r\n%s\r\n%s" % (method, head, body)
                first, second = self.send(request + b"GET /v2/keys/ HTTP/1.1\r\nHost: x\r\n\r\n", "PUT", "GET")
                self.assert_redirected(first, "/v2/keys/k?ttl=5")
                self.assertEqual(first.body, b"307 the leader is elsewhere\n")
                self.assertEqual(second.status, 200)
        self.assertEqual(self.wire.replica.proposed, [])

    def test_body_that_is_too_long_is_refused(self) -> None:
        """The limit is the same as at the leader."""
        (answer,) = self.send(b"PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", "PUT")
        self.assertEqual(answer.status, 413)

    def test_head_is_redirected(self) -> None:
        """The response has the headers of C{GET} and no body, and the server answers the next request."""
        request = b"%s /v2/keys/k?quorum=true HTTP/1.1\r\nHost: x\r\n\r\n"
        head, get = self.send(request % b"HEAD" + request % b"GET", "HEAD", "GET")
        for answer in (head, get):
            self.assert_redirected(answer, "/v2/keys/k?quorum=true")
        self.assertEqual((head.body, head.headers.items()), (b"", get.headers.items()))

    def test_stream_is_redirected_at_once(self) -> None:
        """The redirect is complete at once, although the stream is not, and nothing waits here."""
        query = "wait=true&stream=true&consistent=true&recursive=true&waitIndex=5"
        request = f"GET /v2/keys/?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        for answer in self.send(request * 2, "GET", "GET"):
            self.assert_redirected(answer, f"/v2/keys/?{query}")
            self.assertIn("Content-Length", answer.headers)
        self.assertEqual(self.wire.replica.keyspace.hub.count, 0)

    def test_old_clients_and_proxies_are_redirected(self) -> None:
        """An HTTP/1.0 client and a proxy's absolute target are understood."""
        (answer,) = self.send(b"DELETE /v2/keys/k HTTP/1.0\r\n\r\n", "DELETE")
        self.assert_redirected(answer, "/v2/keys/k")
        request = b"PUT http://127.0.0.1:4001/v2/keys/k?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        (answer,) = self.send(request, "PUT")
        self.assert_redirected(answer, "/v2/keys/k?a=b")

    def test_bare_prefix_gets_no_slash(self) -> None:
        for target in ("/v2/keys", "/v2/keys?recursive=true"):
            self.assert_redirected(ask(self.wire.site, target, "DELETE"), target)


class WaitingTests(SynchronousTestCase):
    """These tests are about connections while no leader is known."""

    request = b"DELETE /v2/keys/k HTTP/1.1\r\nHost: x\r\n\r\n"

    def setUp(self) -> None:
        self.wire = Wire()
        self.wire.pass_time(1)
        self.addCleanup(self.wire.stop)
        self.wire.replica.lose_leader()
        self.calls = len(self.wire.clock.getDelayedCalls())
        """The calls that the site itself has scheduled."""

    def test_requests_are_answered_in_order(self) -> None:
        """A request behind one that waits is answered after it."""
        channel, transport = self.wire.connect()
        channel.dataReceived(self.request + b"GET /v2/keys/ HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(transport.value(), b"")
        self.wire.replica.follow()
        first, second = read_answers(transport.value(), "DELETE", "GET")
        self.assertEqual((first.status, second.status), (307, 200))

    def test_wait_is_bounded(self) -> None:
        """The answer is error 300, and the connection stays open."""
        channel, transport = self.wire.connect()
        channel.dataReceived(self.request)
        self.wire.clock.advance(MIN_LEADER_WAIT_SECONDS)
        (answer,) = read_answers(transport.value(), "DELETE")
        self.assertEqual((answer.status, json.loads(answer.body)["errorCode"]), (500, 300))
        self.assertIsNone(transport.how_lost)

    def test_wait_ends_when_the_client_goes(self) -> None:
        """Nothing of its request is left."""
        channel, transport = self.wire.connect()
        channel.dataReceived(self.request)
        self.assertEqual(len(self.wire.clock.getDelayedCalls()), self.calls + 1)
        transport.client_goes()
        self.assertEqual(len(self.wire.clock.getDelayedCalls()), self.calls)
        self.wire.replica.lead()
        self.assertEqual(self.wire.replica.proposed, [])
