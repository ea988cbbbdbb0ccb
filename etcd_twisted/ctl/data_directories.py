"""
What the commands for data directories have in common: options, and how they tell what there is.

This module must never read a data directory itself.
"""

import json
from typing import TYPE_CHECKING, Any

import click

from etcd_twisted.ctl.command import Tool

if TYPE_CHECKING:
    from etcd_twisted.datadir.operations import NewMachine
    from etcd_twisted.datadir.summaries import Summary


def machine_options(command: Any) -> Any:
    """Returns a command with the options for the machine of a new data directory."""
    for option, text in (
        ("--peer-url", "Where other machines will reach it."),
        ("--client-url", "Where clients will reach it."),
        ("--name", "The name of the machine."),
    ):
        command = click.option(option, metavar=option[2:].rpartition("-")[2].upper(), help=text)(command)
    return command


def new_machine(name: str | None, client_url: str | None, peer_url: str | None) -> "NewMachine":
    """Returns what the options of L{machine_options} say."""
    from etcd_twisted.datadir.operations import NewMachine

    return NewMachine(name, client_url, peer_url)


def show(tool: Tool, *summaries: "Summary") -> None:
    """Print summaries: for people, or as one JSON object in a line each. Warnings go to the error output."""
    for summary in summaries:
        if tool.output == "json":
            fields = summary.fields | {"warnings": list(summary.warnings)}
            click.echo(json.dumps(fields, ensure_ascii=False, separators=(",", ":")))
            continue
        click.echo(summary.title)
        width = max(len(label) for label, _ in summary.rows)
        for label, text in summary.rows:
            click.echo(f"  {label.ljust(width)}  {text}")
        for warning in summary.warnings:
            click.echo(f"{click.style('Warning:', fg='yellow', bold=True)} {warning}", err=True)
