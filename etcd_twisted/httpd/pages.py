"""
Pages: what is served through Klein, on whatever port.

Must never let werkzeug's HTML or a traceback get to a client, nor answer with a redirect: programs read these.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from klein import Klein
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import HTTPException

from etcd_twisted.httpd.answers import Response, json_message
from etcd_twisted.httpd.targets import cleaned


def new_app() -> Klein:
    """A Klein app without routes, for which every path is taken as it came."""
    app = Klein()
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    return app


def tidy(request: Any, names: Sequence[bytes] = ()) -> None:
    """
    Clean the path of a request for a page before it is looked for, so that it may be spelled in many ways.

    @param names: the paths behind which there is a name, to be cleaned by whoever knows what it may be.
    """
    request.path = cleaned(request.path, names)
    request.postpath = [unquote_to_bytes(each) for each in request.path[1:].split(b"/")]


def client_host(request: IRequest) -> str:
    """Where a client is, for people: an IP address, or what its transport says that it is."""
    address = request.getClientAddress()
    return str(getattr(address, "host", address))


def send(request: IRequest, response: Response) -> bytes:
    """
    Set what C{response} says, to return its body from a route.

    @raise TypeError: the body is not there as a whole.
    """
    body = response.body
    if not isinstance(body, bytes):
        raise TypeError(f"a page is sent as a whole: its body should be bytes, not {body!r}")
    request.setResponseCode(response.status)
    for line in response.fields.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        request.setHeader(name, value)
    request.setHeader(b"Content-Length", b"%d" % len(body))
    return body


def no_such_page(reason: Failure) -> Response | None:
    """
    The answer to a request that has no route: 404, or 405 with the methods that the path has.

    @param reason: what a handler of errors is told; where that is something else, the outcome is C{None}.
    """
    error = reason.value
    if not isinstance(error, HTTPException):
        return None
    status = error.code or 500
    allowed = dict(error.get_headers()).get("Allow")
    fields = b"Allow: %s, OPTIONS\r\n" % allowed.encode() if allowed else b""
    return json_message(status, error.name, fields)
