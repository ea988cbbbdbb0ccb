"""
The state of authentication: whether it is enabled, the users and the roles.

All of it is one document, the value of one key, so that each change is one compare-and-swap, atomic across users,
roles and the switch. This module must never take a document that it can't read for one that lets anybody in, nor show
a password's hash in a text.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import attrs
import msgspec

from etcd_twisted.keyspace.nodes import File, Node
from etcd_twisted.keyspace.space import KeySpace

AUTH_KEY = "/_etcd/_auth"
"""The key of the document. Its name is hidden, so listings and watches of its directory do not show it."""

GUEST = ""
"""Stands for the user of a request without credentials."""

GUEST_ROLE = "guest"
"""The role whose rights everybody has who is no user."""

ROOT_NAME = "root"
"""The name of the user without whom authentication can't be enabled, and of the role that may do everything."""


@attrs.frozen
class User:
    """
    A user.

    @ivar roles: the names of the user's roles, sorted. There need not be a role of each name.
    """

    name: str
    password_hash: str = attrs.field(repr=False)
    roles: tuple[str, ...] = ()


@attrs.frozen
class Role:
    """
    A role. See L{etcd_twisted.auth.rights} for what its patterns match.

    @ivar read: the patterns of the keys that may be read, as they were given. C{None} stands for no list, as clients
        are shown what they sent.
    @ivar write: the patterns of the keys that may be written, likewise.
    """

    name: str
    read: tuple[str, ...] | None = None
    write: tuple[str, ...] | None = None


@attrs.frozen
class AuthState:
    """
    The state at one moment.

    @ivar users: the users by name.
    @ivar roles: the roles by name. The role of root is not among them: it is built in.
    @ivar problem: why the document can't be read, for the log; empty if there is none. There are no users then, and
        authentication is enabled.
    @ivar index: the index at which the document was written, 0 if there is none.
    @ivar cache: what is computed from this state and remembered with it.
    """

    enabled: bool = False
    users: Mapping[str, User] = MappingProxyType({})
    roles: Mapping[str, Role] = MappingProxyType({})
    problem: str = ""
    index: int = attrs.field(default=0, eq=False)
    cache: dict[str, Any] = attrs.field(factory=dict, init=False, eq=False, repr=False)


DISABLED = AuthState()
"""The state before anybody has created a user or a role."""


class _UserDocument(msgspec.Struct):
    password: str
    roles: tuple[str, ...]


class _RoleDocument(msgspec.Struct):
    read: tuple[str, ...] | None
    write: tuple[str, ...] | None


class _Document(msgspec.Struct):
    """The document. Fields of later versions are ignored; a missing one is an error, so that none means "open"."""

    enabled: bool
    users: dict[str, _UserDocument]
    roles: dict[str, _RoleDocument]


_decode_document = msgspec.json.Decoder(_Document).decode


def encode(state: AuthState) -> str:
    """Returns a state as a document."""
    users = {each.name: _UserDocument(each.password_hash, each.roles) for each in state.users.values()}
    roles = {each.name: _RoleDocument(each.read, each.write) for each in state.roles.values()}
    return msgspec.json.encode(_Document(state.enabled, users, roles), order="sorted").decode()


def decode(document: str, index: int = 0) -> AuthState:
    """
    Returns the state that a document holds.

    @param index: the index at which it was written.
    @raise ValueError: the document can't be read. The text does not quote it.
    """
    try:
        found = _decode_document(document)
    except RecursionError:
        raise ValueError("JSON is nested too deep") from None
    return AuthState(
        found.enabled,
        {name: User(name, each.password, each.roles) for name, each in found.users.items()},
        {name: Role(name, each.read, each.write) for name, each in found.roles.items()},
        index=index,
    )


def read(node: Node | None) -> AuthState:
    """
    Returns the state in the node at L{AUTH_KEY}.

    Nobody has rights while the document can't be read: see L{AuthState.problem}.

    @param node: C{None} if there is none.
    """
    if node is None:
        return DISABLED
    if not isinstance(node, File):
        return AuthState(enabled=True, problem="it is a directory", index=node.modified)
    try:
        return decode(node.value, node.modified)
    except ValueError as error:  # msgspec's errors are ValueErrors
        return AuthState(enabled=True, problem=str(error), index=node.modified)


class CurrentAuth:
    """
    The state in a key space, which is decoded again only when the document has changed.

    @ivar state: the state that was found last. For reading only.
    @ivar mark: the L{KeySpace.cluster_keys_mark} then. As long as it is the same, so is the state.
    """

    def __init__(self, on_problem: Callable[[str], None] = lambda _: None) -> None:
        """
        @param on_problem: called with L{AuthState.problem} of each new state that has one.
        """
        self._on_problem = on_problem
        self.mark: object = None
        self._node: Node | None = None
        self.state = DISABLED

    def of(self, keyspace: KeySpace) -> AuthState:
        """Returns the state in a key space."""
        if keyspace.cluster_keys_mark is not self.mark:
            self.mark = keyspace.cluster_keys_mark
            self._read(keyspace.peek(AUTH_KEY))
        return self.state

    def _read(self, node: Node | None) -> None:
        if node is not self._node:
            self._node = node
            self.state = read(node)
            if self.state.problem:
                self._on_problem(self.state.problem)
