"""
The discovery service: new tokens, and the registrations below a token, as the public service for etcd had them.

Machines of etcd that are started with C{--discovery URL/discovery/TOKEN} use the token's URL like a key: they read
C{_config/size} below it, create a key of their own, and watch until there are that many. So a token is the directory
C{/_etcd/registry/TOKEN}, and whatever is asked of it is asked of the key endpoint.

Reads below a token are linearizable: a machine of etcd gives up if it does not find the size of its cluster, and the
machine that it asks may be behind the one that made the token.

This module must never let a path below a token lead to another key than one below C{/_etcd/registry}.
"""

import re
import secrets
from urllib.parse import quote

from twisted.web.iweb import IRequest

from etcd_twisted.errors import EtcdError
from etcd_twisted.httpd.browsers import looks_like_a_browser
from etcd_twisted.httpd.handler import Handler, ParsedRequest
from etcd_twisted.httpd.ordinary.request import credentials
from etcd_twisted.httpd.responses import TEXT, Response, as_deferred, json_message
from etcd_twisted.httpd.targets import below, unescape
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.paths import clean
from etcd_twisted.web.forms import parse, unsigned
from etcd_twisted.web.redirects import redirect

PREFIX = b"/discovery"
"""The path that a token follows."""

REGISTRY = "/_etcd/registry"
"""The directory of all tokens, by etcd's convention."""

DEFAULT_SIZE = 3
"""How many machines a cluster gets if the client does not say."""

MAX_SIZE = 1_000
"""How many machines a client may ask for: far more than a cluster has."""

_NEW = "new"
_TOKEN_BYTES = 16
_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")
_TYPED = ("none", "same-origin")
"""The values of C{Sec-Fetch-Site} that no page of another origin can make a browser send."""


def registry_target(target: bytes) -> bytes | None:
    """
    Returns the path and the query of the key that a target below L{PREFIX} stands for, or C{None} if the target is not
    below a token.
    """
    rest = below(target, PREFIX)
    if rest is None:
        return None
    path, mark, query = rest.partition(b"?")
    try:
        key = clean(unescape(path))
    except ValueError:
        # The key endpoint says what is wrong. A bad escape is the only thing that it looks at.
        return REGISTRY.encode() + path + mark + query
    if key.split("/")[1] in ("", _NEW):
        return None
    return b"%s?%s%squorum=true" % ((REGISTRY + quote(key)).encode(), query, b"&" if query else b"")


class DiscoveryPage:
    """Makes new tokens. The route is in L{etcd_twisted.web.app}."""

    def __init__(self, replica: IReplica, keys: Handler) -> None:
        """
        @param keys: the key endpoint, which makes the change like that of any client.
        """
        self._replica = replica
        self._keys = keys

    async def new(self, request: IRequest) -> Response:
        """Make a token, and return the response with its URL."""
        if _may_come_from_another_page(request):
            return json_message(403, "a web page of another origin may not make tokens; use curl")
        try:
            base_url = _base_url(request)
            size = _size(request.uri.partition(b"?")[2])
        except (EtcdError, ValueError) as error:
            return json_message(400, error.cause if isinstance(error, EtcdError) else str(error))
        token = secrets.token_hex(_TOKEN_BYTES)
        path = f"{REGISTRY}/{token}/_config/size".encode()
        wanted = ParsedRequest(b"PUT", path, b"prevExist=false&value=%d" % size, None, b"", *credentials(request))
        made = self._keys.handle(wanted)
        response = made if isinstance(made, Response) else await as_deferred(made)
        if response.status == 201:
            fields = TEXT + b"Cache-Control: no-store\r\n"
            return Response(200, fields, f"{base_url}{PREFIX.decode()}/{token}".encode())
        leader = self._replica.leader()
        if response.status == 307 and leader is not None:
            return redirect(leader.client_url, request.uri)
        return response


def _base_url(request: IRequest) -> str:
    """
    Returns the URL by which the client has found this machine, maybe through a proxy that ends TLS.

    @raise ValueError: the request does not say. The text says what is missing.
    """
    host = (request.getHeader("Host") or "").strip()
    if not _HOST.fullmatch(host):
        raise ValueError("the Host header should be this machine's, as the cluster's machines are to use it")
    scheme = request.getHeader("X-Forwarded-Proto")
    if scheme not in ("http", "https"):
        scheme = "https" if request.isSecure() else "http"
    return f"{scheme}://{host}"


def _may_come_from_another_page(request: IRequest) -> bool:
    """
    Returns whether a page of another origin may have made a browser send a request. A C{GET} that changes something
    has no C{Origin} that would show it.
    """
    site = request.getHeader("Sec-Fetch-Site")
    if site is not None:
        return site not in _TYPED
    return looks_like_a_browser(lambda name: request.requestHeaders.getRawHeaders(name, ()))


def _size(query: bytes) -> int:
    """
    Returns the size of a cluster that a query asks for.

    @raise EtcdError: the query can't be decoded.
    @raise ValueError: it asks for something else. The text says what.
    """
    form = parse(query)
    unknown = sorted(name for name in form if name != "size")
    if unknown:
        raise ValueError(f"the only parameter is size, not {unknown[0][:80]!r}")
    text = form.get("size", "")
    if not text:
        return DEFAULT_SIZE
    size = unsigned(text)
    if size is None or not 1 <= size <= MAX_SIZE:
        raise ValueError(f"size should be a whole number from 1 to {MAX_SIZE}, not {text[:80]!r}")
    return size
