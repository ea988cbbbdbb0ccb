"""
Logs a line for each request, for operators who want to see what clients do.

Requests that are not traced pay nothing for it, since what is traced is wrapped. This module must never log the query
or the body of a request: they contain values.
"""

from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from etcd_twisted.httpd.handler import Handler, ParsedRequest
from etcd_twisted.httpd.responses import AnyResponse, Response, as_deferred
from etcd_twisted.httpd.targets import shown
from etcd_twisted.logs.observers import REQUESTS

_log = Logger(namespace=REQUESTS)


def _log_request(method: bytes, path: bytes, status: int, seconds: float) -> None:
    _log.debug(
        "{method} {path}: {status} after {milliseconds:.1f} ms",
        method=shown(method),
        path=path.decode("ascii", "backslashreplace"),
        status=status,
        milliseconds=seconds * 1e3,
    )


class TracedHandler:
    """A handler that logs the requests of another one."""

    def __init__(self, handler: Handler, clock: IReactorTime) -> None:
        self.prefix = handler.prefix
        self._handler = handler
        self._clock = clock

    def target_of_alias(self, target: bytes) -> bytes | None:
        """See L{Handler}."""
        return self._handler.target_of_alias(target)

    def handle(self, request: ParsedRequest) -> AnyResponse:
        """See L{Handler}."""
        began = self._clock.seconds()
        answer = self._handler.handle(request)
        if isinstance(answer, Response):
            return self._answered(answer, request, began)
        return as_deferred(answer).addCallback(self._answered, request, began)

    def _answered(self, response: Response, request: ParsedRequest, began: float) -> Response:
        _log_request(request.method, self.prefix + request.path, response.status, self._clock.seconds() - began)
        return response


class TracedPages(Resource):
    """Pages that log the requests for other pages."""

    isLeaf = True  # noqa: N815  # Twisted's name

    def __init__(self, pages: IResource, clock: IReactorTime) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no types there
        self._pages = pages
        self._clock = clock

    def render(self, request: Request) -> Any:
        """See L{IResource}."""
        began = self._clock.seconds()

        def finished(_: object) -> None:
            path = request.uri.partition(b"?")[0]
            _log_request(request.method, path, request.code, self._clock.seconds() - began)

        request.notifyFinish().addBoth(finished)
        return self._pages.render(request)
