"""
Whether a request about keys may be served: by the rights of its user, and because the document of users and roles is
none of the keys that clients see.

The document is at L{AUTH_KEY}. A client that reads it is answered as if nothing were there, and one that changes it,
or removes or expires its directory, is refused, whatever its rights and whether or not authentication is enabled: it
is changed through its own pages alone. This module must never let a request through for which there is no rule.
"""

from etcd_twisted.auth.rights import Rights, rights_of
from etcd_twisted.auth.state import AUTH_KEY, AuthState
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.commands import Change, CreateInOrder
from etcd_twisted.keyspace.paths import is_below, parent

_AUTH_DIRECTORY = parent(AUTH_KEY)

MARK = _AUTH_DIRECTORY
"""Keys without this text in them need no check while authentication is disabled."""

CAUSE = "Insufficient credentials"


def insufficient_credentials() -> EtcdError:
    """Returns the error for a request that needs a user, or a user with more rights."""
    return EtcdError(ErrorCode.UNAUTHORIZED, CAUSE)


def check_read(state: AuthState, user: str, key: str, recursive: bool) -> None:
    """
    Check that a user may read or watch a key.

    @param recursive: whether with everything below it.
    @raise EtcdError: 100 or 110.
    """
    if MARK in key and _is_document(key):
        raise EtcdError(ErrorCode.KEY_NOT_FOUND, key)
    # The first one is what the second returns, for less than a call.
    if state.enabled and not (state.cache.get(user) or rights_of(state, user)).may_read(key, recursive):
        raise insufficient_credentials()


def check_change(state: AuthState, user: str, command: Change) -> Rights:
    """
    Check that a user may have a command carried out. Returns the rights of the user.

    @raise EtcdError: 106 or 110.
    """
    key = command.key
    if MARK in key and (_is_document(key) or (key == _AUTH_DIRECTORY and not isinstance(command, CreateInOrder))):
        raise EtcdError(ErrorCode.KEY_IS_PRESERVED, key)
    rights: Rights = state.cache.get(user) or rights_of(state, user)
    if not rights.may_change(command):
        raise insufficient_credentials()
    return rights


def _is_document(key: str) -> bool:
    return key == AUTH_KEY or is_below(key, AUTH_KEY)
