"""
Requests that are logged at the highest verbosity.
"""

from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.httpd.handler import ParsedRequest
from etcd_twisted.httpd.responses import Response
from etcd_twisted.httpd.tracing import TracedHandler, TracedPages
from etcd_twisted.logs.observers import REQUESTS
from tests.logs.lines import Log
from tests.wires import Wire, ask


class TracingTests(SynchronousTestCase):
    """Each request has a line in the log."""

    def setUp(self) -> None:
        self.log = Log(self)

    def said(self) -> list[str]:
        return [
            event["log_format"].format(**event)
            for event in self.log.events
            if event["log_namespace"] == REQUESTS and event["log_level"] is LogLevel.debug
        ]

    def test_requests_for_keys_are_logged(self) -> None:
        """The line has the request without its query, and the time that it took."""
        clock = Clock()

        class Slow:
            prefix = b"/v2/keys"

            def target_of_alias(self, _target: bytes) -> None:
                return None

            def handle(self, request: ParsedRequest) -> Any:
                clock.advance(0.25)
                answer = Response(404, b"", b"")
                return succeed(answer) if request.method == b"PUT" else answer

        handler = TracedHandler(Slow(), clock)
        for method in (b"GET", b"PUT"):
            handler.handle(ParsedRequest(method, b"/a%20b", b"value=secret"))
        self.assertEqual(self.said(), [f"{method} /v2/keys/a%20b: 404 after 250.0 ms" for method in ("GET", "PUT")])

    def test_requests_for_pages_are_logged(self) -> None:
        """A page that does not exist has a line too."""
        wire = Wire()
        self.addCleanup(wire.stop)
        wire.site.resource = TracedPages(wire.site.resource, wire.clock)
        self.assertEqual(ask(wire.site, "/version?token=secret").status, 200)
        self.assertEqual(ask(wire.site, "/nope").status, 404)
        self.assertEqual(self.said(), ["GET /version: 200 after 0.0 ms", "GET /nope: 404 after 0.0 ms"])
