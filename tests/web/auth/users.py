"""
Users for tests of what they may do, and their credentials, with bcrypt at its lowest cost.
"""

from base64 import b64encode
from functools import cache

import bcrypt
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorTime

from etcd_twisted.auth.state import AuthState, Role, User
from etcd_twisted.interfaces import IReplica
from etcd_twisted.web.access import Access
from etcd_twisted.web.auth.passwords import Passwords
from tests.web.auth.threads import COST


def basic(name: str, password: str) -> bytes:
    """Returns the value of a header."""
    return b"Basic " + b64encode(f"{name}:{password}".encode())


@cache
def _hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(COST)).decode()


def users(guest: str | None = None, enabled: bool = True, **patterns: tuple[str, str]) -> AuthState:
    """
    Returns a state with root and other users. The password of each is its name.

    @param guest: the pattern of what guests may read and write; C{None} for nothing.
    @param patterns: for each user the patterns of what it may read and of what it may write, separated by spaces.
    """
    names = ("root", *patterns)
    roles = {name: Role(name, tuple(read.split()), tuple(write.split())) for name, (read, write) in patterns.items()}
    if guest is not None:
        roles["guest"] = Role("guest", (guest,), (guest,))
    return AuthState(enabled, {name: User(name, _hashed(name), (name,)) for name in names}, roles)


def access(replica: IReplica, clock: IReactorTime) -> Access:
    """Returns the access control of a port whose passwords are checked at once."""
    return Access(replica, clock, Passwords(maybeDeferred, COST))
