"""
The commands for data directories and backups: C{backup}, C{restore} and C{check}.

What they do is in L{etcd_twisted.datadir}, the only room of the server that a command imports, and this module alone.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etcd_twisted.ctl.command import Command, Tool

if TYPE_CHECKING:
    from etcd_twisted.datadir.operations import NewMachine
    from etcd_twisted.datadir.summaries import Summary

_path = click.Path(path_type=Path)


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


@click.command(cls=Command)
@click.option("--data-dir", metavar="DIRECTORY", type=_path, required=True, help="The directory of the machine.")
@click.option("--running", is_flag=True, help="Read it although the machine runs.")
@click.argument("file", type=_path)
@click.pass_obj
def backup(tool: Tool, data_dir: Path, running: bool, file: Path) -> None:
    """Write everything of a machine into FILE, and verify that."""
    from etcd_twisted.datadir.operations import back_up_directory

    show(tool, back_up_directory(data_dir, file, running))


@click.command(cls=Command)
@click.option("--data-dir", metavar="DIRECTORY", type=_path, required=True, help="The new directory.")
@machine_options
@click.argument("source", type=_path)
@click.pass_obj
def restore(
    tool: Tool, data_dir: Path, name: str | None, client_url: str | None, peer_url: str | None, source: Path
) -> None:
    """
    Make a data directory from a backup, and verify it.

    SOURCE is a backup, or the data directory of a stopped machine. The new machine begins a new cluster by itself, and
    others can join it. Its name and URLs are those in the backup, unless they are given.
    """
    from etcd_twisted.datadir import operations

    show(tool, operations.restore(source, data_dir, new_machine(name, client_url, peer_url)))


@click.command(cls=Command)
@click.argument("path", type=_path)
@click.pass_obj
def check(tool: Tool, path: Path) -> None:
    """Read a whole data directory, or a backup, and say what is in it and whether it is sound."""
    from etcd_twisted.datadir import operations

    show(tool, operations.check(path))
