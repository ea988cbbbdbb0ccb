"""
What every command is made of.

This module must never know a particular command.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from etcd_twisted.ctl.completing import complete_key
from etcd_twisted.ctl.session import Action
from etcd_twisted.ctl.settings import Settings

if TYPE_CHECKING:
    from etcd_twisted.client import Event, Reading
    from etcd_twisted.client.messages import Answer, Request

NAME = "txetcdctl"

_T = TypeVar("_T")

_LEAST_SECONDS = 0.1
"""How long a request may take at least that was tried in vain without a client."""


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


Runner = Callable[[Settings, Action[Any]], Any]
"""Runs an action with a client that the settings describe."""

Asker = Callable[[Settings, "Request"], "tuple[Answer | None, float]"]
"""Makes a request without a client, or says that it needs one; and how many seconds that took."""


@attrs.frozen
class Tool:
    """
    What a command works with. A command may use C{read}, C{write} and C{run} once in all.

    @ivar settings: the global options.
    @ivar runner: see L{Runner}.
    @ivar asker: see L{Asker}.
    @ivar output: how to print answers: C{text}, C{json} or C{extended}.
    @ivar for_people: whether a person reads the text, in a terminal; else it is etcdctl's, which scripts read.
    """

    settings: Settings
    runner: Runner
    asker: Asker
    output: str
    for_people: bool = False

    def run(self, action: Action[_T]) -> _T:
        """Returns what an action returns that is given a client."""
        result: _T = self.runner(self.settings, action)
        return result

    def ask(self, request: "Request", result_of: "Callable[[Answer], _T]", action: Action[_T]) -> _T:
        """
        Returns what the answer to a request means, for which no client is needed if a machine answers at once.

        @param action: makes the same request with a client.
        """
        answer, seconds = self.asker(self.settings, request)
        if answer is not None:
            return result_of(answer)
        left_seconds = max(self.settings.total_seconds - seconds, _LEAST_SECONDS)
        result: _T = self.runner(attrs.evolve(self.settings, total_seconds=left_seconds), action)
        return result

    def read(self, request: "Request") -> "Reading":
        """Returns what a read of a key has found."""
        from etcd_twisted.client.answers import reading_of

        return self.ask(request, reading_of, lambda client: client._read(request, None))

    def write(self, request: "Request") -> "Event":
        """Returns what a change of a key has done."""
        from etcd_twisted.client.answers import event_of

        return self.ask(request, event_of, lambda client: client._write(request, None))


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


key_argument = click.argument("key", callback=lambda _ctx, _param, value: text(value), shell_complete=complete_key)
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
