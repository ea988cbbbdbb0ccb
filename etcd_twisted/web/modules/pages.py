"""
The pages of the modules: C{/mod/v2/lock/KEY} and C{/mod/v2/leader/KEY} (api, "Lock Module" and "Leader Module").

An election is a lock whose entries have the candidates' names as values: the holder of the lock leads. Clients can ask
any machine: one that does not lead asks the leader for them, or redirects them to it. One that no longer leads does so
with the clients that wait, and passes on the index of the entry that each has. This module must never answer that a
lock is held before a quorum knows it.
"""

from collections.abc import Awaitable, Callable

import attrs
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

from etcd_twisted.errors import CannotForwardError, ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.httpd.responses import TEXT, Response
from etcd_twisted.interfaces import IReplica
from etcd_twisted.web import api_responses
from etcd_twisted.web.access import Access
from etcd_twisted.web.forms import Parameters, parse
from etcd_twisted.web.klein_pages import new_app, page_failure, send
from etcd_twisted.web.modules import parameters
from etcd_twisted.web.modules.leader_locks import LeaderLocks, UnansweredError, answer, may_use
from etcd_twisted.web.modules.lock_queue import lock_directory
from etcd_twisted.web.modules.locks import EntryReference, LockRequest, Locks
from etcd_twisted.web.modules.queue_entry import LeadershipLostError
from etcd_twisted.web.redirects import LeaderWait, redirect

MODULES = b"/mod/v2/"
"""The paths of these pages begin with this."""

NAMES = (MODULES + b"lock", MODULES + b"leader")
"""The paths that a name follows."""


_Locks = Locks | LeaderLocks


class _Rest(BaseConverter):
    """The rest of a path, whatever it is."""

    regex = r"(?s:.+)"
    part_isolating = False


def _module_app() -> Klein:
    app = new_app()
    app.url_map.converters["rest"] = _Rest
    return app


def _form(request: IRequest) -> Parameters:
    _, _, query = request.uri.partition(b"?")
    return parse(query, request.content.read(), request.getHeader(b"Content-Type"))


def _directory(name: str) -> str:
    """
    Returns the key of the directory that holds the queue of a lock.

    @raise NotFound: no lock can have this name.
    """
    directory = lock_directory(name)
    if directory is None:
        raise NotFound
    return directory


