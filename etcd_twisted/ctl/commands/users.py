"""
The commands about users and roles: C{user}, C{role} and C{auth}, as etcdctl has them.

This module must never print a password.
"""

import posixpath
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from etcd_twisted.ctl.answers import Table, show
from etcd_twisted.ctl.command import Group, Tool, text
from etcd_twisted.ctl.settings import ask_password

if TYPE_CHECKING:
    from etcd_twisted.client import Role, User


def _names(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(filter(None, (each.strip() for each in text(value).split(","))))
    if not names:
        raise click.BadParameter("it names no role; write for example reader,writer")
    return names


def _check_pattern(pattern: str) -> None:
    """
    Check that a pattern is one of keys.

    @raise click.BadParameter: no key can match it. Servers accept such a pattern, but it gives no right.
    """
    canonical = re.sub("/+", "/", posixpath.normpath(f"/{pattern}"))
    if pattern.endswith("/") and canonical != "/":
        canonical += "/"
    if pattern != canonical:
        raise click.BadParameter(f"{pattern!r} is not the path of a key; write {canonical}", param_hint="'--path'")


_user_argument = click.argument("name", metavar="USER", callback=lambda _ctx, _param, value: text(value))
_role_argument = click.argument("name", metavar="ROLE", callback=lambda _ctx, _param, value: text(value))
_roles_option = click.option("--roles", metavar="ROLE,...", required=True, callback=_names, help="Which roles.")


@click.group(cls=Group)
def user() -> None:
    """Add, change and list users."""


def _user_as_json(found: "User") -> dict[str, Any]:
    return {"user": found.name, "roles": list(found.roles)}


@user.command(name="list")
@click.pass_obj
def list_users(tool: Tool) -> None:
    """List the users."""
    from etcd_twisted.client import auth_answers as answers

    request = answers.reading(answers.USERS)
    users = tool.ask(request, answers.users_of, lambda client: client.auth.users())
    rows = [(each.name, " ".join(each.roles)) for each in users]
    documents = [_user_as_json(each) for each in users]
    show(tool, {"users": documents}, [each.name for each in users], Table(("USER", "ROLES"), [*rows]))


@user.command(name="get")
@_user_argument
@click.pass_obj
def get_user(tool: Tool, name: str) -> None:
    """Print the roles of a user."""
    from etcd_twisted.client import auth_answers as answers

    request = answers.reading(answers.target_of(answers.USERS, name))
    found = tool.ask(request, answers.user_of, lambda client: client.auth.user(name))
    show(tool, _user_as_json(found), [f"User: {found.name}", "Roles: " + "".join(f" {each}" for each in found.roles)])


@user.command(name="add")
@click.argument("name", metavar="USER[:PASSWORD]", callback=lambda _ctx, _param, value: text(value))
@click.pass_obj
def add_user(tool: Tool, name: str) -> None:
    """Add a user. A password that is not given is asked for."""
    name, colon, password = name.partition(":")
    chosen = password if colon else ask_password("New password", confirm=True)
    tool.run(lambda client: client.auth.add_user(name, chosen))
    show(tool, {"user": name, "done": "added"}, [f"User {name} created"])


@user.command()
@_user_argument
@click.pass_obj
def passwd(tool: Tool, name: str) -> None:
    """Give a user another password, which is asked for."""
    password = ask_password("New password", confirm=True)
    tool.run(lambda client: client.auth.set_password(name, password))
    show(tool, {"user": name, "done": "updated"}, ["Password updated"])


@user.command(name="remove")
@_user_argument
@click.pass_obj
def remove_user(tool: Tool, name: str) -> None:
    """Remove a user."""
    tool.run(lambda client: client.auth.remove_user(name))
    show(tool, {"user": name, "done": "removed"}, [f"User {name} removed"])


@user.command(name="grant")
@_roles_option
@_user_argument
@click.pass_obj
def grant_roles(tool: Tool, name: str, roles: tuple[str, ...]) -> None:
    """Give a user more roles."""
    tool.run(lambda client: client.auth.grant_roles(name, roles))
    show(tool, {"user": name, "done": "updated"}, [f"User {name} updated"])


@user.command(name="revoke")
@_roles_option
@_user_argument
@click.pass_obj
def revoke_roles(tool: Tool, name: str, roles: tuple[str, ...]) -> None:
    """Take roles from a user."""
    tool.run(lambda client: client.auth.revoke_roles(name, roles))
    show(tool, {"user": name, "done": "updated"}, [f"User {name} updated"])


@click.group(cls=Group)
def role() -> None:
    """Add, change and list roles, which say what their users may do."""


def _role_as_json(found: "Role") -> dict[str, Any]:
    return {"role": found.name, "read": list(found.read), "write": list(found.write)}


@role.command(name="list")
@click.pass_obj
def list_roles(tool: Tool) -> None:
    """List the roles."""
    from etcd_twisted.client import auth_answers as answers

    request = answers.reading(answers.ROLES)
    roles = tool.ask(request, answers.roles_of, lambda client: client.auth.roles())
    rows = [(each.name, " ".join(each.read), " ".join(each.write)) for each in roles]
    documents = [_role_as_json(each) for each in roles]
    show(tool, {"roles": documents}, [each.name for each in roles], Table(("ROLE", "MAY READ", "MAY WRITE"), [*rows]))


@role.command(name="get")
@_role_argument
@click.pass_obj
def get_role(tool: Tool, name: str) -> None:
    """Print which keys the users of a role may read and write."""
    from etcd_twisted.client import auth_answers as answers

    request = answers.reading(answers.target_of(answers.ROLES, name))
    found = tool.ask(request, answers.role_of, lambda client: client.auth.role(name))
    lines = [f"Role: {found.name}", "KV Read:", *(f"\t{each}" for each in found.read)]
    lines += ["KV Write:", *(f"\t{each}" for each in found.write)]
    show(tool, _role_as_json(found), lines)


@role.command(name="add")
@_role_argument
@click.pass_obj
def add_role(tool: Tool, name: str) -> None:
    """Add a role, whose users may do nothing yet."""
    tool.run(lambda client: client.auth.add_role(name))
    show(tool, {"role": name, "done": "added"}, [f"Role {name} created"])


@role.command(name="remove")
@_role_argument
@click.pass_obj
def remove_role(tool: Tool, name: str) -> None:
    """Remove a role."""
    tool.run(lambda client: client.auth.remove_role(name))
    show(tool, {"role": name, "done": "removed"}, [f"Role {name} removed"])


def _rights(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which keys may be read and written."""
    path = click.option(
        "--path",
        metavar="PATTERN",
        required=True,
        callback=lambda _ctx, _param, value: text(value),
        help="A key, or with a * at its end all keys that begin so.",
    )
    read = click.option("--read", is_flag=True, help="The right to read them.")
    write = click.option("--write", is_flag=True, help="The right to change them.")
    both = click.option("--readwrite", "--rw", "both", is_flag=True, help="Both rights.")
    return path(read(write(both(command))))


def _patterns(path: str, read: bool, write: bool, both: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the patterns to read, and those to write."""
    if read + write + both != 1:
        raise click.UsageError("Please specify exactly one of --read, --write or --readwrite")
    return (path,) if read or both else (), (path,) if write or both else ()


@role.command()
@_rights
@_role_argument
@click.pass_obj
def grant(tool: Tool, name: str, path: str, read: bool, write: bool, both: bool) -> None:
    """Let the users of a role read or change more keys."""
    _check_pattern(path)
    readable, writable = _patterns(path, read, write, both)
    tool.run(lambda client: client.auth.grant(name, read=readable, write=writable))
    show(tool, {"role": name, "done": "updated"}, [f"Role {name} updated"])


@role.command()
@_rights
@_role_argument
@click.pass_obj
def revoke(tool: Tool, name: str, path: str, read: bool, write: bool, both: bool) -> None:
    """Take rights from the users of a role."""
    readable, writable = _patterns(path, read, write, both)
    tool.run(lambda client: client.auth.revoke(name, read=readable, write=writable))
    show(tool, {"role": name, "done": "updated"}, [f"Role {name} updated"])


@click.group(cls=Group)
def auth() -> None:
    """Enable and disable users and roles."""


@auth.command()
@click.pass_obj
def enable(tool: Tool) -> None:
    """Check the credentials of every request from now on. The user root has to exist."""
    tool.run(lambda client: client.auth.enable())
    show(tool, {"enabled": True}, ["Authentication Enabled"])


@auth.command()
@click.pass_obj
def disable(tool: Tool) -> None:
    """Let everybody do everything."""
    tool.run(lambda client: client.auth.disable())
    show(tool, {"enabled": False}, ["Authentication Disabled"])


@auth.command()
@click.pass_obj
def status(tool: Tool) -> None:
    """Print whether users and roles are enabled."""
    from etcd_twisted.client import auth_answers as answers

    request = answers.reading(answers.ENABLE)
    enabled = tool.ask(request, answers.enabled_of, lambda client: client.auth.is_enabled())
    show(tool, {"enabled": enabled}, [f"Authentication {'Enabled' if enabled else 'Disabled'}"])
