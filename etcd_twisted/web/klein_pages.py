"""
The common parts of all pages that are served through Klein, on either port.

This module must never send werkzeug's HTML or a traceback to a client, nor answer with a redirect: programs read these
pages.
"""

from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from klein import Klein
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import HTTPException

from etcd_twisted.errors import EtcdError
from etcd_twisted.httpd.responses import Response, json_message
from etcd_twisted.httpd.targets import cleaned
from etcd_twisted.interfaces import IReplica
from etcd_twisted.web import api_responses


def new_app() -> Klein:
    """Returns a Klein app without routes that takes every path as it comes."""
    app = Klein()
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    return app


def tidy(request: IRequest, names: Sequence[bytes] = ()) -> None:
    """
    Clean the path of a request before its route is looked up, so that it may be spelled in many ways.

    @param names: the paths that are followed by a name. The name is left as it is, for its page to check.
    """
    request.path = cleaned(request.path, names)
    request.postpath = [unquote_to_bytes(each) for each in request.path[1:].split(b"/")]


def client_host(request: IRequest) -> str:
    """Returns a client's address in a form for people: an IP address, or the text of its transport."""
    address = request.getClientAddress()
    return str(getattr(address, "host", address))


def send(request: IRequest, response: Response) -> bytes:
    """
    Send a response from a route. Returns the body, for the route to return.

    @raise TypeError: the body is not bytes, and this is no response to C{HEAD}.
    """
    body = response.body
    if not isinstance(body, bytes) and request.method != b"HEAD":
        raise TypeError(f"a page is sent as a whole: its body should be bytes, not {body!r}")
    request.setResponseCode(response.status)
    for line in response.fields.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        request.setHeader(name, value)
    if not isinstance(body, bytes):
        return b""
    request.setHeader(b"Content-Length", b"%d" % len(body))
    return body


def page_failure(replica: IReplica, request: object, reason: Failure, log: Logger) -> Response:
    """
    Returns the response to a request that a page could not answer.

    @param log: where to log an unexpected failure.
    """
    missing = _no_such_page(reason)
    if missing is not None:
        return missing
    if isinstance(reason.value, EtcdError):
        return api_responses.error_response(reason.value, replica.index)
    log.failure("A request failed: {request}", failure=reason, request=request)
    return api_responses.internal_error(replica.index)


def _no_such_page(reason: Failure) -> Response | None:
    """
    Returns the response to a request that has no route: 404, or 405 with the methods that the path has.

    @param reason: the failure that an error handler gets. If it means something else, the result is C{None}.
    """
    error = reason.value
    if not isinstance(error, HTTPException):
        return None
    status = error.code or 500
    allowed = dict(error.get_headers()).get("Allow")
    fields = b"Allow: %s, OPTIONS\r\n" % allowed.encode() if allowed else b""
    return json_message(status, error.name, fields)
