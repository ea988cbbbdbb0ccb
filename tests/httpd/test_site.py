"""
What the HTTP server takes and refuses, on a fake clock where time matters and through sockets elsewhere.
"""

import json
import time
import tracemalloc
from email.utils import parsedate_to_datetime

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import LogEvent, globalLogPublisher

from etcd_twisted.httpd.limits import LONGEST_HEAD_BYTES
from tests.httpd.wire import WireTest
from tests.wires import GET, HEAD, VERSION, WATCH, ServedTest, Wire, put, read_answers


class BodyTests(WireTest):
    """A body may be 1,000 bytes long in these tests."""

    def test_the_longest_body_is_taken(self) -> None:
        self.send(put("x" * (1_000 - len("value="))))
        self.assertEqual(self.answer().status, 201)

    def test_a_body_that_is_too_long_is_refused_before_it_comes(self) -> None:
        """
        The status is 413. The server reads and drops what the client still sends, for a limited time (spec, "Errors").
        """
        self.send(b"PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
        answer = self.answer()
        self.assertEqual(answer.status, 413)
        self.assertEqual(answer.body, b'{"message":"the body should have at most 1000 bytes"}\n')
        self.assertEqual(answer.headers["Connection"], "close")
        self.assertTrue(self.transport.writes_closed)
        self.send(b"x" * 1_001 + GET)
        self.assertEqual(len(self.answers("PUT")), 1)
        self.wire.pass_time(int(self.wire.site.limits.refused_timeout_seconds))
        self.assertEqual(self.transport.how_lost, "aborted")
        self.assertEqual(self.wire.replica.proposed, [])

    def test_a_length_with_too_many_digits_is_refused(self) -> None:
        """No machine could hold so large a body."""
        self.send(b"PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 10_000 + b"\r\n\r\n")
        self.assertEqual(self.answer().status, 413)

    def test_a_chunked_body_is_taken(self) -> None:
        self.send(b"PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for chunk in (b"6\r\nvalue=\r\n", b"2\r\nv", b"w\r\n0\r\n", b"\r\n"):
            self.send(chunk)
        self.assertEqual(json.loads(self.answer().body)["node"]["value"], "vw")

    def test_a_chunked_body_that_is_too_long_is_refused(self) -> None:
        """The status is 413, and the refusal comes as soon as the body is too long, even if its end is there too."""
        self.send(b"PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.send(b"1f4\r\n" + b"x" * 500 + b"\r\n")
        self.assertEqual(self.transport.value(), b"")
        self.send(b"1f5\r\n" + b"x" * 501 + b"\r\n1\r\nx\r\n0\r\n\r\n" + GET)
        self.assertEqual(self.answer().status, 413)
        self.assertEqual(self.wire.replica.proposed, [])

    def test_a_client_that_expects_100_continue_gets_it(self) -> None:
        head = put("v", fields=b"Expect: 100-continue\r\n").partition(b"value=")[0]
        self.send(head)
        self.assertEqual(self.transport.value(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.transport.clear()
        self.send(b"value=v")
        self.assertEqual(self.answer().status, 201)

    def test_a_body_that_is_too_long_gets_no_100_continue(self) -> None:
        self.send(b"PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
        self.assertEqual(self.answer().status, 413)

    def test_the_limit_on_bodies_is_for_all_pages(self) -> None:
        self.send(b"GET /version HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
        self.assertEqual(self.answer().status, 413)


class HeadTests(WireTest):
    """The request line and headers may be 64 KiB long."""

    def request(self, size: int, line: bytes = b"X-Filler: %s\r\n") -> bytes:
        """Returns a request whose head has this size."""
        start, end = b"GET /v2/keys/ HTTP/1.1\r\nHost: x\r\n", b"\r\n"
        rest = size - len(start) - len(end)
        lines = line % (b"x" * 1_000)
        fillers = lines * (rest // len(lines) - 1)
        last = line % (b"x" * (rest - len(fillers) - len(line % b"")))
        return start + fillers + last + end

    def test_the_longest_head_is_taken(self) -> None:
        request = self.request(LONGEST_HEAD_BYTES)
        self.assertEqual(len(request), LONGEST_HEAD_BYTES)
        self.send(request)
        self.assertEqual(self.answer().status, 200)

    def test_a_head_that_is_too_long_is_refused(self) -> None:
        """The status is 431 (spec, "Errors")."""
        self.send(self.request(LONGEST_HEAD_BYTES + 1))
        self.assertEqual(self.answer().status, 431)
        self.assertIn(b"65536 bytes", self.answer().body)
        self.wire.pass_time(int(self.wire.site.limits.refused_timeout_seconds))
        self.assertEqual(self.transport.how_lost, "aborted")

    def test_folded_lines_count(self) -> None:
        self.send(self.request(LONGEST_HEAD_BYTES + 1, b" %s\r\n"))
        self.assertEqual(self.answer().status, 431)

    def test_an_endless_line_is_refused(self) -> None:
        """The status is 431, and the server keeps nothing of what follows."""
        self.send(b"GET /v2/keys/")
        for _ in range(65):
            self.send(b"x" * 1_024)
        self.assertEqual(self.answer().status, 431)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(100):
            self.send(b"x" * 100_000)
        after, _ = tracemalloc.get_traced_memory()
        self.assertLess(after - before, 100_000)

    def test_too_many_headers_are_refused(self) -> None:
        """Many small headers take more memory than their bytes."""
        self.send(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * 600 + b"\r\n")
        self.assertEqual(self.answer().status, 431)

    def test_each_request_has_the_whole_limit(self) -> None:
        self.send(self.request(LONGEST_HEAD_BYTES) * 2)
        self.assertEqual([each.status for each in self.answers("GET", "GET")], [200, 200])


class MalformedTests(WireTest):
    """These requests are not HTTP."""

    def assert_refused(self, data: bytes) -> None:
        _, transport = self.channel, self.transport = self.wire.connect()
        self.send(data)
        self.assertEqual(self.answer().status, 400, data)
        self.assertTrue(transport.writes_closed)

    def test_malformed_requests_are_refused(self) -> None:
        """The status is 400, and the server closes the connection."""
        self.assert_refused(b"nonsense\r\n\r\n")
        self.assert_refused(b"\x16\x03\x01\x02\x00\x01\x00\r\n")
        self.assert_refused(b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n")
        self.assert_refused(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n")
        self.assert_refused(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
        self.assert_refused(b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n")
        self.assert_refused(b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        self.assert_refused(b"GET / HTTP/1.1\r\n\r\n")
        self.assert_refused(b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n")

    def test_bare_line_feeds_are_refused(self) -> None:
        """The refusal comes at once, wherever the line feed is, and is JSON if the path is known."""
        for request in (
            GET.replace(b"\r\n", b"\n"),
            GET.replace(b"\r\nHost", b"\nHost"),
            GET[:-4] + b"\nX: y\r\n\r\n",
            b"GET /v2/keys/k HTTP/1.1\n",
        ):
            self.assert_refused(request)
            text = "each line of a request should end with CR LF, not with LF alone"
            self.assertEqual(json.loads(self.answer().body), {"message": text})
            self.assertEqual(self.answer().headers["Content-Type"], "application/json")
        self.assert_refused(b"nonsense\n")
        self.assertEqual(self.answer().headers["Content-Type"], "text/plain; charset=utf-8")

    def test_line_feeds_in_bodies_are_accepted(self) -> None:
        """A line feed that comes while an earlier request is answered is accepted too."""
        self.send(b"PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nvalue=\n\n\n" + GET)
        _, read = self.answers("PUT", "GET")
        self.assertEqual(json.loads(read.body)["node"]["value"], "\n\n\n")

    def test_refusals_are_json_where_a_path_is_known(self) -> None:
        """No client takes such a refusal for a success."""
        for request, status in (
            (b"GET /v2/keys/a b HTTP/1.1\r\n", 400),
            (b"PUT /v2/keys/a HTTP/1.1\r\nContent-Length: 1\r\n\r\n", 400),
            (b"PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", 413),
            (b"PUT /mod/v2/lock/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", 413),
            (b"GET /v2/keys/" + b"x" * LONGEST_HEAD_BYTES, 431),
            (b"GET /v2/keys/a HTTP/1.1\r\nX: " + b"x" * LONGEST_HEAD_BYTES + b"\r\n", 431),
        ):
            self.channel, self.transport = self.wire.connect()
            self.send(request)
            answer = self.answer()
            self.assertEqual((answer.status, answer.headers["Content-Type"]), (status, "application/json"), request)
            self.assertEqual(list(json.loads(answer.body)), ["message"])

    def test_raw_bytes_in_a_target_are_like_their_escapes(self) -> None:
        """This holds in the path and in the query. Bytes that are not UTF-8 are error 210 (spec, "Keys")."""
        text = "\u96ea \u00e4".encode().replace(b" ", b"")
        self.send(b"PUT /v2/keys/%s?value=%s HTTP/1.1\r\nHost: x\r\n\r\n" % (text, text))
        written = json.loads(self.answer("PUT").body)["node"]
        self.assertEqual((written["key"], written["value"]), ("/\u96ea\u00e4", "\u96ea\u00e4"))
        for target, cause in (
            (b"/v2/keys/\xff", "the path has bytes that are not UTF-8 (\\xff) in /%FF"),
            (b"/v2/keys/k?value=\xff", "the query string has bytes that are not UTF-8 (\\xff) in value"),
            (b"/v2/keys/\xed\xa0\x80", "the path has bytes that are not UTF-8 (\\xed) in /%ED%A0%80"),
        ):
            self.channel, self.transport = self.wire.connect()
            self.send(b"PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" % target)
            answer = self.answer("PUT")
            error = json.loads(answer.body)
            self.assertEqual((answer.status, error["errorCode"], error["cause"]), (400, 210, cause))
            self.assertEqual(answer.headers["X-Etcd-Index"], "2")
        self.assertEqual(len(self.wire.replica.proposed), 1)

    def test_raw_bytes_count_as_what_they_are(self) -> None:
        """They do not count at the length of their escapes."""
        start, end = b"GET /v2/keys/", b" HTTP/1.1\r\nHost: x\r\n\r\n"
        self.send(start + b"\xc3\xa4" * ((LONGEST_HEAD_BYTES - len(start + end)) // 2) + end)
        self.wire.clock.pump([0] * 3)  # the error has the key, in pieces
        self.assertEqual(self.answer().status, 404)

    def test_an_absolute_target_is_understood(self) -> None:
        """A client that treats the server as a proxy sends one."""
        self.send(b"GET http://x:4001/v2/keys/?recursive=true HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(json.loads(self.answer().body)["node"]["key"], "/")


class PersistenceTests(WireTest):
    """These tests show which connections stay open."""

    def test_a_connection_stays_open(self) -> None:
        """
        A connection stays open until a request or response says otherwise. Each response has the server's name and the
        date.
        """
        self.send(GET)
        self.send(GET)
        for answer in self.answers("GET", "GET"):
            self.assertEqual(answer.headers["Server"], "etcd_twisted")
            date = parsedate_to_datetime(answer.headers["Date"]).timestamp()
            self.assertTrue(self.began <= date <= time.time(), "the date is the system's, whatever clock timers go by")
            self.assertNotIn("Connection", answer.headers)
        self.assertIsNone(self.transport.how_lost)

    def test_a_connection_stays_open_after_a_page(self) -> None:
        self.send(VERSION + GET)
        version, _ = self.answers("GET", "GET")
        self.assertEqual(version.headers["Server"], "etcd_twisted")
        self.assertIsNone(self.transport.how_lost)

    def test_the_token_close_closes_the_connection(self) -> None:
        """The header may have several tokens."""
        self.send(GET[:-2] + b"Connection: close, TE\r\n\r\n")
        self.assertEqual(self.answer().headers["Connection"], "close")
        self.assertEqual(self.transport.how_lost, "closed")

    def test_http_1_0_has_one_request_and_no_chunks(self) -> None:
        """The request needs no host either."""
        self.send(b"GET /v2/keys/k?wait=true HTTP/1.0\r\n\r\n")
        channel, _ = self.wire.connect()
        channel.dataReceived(put("v"))
        self.wire.clock.advance(0)
        answer = self.answer()
        self.assertNotIn("Transfer-Encoding", answer.headers)
        self.assertEqual(json.loads(answer.body)["node"]["value"], "v")
        self.assertEqual(self.transport.how_lost, "closed")

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        """The order holds although the first request takes longest, and the next request sees its change."""
        self.wire.replica.holding = True
        self.send(put("v") + GET + HEAD + VERSION)
        self.assertEqual(self.transport.value(), b"")
        self.wire.replica.release()
        written, read, head, version = self.answers("PUT", "GET", "HEAD", "GET")
        self.assertEqual((written.status, read.status, head.status, version.status), (201, 200, 200, 200))
        self.assertEqual(head.headers["Content-Length"], str(len(read.body)))

    @settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors])  # by either door
    @given(st.lists(st.integers(1, 200)))
    def test_requests_may_be_cut_anywhere(self, sizes: list[int]) -> None:
        self.wire = Wire(kind=self.kind)
        self.channel, self.transport = self.wire.connect()
        chunked = b"PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nvalue=w\r\n0\r\n\r\n"
        requests = put("v") + GET + chunked + HEAD + VERSION
        start = 0
        for size in [*sizes, len(requests)]:
            self.send(requests[start : start + size])
            start += size
        answers = self.answers("PUT", "GET", "PUT", "HEAD", "GET")
        self.assertEqual([each.status for each in answers], [201, 200, 200, 200, 200])

    def test_requests_may_come_byte_by_byte(self) -> None:
        for byte in put("v") + GET:
            self.send(bytes([byte]))
        self.assertEqual([each.status for each in self.answers("PUT", "GET")], [201, 200])

    def test_a_head_request_for_a_watch_does_not_wait(self) -> None:
        """The response to C{HEAD} comes at once, and the next request is answered."""
        self.send(WATCH.replace(b"GET", b"HEAD") + VERSION)
        watched, _ = self.answers("HEAD", "GET")
        self.assertEqual((watched.status, watched.headers["X-Etcd-Index"]), (200, "1"))
        self.assertEqual(self.watchers(), 0)


class LogTests(WireTest):
    """These tests show what a site logs."""

    def test_starts_and_stops_are_not_logged(self) -> None:
        """An object's address in memory helps nobody."""
        told: list[LogEvent] = []
        globalLogPublisher.addObserver(told.append)
        self.addCleanup(globalLogPublisher.removeObserver, told.append)
        self.patch(self.wire.site, "startFactory", lambda: None)
        self.wire.site.doStart()
        self.wire.site.doStop()
        self.assertEqual(told, [])


class SocketTests(ServedTest):
    """The same server has real connections in these tests."""

    settings = {"max_request_bytes": 2_000_000}  # noqa: RUF012

    async def test_a_refusal_can_be_read(self) -> None:
        """A client that sends everything before it reads still learns why it was refused."""
        head = b"PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n"
        answer = await self.ask(head + b"x" * 8_000_000, "PUT")
        self.assertEqual(answer.status, 413)

    async def test_a_long_value_goes_there_and_back(self) -> None:
        """The value passes sockets that take it bit by bit."""
        value = "v" * 1_900_000
        client = await self.connect()
        client.send(put(value))
        await client.when_ends_with(b"}")
        client.data = b""
        client.send(GET[:-2] + b"Connection: close\r\n\r\n")
        await client.when_closed()
        (answer,) = read_answers(client.data, "GET")
        self.assertEqual(json.loads(answer.body)["node"]["value"], value)

    async def test_the_head_of_a_watch_comes_before_its_event(self) -> None:
        """The server sends the head when it accepts the watch (spec, "Watch")."""
        watcher, writer = await self.connect(), await self.connect()
        watcher.send(WATCH)
        await watcher.when_ends_with(b"\r\n\r\n")
        self.assertIn(b"X-Etcd-Index: 1\r\n", watcher.data)
        writer.send(put("v"))
        await watcher.when_ends_with(b"0\r\n\r\n")
        (answer,) = read_answers(watcher.data, "GET")
        self.assertEqual(json.loads(answer.body)["node"]["value"], "v")

    async def test_the_connection_of_a_watch_serves_the_next_request(self) -> None:
        client, writer = await self.connect(), await self.connect()
        client.send(WATCH)
        await client.when_ends_with(b"\r\n\r\n")
        writer.send(put("v"))
        await client.when_ends_with(b"0\r\n\r\n")
        client.send(GET)
        await client.when_ends_with(b"}")
        self.assertEqual([each.status for each in read_answers(client.data, "GET", "GET")], [200, 200])
