"""
The commands on the machines' administrators' resource, which servers of etcd 0.4 and this project's have: C{machines}
and C{config}.

This module must never make a request about a machine with an empty name: its path is that of all machines.
"""

import time
from typing import TYPE_CHECKING, Any

import click

from etcd_twisted.ctl.answers import Table, ago, show, span
from etcd_twisted.ctl.command import Group, Tool, text
from etcd_twisted.ctl.output import timestamp

if TYPE_CHECKING:
    from etcd_twisted.client import AdminMachine, ClusterConfig, ForbiddenMachine


def _name(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not value:
        raise click.BadParameter("it is empty; machines list shows the machines by name")
    return text(value)


_name_argument = click.argument("name", callback=_name)


@click.group(cls=Group)
def machines() -> None:
    """List the machines by name, remove them, keep them out and let them in."""


def _as_json(machine: "AdminMachine") -> dict[str, Any]:
    return {
        "name": machine.name,
        "state": machine.state,
        "clientURL": machine.client_url,
        "peerURL": machine.peer_url,
    }


def _line(machine: "AdminMachine") -> str:
    return f"{machine.name}: state={machine.state} clientURL={machine.client_url} peerURL={machine.peer_url}"


def _table(found: "tuple[AdminMachine, ...]") -> Table:
    rows = [
        (each.name, (each.state, "bold green" if each.state == "leader" else ""), each.client_url, each.peer_url)
        for each in found
    ]
    return Table(("NAME", "STATE", "CLIENT URL", "PEER URL"), [*rows])


@machines.command(name="list")
@click.pass_obj
def list_(tool: Tool) -> None:
    """List the machines that take part in consensus."""
    found = tool.run(lambda client: client.admin.machines())
    show(tool, {"machines": [_as_json(each) for each in found]}, map(_line, found), _table(found))


@machines.command(name="show")
@_name_argument
@click.pass_obj
def show_(tool: Tool, name: str) -> None:
    """Print what is known of a machine."""
    found = tool.run(lambda client: client.admin.machine(name))
    show(tool, _as_json(found), [_line(found)], _table((found,)))


@machines.command()
@click.option("--forbid", is_flag=True, help="Keep it out until it is allowed again.")
@_name_argument
@click.pass_obj
def remove(tool: Tool, name: str, forbid: bool) -> None:
    """
    Take a machine out of the cluster.

    Without --forbid, it joins again as soon as there is room, if it still runs.
    """
    tool.run(lambda client: client.admin.remove_machine(name, forbid=forbid))
    done = "removed, and kept out" if forbid else "removed"
    show(tool, {"name": name, "done": "forbidden" if forbid else "removed"}, [f"Machine {name} {done}"])


@machines.command()
@_name_argument
@click.pass_obj
def forbid(tool: Tool, name: str) -> None:
    """Take a machine out of the cluster, and keep it out."""
    tool.run(lambda client: client.admin.remove_machine(name, forbid=True))
    show(tool, {"name": name, "done": "forbidden"}, [f"Machine {name} removed, and kept out"])


@machines.command()
@_name_argument
@click.pass_obj
def allow(tool: Tool, name: str) -> None:
    """Let a machine join again that was kept out."""
    tool.run(lambda client: client.admin.allow_machine(name))
    show(tool, {"name": name, "done": "allowed"}, [f"Machine {name} may join again"])


@machines.command()
@click.pass_obj
def forbidden(tool: Tool) -> None:
    """List the machines that are kept out."""
    found = tool.run(lambda client: client.admin.forbidden_machines())

    def line(each: "ForbiddenMachine") -> str:
        return f"{each.name}: by={each.by} since={timestamp(each.since)}"

    documents = [{"name": each.name, "by": each.by, "since": timestamp(each.since)} for each in found]
    now = time.time()
    table = Table(("NAME", "BY", "SINCE"), [(each.name, each.by, ago(each.since, now)) for each in found])
    show(tool, {"forbidden": documents}, map(line, found), table)


@click.group(cls=Group)
def config() -> None:
    """Read and change the settings that all machines share."""


def _show_config(tool: Tool, found: "ClusterConfig") -> None:
    document = {
        "activeSize": found.active_size,
        "removeDelay": found.remove_delay_seconds,
        "syncInterval": found.sync_interval_seconds,
    }
    table = Table(
        ("SETTING", ">VALUE", ""),
        [
            ("active size", str(found.active_size), "how many machines take part in consensus at most"),
            ("remove delay", span(found.remove_delay_seconds), "how long a machine is silent until it is removed"),
            ("sync interval", span(found.sync_interval_seconds), "how often a standby looks whether it can join"),
        ],
    )
    show(tool, document, [f"{name}: {value:g}" for name, value in document.items()], table)


@config.command()
@click.pass_obj
def get(tool: Tool) -> None:
    """Print the settings. Times are in seconds."""
    _show_config(tool, tool.run(lambda client: client.admin.config()))


@config.command(name="set")
@click.option("--active-size", metavar="N", type=int, help="How many machines take part in consensus at most.")
@click.option(
    "--remove-delay", metavar="SECONDS", type=float, help="How long a machine is silent until it is removed."
)
@click.option("--sync-interval", metavar="SECONDS", type=float, help="How often a standby looks whether it can join.")
@click.pass_obj
def set_(tool: Tool, active_size: int | None, remove_delay: float | None, sync_interval: float | None) -> None:
    """Change settings, and print all."""
    if active_size is None and remove_delay is None and sync_interval is None:
        raise click.UsageError("name at least one of --active-size, --remove-delay and --sync-interval")
    changed = tool.run(
        lambda client: client.admin.configure(
            active_size=active_size, remove_delay_seconds=remove_delay, sync_interval_seconds=sync_interval
        )
    )
    _show_config(tool, changed)
