"""
The users and roles of etcd, as its store has them below C{/2}. Hashes of passwords are bcrypt's in both programs.

This module must never take users and roles that it can't read for none.
"""

from typing import TypeVar

import msgspec

from etcd_twisted.auth.state import AuthState, Role, User
from etcd_twisted.datadir.etcd.store import USERS
from etcd_twisted.datadir.trees import find
from etcd_twisted.errors import StorageError
from etcd_twisted.keyspace.nodes import Directory, File, Node


class _User(msgspec.Struct):
    user: str
    password: str = ""
    roles: tuple[str, ...] | None = None


class _Patterns(msgspec.Struct, frozen=True):
    read: tuple[str, ...] | None = None
    write: tuple[str, ...] | None = None


class _Permissions(msgspec.Struct, frozen=True):
    kv: _Patterns = _Patterns()


class _Role(msgspec.Struct):
    role: str
    permissions: _Permissions = _Permissions()


_Struct = TypeVar("_Struct", _User, _Role)


def users_and_roles(root: Directory) -> AuthState:
    """
    Returns the users, the roles, and whether authentication is enabled.

    @raise StorageError: something of it can't be read.
    """
    users = {each.user: User(each.user, each.password, tuple(sorted(each.roles or ()))) for each in _all(root, _User)}
    roles = {}
    for each in _all(root, _Role):
        patterns = each.permissions.kv
        roles[each.role] = Role(each.role, patterns.read, patterns.write)
    return AuthState(_is_enabled(root), users, roles)


def _all(root: Directory, kind: type[_Struct]) -> list[_Struct]:
    directory = f"{USERS}/{kind.__name__[1:].lower()}s"
    found = find(root, directory)
    if found is None:
        return []
    if not isinstance(found, Directory):
        raise _unreadable(directory, "it is no directory")
    return [_decoded(f"{directory}/{name}", node, kind) for name, node in sorted(found.children.items())]


def _decoded(key: str, node: Node, kind: type[_Struct]) -> _Struct:
    if not isinstance(node, File):
        raise _unreadable(key, "it is a directory")
    try:
        return msgspec.json.decode(node.value, type=kind)
    except (ValueError, RecursionError) as error:  # msgspec's are ValueErrors
        raise _unreadable(key, str(error)) from None


def _is_enabled(root: Directory) -> bool:
    key = f"{USERS}/enabled"
    node = find(root, key)
    if node is None:
        return False
    if not isinstance(node, File) or node.value not in ("true", "false"):
        raise _unreadable(key, "it is neither true nor false")
    return node.value == "true"


def _unreadable(key: str, why: str) -> StorageError:
    return StorageError(f"etcd's users and roles can't be read: {key} in its store: {why}")
