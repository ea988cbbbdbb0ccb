"""
The static list of the machines that begin a cluster together, as C{--initial-cluster} has it.

This module must never resolve a name: two addresses are the same if they are written the same, but for the case of
letters and a dot at the end of a host name.
"""

import attrs

from etcd_twisted.config.addresses import Address, read_url
from etcd_twisted.interfaces.cluster import NAME

_FORM = "should be NAME=URL,NAME=URL,... with the peer URL of each machine, as in m0=http://10.0.0.1:2380"


@attrs.frozen
class InitialMachine:
    """
    A machine of the list.

    @ivar urls: its peer URLs, sorted; others reach it at the first one until it says where it is.
    """

    name: str
    urls: tuple[str, ...]


@attrs.frozen
class InitialCluster:
    """
    The list. It does not depend on the order in which its machines were given.

    @ivar machines: the machines, sorted by name.
    """

    machines: tuple[InitialMachine, ...]

    @classmethod
    def parse(cls, text: str) -> "InitialCluster":
        """
        Returns the list in C{NAME=URL,NAME=URL,...}. A machine with several URLs is there once for each.

        @raise ValueError: the text is no such list; the error says what it should be.
        """
        urls: dict[str, list[str]] = {}
        known: set[str] = set()
        for item in filter(None, (each.strip() for each in text.split(","))):
            name, equals, given = item.partition("=")
            if not equals or not NAME.fullmatch(name):
                raise ValueError(f"{_FORM}, unlike {item!r}")
            try:
                url = normalized_peer_url(given)
            except ValueError as error:
                raise ValueError(f"{_FORM}; {error}") from error
            if url in known:
                raise ValueError(f"should have each URL once, and has {url} twice")
            known.add(url)
            urls.setdefault(name, []).append(url)
        if not urls:
            raise ValueError(_FORM)
        return cls(tuple(InitialMachine(name, tuple(sorted(found))) for name, found in sorted(urls.items())))

    def __str__(self) -> str:
        return ",".join(f"{machine.name}={url}" for machine in self.machines for url in machine.urls)


def normalized_peer_url(url: str) -> str:
    """
    Returns a peer URL as it is compared with others.

    @raise ValueError: it is no URL of a peer port; the error says what it should be.
    """
    tls, address = read_url(url)
    if address.is_unspecified:
        raise ValueError(f"{url!r} should have an address that others can reach")
    return Address(address.host.removesuffix(".").lower(), address.port).url("https" if tls else "http")
