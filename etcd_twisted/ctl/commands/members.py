"""
The commands about the machines of a cluster by their ids: C{member}, as etcdctl has it, and C{health}.

This module must never change a machine unless exactly one is meant.
"""

from typing import TYPE_CHECKING, Any

import attrs
import click

from etcd_twisted.ctl.answers import Table, show
from etcd_twisted.ctl.command import Command, Group, Tool, text
from etcd_twisted.ctl.failures import NOT_HEALTHY, SERVER_ERROR, CommandFailedError

if TYPE_CHECKING:
    from etcd_twisted.client import Client, Machine


_STYLES = {"healthy": "green", "unhealthy": "bold red", "unreachable": "bold red"}


def member_as_json(machine: "Machine", leader_id: str | None) -> dict[str, Any]:
    """Returns a machine as it is in the JSON."""
    return {
        "id": machine.id,
        "name": machine.name,
        "peerURLs": list(machine.peer_urls),
        "clientURLs": list(machine.client_urls),
        "isLeader": machine.id == leader_id,
    }


async def leader_id(client: "Client") -> str | None:
    """Returns the id of the machine that leads, or C{None} if none does."""
    from etcd_twisted.client import ApiError, ConnectionFailed, RequestRefused

    try:
        return (await client.leader()).id
    except (ConnectionFailed, ApiError, RequestRefused):  # what etcd answers without a leader differs by its version
        return None


def _leader_id(tool: Tool) -> str | None:
    """Returns what L{leader_id} does, without a client if a machine answers at once."""
    from etcd_twisted.client import ApiError, ConnectionFailed, RequestRefused
    from etcd_twisted.client.members import LEADER, machine_of

    try:
        return tool.ask(LEADER, machine_of, lambda client: client.leader()).id
    except (ConnectionFailed, ApiError, RequestRefused):
        return None


@click.group(cls=Group)
def member() -> None:
    """List the machines of the cluster, and change who they are."""


@member.command(name="list")
@click.pass_obj
def list_(tool: Tool) -> None:
    """List the machines, and which of them leads."""
    from etcd_twisted.client.members import MEMBERS, members_of

    async def ask(client: "Client") -> "tuple[tuple[Machine, ...], str | None]":
        return await client.members(), await leader_id(client)

    members, leader = tool.ask(MEMBERS, lambda answer: (members_of(answer), _leader_id(tool)), ask)
    documents = [member_as_json(each, leader) for each in members]
    rows = [
        (
            (each.name or "(not started)", "" if each.name else "dim"),
            each.id,
            " ".join(each.peer_urls),
            " ".join(each.client_urls),
            ("leads", "bold green") if each.id == leader else "",
        )
        for each in members
    ]
    columns = ("NAME", "ID", "PEER URLS", "CLIENT URLS", "")
    show(tool, {"members": documents}, map(_line, documents), Table(columns, list(rows)))


def _line(document: dict[str, Any]) -> str:
    peer_urls, client_urls = ",".join(document["peerURLs"]), ",".join(document["clientURLs"])
    if not document["name"]:
        return f"{document['id']}[unstarted]: peerURLs={peer_urls}"
    leads = "true" if document["isLeader"] else "false"
    return f"{document['id']}: name={document['name']} peerURLs={peer_urls} clientURLs={client_urls} isLeader={leads}"


@member.command(name="leader")
@click.pass_obj
def leader(tool: Tool) -> None:
    """Print which machine leads."""
    from etcd_twisted.client.members import LEADER, machine_of

    machine = tool.ask(LEADER, machine_of, lambda client: client.leader())
    document = member_as_json(machine, machine.id)
    show(tool, document, [_line(document)])


