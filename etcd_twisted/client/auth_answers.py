"""
The targets of requests about users and roles, and what their answers mean.

This module must never send anything, nor import Twisted: C{txetcdctl} starts sooner without it.
"""

import urllib.parse

import msgspec

from etcd_twisted.client.answers import decode_json
from etcd_twisted.client.messages import Answer, Request
from etcd_twisted.client.results import Role, User

ENABLE = "/v2/auth/enable"
USERS = "/v2/auth/users"
ROLES = "/v2/auth/roles"


class _WireEnabled(msgspec.Struct):
    enabled: bool


class _WirePatterns(msgspec.Struct):
    read: list[str] | None = None
    write: list[str] | None = None


class _WirePermissions(msgspec.Struct):
    kv: _WirePatterns = msgspec.field(default_factory=_WirePatterns)


class _WireRole(msgspec.Struct):
    role: str
    permissions: _WirePermissions = msgspec.field(default_factory=_WirePermissions)

    def result(self) -> Role:
        patterns = self.permissions.kv
        return Role(self.role, tuple(patterns.read or ()), tuple(patterns.write or ()))


class _WireRoles(msgspec.Struct):
    roles: list[_WireRole] | None = None


class _WireUser(msgspec.Struct):
    user: str
    roles: list[_WireRole] | None = None

    def result(self) -> User:
        return User(self.user, tuple(sorted(role.role for role in self.roles or ())))


class _WireUsers(msgspec.Struct):
    users: list[_WireUser] | None = None


def reading(target: str) -> Request:
    """Returns the request that reads a target from the leader, which knows what was changed just now."""
    return Request("GET", target, for_leader=True)


def target_of(collection: str, name: str) -> str:
    """
    Returns the target of one user or role.

    @raise ValueError: the name is empty.
    """
    if not name:
        raise ValueError("a user or a role needs a name")
    return f"{collection}/{urllib.parse.quote(name, safe='')}"


def enabled_of(answer: Answer) -> bool:
    """
    Returns whether users and roles are enabled.

    @raise UnexpectedAnswer: the answer is something else.
    """
    return decode_json(answer, _WireEnabled).enabled


def users_of(answer: Answer) -> tuple[User, ...]:
    """
    Returns the users that are listed.

    @raise UnexpectedAnswer: the answer is something else.
    """
    return tuple(each.result() for each in decode_json(answer, _WireUsers).users or ())


def user_of(answer: Answer) -> User:
    """
    Returns the user that an answer describes.

    @raise UnexpectedAnswer: the answer is something else.
    """
    return decode_json(answer, _WireUser).result()


def roles_of(answer: Answer) -> tuple[Role, ...]:
    """
    Returns the roles that are listed.

    @raise UnexpectedAnswer: the answer is something else.
    """
    return tuple(each.result() for each in decode_json(answer, _WireRoles).roles or ())


def role_of(answer: Answer) -> Role:
    """
    Returns the role that an answer describes.

    @raise UnexpectedAnswer: the answer is something else.
    """
    return decode_json(answer, _WireRole).result()
