"""
Requests about the machines of a cluster, and what their answers mean: who they are, who leads, what they run, and
whether they are well.

This module must never send anything, nor change anything.
"""

from collections.abc import Sequence

import msgspec

from etcd_twisted.client.answers import decode_json
from etcd_twisted.client.errors import UnexpectedAnswer
from etcd_twisted.client.machines import Machines
from etcd_twisted.client.messages import Answer, Request
from etcd_twisted.client.results import Machine, Version

MACHINES = Request("GET", "/v2/machines")
MEMBERS = Request("GET", "/v2/members")
LEADER = Request("GET", "/v2/members/leader")
VERSION = Request("GET", "/version")
HEALTH = Request("GET", "/health", accepted=frozenset((503,)))


class WireMachine(msgspec.Struct):
    """A machine, as C{/v2/members} shows it."""

    id: str
    name: str = ""
    peer_urls: list[str] = msgspec.field(name="peerURLs", default_factory=list)
    client_urls: list[str] = msgspec.field(name="clientURLs", default_factory=list)

    def machine(self) -> Machine:
        """Returns it as a result."""
        return Machine(self.id, self.name, tuple(self.client_urls), tuple(self.peer_urls))


class _WireMembers(msgspec.Struct):
    members: list[WireMachine]


class _WireVersion(msgspec.Struct):
    server: str = msgspec.field(name="etcdserver")
    cluster: str = msgspec.field(name="etcdcluster", default="")


class _WireHealth(msgspec.Struct):
    health: str | bool


def machine_urls_of(answer: Answer) -> tuple[str, ...]:
    """
    Returns the client URLs in a list of machines.

    @raise UnexpectedAnswer: the answer is no such list.
    """
    urls = tuple(url.strip() for url in answer.body.decode("utf-8", "replace").split(",") if url.strip())
    if not urls or not all("://" in url for url in urls):
        raise UnexpectedAnswer(answer.status, answer.body, "it is no list of machines")
    return urls


def members_of(answer: Answer) -> tuple[Machine, ...]:
    """
    Returns the machines of a cluster.

    @raise UnexpectedAnswer: the answer is no list of machines.
    """
    return tuple(each.machine() for each in decode_json(answer, _WireMembers).members)


def machine_of(answer: Answer) -> Machine:
    """
    Returns the machine that an answer describes.

    @raise UnexpectedAnswer: it describes none.
    """
    return decode_json(answer, WireMachine).machine()


def version_of(answer: Answer) -> Version:
    """
    Returns the version of a machine. Servers of 0.4 give it as text, with the server's name before it.

    @raise UnexpectedAnswer: the answer is no version.
    """
    if answer.body.startswith(b"{"):
        wire = decode_json(answer, _WireVersion)
        return Version(wire.server, wire.cluster)
    name, _, version = answer.body.decode("utf-8", "replace").strip().rpartition(" ")
    if not name.startswith("etcd"):
        raise UnexpectedAnswer(answer.status, answer.body, "it is no version")
    return Version(version)


def health_of(answer: Answer) -> bool:
    """
    Returns whether a machine is well.

    @raise UnexpectedAnswer: the answer does not tell.
    """
    return decode_json(answer, _WireHealth).health in ("true", True)


def urls_of(machine: "str | Machine") -> Sequence[str]:
    """
    Returns where a machine serves clients.

    @param machine: the machine, or its URL.
    @raise ValueError: the machine serves no clients yet.
    """
    if isinstance(machine, str):
        return (machine,)
    if not machine.client_urls:
        raise ValueError(f"the machine {machine.name or machine.id} has not said yet where it serves clients")
    return machine.client_urls


def only(machines: Machines, machine: "str | Machine | None") -> Machines | None:
    """
    Returns the one machine to ask, or C{None} for any.

    @param machines: the machines of the cluster.
    @raise ValueError: it can't be asked.
    """
    return None if machine is None else machines.only(urls_of(machine))
