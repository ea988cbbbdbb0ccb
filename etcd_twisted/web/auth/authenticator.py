"""
Finds out who makes a request: the user whose name and password its C{Authorization} header has, the user whom the
client's certificate names, or a guest.

A header that was found right is remembered, so that checking it again costs far less than a request. What is
remembered is a hash of the header, with a key that only this process has, and which hash of a password it was right
for: it is void as soon as the user has another password. A header that was found wrong is remembered likewise: it is
refused without being checked again, later each time, so that a program with an old password does not slow down those
that have the new one.

This module must never take wrong credentials for a guest's, nor tell by its answer, or the time that it takes, whether
a user exists.
"""

import binascii
import secrets
from hashlib import blake2b
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from etcd_twisted.auth.state import GUEST, AuthState
from etcd_twisted.httpd.handler import Authorization
from etcd_twisted.logs.rate_limit import RateLimitedLog
from etcd_twisted.web.auth.failed_attempts import FREE_ATTEMPTS, FailedAttempts, IAttempts, pause_seconds
from etcd_twisted.web.auth.passwords import LONGEST_PASSWORD_BYTES, Passwords

_T = TypeVar("_T")

MOST_REMEMBERED = 10_000
"""
How many right headers are remembered, and how many wrong ones. Beyond that, the one is forgotten that was checked the
longest ago.
"""


class UnauthenticatedError(Exception):
    """The credentials of a request are wrong, or are none. It never says why."""


@attrs.define(eq=False)
class _Wrong:
    """
    A header that was found wrong.

    @ivar password_hash: the hash of the right password then; C{None} if there was no such user.
    @ivar times: how often it has come.
    """

    password_hash: str | None
    times: int = 1


@attrs.define(eq=False)
class _Check:
    """
    A password that is being checked, for one request or for several with the same header.

    @ivar waiting: the results of the requests.
    @ivar running: fires with whether the password is right.
    """

    waiting: "dict[Deferred[str], None]" = attrs.field(factory=dict)
    running: "Deferred[bool] | None" = None


