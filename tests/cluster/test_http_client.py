"""
Tests of L{etcd_twisted.cluster.http_client}: servers that are broken, slow, elsewhere or missing, and cancelled
requests.
"""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail
from twisted.internet.error import ConnectionRefusedError as RefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.cluster.http_client import MAX_REDIRECTS, MAX_RESPONSE_BYTES, NoResponseError, RetryingHttpClient
from etcd_twisted.testing.ports import free_ports
from tests.peer.scripted import Said, Scripted, ServersTest, networked

FORM = {"value": "a b&c"}


class FaultTests(ServersTest):
    """Tests over real connections."""

    async def reason(self, url: str, **limits: Any) -> str:
        """Returns the reason why there was no response."""
        with self.assertRaises(NoResponseError) as caught:
            await networked(**limits).request("PUT", url, FORM)
        self.assertEqual(len(str(caught.exception).splitlines()), 1)
        return str(caught.exception)

    async def test_refused_connection_is_no_response(self) -> None:
        (port,) = free_ports(1)
        self.assertIn("refused", await self.reason(f"http://127.0.0.1:{port}/", attempts=3))

    async def test_garbage_is_no_response(self) -> None:
        """Bytes that are not HTTP, half a head, half a body, and nothing at all do not count as a response."""
        half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
        for words in (b"\0\0\0garbage\r\n\r\n", b"HTTP/1.1 200", half, b""):
            await self.reason(self.say(words), attempts=2)

    async def test_server_without_tls_is_no_response(self) -> None:
        """The client uses TLS, and the server speaks plain HTTP."""
        url = self.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertIn("TLS: ", await self.reason(url.replace("http", "https")))

    async def test_attempts_are_limited(self) -> None:
        """The client makes no more attempts than configured, and the reason is that of the last one."""
        asked = []

        def answer(request: Any) -> Said:
            asked.append(request)
            return 503, {}, b"no\nquorum"

        reason = await self.reason(self.answer_with(answer), attempts=3)
        self.assertEqual(reason, "it answers with status 503 (no quorum)")
        self.assertEqual(len(asked), 3)

    async def test_later_attempt_succeeds(self) -> None:
        """A response to a later attempt is as good as one to the first."""
        asked = []

        def answer(request: Any) -> Said:
            asked.append(request)
            return (200, {}, b"fine") if len(asked) == 3 else (500, {}, b"")

        self.assertEqual((await networked(attempts=3).request("GET", self.answer_with(answer))).body, b"fine")

    async def test_slow_response_times_out(self) -> None:
        """The client limits the time for the head of a response, and for its body."""
        for words in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"):

            class Slow(Protocol):
                def connectionMade(self, words: bytes = words) -> None:
                    self.transport.write(words)

            reason = await self.reason(self.serve(Factory.forProtocol(Slow)), attempts=2, timeout_seconds=0.05)
            self.assertEqual(reason, "no answer within 0.05 seconds")

    async def test_endless_response_is_cut(self) -> None:
        """A response that is too long is not read to its end."""

        class Endless(Protocol):
            def dataReceived(self, _data: bytes) -> None:
                self.transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
                self.transport.registerProducer(self, streaming=False)

            def resumeProducing(self) -> None:
                self.transport.write(b"x" * 65_536)

            def stopProducing(self) -> None:
                self.transport.unregisterProducer()

        reason = await self.reason(self.serve(Factory.forProtocol(Endless)))
        self.assertEqual(reason, f"its answer is longer than {MAX_RESPONSE_BYTES} bytes")


