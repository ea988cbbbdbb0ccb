"""
What web browsers may do: which of their requests are refused, so that no web page can use a visitor's browser against
this machine, and which pages of other origins may read responses (the Fetch standard, section 3.2, "CORS protocol").

A page of another origin can make the browser send changes, although it can't read the responses. The C{Origin} of such
requests reveals them. A page can also make its own host name lead to this machine (DNS rebinding), and then it can
read the responses too. The C{Host} of such requests reveals them, since it is not a name of this machine. An IP
address can't be rebound.

Whatever a page does, a browser's requests carry at least one of the marks below. The requests of programs, and of
proxies in front of programs, carry none, and may have any C{Host}.

This module must never refuse the request of a program, nor accept an origin or a host because a part of it is known,
nor let a cache give one origin what was made for another.
"""

import ipaddress
import re
from collections.abc import Callable, Collection, Sequence

import attrs
from twisted.web.http_headers import Headers

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.httpd.responses import AnyResponse, Response, as_deferred
from etcd_twisted.httpd.targets import shown

ANY = "*"
"""Stands for every origin."""

_METHODS = b"Access-Control-Allow-Methods: GET, HEAD, PUT, POST, DELETE, OPTIONS\r\n"
_HEADERS = b"Access-Control-Allow-Headers: accept, content-type, authorization\r\n"
_MAX_AGE = b"Access-Control-Max-Age: 600\r\n"
"""For this many seconds a browser does not ask again."""

_SAFE = frozenset((b"GET", b"HEAD", b"OPTIONS"))
"""The methods that change nothing."""

_MARKS = (b"origin", b"sec-fetch-site", b"accept-language")
"""The header fields that only browsers send."""

_BROWSER = b"Mozilla/"
"""The beginning of every browser's C{User-Agent}."""

_LOCAL = "localhost"
"""This name, and those below it, lead to the machine that asks (RFC 6761, section 6.3)."""

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]*))?")
_ORIGIN = re.compile(rb"(https?)://(.*)", re.DOTALL)
_PORTS = {b"http": "80", b"https": "443"}

Values = Callable[[bytes], Sequence[bytes]]
"""Returns the values of the header fields with a name, which is given in lower case."""

_Host = str | ipaddress.IPv4Address | ipaddress.IPv6Address
"""A name in lower case, without a dot at its end, or an address."""


@attrs.frozen
class _Origin:
    """The origin of a page, or the destination of a request."""

    scheme: bytes
    host: _Host
    port: str


class BrowserPolicy:
    """Tells which requests are refused. See the module."""

    def __init__(self, hosts: Collection[str] = (), own: Collection[str] = (), allowed: Collection[str] = ()) -> None:
        """
        @param hosts: the names of this machine, beside C{localhost}; L{ANY} among them stands for all.
        @param own: the URLs that this machine advertises, without a path.
        @param allowed: the other origins whose pages may change something; L{ANY} among them stands for all.
        """
        self._any_host = ANY in hosts
        self._hosts = frozenset(_host(host.lower()) for host in hosts)
        self._own = frozenset(_origin(url.encode()) for url in own)
        self._any_origin = ANY in allowed
        self._allowed = frozenset(origin.encode() for origin in allowed)

    @classmethod
    def of(cls, config: Config) -> "BrowserPolicy":
        """Returns the policy for both ports of a machine."""
        also = (each.where for each in (*config.also_bind_addr, *config.also_peer_bind_addr))
        addresses = (config.addr, config.bind_addr, config.peer_addr, config.peer_bind_addr, *also)
        hosts = {address.host for address in addresses if isinstance(address, Address)}
        return cls(hosts | config.hosts, (config.client_url, config.peer_url), config.origins)

    def refusal(self, method: bytes, headers: Headers, authority: bytes, secure: bool) -> str | None:
        """
        Returns why a request is refused, for the person in front of the browser, or None if it is not refused.

        @param authority: the host and port of an absolute request target; empty for any other target.
        @param secure: whether the request came over TLS.
        """

        def values(name: bytes) -> Sequence[bytes]:
            return headers.getRawHeaders(name, ())

        host = self.unknown_host(values, authority)
        if host is not None:
            remedy = "browsers may use it if --allowed-hosts names it"
            return f"{shown(host)!r} is not a known name of this machine: {remedy}"
        if method not in _SAFE:
            hosts = (authority,) if authority else values(b"host")
            for origin in values(b"origin"):
                if not self._may_change(origin, hosts, secure):
                    stranger = f"a web page of {shown(origin)!r}"
                    return f"{stranger} may not change anything here unless --cors names its origin"
        return None

    def unknown_host(self, values: Values, authority: bytes = b"") -> bytes | None:
        """
        Returns the host that a browser's request names and that is not a name of this machine, or None if there is
        none.

        @param values: the request's header.
        @param authority: see L{refusal}.
        """
        for host in (*values(b"host"), authority or b"localhost"):
            if not self._knows(host):
                return host if looks_like_a_browser(values) else None
        return None

    def _knows(self, authority: bytes) -> bool:
        if self._any_host:
            return True
        parsed = _parsed(b"http", authority)
        if parsed is None:
            return False
        host = parsed.host
        return not isinstance(host, str) or host in self._hosts or host == _LOCAL or host.endswith("." + _LOCAL)

    def _may_change(self, origin: bytes, hosts: Sequence[bytes], secure: bool) -> bool:
        """
        Returns whether a page may change something: one of this machine, or of an origin that is allowed.

        @param hosts: the destination of the request, as its sender names it.
        @param secure: whether the request came over TLS. A page that did not may have been changed by anybody on its
            way, so it may not change anything then.
        """
        if self._any_origin or origin in self._allowed:
            return True
        page = _origin(origin)
        if page is None or (secure and page.scheme != b"https"):
            return False
        return page in self._own or any(page == _parsed(page.scheme, host) for host in hosts)