class ModulePages:
    """
    The routes.

    @ivar app: for L{klein.Klein.resource}.
    """

    app = _module_app()

    _log = Logger()

    def __init__(
        self,
        replica: IReplica,
        clock: IReactorTime,
        leader_wait_seconds: float,
        forwards: bool,
        access: Access,
    ) -> None:
        """
        @param leader_wait_seconds: how long a request waits for a leader.
        @param forwards: whether a machine that does not lead asks the leader for its clients, and does not redirect
            them unless it has to.
        @param access: the access control of the port.
        """
        self._locks = Locks(replica, clock)
        self._forwards = forwards
        self._access = access
        self._replica = replica
        self._leader = LeaderWait(replica, clock, leader_wait_seconds)

    def answer(self, question: bytes, user: str) -> "Deferred[bytes]":
        """Answer a question of another machine; see L{etcd_twisted.interfaces.AnswerQuestion}."""
        return answer(self._locks, question, self._access.rights(user))

    def stop(self) -> None:
        """Send all clients that wait for a lock away, and delete their entries."""
        self._locks.stop(EtcdError(ErrorCode.RAFT_INTERNAL, "this machine is stopping", self._replica.index))

    # Locks

    @app.route("/mod/v2/lock/<rest:name>", methods=["POST"])
    async def acquire(self, request: IRequest, name: str) -> bytes:
        """Wait for a lock. The answer is the index of the entry that holds it."""
        directory, form = _directory(name), _form(request)
        return await self._wait(
            request, directory, lambda: parameters.lock_request(form, directory, self._replica.now())
        )

    @app.route("/mod/v2/lock/<rest:name>", methods=["PUT"])
    async def renew(self, request: IRequest, name: str) -> bytes:
        """Renew the TTL of an entry."""
        directory, form = _directory(name), _form(request)

        async def renew(locks: _Locks, _index: int | None) -> Response:
            entry, ttl_seconds = parameters.renewal(form, directory, self._replica.now())
            await locks.renew(entry, ttl_seconds)
            return self._text("")

        return send(request, await self._at_leader(request, directory, renew))

    @app.route("/mod/v2/lock/<rest:name>", methods=["DELETE"])
    async def release(self, request: IRequest, name: str) -> bytes:
        """Release a lock, or stop waiting for it."""
        directory, form = _directory(name), _form(request)
        return await self._release(request, directory, lambda: parameters.released_entry(form, directory))

    @app.route("/mod/v2/lock/<rest:name>", methods=["GET"])
    async def holder(self, request: IRequest, name: str) -> bytes:
        """Answer with the value or the index of the entry that holds a lock; empty if nobody holds it."""
        directory, form = _directory(name), _form(request)
        return await self._holder(request, directory, lambda: parameters.holder_field(form))

    # Elections

    @app.route("/mod/v2/leader/<rest:name>", methods=["PUT"])
    async def stand(self, request: IRequest, name: str) -> bytes:
        """Wait to lead, or go on leading. The answer is the index of the entry that leads."""
        directory, form = _directory(name), _form(request)
        return await self._wait(
            request, directory, lambda: parameters.candidate_request(form, directory, self._replica.now())
        )

    @app.route("/mod/v2/leader/<rest:name>", methods=["DELETE"])
    async def resign(self, request: IRequest, name: str) -> bytes:
        """Resign, or stop waiting to lead."""
        directory, form = _directory(name), _form(request)
        return await self._release(request, directory, lambda: parameters.resigning_candidate(form, directory))

    @app.route("/mod/v2/leader/<rest:name>", methods=["GET"])
    async def leader(self, request: IRequest, name: str) -> bytes:
        """Answer with the name of the candidate that leads; empty if none does."""
        return await self._holder(request, _directory(name), lambda: "value")

    # Both

    async def _wait(self, request: IRequest, directory: str, read: Callable[[], LockRequest]) -> bytes:
        async def acquire(locks: _Locks, index: int | None) -> Response:
            wanted = read()
            if index is not None:
                wanted = attrs.evolve(wanted, index=index)
            found = await locks.acquire(wanted)
            # The client may have waited for long, and lost the right since. The lock that it got lasts for its TTL.
            await self._access.check(request, lambda rights: may_use(rights, directory, writes=True))
            return self._text(str(found))

        return send(request, await self._at_leader(request, directory, acquire))

    async def _release(self, request: IRequest, directory: str, read: Callable[[], EntryReference]) -> bytes:
        async def release(locks: _Locks, _index: int | None) -> Response:
            await locks.release(read())
            return self._text("")

        return send(request, await self._at_leader(request, directory, release))

    async def _holder(self, request: IRequest, directory: str, read: Callable[[], str]) -> bytes:
        async def holder(locks: _Locks, _index: int | None) -> Response:
            field = read()
            index, value = await locks.holder(directory) or ("", "")
            return self._text(value if field == "value" else str(index))

        return send(request, await self._at_leader(request, directory, holder, writes=False))

    async def _at_leader(
        self,
        request: IRequest,
        directory: str,
        work: Callable[["_Locks", int | None], Awaitable[Response]],
        writes: bool = True,
    ) -> Response:
        """
        Do something here if this machine leads; otherwise have the leader do it, or redirect the client to the leader.
        Waits for a leader if need be.

        @param directory: the key of the directory that holds the queue.
        @param writes: whether the queue is changed, or read.
        @param work: does it. Its arguments are the locks, and the index of the entry that the client has got, or
            C{None}.
        """
        replica = self._replica
        forwards = self._forwards
        index: int | None = None
        deadline: float | None = None
        while True:
            led = replica.is_leader
            user = await self._access.check(request, lambda rights: may_use(rights, directory, writes))
            try:
                if led:
                    return await work(self._locks, index)
                if forwards:
                    return await work(LeaderLocks(replica, user), index)
            except LeadershipLostError as lost:
                index, deadline = lost.index, None
                forwards = forwards and not led  # this machine may be about to stop
            except CannotForwardError:
                forwards = False
            except UnansweredError:
                deadline = None  # the client may have waited at that leader for long
            except RequestDroppedError:
                pass  # the next leader does it
            leader = replica.leader()
            if leader is not None and not replica.is_leader and not forwards:
                return redirect(leader.client_url, _target(request.uri, index))
            deadline = await self._leader.until_led(deadline)

    def _text(self, text: str) -> Response:
        return api_responses.success(self._replica, 200, text.encode(), content_type=TEXT)

    @app.handle_errors(Exception)
    def _failed(self, request: IRequest, failure: Failure) -> bytes:
        return send(request, page_failure(self._replica, request, failure, self._log))


def _target(uri: bytes, index: int | None) -> bytes:
    """Returns the target to request from another machine; with the index of the client's entry, if it has one."""
    if index is None:
        return uri
    path, _, query = uri.partition(b"?")
    name = parameters.INDEX.encode()
    others = [each for each in query.split(b"&") if each and each.partition(b"=")[0] != name]
    return path + b"?" + b"&".join([b"%s=%d" % (name, index), *others])
