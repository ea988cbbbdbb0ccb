"""
Changes of users, roles and the switch, as etcd 2 to 3.4 make them: each takes a state and returns another one, or
raises L{AuthError} with etcd's words.

This module must never see a password, only its hash, nor change a state.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import attrs

from etcd_twisted.auth.state import GUEST_ROLE, ROOT_NAME, AuthState, Role, User

_T = TypeVar("_T", User, Role)

ROOT_ROLE = Role(ROOT_NAME, ("/*",), ("/*",))
"""The role of root, as it is shown. It may do more than its patterns say."""

AuthChange = Callable[[AuthState], AuthState]
"""A change of a state."""


class AuthError(Exception):
    """
    A change is refused, or something does not exist.

    @ivar status: the HTTP status that says so.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"auth: {message}")
        self.status = status


@attrs.frozen
class Permissions:
    """Patterns to add to a role, or to remove from it; see L{Role}."""

    read: tuple[str, ...] | None = None
    write: tuple[str, ...] | None = None

    def __bool__(self) -> bool:
        return bool(self.read or self.write)


# The switch


def enable(state: AuthState) -> AuthState:
    """Enable authentication. Guests get a role that may read and write all keys, unless they have one."""
    if state.enabled:
        raise AuthError(409, "already enabled")
    if ROOT_NAME not in state.users:
        raise AuthError(409, "No root user available, please create one")
    roles = {GUEST_ROLE: Role(GUEST_ROLE, ("/*",), ("/*",)), **state.roles}
    return attrs.evolve(state, enabled=True, roles=roles)


def disable(state: AuthState) -> AuthState:
    """Disable authentication: everybody may do everything."""
    if not state.enabled:
        raise AuthError(409, "already disabled")
    return attrs.evolve(state, enabled=False)


# Users


def user(state: AuthState, name: str) -> User:
    """Returns a user."""
    if name not in state.users:
        raise AuthError(404, f"User {name} does not exist.")
    return state.users[name]


def create_user(state: AuthState, name: str, password_hash: str | None, roles: Iterable[str] = ()) -> AuthState:
    """
    Create a user.

    @param password_hash: C{None} if no password is given, or an empty one.
    """
    if password_hash is None:
        raise AuthError(400, f"Cannot create user {name} with an empty password")
    if name in state.users:
        raise AuthError(409, f"User {name} already exists.")
    return attrs.evolve(state, users=_with(state.users, User(name, password_hash, _roles(name, roles))))


def update_user(
    state: AuthState,
    name: str,
    password_hash: str | None,
    grant: Iterable[str] = (),
    revoke: Iterable[str] = (),
) -> AuthState:
    """
    Change a user's password and roles.

    @param password_hash: C{None} if the password stays.
    """
    old = user(state, name)
    roles = set(old.roles)
    for role in grant:
        if role in roles:
            raise AuthError(409, f"Granting duplicate role {role} for user {name}")
        roles.add(role)
    for role in revoke:
        if role not in roles:
            raise AuthError(409, f"Revoking ungranted role {role} for user {name}")
        roles.remove(role)
    new = User(name, password_hash or old.password_hash, _roles(name, roles))
    if new == old:
        raise AuthError(400, "User not updated. Use grant/revoke/password to update the user.")
    return attrs.evolve(state, users=_with(state.users, new))


def delete_user(state: AuthState, name: str) -> AuthState:
    """Delete a user."""
    if name == ROOT_NAME and state.enabled:
        raise AuthError(403, "Cannot delete root user while auth is enabled.")
    if name not in state.users:
        raise AuthError(404, f"User {name} does not exist")
    return attrs.evolve(state, users=_without(state.users, name))


def _roles(name: str, roles: Iterable[str]) -> tuple[str, ...]:
    """Returns the roles of a user. Root always has the role of that name."""
    return tuple(sorted({*roles, ROOT_NAME} if name == ROOT_NAME else {*roles}))


# Roles


def role(state: AuthState, name: str) -> Role:
    """Returns a role."""
    if name == ROOT_NAME:
        return ROOT_ROLE
    if name not in state.roles:
        raise AuthError(404, f"Role {name} does not exist.")
    return state.roles[name]


def create_role(state: AuthState, new: Role) -> AuthState:
    """Create a role."""
    _check_changeable(new.name)
    if new.name in state.roles:
        raise AuthError(409, f"Role {new.name} already exists.")
    return attrs.evolve(state, roles=_with(state.roles, new))


def update_role(state: AuthState, name: str, grant: Permissions, revoke: Permissions) -> AuthState:
    """Add patterns to a role, and remove others from it. What it does not have is not missed."""
    _check_changeable(name)
    old = role(state, name)
    new = Role(
        name,
        _patterns(old.read, grant.read, revoke.read, "read"),
        _patterns(old.write, grant.write, revoke.write, "write"),
    )
    if (set(new.read or ()), set(new.write or ())) == (set(old.read or ()), set(old.write or ())):
        raise AuthError(400, "Role not updated. Use grant/revoke to update the role.")
    return attrs.evolve(state, roles=_with(state.roles, new))


def delete_role(state: AuthState, name: str) -> AuthState:
    """Delete a role. Users keep its name, and have its rights again when there is another one of that name."""
    _check_changeable(name)
    if name not in state.roles:
        raise AuthError(404, f"Role {name} doesn't exist.")
    return attrs.evolve(state, roles=_without(state.roles, name))


def _check_changeable(name: str) -> None:
    if name == ROOT_NAME:
        raise AuthError(403, f"Cannot modify role {name}: is root role.")


def _patterns(
    old: Iterable[str] | None, grant: Iterable[str] | None, revoke: Iterable[str] | None, kind: str
) -> tuple[str, ...]:
    patterns = set(old or ())
    for pattern in grant or ():
        if pattern in patterns:
            raise AuthError(409, f"Granting duplicate {kind} permission {pattern}")
        patterns.add(pattern)
    return tuple(sorted(patterns.difference(revoke or ())))


# States


def _with(values: Mapping[str, _T], new: _T) -> dict[str, _T]:
    return {**values, new.name: new}


def _without(values: Mapping[str, _T], name: str) -> dict[str, _T]:
    return {key: each for key, each in values.items() if key != name}
