"""
The commands that read keys: C{get}, C{ls} and C{tree}.
"""

from typing import TYPE_CHECKING

import click

from etcd_twisted.ctl.command import Command, Tool, key_argument, quorum_option, sort_option, text
from etcd_twisted.ctl.completing import complete_key
from etcd_twisted.ctl.failures import BAD_ARGUMENTS, CommandFailedError
from etcd_twisted.ctl.output import print_names, print_reading, print_tree

if TYPE_CHECKING:
    from etcd_twisted.client import Reading

_directory_argument = click.argument(
    "directory", default="/", callback=lambda _ctx, _param, value: text(value), shell_complete=complete_key
)


def _read(tool: Tool, key: str, recursive: bool, sort: bool, quorum: bool) -> "Reading":
    from etcd_twisted.client import keys

    return tool.read(keys.read(key, recursive=recursive, sort=sort, consistent=False, quorum=quorum))


@click.command(cls=Command)
@sort_option
@quorum_option
@key_argument
@click.pass_obj
def get(tool: Tool, key: str, sort: bool, quorum: bool) -> None:
    """Print the value of a key."""
    reading = _read(tool, key, False, sort, quorum)
    if reading.node.directory:
        raise CommandFailedError(f"{reading.node.key}: is a directory; ls lists it", BAD_ARGUMENTS)
    print_reading(reading, tool.output)


@click.command(cls=Command)
@sort_option
@click.option("--recursive", "-r", is_flag=True, help="List the directories in it too, and so on.")
@click.option("-p", "with_slashes", is_flag=True, help="Print a slash behind directories.")
@quorum_option
@_directory_argument
@click.pass_obj
def ls(tool: Tool, directory: str, sort: bool, recursive: bool, with_slashes: bool, quorum: bool) -> None:
    """Print the keys in a directory, each on a line."""
    reading = _read(tool, directory, recursive, sort, quorum)
    if tool.output == "text":
        print_names(reading.node, with_slashes)
    else:
        print_reading(reading, tool.output)


@click.command(cls=Command)
@click.option("--with-value", is_flag=True, help="Print the values of keys too.")
@quorum_option
@_directory_argument
@click.pass_obj
def tree(tool: Tool, directory: str, with_value: bool, quorum: bool) -> None:
    """Draw everything in a directory, sorted, as a tree."""
    reading = _read(tool, directory, True, True, quorum)
    if tool.output == "text":
        print_tree(reading.node, with_value)
    else:
        print_reading(reading, tool.output)
