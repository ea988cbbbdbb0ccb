"""
C{/v2/auth}: users, roles and the switch, as etcd 2 to 3.4 have them.

The pages are the same on every machine: one that does not lead has the leader make changes, or redirects them to it.
Listings are of this machine's copy. This module must never show or change a user or a role for somebody who has not
the role of root, once authentication is enabled.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial

import attrs
import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from werkzeug.exceptions import NotFound

from etcd_twisted.auth import changes
from etcd_twisted.auth.changes import ROOT_ROLE, AuthChange, AuthError
from etcd_twisted.auth.checks import insufficient_credentials
from etcd_twisted.auth.rights import guests_may_do_everything, rights_of
from etcd_twisted.auth.state import GUEST_ROLE, AuthState, Role
from etcd_twisted.errors import CannotForwardError, EtcdError, http_status
from etcd_twisted.httpd.responses import JSON, Response, json_message
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.paths import clean
from etcd_twisted.web.auth import bodies
from etcd_twisted.web.auth.bodies import RoleBody, UserBody
from etcd_twisted.web.auth.document import AuthDocument
from etcd_twisted.web.auth.passwords import LONGEST_PASSWORD_BYTES, Passwords
from etcd_twisted.web.redirects import no_leader, redirect, until_serving

_DONE = Response(200, JSON, b"")


@attrs.frozen
class AuthRequest:
    """
    A request for one of the pages.

    @ivar path: what follows C{/v2/auth/}, percent-decoded.
    @ivar target: the whole path and query as they came.
    @ivar find_user: finds out who makes the request; it may raise an L{EtcdError}.
    """

    method: bytes
    path: str
    target: bytes
    body: bytes
    find_user: Callable[[], Awaitable[str]]


_Action = Callable[[AuthRequest], Awaitable[Response]]


class AuthPages:
    """Makes the responses. The route is in L{etcd_twisted.web.app}."""

    _log = Logger()

    def __init__(
        self,
        replica: IReplica,
        clock: IReactorTime,
        passwords: Passwords,
        leader_wait_seconds: float,
        forwards: bool,
    ) -> None:
        """
        @param leader_wait_seconds: how long a change waits for a leader.
        @param forwards: whether a machine that does not lead has the leader make changes.
        """
        self._replica = replica
        self._clock = clock
        self._passwords = passwords
        self._document = AuthDocument(replica, clock, leader_wait_seconds, forwards)

    async def handle(self, request: AuthRequest) -> Response:
        """
        Returns the response to a request.

        @raise NotFound: there is no such page.
        """
        actions = self._actions(request.path)
        if actions is None:
            return _message(400, "Invalid path")
        action = actions.get(request.method)
        if action is None:
            return json_message(405, "Method Not Allowed", b"Allow: %s\r\n" % b", ".join(actions))
        try:
            await until_serving(self._replica, self._clock)
            if self._replica.standby:
                raise CannotForwardError("this machine has no copy")
            return await action(request)
        except AuthError as error:
            return _message(error.status, str(error))
        except CannotForwardError:
            leader = self._replica.leader()
            return _error(no_leader()) if leader is None else redirect(leader.client_url, request.target)
        except EtcdError as error:
            return _error(error)

    def _actions(self, path: str) -> Mapping[bytes, _Action] | None:
        """
        Returns what can be done with a page, by method; C{None} if a name has a slash in it.

        @raise NotFound: there is no such page.
        """
        match clean(f"/{path}")[1:].split("/"):
            case ["enable"]:
                switch_on, switch_off = partial(self._switch, changes.enable), partial(self._switch, changes.disable)
                return {b"GET": self._get_switch, b"PUT": switch_on, b"DELETE": switch_off}
            case ["users"]:
                return {b"GET": self._get_users}
            case ["roles"]:
                return {b"GET": self._get_roles}
            case ["users", name]:
                put, delete = partial(self._put_user, name), partial(self._delete, partial(_delete_user, name))
                return {b"GET": partial(self._get_user, name), b"PUT": put, b"DELETE": delete}
            case ["roles", name]:
                put, delete = partial(self._put_role, name), partial(self._delete, partial(_delete_role, name))
                return {b"GET": partial(self._get_role, name), b"PUT": put, b"DELETE": delete}
            case ["users" | "roles", *_]:
                return None
        raise NotFound

    # The switch

    async def _get_switch(self, _request: AuthRequest) -> Response:
        """Everybody may know."""
        return _json(200, bodies.enabled(self._replica.auth.enabled))

    async def _switch(self, change: AuthChange, request: AuthRequest) -> Response:
        self._warn_of_guests(await self._change(request, change))
        return _DONE

    def _warn_of_guests(self, state: AuthState) -> None:
        if guests_may_do_everything(state):
            self._log.warn(
                "Authentication is enabled, and still everybody may read and write all keys without a password:"
                " take these rights from the role guest, or delete it"
            )

    # Users

    async def _get_users(self, request: AuthRequest) -> Response:
        state = await self._readable(request)
        users = [state.users[name] for name in sorted(state.users)]
        return _json(200, bodies.users((each, _existing(state, each.roles)) for each in users))

    async def _get_user(self, name: str, request: AuthRequest) -> Response:
        state = await self._readable(request)
        found = changes.user(state, name)
        return _json(200, bodies.user(found, [changes.role(state, each) for each in found.roles]))

    async def _put_user(self, name: str, request: AuthRequest) -> Response:
        """Create a user, or change the password or the roles of one."""
        await self._readable(request)
        wanted = bodies.decode(request.body, UserBody)
        if wanted is None:
            return _message(400, "Invalid JSON in request body.")
        if wanted.user != name:
            return _message(400, "User JSON name does not match the name in the URL")
        grant, revoke = wanted.grant or (), wanted.revoke or ()
        if wanted.roles and (grant or revoke):
            return _message(400, "User JSON contains both roles and grant/revoke")
        password_hash = await self._hash(wanted.password)
        created = False

        def change(state: AuthState) -> AuthState:
            nonlocal created
            created = bool(wanted.roles) or not (grant or revoke or name in state.users)
            if created:
                return changes.create_user(state, name, password_hash, wanted.roles or ())
            return changes.update_user(state, name, password_hash, grant, revoke)

        state = await self._change(request, change)
        shown = bodies.changed_user(state.users[name], created and wanted.roles is None)
        return _json(201 if created and not wanted.roles else 200, shown)

    async def _hash(self, password: str | None) -> str | None:
        """Returns the hash of a password, C{None} if there is none or an empty one."""
        if not password:
            return None
        encoded = password.encode()
        if len(encoded) > LONGEST_PASSWORD_BYTES:
            raise AuthError(400, f"A password may have {LONGEST_PASSWORD_BYTES} bytes, and not {len(encoded)}")
        return await self._passwords.hash(encoded)

    # Roles

    async def _get_roles(self, request: AuthRequest) -> Response:
        state = await self._readable(request)
        return _json(200, bodies.roles(_existing(state, sorted({*state.roles, ROOT_ROLE.name}))))

    async def _get_role(self, name: str, request: AuthRequest) -> Response:
        return _json(200, bodies.role(changes.role(await self._readable(request), name)))

    async def _put_role(self, name: str, request: AuthRequest) -> Response:
        """Create a role, or add patterns to one and remove some."""
        await self._readable(request)
        wanted = bodies.decode(request.body, RoleBody)
        if wanted is None:
            return _message(400, "Invalid JSON in request body.")
        if wanted.role != name:
            return _message(400, "Role JSON name does not match the name in the URL")
        patterns, grant, revoke = (wanted.patterns(each) for each in (wanted.permissions, wanted.grant, wanted.revoke))
        is_update = bool(grant or revoke)
        if is_update and patterns:
            return _message(400, "Role JSON contains both permissions and grant/revoke")

        def change(state: AuthState) -> AuthState:
            if is_update:
                return changes.update_role(state, name, grant, revoke)
            return changes.create_role(state, Role(name, patterns.read, patterns.write))

        state = await self._change(request, change)
        if name == GUEST_ROLE:
            self._warn_of_guests(state)
        return _json(200 if is_update else 201, bodies.role(state.roles[name]))

    # Either

    async def _delete(self, change: AuthChange, request: AuthRequest) -> Response:
        await self._change(request, change)
        return _DONE

    async def _readable(self, request: AuthRequest) -> AuthState:
        """
        Returns the state, which the client may know.

        @raise EtcdError: 110, it may not.
        """
        user = await request.find_user()
        _check_root(self._replica.auth, user)
        return self._replica.auth

    async def _change(self, request: AuthRequest, change: AuthChange) -> AuthState:
        """Make a change that the client may make. Returns the new state."""
        user = await request.find_user()
        state = await self._document.change(lambda state: _check_root(state, user), change)
        what = f"{request.method.decode()} {request.path}"
        self._log.info("{who} changed users and roles: {what!r}", who=repr(user) if user else "A guest", what=what)
        return state


def _delete_user(name: str, state: AuthState) -> AuthState:
    return changes.delete_user(state, name)


def _delete_role(name: str, state: AuthState) -> AuthState:
    return changes.delete_role(state, name)


def _check_root(state: AuthState, user: str) -> None:
    if not rights_of(state, user).is_root:
        raise insufficient_credentials()


def _existing(state: AuthState, names: Iterable[str]) -> Iterator[Role]:
    """Yields those roles that exist."""
    for name in names:
        if name == ROOT_ROLE.name or name in state.roles:
            yield changes.role(state, name)


def _json(status: int, body: bytes) -> Response:
    return Response(status, JSON, body)


def _message(status: int, message: str) -> Response:
    """Returns the response that says what is wrong. As in etcd, it does not end with a line end."""
    return Response(status, JSON, msgspec.json.encode({"message": message}))


def _error(error: EtcdError) -> Response:
    return _message(http_status(error.code), error.cause)
