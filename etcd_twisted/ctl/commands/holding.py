"""
The commands that hold something: C{lock} and C{elect}.

Both hold it until Ctrl-C, or until a command ends, and give it up then. This module must never let a command go on
after the lock is lost.
"""

import os
import re
from typing import TYPE_CHECKING

import click

from etcd_twisted.ctl.answers import show
from etcd_twisted.ctl.command import Command, Tool, key_argument, text
from etcd_twisted.ctl.failures import SERVER_ERROR, CommandFailedError
from etcd_twisted.ctl.programs import Running, find
from etcd_twisted.ctl.settings import duration

if TYPE_CHECKING:
    from etcd_twisted.client import Client
    from etcd_twisted.client.recipes import Election, Hold

_ttl_option = click.option(
    "--ttl",
    metavar="SECONDS",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="After how long others get it when this process has died.",
)


def _wait_seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None or re.fullmatch(r"0(\.0+)?(ms|s|m|h)?", value):
        return None if value is None else 0.0
    return duration(ctx, param, value)


_wait_option = click.option(
    "--wait",
    "wait_seconds",
    metavar="DURATION",
    callback=_wait_seconds,
    help="How long to wait for others; 0 to try once. Without it, as long as it takes.",
)


@click.command(cls=Command)
@_ttl_option
@_wait_option
@key_argument
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND [ARGUMENT]...]")
@click.pass_obj
def lock(tool: Tool, key: str, command: tuple[str, ...], ttl: int, wait_seconds: float | None) -> int:
    """
    Hold a lock while a command runs, or until Ctrl-C.

    KEY is the lock's directory. The command finds its own key in it in ETCD_LOCK_KEY, and in ETCD_LOCK_REV a number
    that is higher than those of all holders before. Its exit status is the tool's. If the lock is lost, the command is
    ended. Without a command, the tool prints the key.
    """
    command = command[1:] if command[:1] == ("--",) else command
    program = find(command[0]) if command else ""

    async def hold(client: "Client") -> int:
        from etcd_twisted.client.recipes import Lock

        held = await Lock(client, key, ttl_seconds=ttl).acquire(wait_seconds)
        try:
            if command:
                return await _run(client, held, program, command)
            show(tool, {"key": held.key, "fencingToken": held.fencing_token}, [held.key])
            await _until_lost(held)
            return 0
        finally:
            if held.is_held:
                await held.release()

    return tool.run(hold)


async def _run(client: "Client", held: "Hold", program: str, command: tuple[str, ...]) -> int:
    """Returns the exit status of a command that runs while something is held."""
    from twisted.internet.defer import CancelledError, Deferred

    environment = {**os.environ, "ETCD_LOCK_KEY": held.key, "ETCD_LOCK_REV": str(held.fencing_token)}
    running = Running(client.reactor, program, command, environment, with_input=True)
    lost = held.lost
    lost.addCallbacks(
        lambda _: Deferred.fromCoroutine(running.end()), lambda failure: failure.trap(CancelledError) and None
    )
    try:
        status = await running.when_ended()
    except CancelledError:
        await running.end()  # nobody else may get the lock before
        raise
    finally:
        lost.cancel()
    if held.loss is not None:
        raise CommandFailedError(f"the lock was lost ({held.loss.reason}), and {command[0]} was ended", SERVER_ERROR)
    return status


async def _until_lost(held: "Hold") -> None:
    loss = await held.lost
    raise CommandFailedError(f"{held.key} is not held any more: {loss.reason}", SERVER_ERROR)


@click.command(cls=Command)
@_ttl_option
@_wait_option
@click.option("--listen", "-l", is_flag=True, help="Print who leads, and each new leader, until Ctrl-C.")
@key_argument
@click.argument("value", required=False, callback=lambda _ctx, _param, value: None if value is None else text(value))
@click.pass_obj
def elect(tool: Tool, key: str, value: str | None, ttl: int, wait_seconds: float | None, listen: bool) -> None:
    """
    Stand for election, and lead until Ctrl-C; or print who leads.

    KEY is the election's directory, and VALUE what all are told of the leader, such as its address.
    """
    if listen == (value is not None):
        raise click.UsageError("give VALUE to stand for election, or --listen to see who leads")

    async def take_part(client: "Client") -> None:
        from etcd_twisted.client.recipes import Election

        election = Election(client, key, ttl_seconds=ttl)
        if value is None:
            await _observe(tool, election)
            return
        leadership = await election.campaign(value, wait_seconds)
        try:
            document = {"key": leadership.key, "value": value, "fencingToken": leadership.fencing_token}
            show(tool, document, [leadership.key, value])
            await _until_lost(leadership)
        finally:
            if leadership.is_held:
                await leadership.resign()

    tool.run(take_part)


async def _observe(tool: Tool, election: "Election") -> None:
    observation = election.observe()
    while True:
        leader = await observation.next()
        if leader is None and tool.output != "json":
            click.echo("nobody leads", err=True)
        else:
            show(tool, {"value": leader}, [leader or ""])
