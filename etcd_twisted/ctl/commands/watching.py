"""
The commands that wait for changes: C{watch} and C{exec-watch}.

This module must never pass over changes that were lost without saying so, nor run a command for two changes at once.
"""

import os
from typing import TYPE_CHECKING

import click

from etcd_twisted.ctl.command import Command, Tool, index, key_argument
from etcd_twisted.ctl.failures import BAD_ARGUMENTS, SERVER_ERROR, CommandFailedError
from etcd_twisted.ctl.output import print_event
from etcd_twisted.ctl.programs import Running, find

if TYPE_CHECKING:
    from etcd_twisted.client import Client, Event, Watch

_after_index_option = click.option(
    "--after-index",
    metavar="INDEX",
    type=click.IntRange(min=0),
    default=0,
    callback=index,
    help="Begin with the first change after this index, which may be past.",
)
_recursive_option = click.option("--recursive", "-r", is_flag=True, help="Watch everything below the key too.")


def _watch(client: "Client", key: str, recursive: bool, after_index: int | None) -> "Watch":
    return client.watch(key, recursive=recursive, after_index=after_index)


async def _next(watch: "Watch", goes_on: bool) -> "Event":
    """
    Returns the next change of a key with a value.

    @param goes_on: whether to go on, and say so, when changes were lost.
    """
    from etcd_twisted.client import HistoryLost

    while True:
        item = await watch.next()
        if isinstance(item, HistoryLost):
            lost = (
                f"changes were lost: the cluster keeps only the newest ones; the index is {item.index.etcd_index} now"
            )
            if not goes_on:
                raise CommandFailedError(f"{lost}; read the key, and watch after that index", SERVER_ERROR)
            click.echo(f"{lost}, and the watch goes on from there", err=True)
        elif item.node.directory:
            click.echo(f"Ignored dir {item.node.key} change", err=True)
        else:
            return item


@click.command(cls=Command)
@click.option("--forever", "-f", is_flag=True, help="Go on until Ctrl-C.")
@_after_index_option
@_recursive_option
@key_argument
@click.pass_obj
def watch(tool: Tool, key: str, forever: bool, after_index: int | None, recursive: bool) -> None:
    """Print the next change of a key, or all of them."""

    async def follow(client: "Client") -> None:
        changes = _watch(client, key, recursive, after_index)
        while True:
            event = await _next(changes, forever)
            if recursive and tool.output != "json":
                click.echo(f"[{event.action}] {event.node.key}")
            print_event(event, tool.output)
            if not forever:
                return

    tool.run(follow)


@click.command(cls=Command, name="exec-watch")
@_after_index_option
@_recursive_option
@key_argument
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND [ARGUMENT]...", required=True)
@click.pass_obj
def exec_watch(tool: Tool, key: str, command: tuple[str, ...], after_index: int | None, recursive: bool) -> None:
    """
    Run a command for every change of a key, one after the other, until Ctrl-C.

    The command finds the change in ETCD_WATCH_ACTION, ETCD_WATCH_KEY, ETCD_WATCH_VALUE and ETCD_WATCH_MODIFIED_INDEX.
    """
    if command[0] == "--":
        command = command[1:]
    if not command:
        raise click.UsageError("key and command to exec required")
    program = find(command[0])

    async def follow(client: "Client") -> None:
        changes = _watch(client, key, recursive, after_index)
        while True:
            event = await _next(changes, goes_on=True)
            running = Running(client.reactor, program, command, _environment(event), with_input=False)
            status = await running.when_ended()
            if status:
                click.echo(f"{command[0]} has ended with status {status}", err=True)

    tool.run(follow)


def _environment(event: "Event") -> dict[str, str]:
    """
    Returns the variables that tell a command of a change, with all others.

    @raise CommandFailedError: no variable can hold the value.
    """
    if "\0" in f"{event.node.key}{event.node.value}":
        text = f"{event.node.key!r} or its value has a null character, which no variable of a command can hold"
        raise CommandFailedError(text, BAD_ARGUMENTS)
    return {
        **os.environ,
        "ETCD_WATCH_ACTION": event.action,
        "ETCD_WATCH_MODIFIED_INDEX": str(event.node.modified_index),
        "ETCD_WATCH_KEY": event.node.key,
        "ETCD_WATCH_VALUE": event.node.value or "",
    }
