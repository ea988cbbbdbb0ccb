"""
How a client finds the machines of a cluster by DNS SRV records (RFC 2782).

Names for clients come first, then those under which servers find each other: their targets are peer ports, where a
machine tells its client URLs. What is encrypted comes before what is not. This module must never take a name server
that fails for one that says that there is no record, since that might trade an encrypted connection for a plain one.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import attrs
import msgspec
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime, IResolver

from etcd_twisted.client.answers import decode_json
from etcd_twisted.client.errors import ClientError, ConnectionFailed, NoMachinesFound
from etcd_twisted.client.machines import Machines
from etcd_twisted.client.messages import Request
from etcd_twisted.client.sender import Sender

CLIENT_SERVICES = (
    ("_etcd-client-ssl._tcp", "https"),
    ("_etcd-client._tcp", "http"),
    ("_etcd-ssl._tcp", "https"),
    ("_etcd._tcp", "http"),
)
"""Under these names are client ports, each with the scheme of their URLs."""

PEER_SERVICES = (("_etcd-server-ssl._tcp", "https"), ("_etcd-server._tcp", "http"))
"""Under these names are peer ports."""

ATTEMPT_SECONDS = (1, 2)
"""How long name servers may take, at the first time of asking and at the second."""

_RESOLV_CONF = Path("/etc/resolv.conf")
_DNS_PORT = 53


@attrs.frozen
class _Record:
    """
    An SRV record.

    @ivar priority: records with a lower one come first.
    @ivar weight: among others of the same priority, how often it comes first.
    """

    priority: int
    weight: int
    host: str
    port: int


class _WireMember(msgspec.Struct):
    """A machine, as etcd's peer port shows it."""

    client_urls: list[str] = msgspec.field(name="clientURLs", default_factory=list)


class _WireMachine(msgspec.Struct):
    """A machine, as the peer port of this project's server shows it."""

    client_url: str = msgspec.field(name="clientURL")


def default_resolver(reactor: IReactorTime) -> IResolver:
    """
    Returns what asks the name servers of this computer. It keeps nothing on the reactor between questions.

    @raise ConnectionFailed: there are none.
    """
    from twisted.names.client import Resolver  # noqa: PLC0415  # it takes long to import, and few need it

    try:
        lines = [line.split() for line in _RESOLV_CONF.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError as error:
        raise ConnectionFailed(f"can't find the name servers: {_RESOLV_CONF}: {error.strerror}") from error
    servers = [(words[1], _DNS_PORT) for words in lines if len(words) > 1 and words[0] == "nameserver"]
    if not servers:
        raise ConnectionFailed(f"{_RESOLV_CONF} names no name server")
    return cast(IResolver, Resolver(servers=servers, timeout=ATTEMPT_SECONDS, reactor=reactor))


async def find_urls(
    domain: str, services: Sequence[tuple[str, str]], resolver: IResolver, chance: Callable[[], float]
) -> tuple[str, ...]:
    """
    Returns the URLs under the first of some names that has records, in the order in which to ask them; none if no name
    has any.

    @param services: names, each with the scheme of the URLs.
    @param chance: returns a random number from 0 to 1.
    @raise ConnectionFailed: a name server does not answer, or can't.
    """
    for service, scheme in services:
        records = await _look_up(f"{service}.{domain.rstrip('.')}", resolver)
        if records:
            return tuple(f"{scheme}://{each.host}:{each.port}" for each in in_order(records, chance))
    return ()


async def _look_up(name: str, resolver: IResolver) -> list[_Record]:
    from twisted.names import dns  # noqa: PLC0415  # see above
    from twisted.names.error import AuthoritativeDomainError, DNSNameError, DomainError  # noqa: PLC0415

    try:
        found: Any = await resolver.lookupService(name, ATTEMPT_SECONDS)
    except (DNSNameError, AuthoritativeDomainError):
        return []
    except (DomainError, DeferredTimeoutError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConnectionFailed(f"can't look up the SRV records of {name}: {reason}") from error
    payloads = [answer.payload for answer in found[0] if answer.type == dns.SRV]
    records = [
        _Record(each.priority, each.weight, each.target.name.decode("ascii", "replace").rstrip("."), each.port)
        for each in payloads
    ]
    return [record for record in records if record.host]  # a dot alone says that there is no such service


def in_order(records: Sequence[_Record], chance: Callable[[], float]) -> list[_Record]:
    """Returns records in the order of their priorities, and of chance by their weights (RFC 2782)."""
    ordered = []
    for priority in sorted({record.priority for record in records}):
        left = sorted((each for each in records if each.priority == priority), key=lambda record: record.weight)
        while left:
            point = chance() * sum(record.weight for record in left)
            chosen = left[-1]
            for record in left:
                point -= record.weight
                if point <= 0:
                    chosen = record
                    break
            left.remove(chosen)
            ordered.append(chosen)
    return ordered


async def client_urls(domain: str, peers: Sequence[str], sender: Sender, attempt_seconds: float) -> tuple[str, ...]:
    """
    Returns the client URLs of the machines of a cluster.

    @param peers: the URLs of peer ports.
    @param sender: sends requests without credentials.
    @param attempt_seconds: how long each of them may take over each request.
    @raise NoMachinesFound: none of them tells.
    """
    reasons = []
    for peer in peers:
        try:
            machines = sender.machines.only([peer])
            found = await _ask(machines, sender, attempt_seconds)
            return sender.machines.only(found).given
        except (ClientError, ValueError) as error:
            reasons.append(f"{peer}: {error}")
    raise NoMachinesFound(f"no machine of {domain} tells where it serves clients: {', '.join(reasons)}")


async def _ask(machines: Machines, sender: Sender, attempt_seconds: float) -> list[str]:
    accepted = frozenset((404,))
    answer = await sender.send(Request("GET", "/members", accepted=accepted), attempt_seconds, machines)
    if answer.status != 404:
        return [url for member in decode_json(answer, list[_WireMember]) for url in member.client_urls]
    answer = await sender.send(Request("GET", "/v2/admin/machines"), attempt_seconds, machines)
    # One that is empty is of a machine that has not come yet.
    return [machine.client_url for machine in decode_json(answer, list[_WireMachine]) if machine.client_url]


def nothing_found(domain: str) -> NoMachinesFound:
    """Returns the exception that says that a domain has no records."""
    names = ", ".join(service for service, _ in (*CLIENT_SERVICES, *PEER_SERVICES))
    return NoMachinesFound(f"the domain {domain} has no SRV records of machines: looked for {names}")
