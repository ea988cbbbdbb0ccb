"""
The access control of a port: it finds out which user makes a request, and what that user may do now.

The rights are asked for when a request is carried out, however long it has waited before: those of a user who was
identified, and of a guest as long as authentication is disabled. This module must never let a request with wrong
credentials through, not even as a guest's, nor show a value to somebody who may not read it.
"""

from collections.abc import Callable

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest

from etcd_twisted.auth.checks import insufficient_credentials
from etcd_twisted.auth.rights import Rights, rights_of
from etcd_twisted.auth.state import GUEST, AuthState
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.httpd.handler import Authorization, ParsedRequest
from etcd_twisted.httpd.ordinary.request import credentials
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.events import ActionResult
from etcd_twisted.web.auth.authenticator import Authenticator, UnauthenticatedError
from etcd_twisted.web.auth.failed_attempts import IAttempts
from etcd_twisted.web.auth.passwords import Passwords, thread_pool
from etcd_twisted.web.redirects import until_serving


class Access:
    """
    The access control of one port.

    @ivar passwords: checks passwords.
    """

    def __init__(
        self,
        replica: IReplica,
        clock: IReactorTime,
        passwords: Passwords | None = None,
        certificates: bool = True,
        attempts: IAttempts | None = None,
    ) -> None:
        """
        @param passwords: checks passwords; C{None} to have it done in the reactor's threads.
        @param certificates: whether the port's clients have certificates with the names of users, if it requires any.
        @param attempts: the log-ins that have failed, if other ports or processes count theirs there too.
        """
        self.passwords = passwords or Passwords(thread_pool(clock))
        self._replica = replica
        self._clock = clock
        self._authenticator = Authenticator(clock, self.passwords, attempts)
        self._certificates = certificates

    @property
    def failed_attempts(self) -> int:
        """How many passwords were wrong since the start."""
        return self._authenticator.failed_attempts

    # Who asks

    def identify(self, state: AuthState, request: ParsedRequest) -> "Deferred[None] | None":
        """
        Find out the user of a request about keys while authentication is enabled.

        @param state: the users.
        @return: C{None} if that is known at once, or a Deferred that fires when it is. It errbacks with an
            L{EtcdError}.
        @raise EtcdError: 110, the credentials are wrong.
        """
        authorization = request.authorization
        if type(authorization) is Authorization:
            found = authorization.found
            if found is not None and found[0] is state.cache:
                request.user = found[1]
                return None
        return self._identify(state, request)

    def _identify(self, state: AuthState, request: ParsedRequest) -> "Deferred[None] | None":
        user = self._user(state, request.authorization, request.common_name)
        if isinstance(user, str):
            request.user = user
            return None

        def identified(name: str) -> None:
            request.user = name

        return user.addCallback(identified)

    def _user(self, state: AuthState, authorization: bytes | None, common_name: str | None) -> "str | Deferred[str]":
        if not self._certificates:
            common_name = None
        try:
            user = self._authenticator.user(state, authorization, common_name)
        except UnauthenticatedError:
            raise insufficient_credentials() from None
        if isinstance(user, str):
            return user
        return user.addErrback(_refuse).addCallback(self._still, state, authorization, common_name)

    def _still(
        self, user: str, state: AuthState, authorization: bytes | None, common_name: str | None
    ) -> "str | Deferred[str]":
        """Check again if users were changed meanwhile: the password may be another one now."""
        current = self._replica.auth
        return user if current is state or not current.enabled else self._user(current, authorization, common_name)

    async def user_of(self, request: IRequest) -> str:
        """
        Returns the user of a request for a page: a guest while authentication is disabled. Waits until this machine
        knows the users.

        @raise EtcdError: 110, the credentials are wrong; or 300, too many wait, or the users are not known in time.
        """
        await until_serving(self._replica, self._clock)
        state = self._replica.auth
        if not state.enabled:
            return GUEST
        user = self._user(state, *credentials(request))
        return user if isinstance(user, str) else await user

    # What they may do

    def rights(self, user: str | None) -> Rights:
        """Returns what a user may do at the moment: a guest if nobody had to be identified."""
        return rights_of(self._replica.auth, user or GUEST)

    async def check(self, request: IRequest, may: Callable[[Rights], bool]) -> str:
        """
        Check that the user of a request for a page may do something. Returns the user.

        @raise EtcdError: 110, and see L{user_of}.
        """
        user = await self.user_of(request)
        if not may(self.rights(user)):
            raise insufficient_credentials()
        return user


def _refuse(reason: Failure) -> Failure:
    return Failure(insufficient_credentials()) if reason.check(UnauthenticatedError) else reason


# For users who may write a key and not read it


def own_result(result: ActionResult, keeps_value: bool) -> ActionResult:
    """
    Returns the result of a change without what was there before.

    @param keeps_value: whether the change has left the value as it was.
    """
    node = msgspec.structs.replace(result.node, value=None) if keeps_value else result.node
    return ActionResult(result.action, node)


def without_value(error: EtcdError, key: str) -> EtcdError:
    """Returns the error of a change without the value that the change has found."""
    return EtcdError(error.code, key, error.index) if error.code == ErrorCode.COMPARE_FAILED else error
