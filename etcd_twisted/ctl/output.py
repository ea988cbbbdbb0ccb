"""
How answers look: for people, as JSON, and as etcdctl's C{-o extended} has it.

The JSON is documented (C{docs/txetcdctl.md}) and has etcdctl's fields. This module must never write colours to what is
no terminal.
"""

import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from etcd_twisted.client import Event, Index, Node, Reading

FORMATS = ("text", "simple", "json", "extended")
"""C{simple} is etcdctl's name for C{text}."""

ENDLESS_WIDTH = 2**30
"""The width of a tree, in which no line is wrapped or cut: programs read it too."""


def timestamp(moment: float) -> str:
    """Returns a moment as it is in JSON: RFC 3339, in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def node_as_json(node: "Node") -> dict[str, Any]:
    """Returns a node as it is in the JSON."""
    fields: dict[str, Any] = {"key": node.key}
    if node.directory:
        fields["dir"] = True
    fields["value"] = node.value or ""
    fields["nodes"] = [node_as_json(each) for each in node.nodes] or None
    fields["createdIndex"] = node.created_index
    fields["modifiedIndex"] = node.modified_index
    if node.expires_at is not None:
        fields["expiration"] = timestamp(node.expires_at)
    if node.ttl_seconds:
        fields["ttl"] = node.ttl_seconds
    return fields


def _print_json(action: str, node: "Node", previous: "Node | None") -> None:
    answer = {
        "action": action,
        "node": node_as_json(node),
        "prevNode": None if previous is None else node_as_json(previous),
    }
    click.echo(json.dumps(answer, ensure_ascii=False, separators=(",", ":")))


def _print_extended(action: str, node: "Node", previous: "Node | None", index: "Index") -> None:
    click.echo(f"Key: {node.key}")
    click.echo(f"Created-Index: {node.created_index}")
    click.echo(f"Modified-Index: {node.modified_index}")
    if previous is not None:
        click.echo(f"PrevNode.Value: {previous.value or ''}")
    click.echo(f"TTL: {node.ttl_seconds or 0}")
    click.echo(f"Index: {index.etcd_index}")
    if action != "delete":
        click.echo(f"\n{node.value or ''}")


def print_reading(reading: "Reading", output: str) -> None:
    """Print what a read has found: its value, unless the format shows more."""
    if output == "json":
        _print_json("get", reading.node, None)
    elif output == "extended":
        _print_extended("get", reading.node, None, reading.index)
    else:
        click.echo(reading.value or "")


def print_event(event: "Event", output: str) -> None:
    """Print a change: the value, or the one that was removed, unless the format shows more."""
    if output == "json":
        _print_json(event.action, event.node, event.previous_node)
    elif output == "extended":
        _print_extended(event.action, event.node, event.previous_node, event.index)
    elif event.action == "delete":
        previous = event.previous_node
        click.echo(f"PrevNode.Value: {'' if previous is None else previous.value or ''}")
    else:
        click.echo(event.node.value or "")


def print_names(node: "Node", with_slashes: bool) -> None:
    """
    Print the keys that a listing has found, each on a line.

    @param with_slashes: whether a slash ends the lines of directories.
    """
    for each in node.walk():
        if each is node:
            if not node.directory:
                click.echo(node.key)
        elif each.directory:
            click.echo(click.style(each.key, fg="blue", bold=True) + ("/" if with_slashes else ""))
        else:
            click.echo(each.key)


def print_tree(node: "Node", with_values: bool) -> None:
    """
    Print the keys below a node as a tree.

    @param with_values: whether to print the values of keys too.
    """
    from rich.console import Console
    from rich.tree import Tree

    root = Tree(_label(node, node.key, with_values), highlight=False)
    pending: list[tuple[Node, Tree]] = [(node, root)]
    while pending:
        parent, branch = pending.pop()
        pending.extend((each, branch.add(_label(each, each.name, with_values))) for each in parent.nodes)
    system: Literal["auto"] | None = None if color() is False else "auto"
    Console(file=sys.stdout, highlight=False, width=ENDLESS_WIDTH, color_system=system).print(root)


def _label(node: "Node", name: str, with_value: bool) -> Any:
    from rich.text import Text

    if node.directory:
        return Text(name if name.endswith("/") else f"{name}/", "bold blue")
    label = Text(name)
    if with_value:
        label.append(f" = {json.dumps(node.value or '', ensure_ascii=False)}", "green")
    if node.ttl_seconds is not None:
        label.append(f" (expires in {node.ttl_seconds} s)", "dim")
    return label


def color() -> bool | None:
    """
    Returns C{False} if the environment forbids colours, by the convention of https://no-color.org; or else C{None},
    with which click writes colours to a terminal alone.
    """
    return False if os.environ.get("NO_COLOR") else None