class RedirectTests(ServersTest):
    """Tests of redirects."""

    async def test_redirects_keep_method_and_body(self) -> None:
        """Each redirected request has the same method, query and body."""
        asked = []

        def last(request: Any) -> Said:
            asked.append((request.method, request.uri, request.content.read()))
            return 201, {}, b"done"

        for status in (301, 302, 307, 308):
            url = self.answer_with(last)
            for _ in range(2):
                said = status, {"Location": f"{url}/k?q=1"}, b"there"
                url = self.answer_with(lambda _, said=said: said)
            answer = await networked().request("PUT", url, FORM)
            self.assertEqual((answer.status, answer.body), (201, b"done"))
        self.assertEqual(asked, [(b"PUT", b"/k?q=1", b"value=a+b%26c")] * 4)

    async def test_redirects_are_limited(self) -> None:
        asked = []

        def answer(request: Any) -> Said:
            asked.append(request)
            return 307, {"Location": request.uri.decode()}, b""

        with self.assertRaises(NoResponseError):
            await networked().request("PUT", self.answer_with(answer), FORM)
        self.assertEqual(len(asked), MAX_REDIRECTS + 1)

    async def test_redirect_to_no_server_is_refused(self) -> None:
        """A redirect to a URL that is no server is refused."""
        for location in ("file:///etc/passwd", "http://[", "http://a b/", "http://x:0/", "http://a:b@x/", "ftp://x/"):
            url = self.answer_with(lambda _, location=location: (307, {"Location": location}, b""))
            with self.assertRaises(NoResponseError) as caught:
                await networked().request("PUT", url, FORM)
            self.assertEqual(str(caught.exception), f"it redirects to {location!r}, which is no URL of a server")

    async def test_redirect_without_a_location_is_returned(self) -> None:
        """The caller decides what to do with such a response."""
        answer = await networked().request("PUT", self.answer_with(lambda _: (307, {}, b"")), FORM)
        self.assertEqual(answer.status, 307)


class PauseTests(SynchronousTestCase):
    """Tests of the pauses between attempts."""

    def test_pauses_between_attempts_double(self) -> None:
        clock = Clock()
        http = Scripted(lambda *_: fail(RefusedError()))
        asking = ensureDeferred(RetryingHttpClient(clock, http, attempts=4).request("GET", "http://x/"))
        for pause in (0.5, 1.0, 2.0):
            tried = len(http.asked)
            clock.advance(pause - 0.01)
            self.assertEqual(len(http.asked), tried)
            clock.advance(0.01)
            self.assertEqual(len(http.asked), tried + 1)
        self.failureResultOf(asking, NoResponseError)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_cancelled_request_leaves_nothing(self) -> None:
        """Cancelling leaves nothing behind, whatever the request waits for."""
        for answer in (lambda *_: fail(RefusedError()), lambda *_: Deferred()):
            clock = Clock()
            asking = ensureDeferred(RetryingHttpClient(clock, Scripted(answer), 4).request("GET", "http://x/"))
            asking.cancel()
            self.failureResultOf(asking, CancelledError)
            self.assertEqual(clock.getDelayedCalls(), [])


class CancelTests(ServersTest):
    """Tests of a machine that is stopped during a request over a real connection."""

    async def _cancelled(self, words: bytes) -> None:
        asked: Deferred[None] = Deferred()
        gone: Deferred[None] = Deferred()

        class Silent(Protocol):
            def dataReceived(self, _data: bytes) -> None:
                self.transport.write(words)
                if not asked.called:
                    asked.callback(None)

            def connectionLost(self, _reason: object = None) -> None:
                gone.callback(None)

        url = self.serve(Factory.forProtocol(Silent))
        asking = ensureDeferred(networked(attempts=10).request("GET", url))
        await asked
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
        await gone

    async def test_request_is_cancelled_before_the_head(self) -> None:
        """The request ends at once, with the cancellation as the reason, and is not tried again."""
        await self._cancelled(b"")

    async def test_request_is_cancelled_in_the_body(self) -> None:
        await self._cancelled(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")

    async def test_request_is_cancelled_while_it_connects(self) -> None:
        asking = ensureDeferred(networked(attempts=10).request("GET", self.say(b"")))
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
