"""
The commands about what machines count: C{stats}.
"""

import time
from typing import Any

import attrs
import click

from etcd_twisted.ctl.answers import Table, ago, show, span
from etcd_twisted.ctl.command import Group, Tool
from etcd_twisted.ctl.output import timestamp

_machine_option = click.option(
    "--machine", metavar="URL", help="Where the machine to ask serves clients; without it, any of the endpoints."
)


def in_camel_case(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns fields with their names as they are in JSON. What a server does not tell is left out."""
    found = {}
    for name, value in fields.items():
        first, *others = name.split("_")
        if value is not None:
            found[first + "".join(each.capitalize() for each in others)] = value
    return found


@click.group(cls=Group)
def stats() -> None:
    """Print what machines count."""


def _lines(document: dict[str, Any]) -> list[str]:
    return [f"{name}: {value}" for name, value in document.items()]


@stats.command(name="self")
@_machine_option
@click.pass_obj
def self_(tool: Tool, machine: str | None) -> None:
    """Print what a machine says of itself."""
    found = tool.run(lambda client: client.statistics.machine(machine))
    document = in_camel_case(attrs.asdict(found) | {"started_at": timestamp(found.started_at)})
    shown: dict[str, str] = {name: str(value) for name, value in document.items()}
    shown["startedAt"] = ago(found.started_at, time.time())
    if found.leader_uptime_seconds is not None:
        shown["leaderUptimeSeconds"] = span(found.leader_uptime_seconds)
    show(tool, document, _lines(document), Table(("", ">"), list(shown.items())))


@stats.command()
@_machine_option
@click.pass_obj
def store(tool: Tool, machine: str | None) -> None:
    """Print how many operations a machine has handled."""
    found = tool.run(lambda client: client.statistics.store(machine))
    document = in_camel_case(attrs.asdict(found))
    names = {name.removesuffix("Success").removesuffix("Fail"): None for name in document}
    rows = [
        (
            name,
            f"{document.get(f'{name}Success', document.get(name, '')):,}",
            f"{document[f'{name}Fail']:,}" if f"{name}Fail" in document else "",
        )
        for name in names
    ]
    show(tool, document, _lines(document), Table(("", ">DONE", ">FAILED"), [*rows]))


@stats.command()
@click.pass_obj
def leader(tool: Tool) -> None:
    """Print how the followers answer the leader."""
    found = tool.run(lambda client: client.statistics.leader())
    followers = {name: in_camel_case(attrs.asdict(each)) for name, each in sorted(found.followers.items())}
    rows = [
        (
            name,
            f"{each['currentMilliseconds']:.2f} ms",
            f"{each['averageMilliseconds']:.2f} ms",
            f"{each['maximumMilliseconds']:.2f} ms",
            f"{each['successCount']:,}",
            f"{each['failCount']:,}",
        )
        for name, each in followers.items()
    ]
    lines = [f"leader: {found.leader}"]
    for name, each in followers.items():
        lines.append(f"{name}: {' '.join(f'{field}={value}' for field, value in each.items())}")
    columns = ("FOLLOWER", ">LAST ANSWER", ">AVERAGE", ">SLOWEST", ">ANSWERED", ">NOT ANSWERED")
    if tool.for_people:
        click.echo(f"{found.leader} leads.\n")
    show(tool, {"leader": found.leader, "followers": followers}, lines, Table(columns, [*rows]))
