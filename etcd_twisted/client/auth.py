"""
Users, roles, and whether they are asked for (C{/v2/auth} of etcd 2): C{client.auth}.

This module must never show a password, neither in a text nor in a result.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec
from twisted.internet.defer import Deferred

from etcd_twisted.client.auth_answers import (
    ENABLE,
    ROLES,
    USERS,
    enabled_of,
    reading,
    role_of,
    roles_of,
    target_of,
    user_of,
    users_of,
)
from etcd_twisted.client.errors import RequestRefused
from etcd_twisted.client.messages import Answer, Request
from etcd_twisted.client.results import Role, User
from etcd_twisted.client.sender import Sender

_T = TypeVar("_T")


class Auth:
    """
    Users and roles. A user has a password and any number of roles, and each role lets its users read and write keys. A
    pattern that ends in C{*} stands for all keys that begin with what is before it, any other for one key.

    Nothing of this counts before L{enable}. From then on, whoever has the role C{root} may do everything, users and
    roles included; whoever names no user has the role C{guest}. A request for which the client's credentials are
    wrong, or have not enough rights, fails with L{InsufficientCredentials}. Each method returns a Deferred, which can
    be awaited and cancelled. What changes something may raise L{OutcomeUnknown}, like any write.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    # The switch

    def is_enabled(self, *, timeout_seconds: float | None = None) -> "Deferred[bool]":
        """Read whether users and roles are enabled. Everybody may ask this."""
        return self._read(ENABLE, enabled_of, timeout_seconds)

    def enable(self, *, timeout_seconds: float | None = None) -> "Deferred[None]":
        """
        Enable users and roles. The user C{root} has to exist. If there is no role C{guest} yet, one is made that may
        read and write everything: take from it what guests must not do.

        @raise RequestRefused: (as a failure) they are enabled already (409), or there is no user C{root}.
        """
        return self._change("PUT", ENABLE, {}, timeout_seconds)

    def disable(self, *, timeout_seconds: float | None = None) -> "Deferred[None]":
        """
        Disable users and roles: everybody may do everything.

        @raise RequestRefused: (as a failure) they are disabled already (409).
        """
        return self._change("DELETE", ENABLE, None, timeout_seconds)

    # Users

    def users(self, *, timeout_seconds: float | None = None) -> "Deferred[tuple[User, ...]]":
        """List the users."""
        return self._read(USERS, users_of, timeout_seconds)

    def user(self, name: str, *, timeout_seconds: float | None = None) -> "Deferred[User]":
        """
        Read about one user.

        @raise RequestRefused: (as a failure) there is no such user (404).
        """
        return self._read(target_of(USERS, name), user_of, timeout_seconds)

    def add_user(
        self, name: str, password: str, roles: Iterable[str] = (), *, timeout_seconds: float | None = None
    ) -> "Deferred[None]":
        """
        Add a user. The user C{root} has the role C{root} without being given it.

        Without roles the API can't say that the user must not exist yet. So this looks first: if somebody else adds
        the same user in the moment between, that user gets this password.

        @param roles: the names of the user's roles.
        @raise RequestRefused: (as a failure) the user exists (409), or the password can't be used.
        @raise ValueError: the name is empty or has a colon in it.
        """
        body = {"user": name, "password": password}
        target = target_of(USERS, name)
        if ":" in name:  # Basic authentication can't express it
            raise ValueError("the name of a user can't have a colon in it")
        given = _listed(roles)
        if given:
            return self._change("PUT", target, body | {"roles": given}, timeout_seconds)
        return Deferred.fromCoroutine(self._change_user(body, False, timeout_seconds))

    def set_password(self, name: str, password: str, *, timeout_seconds: float | None = None) -> "Deferred[None]":
        """
        Give a user another password. A client that has this user's credentials goes on with the old ones, and is
        refused from then on: make another client.

        The API would add a user that does not exist. So this looks first.

        @raise RequestRefused: (as a failure) there is no such user (404), or the password can't be used.
        """
        body = {"user": name, "password": password}
        return Deferred.fromCoroutine(self._change_user(body, True, timeout_seconds))

    async def _change_user(self, body: dict[str, str], exists: bool, timeout_seconds: float | None) -> None:
        name = body["user"]
        if any(user.name == name for user in await self.users(timeout_seconds=timeout_seconds)) is not exists:
            if exists:
                raise RequestRefused(404, f"auth: User {name} does not exist.")
            raise RequestRefused(409, f"auth: User {name} already exists.")
        await self._change("PUT", target_of(USERS, name), body, timeout_seconds)

    def grant_roles(
        self, name: str, roles: str | Iterable[str], *, timeout_seconds: float | None = None
    ) -> "Deferred[None]":
        """
        Give a user more roles.

        @param roles: the names of the roles.
        @raise RequestRefused: (as a failure) there is no such user (404), or the user has one of the roles (409).
        """
        return self._change("PUT", target_of(USERS, name), {"user": name, "grant": _listed(roles)}, timeout_seconds)

    def revoke_roles(
        self, name: str, roles: str | Iterable[str], *, timeout_seconds: float | None = None
    ) -> "Deferred[None]":
        """
        Take roles from a user.

        @param roles: the names of the roles.
        @raise RequestRefused: (as a failure) there is no such user (404), or the user lacks one of the roles (409).
        """
        return self._change("PUT", target_of(USERS, name), {"user": name, "revoke": _listed(roles)}, timeout_seconds)

    def remove_user(self, name: str, *, timeout_seconds: float | None = None) -> "Deferred[None]":
        """
        Remove a user. The user C{root} can't be removed while users and roles are enabled.

        @raise RequestRefused: (as a failure) there is no such user (404), or it can't be removed (403).
        """
        return self._change("DELETE", target_of(USERS, name), None, timeout_seconds)

    # Roles

    def roles(self, *, timeout_seconds: float | None = None) -> "Deferred[tuple[Role, ...]]":
        """List the roles."""
        return self._read(ROLES, roles_of, timeout_seconds)

    def role(self, name: str, *, timeout_seconds: float | None = None) -> "Deferred[Role]":
        """
        Read about one role.

        @raise RequestRefused: (as a failure) there is no such role (404).
        """
        return self._read(target_of(ROLES, name), role_of, timeout_seconds)

    def add_role(
        self,
        name: str,
        *,
        read: str | Iterable[str] = (),
        write: str | Iterable[str] = (),
        timeout_seconds: float | None = None,
    ) -> "Deferred[None]":
        """
        Add a role.

        @param read: patterns of the keys that its users may read.
        @param write: patterns of those that they may write.
        @raise RequestRefused: (as a failure) the role exists (409).
        """
        body = {"role": name, "permissions": _patterns(read, write)}
        return self._change("PUT", target_of(ROLES, name), body, timeout_seconds)

    def grant(
        self,
        name: str,
        *,
        read: str | Iterable[str] = (),
        write: str | Iterable[str] = (),
        timeout_seconds: float | None = None,
    ) -> "Deferred[None]":
        """
        Let the users of a role read and write more keys.

        @raise RequestRefused: (as a failure) there is no such role (404), or it has one of the patterns (409).
        """
        body = {"role": name, "grant": _patterns(read, write)}
        return self._change("PUT", target_of(ROLES, name), body, timeout_seconds)

    def revoke(
        self,
        name: str,
        *,
        read: str | Iterable[str] = (),
        write: str | Iterable[str] = (),
        timeout_seconds: float | None = None,
    ) -> "Deferred[None]":
        """
        Take patterns from a role. One that the role does not have changes nothing.

        @raise RequestRefused: (as a failure) there is no such role (404), or nothing would change (400).
        """
        body = {"role": name, "revoke": _patterns(read, write)}
        return self._change("PUT", target_of(ROLES, name), body, timeout_seconds)

    def remove_role(self, name: str, *, timeout_seconds: float | None = None) -> "Deferred[None]":
        """
        Remove a role. The role C{root} can't be removed.

        @raise RequestRefused: (as a failure) there is no such role (404), or it can't be removed (403).
        """
        return self._change("DELETE", target_of(ROLES, name), None, timeout_seconds)

    # How it is asked

    def _read(self, target: str, result_of: "Callable[[Answer], _T]", timeout_seconds: float | None) -> "Deferred[_T]":
        return self._sender.send(reading(target), timeout_seconds).addCallback(result_of)

    def _change(self, method: str, target: str, body: object, timeout_seconds: float | None) -> "Deferred[None]":
        encoded = None if body is None else msgspec.json.encode(body)
        request = Request(method, target, json=encoded, changes=True, for_leader=True)
        return self._sender.send(request, timeout_seconds).addCallback(lambda _: None)


def _listed(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _patterns(read: str | Iterable[str], write: str | Iterable[str]) -> dict[str, dict[str, list[str]]]:
    return {"kv": {"read": _listed(read), "write": _listed(write)}}