@member.command()
@click.argument("name")
@click.argument("peer_url")
@click.pass_obj
def add(tool: Tool, name: str, peer_url: str) -> None:
    """
    Announce a machine that is to be started, and print with which settings.

    PEER_URL is where the others will reach it.
    """

    async def change(client: "Client") -> "tuple[Machine, tuple[Machine, ...]]":
        added = await client.admin.add_member([text(peer_url)])
        return added, await client.members()

    added, members = tool.run(change)
    cluster = ",".join(
        f"{name if each.id == added.id else each.name}={url}" for each in members for url in each.peer_urls
    )
    lines = [
        f"Added member named {name} with ID {added.id} to cluster",
        "",
        f'ETCD_NAME="{name}"',
        f'ETCD_INITIAL_CLUSTER="{cluster}"',
        'ETCD_INITIAL_CLUSTER_STATE="existing"',
    ]
    show(tool, {**member_as_json(attrs.evolve(added, name=name), None), "initialCluster": cluster}, lines)


@member.command()
@click.argument("member_id", metavar="ID")
@click.pass_obj
def remove(tool: Tool, member_id: str) -> None:
    """Take a machine out of the cluster. ID may be its name."""

    async def change(client: "Client") -> "Machine":
        machine = await _find(client, member_id)
        await client.admin.remove_member(machine.id)
        return machine

    machine = tool.run(change)
    show(tool, member_as_json(machine, None), [f"Removed member {machine.id} from cluster"])


@member.command()
@click.argument("member_id", metavar="ID")
@click.argument("peer_urls", metavar="PEER_URL,...")
@click.pass_obj
def update(tool: Tool, member_id: str, peer_urls: str) -> None:
    """Change where the others look for a machine. ID may be its name."""
    urls = tuple(text(peer_urls).split(","))

    async def change(client: "Client") -> "Machine":
        machine = await _find(client, member_id)
        await client.admin.update_member(machine.id, urls)
        return attrs.evolve(machine, peer_urls=urls)

    machine = tool.run(change)
    show(tool, member_as_json(machine, None), [f"Updated member with ID {machine.id} in cluster"])


async def _find(client: "Client", wanted: str) -> "Machine":
    members = await client.members()
    # The name is empty while a machine has not started, and several may have the same one.
    found = [each for each in members if each.id == wanted] or [each for each in members if each.name == wanted != ""]
    if len(found) == 1:
        return found[0]
    count = f"{len(found)} machines of the cluster have" if found else "no machine of the cluster has"
    message = f"{count} the id or the name {wanted!r}"
    raise CommandFailedError(message, SERVER_ERROR, "member list shows all of them, with their ids")


@click.command(cls=Command)
@click.pass_obj
def health(tool: Tool) -> int:
    """
    Ask each machine whether it is healthy.

    The exit status is 5 unless all are.
    """
    members, reports = tool.run(_ask_all)
    documents = []
    for machine, report in zip(members, reports, strict=True):
        documents.append({"id": machine.id, "name": machine.name, "health": report[0], "message": report[1]})
    count = sum(report[0] == "healthy" for report in reports)
    verdict = "healthy" if count == len(members) else "degraded" if count else "unavailable"
    lines = [f"member {each['id']} is {each['health']}: {each['message']}" for each in documents]
    rows = [
        (each["name"], each["id"], (each["health"], _STYLES[each["health"]]), each["message"]) for each in documents
    ]
    show(
        tool,
        {"health": verdict, "members": documents},
        [*lines, f"cluster is {verdict}"],
        Table(("NAME", "ID", "HEALTH", ""), [*rows]),
    )
    if tool.for_people:
        click.echo(f"\nThe cluster is {verdict}.")
    return 0 if verdict == "healthy" else NOT_HEALTHY


async def _ask_all(client: "Client") -> "tuple[tuple[Machine, ...], list[tuple[str, str]]]":
    from twisted.internet.defer import Deferred, gatherResults

    members = await client.members()
    asking = [Deferred.fromCoroutine(_health_of(client, each)) for each in members]
    return members, await gatherResults(asking)


async def _health_of(client: "Client", machine: "Machine") -> tuple[str, str]:
    """Returns whether a machine is healthy, and why it is said to be."""
    from etcd_twisted.client import ClientError

    if not machine.client_urls:
        return "unreachable", "no available published client urls"
    for url in machine.client_urls:
        try:
            healthy = await client.health(url)
        except (ClientError, ValueError) as error:
            failed = str(error)
        else:
            kind = "healthy" if healthy else "unhealthy"
            return kind, f"got {kind} result from {url}"
    return "unreachable", failed
