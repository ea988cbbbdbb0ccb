"""
What users may do with keys.

A pattern that ends in C{*} matches all keys that begin with what precedes it, and any other pattern matches one key. A
recursive request needs a pattern of the first kind. The keys of the cluster itself are for root alone, whatever the
patterns say, but for those of locks, elections and the discovery service.

Callers pass clean keys. This module must never give a user that does not exist the rights of guests.
"""

from collections.abc import Iterable

import attrs

from etcd_twisted.auth.state import GUEST, GUEST_ROLE, ROOT_NAME, AuthState
from etcd_twisted.keyspace.commands import Change, Delete
from etcd_twisted.keyspace.paths import CLUSTER_KEYS, ROOT, is_below

_GRANTABLE = ("/_etcd/mod", "/_etcd/registry")


def is_reserved(key: str) -> bool:
    """Returns whether only root may touch a key once authentication is enabled."""
    if not (key == CLUSTER_KEYS or is_below(key, CLUSTER_KEYS)):
        return False
    return not any(key == each or is_below(key, each) for each in _GRANTABLE)


class _Patterns:
    """Patterns, in the form in which they are compared."""

    __slots__ = ("keys", "prefixes")

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = set(patterns)
        self.keys = frozenset(each for each in patterns if not each.endswith("*"))
        self.prefixes = tuple(sorted(each[:-1] for each in patterns if each.endswith("*")))


@attrs.frozen(eq=False)
class Rights:
    """
    What one user may do.

    @ivar is_root: whether the user may do everything, with users, roles and the members of the cluster, too.
    """

    is_root: bool
    _read: _Patterns
    _write: _Patterns

    def may_read(self, key: str, recursive: bool = False) -> bool:
        """
        Returns whether the user may read or watch a key.

        @param recursive: whether with everything below it.
        """
        patterns = self._read  # matched here and below, since a call would cost more
        if key.startswith(patterns.prefixes) or (not recursive and key in patterns.keys):
            return not key.startswith(CLUSTER_KEYS) or not is_reserved(key) or self.is_root
        return self.is_root

    def may_write(self, key: str, recursive: bool = False) -> bool:
        """
        Returns whether the user may change a key.

        @param recursive: whether with everything below it.
        """
        patterns = self._write
        if key.startswith(patterns.prefixes) or (not recursive and key in patterns.keys):
            return not key.startswith(CLUSTER_KEYS) or not is_reserved(key) or self.is_root
        return self.is_root

    def may_change(self, command: Change) -> bool:
        """Returns whether the user may have a command carried out. In-order keys are checked on their directory."""
        return self.may_write(command.key, type(command) is Delete and command.recursive)


_NOTHING = _Patterns(())
_NO_RIGHTS = Rights(False, _NOTHING, _NOTHING)
_ALL_RIGHTS = Rights(True, _NOTHING, _NOTHING)


def rights_of(state: AuthState, user: str) -> Rights:
    """
    Returns what a user may do: everything while authentication is disabled.

    @param user: L{GUEST} for somebody who is no user. A name that no user has any more has no rights.
    """
    found: Rights | None = state.cache.get(user)
    if found is None:
        if not state.enabled:
            return _ALL_RIGHTS
        if user != GUEST and user not in state.users:
            return _NO_RIGHTS  # these are not remembered, since there is no end of such names
        found = state.cache[user] = _rights(state, (GUEST_ROLE,) if user == GUEST else state.users[user].roles)
    return found


def _rights(state: AuthState, names: tuple[str, ...]) -> Rights:
    if ROOT_NAME in names:
        return _ALL_RIGHTS
    roles = [state.roles[name] for name in names if name in state.roles]
    read = (pattern for role in roles for pattern in role.read or ())
    write = (pattern for role in roles for pattern in role.write or ())
    return Rights(False, _Patterns(read), _Patterns(write))


def guests_may_do_everything(state: AuthState) -> bool:
    """
    Returns whether authentication protects no key although it is enabled, since guests may read and write all of them.
    """
    guest = rights_of(state, GUEST)
    return state.enabled and guest.may_read(ROOT, recursive=True) and guest.may_write(ROOT, recursive=True)
