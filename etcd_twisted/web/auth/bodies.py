"""
Users and roles as clients send them and see them, in the JSON of etcd 2 to 3.4.

Like etcd's, a body may have its fields in capitals, and others too. A list may be missing or C{null}, and is shown so.
This module must never show a password.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from etcd_twisted.auth.changes import Permissions
from etcd_twisted.auth.state import Role, User

_T = TypeVar("_T")
_Names = tuple[str, ...] | None


class _Patterns(msgspec.Struct):
    read: _Names = None
    write: _Names = None


class _Kv(msgspec.Struct):
    kv: _Patterns | None = None

    @classmethod
    def of(cls, role: Role) -> "_Kv":
        return cls(_Patterns(role.read, role.write))


class UserBody(msgspec.Struct):
    """What a client wants a user to be, or to be changed."""

    user: str | None = None
    password: str | None = None
    roles: _Names = None
    grant: _Names = None
    revoke: _Names = None

    def __repr__(self) -> str:
        return f"UserBody({self.user!r})"


class RoleBody(msgspec.Struct):
    """What a client wants a role to be, or to be changed."""

    role: str | None = None
    permissions: _Kv | None = None
    grant: _Kv | None = None
    revoke: _Kv | None = None

    @staticmethod
    def patterns(value: _Kv | None) -> Permissions:
        """Returns the patterns in one of the fields."""
        found = _Patterns() if value is None or value.kv is None else value.kv
        return Permissions(found.read, found.write)


def decode(body: bytes, kind: type[_T]) -> _T | None:
    """Returns what a body has, C{None} if it is not the JSON of one."""
    try:
        value = msgspec.json.decode(body)
        return msgspec.convert({} if value is None else _in_small_letters(value), kind)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def _in_small_letters(value: Any) -> Any:
    """Returns a value with the names of all fields in small letters."""
    if not isinstance(value, dict):
        return value
    return {name.lower(): _in_small_letters(each) for name, each in value.items()}


class _RoleView(msgspec.Struct):
    role: str
    permissions: _Kv


class _RolesView(msgspec.Struct):
    roles: list[_RoleView]


class _UserView(msgspec.Struct, omit_defaults=True):
    """A user with its roles whole; without the field if there are none."""

    user: str
    roles: list[_RoleView] | None = None


class _UsersView(msgspec.Struct):
    users: list[_UserView] | None


class _ChangedUserView(msgspec.Struct):
    user: str
    roles: _Names


class _EnabledView(msgspec.Struct):
    enabled: bool


def enabled(value: bool) -> bytes:
    """Returns the switch as JSON."""
    return _line(_EnabledView(value))


def role(value: Role) -> bytes:
    """Returns a role as JSON."""
    return _line(_role(value))


def roles(values: Iterable[Role]) -> bytes:
    """Returns roles as JSON."""
    return _line(_RolesView([_role(each) for each in values]))


def user(value: User, held: Iterable[Role]) -> bytes:
    """
    Returns a user as JSON.

    @param held: the user's roles.
    """
    return _line(_user(value, held))


def users(values: Iterable[tuple[User, Iterable[Role]]]) -> bytes:
    """Returns users with their roles as JSON."""
    return _line(_UsersView([_user(each, held) for each, held in values] or None))


def changed_user(value: User, is_without_list: bool) -> bytes:
    """
    Returns a user that was created or changed as JSON, with the names of its roles.

    @param is_without_list: whether C{null} stands for no roles.
    """
    return _line(_ChangedUserView(value.name, None if is_without_list and not value.roles else value.roles))


def _role(value: Role) -> _RoleView:
    return _RoleView(value.name, _Kv.of(value))


def _user(value: User, held: Iterable[Role]) -> _UserView:
    return _UserView(value.name, [_role(each) for each in held] or None)


def _line(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"
