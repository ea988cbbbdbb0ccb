"""
The commands for data directories and backups: C{backup}, C{restore} and C{check}.

What they do is in L{etcd_twisted.datadir}, the only room of the server that commands import.
"""

from pathlib import Path

import click

from etcd_twisted.ctl.command import Command, Tool
from etcd_twisted.ctl.data_directories import machine_options, new_machine, show

_path = click.Path(path_type=Path)


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
