"""
The commands that change keys: C{set}, C{mk}, C{mkdir}, C{rm}, C{rmdir}, C{update}, C{updatedir} and C{setdir}.

A command about directories must never empty a key with a value.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from etcd_twisted.ctl.command import Command, Tool, index, key_argument, text, ttl_option
from etcd_twisted.ctl.failures import SERVER_ERROR, CommandFailedError
from etcd_twisted.ctl.output import print_event

if TYPE_CHECKING:
    from etcd_twisted.client import Client, Event
    from etcd_twisted.client.results import Reading

_F = TypeVar("_F", bound=Callable[..., Any])


def _value(_ctx: click.Context, _param: click.Parameter, words: tuple[str, ...]) -> str:
    """Returns the value: an argument, which a C{--} may announce, or all of the standard input."""
    given = words[1:] if words[:1] == ("--",) and len(words) > 1 else words
    if len(given) > 1:
        raise click.UsageError(f"a key has one value, but here are {len(given)}: {' '.join(map(repr, given))}")
    if given:
        return text(given[0])
    try:
        value = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the standard input is not UTF-8, as values are: {error}") from error
    if not value:
        raise click.UsageError("value required: write it behind the key, or send it to the standard input")
    return value


_value_argument = click.argument("value", nargs=-1, type=click.UNPROCESSED, metavar="[VALUE]", callback=_value)


def _index_option(name: str) -> Callable[[_F], _F]:
    return click.option(
        *(name, "previous_index"),
        metavar="INDEX",
        type=click.IntRange(min=0),
        default=0,
        callback=index,
        help="Only if this is the index of the last change.",
    )


def _print_unless_directory(tool: Tool, event: "Event") -> None:
    if not event.node.directory or tool.output != "text":
        print_event(event, tool.output)


def _check_directory(found: "Reading") -> None:
    """
    Check that a directory was read. To update a key with a value as a directory would empty it: the API allows that.

    @raise CommandFailedError: it is a key with a value.
    """
    if not found.node.directory:
        message = f"104: Not a directory ({found.node.key}) [{found.index.etcd_index}]"
        remedy = "it is a key with a value, which stays as it is: update changes it, and rm removes it"
        raise CommandFailedError(message, SERVER_ERROR, remedy)


@click.command(cls=Command, name="set")
@ttl_option
@click.option("--swap-with-value", metavar="VALUE", default="", help="Only if this is the value now.")
@_index_option("--swap-with-index")
@key_argument
@_value_argument
@click.pass_obj
def set_(tool: Tool, key: str, value: str, ttl: int | None, swap_with_value: str, previous_index: int | None) -> None:
    """
    Set the value of a key, whether it exists or not.

    Without VALUE, the standard input is the value.
    """
    from etcd_twisted.client import keys

    previous_value = text(swap_with_value) or None
    if previous_value is None and previous_index is None:
        request = keys.set_(key, value, ttl)
    else:
        request = keys.compare_and_swap(key, value, keys.Condition(previous_value, previous_index), ttl)
    print_event(tool.write(request), tool.output)


@click.command(cls=Command)
@click.option("--in-order", is_flag=True, help="Make a key with a name of its own in the directory KEY.")
@ttl_option
@key_argument
@_value_argument
@click.pass_obj
def mk(tool: Tool, key: str, value: str, in_order: bool, ttl: int | None) -> None:
    """
    Make a key that does not exist.

    Without VALUE, the standard input is the value.
    """
    from etcd_twisted.client import keys

    request = (keys.post if in_order else keys.create)(key, value, ttl)
    print_event(tool.write(request), tool.output)


@click.command(cls=Command)
@ttl_option
@key_argument
@_value_argument
@click.pass_obj
def update(tool: Tool, key: str, value: str, ttl: int | None) -> None:
    """
    Set the value of a key that exists.

    Without --ttl, it never expires from now on. Without VALUE, the standard input is the value.
    """
    from etcd_twisted.client import keys

    print_event(tool.write(keys.update(key, value, ttl)), tool.output)


@click.command(cls=Command)
@ttl_option
@key_argument
@click.pass_obj
def mkdir(tool: Tool, key: str, ttl: int | None) -> None:
    """Make a directory that does not exist."""
    from etcd_twisted.client import keys

    _print_unless_directory(tool, tool.write(keys.make_directory(key, ttl)))


@click.command(cls=Command)
@ttl_option
@key_argument
@click.pass_obj
def setdir(tool: Tool, key: str, ttl: int | None) -> None:
    """Make a directory, or set the TTL of one that exists."""
    from etcd_twisted.client import KeyExists

    async def write(client: "Client") -> "Event":
        try:
            return await client.make_directory(key, ttl_seconds=ttl)
        except KeyExists:
            _check_directory(await client.get(key, quorum=True))
            return await client.update_directory(key, ttl_seconds=ttl)

    _print_unless_directory(tool, tool.run(write))


@click.command(cls=Command)
@ttl_option
@key_argument
@click.pass_obj
def updatedir(tool: Tool, key: str, ttl: int | None) -> None:
    """Set the TTL of a directory that exists."""
    from etcd_twisted.client import keys

    _check_directory(tool.read(keys.read(key, recursive=False, sort=False, consistent=False, quorum=True)))
    _print_unless_directory(tool, tool.write(keys.update_directory(key, ttl)))


@click.command(cls=Command)
@click.option("--dir", "directory", is_flag=True, help="Remove an empty directory too.")
@click.option("--recursive", "-r", is_flag=True, help="Remove a directory with everything in it.")
@click.option("--with-value", metavar="VALUE", default="", help="Only if this is the value now.")
@_index_option("--with-index")
@key_argument
@click.pass_obj
def rm(tool: Tool, key: str, directory: bool, recursive: bool, with_value: str, previous_index: int | None) -> None:
    """Remove a key."""
    from etcd_twisted.client import keys

    previous_value = text(with_value) or None
    if previous_value is None and previous_index is None:
        request = keys.remove_directory(key, recursive) if directory or recursive else keys.delete(key, {})
    elif directory or recursive:
        raise click.UsageError(
            "--with-value and --with-index are for keys with a value: leave out --dir and --recursive"
        )
    else:
        request = keys.compare_and_delete(key, keys.Condition(previous_value, previous_index))
    _print_unless_directory(tool, tool.write(request))


@click.command(cls=Command)
@key_argument
@click.pass_obj
def rmdir(tool: Tool, key: str) -> None:
    """Remove a directory that is empty, or a key."""
    from etcd_twisted.client import keys

    _print_unless_directory(tool, tool.write(keys.remove_directory(key, recursive=False)))
