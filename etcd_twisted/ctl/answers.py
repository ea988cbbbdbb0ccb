"""
How answers look that are no keys: as a table for people, as etcdctl's lines, as JSON, and as fields.

The JSON is documented in C{docs/txetcdctl.schema.json}. This module must never know what an answer is about.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import click

from etcd_twisted.ctl.command import Tool
from etcd_twisted.ctl.output import ENDLESS_WIDTH, color

_SPANS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


@attrs.frozen
class Table:
    """
    A table for people.

    @ivar columns: the titles. A title that begins with C{>} has its column aligned at the right.
    @ivar rows: the cells of each row. A cell may be a text and its style, in place of a text.
    """

    columns: tuple[str, ...]
    rows: "list[tuple[str | tuple[str, str], ...]]"


def show(tool: Tool, document: dict[str, Any], lines: Iterable[str], table: Table | None = None) -> None:
    """
    Print an answer in the format that was asked for.

    @param document: the answer as JSON.
    @param lines: the answer as etcdctl has it.
    @param table: the answer for people, if these want more than the lines.
    """
    if tool.output == "json":
        click.echo(json.dumps(document, ensure_ascii=False, separators=(",", ":")))
        return
    if tool.output == "extended":
        lines = _fields(document, "")
    elif tool.for_people and table is not None:
        console().print(rich_table(table))
        return
    for line in lines:
        click.echo(line)


def _fields(value: Any, name: str) -> Iterator[str]:
    """Returns a line for each field of a document, with the names of what it is in before its own."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _fields(each, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        for number, each in enumerate(value):
            yield from _fields(each, f"{name}.{number}")
    elif isinstance(value, list):
        yield f"{name}: {','.join(map(str, value))}"
    elif isinstance(value, bool):
        yield f"{name}: {'true' if value else 'false'}"
    else:
        yield f"{name}: {'' if value is None else value}"


def console() -> Any:
    """Returns rich's console for the standard output, without colours where C{NO_COLOR} forbids them."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else ENDLESS_WIDTH
    return Console(file=sys.stdout, highlight=False, width=width, no_color=color() is False)


def rich_table(table: Table) -> Any:
    """Returns a table as rich prints it. Nothing in it is markup."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in table.columns:
        right = title.startswith(">")
        drawn.add_column(Text(title.removeprefix(">")), justify="right" if right else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell) if isinstance(cell, str) else Text(*cell) for cell in row))
    return drawn


def span(seconds: float) -> str:
    """Returns how long something takes or has lasted, for people, in one or two units: C{3 d 4 h}, or C{250 ms}."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for number, (size, unit) in enumerate(_SPANS):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            if unit == "s":
                break
            smaller_size, smaller_unit = _SPANS[number + 1]
            smaller = int(rest // smaller_size)
            return f"{whole:.0f} {unit} {smaller} {smaller_unit}" if smaller else f"{whole:.0f} {unit}"
    return f"{seconds:.0f} s"


def ago(moment: float, now: float) -> str:
    """Returns how long ago a moment was, for people."""
    return f"{span(max(now - moment, 0.0))} ago"
