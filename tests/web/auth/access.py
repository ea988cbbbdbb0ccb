"""
A key endpoint while authentication is enabled, as its tests ask it.
"""

import json
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.auth.checks import CAUSE
from etcd_twisted.httpd.handler import ParsedRequest
from etcd_twisted.httpd.responses import Response, as_deferred
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.keys import KeyEndpoint
from etcd_twisted.web.watches import Watch
from tests.web.auth.users import access, basic


class AccessTest(SynchronousTestCase):
    """An endpoint on a fake clock, whose replica has some keys."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.replica = FakeReplica(self.clock)
        self.addCleanup(self.replica.stop)
        self.endpoint = KeyEndpoint(self.replica, self.clock, access=access(self.replica, self.clock))
        for key in ("/a", "/d/x", "/d/y", "/d/_h", "/d/sub/z", "/other", "/_etcd/mod/lock/l/1"):
            self.replica.put(key, "secret")
        self.responses: list[Response] = []
        self.addCleanup(self._hang_up)

    def _hang_up(self) -> None:
        for response in self.responses:
            if isinstance(response.body, Watch):
                response.body.cancel()

    def start(
        self,
        user: str | bytes | None,
        method: str,
        path: str,
        query: str = "",
        common_name: str | None = None,
        **form: Any,
    ) -> "Deferred[Response]":
        """
        Sends a request.

        @param user: the name of a user, or the value of the header; C{None} for no header.
        """
        header = basic(user, user) if isinstance(user, str) else user
        body = urlencode(form).encode()
        request = ParsedRequest(method.encode(), path.encode(), query.encode(), None, body, header, common_name)
        answer = self.endpoint.handle(request)
        self.assertNotIsInstance(answer, Exception)
        later: Deferred[Response] = Deferred()
        if isinstance(answer, Response):
            later.callback(answer)
        else:
            as_deferred(answer).chainDeferred(later)
        return later.addCallback(self._noted)

    def _noted(self, response: Response) -> Response:
        self.responses.append(response)
        return response

    def ask(self, user: str | bytes | None, method: str, path: str, query: str = "", **form: Any) -> Response:
        if method in ("PUT", "POST") and "refresh" not in query and not form:
            form = {"value": "new"}
        return self.successResultOf(self.start(user, method, path, query, **form))

    def json(self, response: Response) -> dict[str, Any]:
        assert isinstance(response.body, bytes)
        decoded: dict[str, Any] = json.loads(response.body)
        return decoded

    def is_refused(self, response: Response) -> bool:
        """Returns whether a response says that the rights do not suffice; it has to be exactly etcd's then."""
        if response.status != 401:
            return False
        message = "The request requires user authentication"
        self.assertEqual(self.json(response), {"errorCode": 110, "message": message, "cause": CAUSE, "index": 0})
        self.assertIn(b"X-Etcd-Index: 0\r\n", response.fields)
        return True

    def keys(self, user: str | None, path: str, query: str = "") -> list[str]:
        """Returns the keys in a directory that a user is shown."""
        listed = self.json(self.ask(user, "GET", path, query))["node"].get("nodes", [])
        return [node["key"] for node in listed]
