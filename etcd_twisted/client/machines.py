"""
Which machines a client knows, and in which order it asks them.

The machines are those that the client was given, and those that they list. This module must never let a request go to
an address that is neither, and never trade an encrypted connection for a plain one.
"""

import urllib.parse
from collections.abc import Callable, Iterable


def read_endpoint(text: str) -> str:
    """
    Returns the URL of a machine, in the one way in which this library spells it.

    @param text: a URL, or a host and a port.
    @raise ValueError: the text is neither; the exception says what is wrong.
    @raise TypeError: it is no text.
    """
    if not isinstance(text, str):
        raise TypeError(f"the endpoint {text!r} is {type(text).__name__}, but endpoints are str")
    url = text.strip() if "://" in text else f"http://{text.strip()}"
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"can't use the endpoint {text!r}: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"can't use the endpoint {text!r}: it should look like http://HOST:PORT")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"can't use the endpoint {text!r}: it should have no path, only http://HOST:PORT")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            f"can't use the endpoint with the host {parts.hostname!r}: pass a name and password as credentials"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port or (443 if parts.scheme == 'https' else 80)}"


class Machines:
    """
    The machines of one cluster.

    @ivar given: the URLs that the client was given.
    @ivar listed: the URLs that a machine has listed.
    """

    def __init__(self, endpoints: Iterable[str], chance: Callable[[], float]) -> None:
        """
        @param endpoints: URLs, or hosts and ports; at least one.
        @param chance: returns a random number from 0 to 1, so that many clients do not all ask the same machine.
        @raise ValueError: there are no endpoints, or one of them can't be used.
        """
        if isinstance(endpoints, str):
            endpoints = endpoints.split(",")
        self.given = tuple(dict.fromkeys(map(read_endpoint, endpoints)))
        if not self.given:
            raise ValueError("a client needs at least one endpoint, such as http://127.0.0.1:4001")
        self.listed: tuple[str, ...] = ()
        self._chance = chance
        self._first = self.given[int(chance() * len(self.given)) % len(self.given)]
        self._leader: str | None = None

    def known(self) -> tuple[str, ...]:
        """Returns the URLs of all machines: those that were given first."""
        return tuple(dict.fromkeys((*self.given, *self.listed)))

    def begin_with(self, machine: str) -> None:
        """Ask one machine first from now on, and the others in their order after it."""
        self._first = machine

    def update(self, listed: Iterable[str]) -> None:
        """
        Take the list that a machine has given. An empty one, or one that no URL can be read from, changes nothing.
        """
        found = []
        for each in listed:
            try:
                found.append(read_endpoint(each))
            except ValueError:
                continue  # a machine may advertise what only others can use, such as a Unix socket
        self.listed = tuple(each for each in found if each.startswith("https:") or not self.encrypted) or self.listed

    @property
    def encrypted(self) -> bool:
        """Whether all connections are to be encrypted."""
        return all(each.startswith("https:") for each in self.given)

    def only(self, urls: Iterable[str]) -> "Machines":
        """
        Returns some of the machines, or their peer ports.

        @param urls: at least one.
        @raise ValueError: none of them can be used, since they are no URLs of machines, or since connections to all
            other machines are encrypted, and to these they would not be.
        """
        machines = Machines(urls, self._chance)
        if self.encrypted:
            if not any(each.startswith("https:") for each in machines.given):
                plain = ", ".join(machines.given)
                raise ValueError(f"the connection would not be encrypted, as those to the endpoints are: {plain}")
            machines = Machines([each for each in machines.given if each.startswith("https:")], self._chance)
        return machines

    def order(self, for_leader: bool) -> list[str]:
        """
        Returns the machines in the order in which to ask them.

        @param for_leader: whether the request would be redirected to the leader anyway.
        """
        known = self.known()
        start = known.index(self._first) if self._first in known else 0
        ordered = [*known[start:], *known[:start]]
        if for_leader and self._leader in ordered:
            ordered.remove(self._leader)
            ordered.insert(0, self._leader)
        return ordered

    def failed(self, machine: str) -> None:
        """Begin with another machine from now on, as this one has not answered."""
        if self._leader == machine:
            self._leader = None
        if self._first == machine:
            known = self.known()
            self._first = known[(known.index(machine) + 1) % len(known)] if machine in known else known[0]

    def leads(self, machine: str | None) -> None:
        """Remember which machine leads, or that this is not known any more."""
        self._leader = machine