def looks_like_a_browser(values: Values) -> bool:
    """Returns whether a request carries a mark that only those of browsers have."""
    return any(map(values, _MARKS)) or any(agent.startswith(_BROWSER) for agent in values(b"user-agent"))


def _origin(text: bytes) -> _Origin | None:
    """Returns the origin of a text that is one, or a URL; C{None} unless its scheme is HTTP or HTTPS."""
    match = _ORIGIN.fullmatch(text)
    return None if match is None else _parsed(match[1], match[2])


def _parsed(scheme: bytes, authority: bytes) -> _Origin | None:
    match = _AUTHORITY.fullmatch(authority.decode("latin-1").lower())
    if match is None:
        return None
    try:
        host = ipaddress.IPv6Address(match[1][1:-1]) if match[1].startswith("[") else _host(match[1])
    except ValueError:
        return None
    return _Origin(scheme, host, match[2] or _PORTS[scheme])


def _host(text: str) -> _Host:
    name = text.removesuffix(".")
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return name


class Cors:
    """Tells which origins may read a port's responses, and what parts of them."""

    def __init__(self, origins: Collection[str], exposed: Collection[str]) -> None:
        """
        @param origins: as browsers send them, in lower case; L{ANY} among them stands for all.
        @param exposed: the header fields that a page may read, beside those that it may always read.
        """
        self._any = ANY in origins
        self._origins = frozenset(origin.encode() for origin in origins)
        self._vary = b"" if self._any else b"Vary: Origin\r\n"
        self._exposed = b"Access-Control-Expose-Headers: %s\r\n" % ", ".join(exposed).encode()

    def fields(self, request: Headers) -> bytes:
        """
        Returns the header lines for a response.

        @param request: the header of the request.
        """
        origin = self._allowed(request)
        return origin + self._exposed + self._vary if origin else self._vary

    def preflight(self, request: Headers) -> Response:
        """Returns the response to C{OPTIONS}, by which a browser asks whether it may send a request."""
        origin = self._allowed(request)
        return Response(200, origin + _METHODS + _HEADERS + _MAX_AGE + self._vary if origin else self._vary, b"")

    def _allowed(self, request: Headers) -> bytes:
        """Returns the header line that allows the request's origin, which is empty if that may not read."""
        if self._any:
            return b"Access-Control-Allow-Origin: *\r\n"
        for origin in request.getRawHeaders(b"Origin", ()):
            if origin in self._origins:
                return b"Access-Control-Allow-Origin: %s\r\n" % origin
        return b""


def with_fields(response: AnyResponse, fields: bytes) -> AnyResponse:
    """Returns a response with more header lines."""
    if isinstance(response, Response):
        return _with(response, fields)
    return as_deferred(response).addCallback(_with, fields)


def _with(response: Response, fields: bytes) -> Response:
    return Response(response.status, response.fields + fields, response.body)
