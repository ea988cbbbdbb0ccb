"""
What every command is made of.

This module must never know a particular command.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import click

from etcd_twisted.ctl.session import Action
from etcd_twisted.ctl.settings import Settings

NAME = "txetcdctl"

_T = TypeVar("_T")


class Command(click.Command):
    """A command whose options come before its arguments, so that a value may begin with a dash, as etcdctl's."""

    allow_interspersed_args = False


class Group(click.Group):
    """Commands that begin with the same word. The help has them in the order in which they are defined."""

    command_class = click.Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See L{click.Group}."""
        del ctx
        return list(self.commands)


@attrs.frozen
class Tool:
    """
    What a command works with.

    @ivar settings: the global options.
    @ivar runner: runs an action with a client that the settings describe.
    @ivar output: how to print answers: C{text}, C{json} or C{extended}.
    @ivar for_people: whether a person reads the text, in a terminal; else it is etcdctl's, which scripts read.
    """

    settings: Settings
    runner: Callable[[Settings, Action[Any]], Any]
    output: str
    for_people: bool = False

    def run(self, action: Action[_T]) -> _T:
        """Returns what an action returns that is given a client."""
        result: _T = self.runner(self.settings, action)
        return result


def text(value: str) -> str:
    """
    Returns a text of the command line.

    @raise click.BadParameter: it is not UTF-8.
    """
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise click.BadParameter(f"{value.encode(errors='surrogateescape')!r} is not UTF-8, as keys and values are")
    return value


def index(_ctx: click.Context, _param: click.Parameter, value: int) -> int | None:
    """Returns an index of the command line, or C{None} for 0, which stands for none."""
    return value or None


key_argument = click.argument("key", callback=lambda _ctx, _param, value: text(value))
ttl_option = click.option(
    "--ttl",
    metavar="SECONDS",
    type=click.IntRange(min=0),
    default=0,
    callback=index,
    help="After how many seconds it expires; 0 for never.",
)
quorum_option = click.option("--quorum", "-q", is_flag=True, help="Read the newest value for certain.")
sort_option = click.option("--sort", is_flag=True, help="Sort what is in directories.")