class Authenticator:
    """
    Finds out who makes a request.

    @ivar failed_attempts: how many passwords were wrong since the start.
    """

    def __init__(self, clock: IReactorTime, passwords: Passwords, attempts: IAttempts | None = None) -> None:
        """
        @param clock: the clock by which failed attempts are slowed down.
        @param attempts: the attempts that have failed, if others count theirs there too.
        """
        self.failed_attempts = 0
        self._clock = clock
        self._passwords = passwords
        self._attempts: IAttempts = attempts or FailedAttempts(clock)
        self._limited_log = RateLimitedLog(clock)
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, tuple[str, str]] = {}
        """The name and the password's hash that each header was right for, by the header's hash."""
        self._wrong: dict[bytes, _Wrong] = {}
        """Headers that were found wrong, by the header's hash."""
        self._checks: dict[tuple[bytes, str | None], _Check] = {}
        """What is being checked, by the header's hash and that of the right password."""

    def user(self, state: AuthState, authorization: bytes | None, common_name: str | None) -> "str | Deferred[str]":
        """
        Returns the name of the user who makes a request, at once or as a Deferred; L{GUEST} if it is no user.

        The Deferred errbacks with L{UnauthenticatedError}, or with an L{EtcdError} if too many passwords wait to be
        checked. Cancelling it withdraws the request.

        @param state: the users; authentication is enabled.
        @param authorization: the value of the request's header; C{None} for a request without one.
        @param common_name: that of the client's certificate, which was verified; C{None} if there is none.
        @raise UnauthenticatedError: the header has no credentials.
        """
        if authorization is None:
            return common_name if common_name is not None and common_name in state.users else GUEST
        digest = blake2b(self._key + authorization).digest()  # its own parameter for a key costs more time
        remembered = self._right.get(digest)
        if remembered is not None:
            name, password_hash = remembered
            user = state.users.get(name)
            if user is not None and user.password_hash == password_hash:
                if type(authorization) is Authorization:
                    authorization.found = state.cache, name  # another state has another cache
                return name
        return self._check(state, authorization, digest)

    def _check(self, state: AuthState, authorization: bytes, digest: bytes) -> "Deferred[str]":
        """Check the password in a header, or wait for the check of the same header that is under way."""
        name, password = _credentials(authorization)
        user = state.users.get(name)
        password_hash = None if user is None else user.password_hash
        wrong = self._wrong.get(digest)
        if wrong is not None and wrong.password_hash == password_hash:
            wrong.times += 1
            self._note_failure(name, user is not None, wrong.times == FREE_ATTEMPTS)
            return deferLater(self._clock, pause_seconds(wrong.times), _refuse)
        key = (digest, password_hash)
        check = self._checks.get(key)
        if check is None:
            check = self._checks[key] = _Check()
        result: Deferred[str] = Deferred(lambda each: _withdraw(check, each))
        check.waiting[result] = None
        if check.running is None:
            check.running = ensureDeferred(self._is_right(name, password, password_hash))
            check.running.addBoth(self._checked, key, name)
        return result

    async def _is_right(self, name: str, password: bytes, password_hash: str | None) -> bool:
        """
        Returns whether a password is right, when it is the name's turn.

        @raise UnauthenticatedError: it was not checked, since too many others are to be checked before.
        """
        turn = self._attempts.begin(name)
        wait_seconds = await turn if isinstance(turn, Deferred) else turn
        if wait_seconds is None:
            raise UnauthenticatedError
        try:
            if wait_seconds:
                await deferLater(self._clock, wait_seconds)
            is_right = await self._passwords.check(password, password_hash)
        except BaseException:
            self._attempts.given_up(name)
            raise
        if is_right:
            self._attempts.succeeded(name)
            return True
        failed = self._attempts.failed(name)
        is_slowed_down = await failed if isinstance(failed, Deferred) else failed
        self._note_failure(name, password_hash is not None, is_slowed_down)
        return False

    def _note_failure(self, name: str, is_known: bool, is_slowed_down: bool) -> None:
        """
        Count a wrong password.

        @param is_slowed_down: whether those that follow are slowed down, and the one before was not.
        """
        self.failed_attempts += 1
        if is_known and is_slowed_down:
            # Other names are not logged: people type passwords where the name should be.
            self._limited_log.warn("log-in", f"Log-ins as {name!r} fail again and again, and are slowed down")

    def _checked(self, outcome: bool | Failure, key: tuple[bytes, str | None], name: str) -> None:
        """Tell everybody who waits for a check, and remember what came of it."""
        check = self._checks.pop(key)
        digest, password_hash = key
        if outcome is True and password_hash is not None:
            _remember(self._right, digest, (name, password_hash))
        elif outcome is False:
            _remember(self._wrong, digest, _Wrong(password_hash))
        for result in list(check.waiting):
            if result.called:  # a callback of an earlier one has cancelled it
                continue
            if isinstance(outcome, Failure):
                result.errback(outcome)
            elif outcome:
                result.callback(name)
            else:
                result.errback(UnauthenticatedError())


def _remember(headers: dict[bytes, _T], digest: bytes, what: _T) -> None:
    headers.pop(digest, None)
    headers[digest] = what
    if len(headers) > MOST_REMEMBERED:
        del headers[next(iter(headers))]


def _refuse() -> str:
    raise UnauthenticatedError


def _withdraw(check: _Check, result: "Deferred[str]") -> None:
    """Stop a check that nobody waits for any more."""
    check.waiting.pop(result, None)
    if not check.waiting and check.running is not None:
        check.running.cancel()


def _credentials(authorization: bytes) -> tuple[str, bytes]:
    """
    Returns the name and the password in a header.

    @raise UnauthenticatedError: there are none, or no user can have such a password.
    """
    scheme, _, encoded = authorization.strip().partition(b" ")
    if scheme.lower() != b"basic":
        raise UnauthenticatedError
    try:
        name, colon, password = binascii.a2b_base64(encoded.strip(), strict_mode=True).partition(b":")
        text = name.decode()
    except ValueError:  # binascii's errors are ValueErrors
        raise UnauthenticatedError from None
    if not colon or len(password) > LONGEST_PASSWORD_BYTES:
        raise UnauthenticatedError
    return text, password
