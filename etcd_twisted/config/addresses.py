"""
Addresses that machines are reached at or listen on: a host and a port, or an endpoint string, as people write them.

This module must never resolve a name or open a socket: an address here is only a text, checked for its
form.
"""

import ipaddress
import re
from urllib.parse import urlsplit

import attrs

_PORT = re.compile(r"[0-9]{1,5}")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MAX_HOST_CHARACTERS = 253
"""RFC 1035, section 2.3.4, less the length bytes at both ends."""

_ENDPOINT = re.compile(r"[A-Za-z][A-Za-z0-9]*:.*[=/].*")
"""A type and its arguments, one of which has a name or is a path. No host and port looks like that."""

_EXAMPLE = "as in 127.0.0.1:4001, machine0.example.com:4001 or [::1]:4001"


@attrs.frozen
class Address:
    """
    A host and a port.

    @ivar host: a host name, an IPv4 address, or an IPv6 address without brackets.
    @ivar port: the TCP port.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """
        Returns the address in C{host:port} or C{[IPv6]:port}.

        @raise ValueError: the text is no such address; the error says what it should be.
        """
        return BindAddress.parse(text).complete()

    @classmethod
    def parse_reachable(cls, text: str, bind_option: str | None = None) -> "Address":
        """
        Returns an address at which others reach a machine. C{0.0.0.0} and C{[::]} are addresses to listen on, which
        nobody can connect to.

        @param bind_option: the option that sets where to listen, if the address may have been meant for that.
        @raise ValueError: see L{parse} and L{check_reachable}.
        """
        address = cls.parse(text)
        address.check_reachable(bind_option)
        return address

    def check_reachable(self, bind_option: str | None = None) -> None:
        """
        Check that others can be told this address, as far as its form goes.

        @param bind_option: the option that sets where to listen, if the address may have been meant for that.
        @raise ValueError: it stands for all of this computer's addresses; the error says what to set.
        """
        if self.is_unspecified:
            remedy = "" if bind_option is None else f"; set {bind_option} to listen on {BindAddress(self.host, None)}"
            raise ValueError(f"should be an address that others can reach, {_EXAMPLE}{remedy}")

    @property
    def is_unspecified(self) -> bool:
        """Whether this address stands for all addresses of the computer that listens on it."""
        number = _number(self.host)
        if isinstance(number, ipaddress.IPv6Address) and number.ipv4_mapped is not None:
            return number.ipv4_mapped.is_unspecified
        return number is not None and number.is_unspecified

    def url(self, scheme: str = "http") -> str:
        """Returns the address as the base of a URL, without a slash at its end."""
        return f"{scheme}://{self}"

    def overlaps(self, other: "Address | Endpoint") -> bool:
        """
        Returns whether listening on both is impossible: they are the same, or one stands for all addresses of its
        kind. Port 0 stands for any that is free.

        Names are compared as they are written, since nothing is looked up here.
        """
        if isinstance(other, Endpoint) or self.port != other.port or not self.port:
            return False
        one, two = _number(self.host), _number(other.host)
        if one is None or two is None:
            return self.host.removesuffix(".").lower() == other.host.removesuffix(".").lower()
        return one == two or (one.version == two.version and (one.is_unspecified or two.is_unspecified))

    def __str__(self) -> str:
        return str(BindAddress(self.host, self.port))


@attrs.frozen
class Endpoint:
    """
    One of Twisted's endpoint strings, which says where to listen (L{twisted.internet.endpoints.serverFromString}).

    @ivar text: the string, as in C{systemd:domain=INET:name=clients} or C{unix:/run/etcd.sock}.
    """

    text: str

    def complete(self, port: int | None = None) -> "Endpoint":  # noqa: ARG002  # it is complete
        """See L{BindAddress.complete}."""
        return self

    def overlaps(self, other: "Address | Endpoint") -> bool:
        """Returns whether listening on both is impossible, as far as their texts show."""
        return self == other

    def __str__(self) -> str:
        return self.text


def parse_listening(text: str) -> "BindAddress | Endpoint":
    """
    Returns where to listen: an address as L{BindAddress.parse} takes it, or an endpoint string.

    Only listening shows what an endpoint string's type and arguments mean.

    @raise ValueError: the text is neither; the error says what it should be.
    """
    if "://" not in text and text.isprintable() and _ENDPOINT.fullmatch(text):
        return Endpoint(text)
    return BindAddress.parse(text)


@attrs.frozen
class Listener:
    """
    A further address or endpoint to listen on.

    @ivar tls: whether TLS is spoken there; C{None} if it is where the port has a certificate.
    """

    where: Address | Endpoint
    tls: bool | None = None

    @classmethod
    def parse(cls, text: str) -> "Listener":
        """
        Returns where to listen: an address, a URL of one, or an endpoint string.

        @raise ValueError: the text is none of these; the error says what it should be.
        """
        if "://" in text:
            try:
                tls, address = read_url(text)
            except ValueError:
                raise ValueError("should be HOST:PORT, a URL of one or an endpoint, as in http://h:2379") from None
            return cls(address, tls)
        return cls(parse_listening(text).complete())

    def __str__(self) -> str:
        if self.tls is None or isinstance(self.where, Endpoint):
            return str(self.where)
        return self.where.url("https" if self.tls else "http")


@attrs.frozen
class BindAddress:
    """
    An address to listen on, as it was given. Without a port, it has that of the advertised address.

    @ivar host: as in L{Address}.
    @ivar port: the TCP port; C{None} where none was given.
    """

    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> "BindAddress":
        """
        Returns the address in C{host}, C{host:port}, C{[IPv6]} or C{[IPv6]:port}.

        @raise ValueError: the text is no such address; the error says what it should be.
        """
        if "://" in text:
            raise ValueError(f"should be HOST:PORT without a scheme, {_EXAMPLE}")
        if text.startswith("["):
            host, bracket, rest = text[1:].partition("]")
            if not bracket or not (rest == "" or rest.startswith(":")):
                raise ValueError("should be [IPv6]:PORT, as in [::1]:4001")
            return cls(_ipv6(host), _port(rest[1:]) if rest else None)
        if text.count(":") > 1:
            raise ValueError("should have its IPv6 address in brackets, as in [::1]:4001")
        host, colon, port = text.partition(":")
        return cls(_host_name(host), _port(port) if colon else None)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def complete(self, port: int | None = None) -> Address:
        """
        Returns the address with its port.

        @param port: the port to use if the address has none.
        @raise ValueError: neither gives a port.
        """
        chosen = port if self.port is None else self.port
        if chosen is None:
            raise ValueError(f"should have a port, {_EXAMPLE}")
        return Address(self.host, chosen)


def address_of(address: object) -> str:
    """Returns the address of the other side of a connection for people, whatever kind of address its transport has."""
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    return str(address) if host is None or port is None else str(Address(host, port))


def read_url(url: str) -> tuple[bool, Address]:
    """
    Returns whether the URL of a port asks for TLS, and the address in it.

    @raise ValueError: it is no such URL; the error says what it should be.
    """
    try:
        parts = urlsplit(url)
        address = Address.parse(parts.netloc)
    except ValueError as error:
        raise ValueError(f"{url[:300]!r}: {error}") from error
    if parts.scheme not in ("http", "https") or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{url[:300]!r} should be http://HOST:PORT or https://HOST:PORT")
    return parts.scheme == "https", address


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= 65535:
        raise ValueError("should have a port from 1 to 65535")
    return int(text)


def _number(host: str) -> "ipaddress.IPv4Address | ipaddress.IPv6Address | None":
    """Returns the IP address that a host is; C{None} for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _ipv6(text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        address = None
    if address is None or address.scope_id is not None:
        raise ValueError("should have an IPv6 address, without a zone, between its brackets, as in [::1]:4001")
    return str(address)


def _host_name(text: str) -> str:
    labels = text.removesuffix(".").split(".")
    if len(text) > _MAX_HOST_CHARACTERS or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"should have a host name or an IP address, {_EXAMPLE}")
    if labels[-1].isdigit():
        # A name never ends in a number (RFC 1123, section 2.1): this is meant as an address.
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            raise ValueError("should have four numbers from 0 to 255 in its IPv4 address, as in 127.0.0.1") from None
    return text
