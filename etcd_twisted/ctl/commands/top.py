"""
C{top}: how the machines of a cluster do, again and again.
"""

import json
import time
from typing import TYPE_CHECKING, Any

import click

from etcd_twisted.ctl.answers import Table, console, rich_table
from etcd_twisted.ctl.command import Command, Tool
from etcd_twisted.ctl.monitor import Row, Sample, rows_of, take_sample
from etcd_twisted.ctl.output import timestamp
from etcd_twisted.ctl.settings import duration

if TYPE_CHECKING:
    from etcd_twisted.client import Client

_COLUMNS = ("NAME", "STATE", ">READS/S", ">WRITES/S", ">WATCHERS", ">LAG", ">LATENCY", ">AVERAGE", "")


@click.command(cls=Command)
@click.option(
    *("--interval", "-i"),
    metavar="DURATION",
    callback=duration,
    default="1s",
    show_default=True,
    help="How long to wait between two looks.",
)
@click.option("--count", "-n", metavar="N", type=click.IntRange(min=1), help="End after so many, not with Ctrl-C.")
@click.pass_obj
def top(tool: Tool, interval: float, count: int | None) -> None:
    """
    Show who leads, and how many reads, writes and watches each machine has, again and again.

    LAG is how many changes a machine is behind the leader, and LATENCY how long it took to answer it last. With -o
    json, each interval is a line of JSON.
    """

    async def follow(client: "Client") -> None:
        from twisted.internet.task import deferLater

        before = await take_sample(client, interval)
        with _screen(tool) as screen:
            if tool.output != "json":
                screen.show(before, rows_of(before, None))
            shown = 0
            while count is None or shown < count:
                await deferLater(client.reactor, interval)
                now = await take_sample(client, interval)
                screen.show(now, rows_of(now, before))
                before = now
                shown += 1

    tool.run(follow)


def _screen(tool: Tool) -> "_Lines | _LiveTable":
    return _LiveTable() if tool.for_people else _Lines(tool.output == "json")


class _Lines:
    """Prints each look below the one before."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, sample: Sample, rows: list[Row]) -> None:
        """Print a look."""
        if self._as_json:
            document = {
                "time": timestamp(time.time()),
                "leader": sample.leader,
                "machines": [each.as_json() for each in rows],
            }
            click.echo(json.dumps(document, ensure_ascii=False, separators=(",", ":")))
        else:
            click.echo(_headline(sample))
            console().print(rich_table(_table(rows)))


class _LiveTable:
    """Shows the newest look alone, on the whole terminal."""

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(console=console(), screen=True, auto_refresh=False)

    def __enter__(self) -> "_LiveTable":
        self._live.__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        self._live.__exit__(*reason)

    def show(self, sample: Sample, rows: list[Row]) -> None:
        """Show a look in place of the one before."""
        from rich.console import Group
        from rich.text import Text

        self._live.update(Group(Text(_headline(sample)), Text(), rich_table(_table(rows))), refresh=True)


def _headline(sample: Sample) -> str:
    names = {each.machine.id: each.machine.name for each in sample.machines}
    leader = "no machine leads" if sample.leader is None else f"{names.get(sample.leader, sample.leader)} leads"
    silent = sum(each.counts is None for each in sample.machines)
    count = len(sample.machines)
    return f"{count} machine{'s' if count != 1 else ''}, {leader}{f', {silent} do not answer' if silent else ''}"


def _table(rows: list[Row]) -> Table:
    return Table(_COLUMNS, [_cells(each) for each in rows])


def _cells(row: Row) -> "tuple[str | tuple[str, str], ...]":
    sample = row.sample
    name = sample.machine.name or sample.machine.id
    if sample.statistics is None:
        return (name, ("down", "bold red"), "", "", "", "", "", "", (sample.problem, "red"))
    latency = row.latency
    return (
        name,
        (sample.statistics.state, "bold green" if row.leads else ""),
        "" if row.reads_per_second is None else f"{row.reads_per_second:,.0f}",
        "" if row.writes_per_second is None else f"{row.writes_per_second:,.0f}",
        "" if row.watchers is None else f"{row.watchers:,}",
        "" if row.lag is None else (f"{row.lag:,}", "yellow" if row.lag else ""),
        "" if latency is None else f"{latency.current_milliseconds:.2f} ms",
        "" if latency is None else f"{latency.average_milliseconds:.2f} ms",
        "",
    )
