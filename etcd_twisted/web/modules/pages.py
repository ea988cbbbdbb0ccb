"""
The pages of the modules: C{/mod/v2/lock/KEY} and C{/mod/v2/leader/KEY} (api, "Lock Module" and "Leader Module").

An election is a lock whose places are called by the candidates' names: whoever holds it leads. Any machine can be
asked: one that does not lead sends the client to the one that does, and one that no longer leads sends those who wait
there with the place that they have. Must never answer that a lock is held before a quorum knows.
"""

from collections.abc import Awaitable, Callable

import attrs
from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

from etcd_twisted.errors import ErrorCode, EtcdError, NotDoneError
from etcd_twisted.httpd.pages import new_app, send
from etcd_twisted.httpd.responses import TEXT, Response
from etcd_twisted.interfaces import IReplica
from etcd_twisted.web import answers
from etcd_twisted.web.forms import Form, parse
from etcd_twisted.web.modules import words
from etcd_twisted.web.modules.line import directory_of
from etcd_twisted.web.modules.locks import Locks, Named, Wish
from etcd_twisted.web.modules.place import LostError
from etcd_twisted.web.referral import LeaderWait, redirect

MODULES = b"/mod/v2/"
"""What the paths of these pages begin with."""

NAMES = (MODULES + b"lock", MODULES + b"leader")
"""The paths behind which there is a name."""


class _Rest(BaseConverter):
    """All that is left of a path, whatever it is."""

    regex = r"(?s:.+)"
    part_isolating = False


def _module_app() -> Klein:
    app = new_app()
    app.url_map.converters["rest"] = _Rest
    return app


def _form(request: IRequest) -> Form:
    _, _, query = request.uri.partition(b"?")
    return parse(query, request.content.read(), request.getHeader(b"Content-Type"))


def _directory(name: str) -> str:
    """
    Where the line is of the lock that is asked for.

    @raise NotFound: nothing can be called that.
    """
    directory = directory_of(name)
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

    def __init__(self, replica: IReplica, clock: IReactorTime, longest_wait: float) -> None:
        """
        @param longest_wait: how long a request waits for a leader, in seconds.
        """
        self._locks = Locks(replica, clock)
        self._replica = replica
        self._leader = LeaderWait(replica, clock, longest_wait)

    def stop(self) -> None:
        """Send those away who wait for a lock, and give their places up."""
        self._locks.stop(EtcdError(ErrorCode.RAFT_INTERNAL, "this machine is stopping", self._replica.index))

    # Locks

    @app.route("/mod/v2/lock/<rest:name>", methods=["POST"])
    async def acquire(self, request: IRequest, name: str) -> bytes:
        """Wait for a lock; the answer is the index of the place that holds it."""
        directory, form = _directory(name), _form(request)
        return await self._wait(request, lambda: words.wish(form, directory, self._replica.now()))

    @app.route("/mod/v2/lock/<rest:name>", methods=["PUT"])
    async def renew(self, request: IRequest, name: str) -> bytes:
        """Begin the TTL of a place anew."""
        directory, form = _directory(name), _form(request)

        async def renewed(_place: int | None) -> Response:
            named, ttl = words.renewal(form, directory, self._replica.now())
            await self._locks.renew(named, ttl)
            return self._text("")

        return send(request, await self._at_leader(request, renewed))

    @app.route("/mod/v2/lock/<rest:name>", methods=["DELETE"])
    async def release(self, request: IRequest, name: str) -> bytes:
        """Give a place back."""
        directory, form = _directory(name), _form(request)
        return await self._release(request, lambda: words.release(form, directory))

    @app.route("/mod/v2/lock/<rest:name>", methods=["GET"])
    async def holder(self, request: IRequest, name: str) -> bytes:
        """Who holds a lock."""
        directory, form = _directory(name), _form(request)
        return await self._tell(request, directory, lambda: words.field(form))

    # Elections

    @app.route("/mod/v2/leader/<rest:name>", methods=["PUT"])
    async def stand(self, request: IRequest, name: str) -> bytes:
        """Wait for the lead, or go on to lead; the answer is the index of the place that has it."""
        directory, form = _directory(name), _form(request)
        return await self._wait(request, lambda: words.candidacy(form, directory, self._replica.now()))

    @app.route("/mod/v2/leader/<rest:name>", methods=["DELETE"])
    async def resign(self, request: IRequest, name: str) -> bytes:
        """Lead no longer."""
        directory, form = _directory(name), _form(request)
        return await self._release(request, lambda: words.resignation(form, directory))

    @app.route("/mod/v2/leader/<rest:name>", methods=["GET"])
    async def leader(self, request: IRequest, name: str) -> bytes:
        """Who leads."""
        return await self._tell(request, _directory(name), lambda: "value")

    # What they have in common

    async def _wait(self, request: IRequest, wish: Callable[[], Wish]) -> bytes:
        async def waited(place: int | None) -> Response:
            wanted = wish()
            if place is not None:
                wanted = attrs.evolve(wanted, index=place)
            return self._text(str(await self._locks.acquire(wanted)))

        return send(request, await self._at_leader(request, waited))

    async def _release(self, request: IRequest, named: Callable[[], Named]) -> bytes:
        async def released(_place: int | None) -> Response:
            await self._locks.release(named())
            return self._text("")

        return send(request, await self._at_leader(request, released))

    async def _tell(self, request: IRequest, directory: str, field: Callable[[], str]) -> bytes:
        async def told(_place: int | None) -> Response:
            asked = field()
            index, value = await self._locks.holder(directory) or ("", "")
            return self._text(value if asked == "value" else str(index))

        return send(request, await self._at_leader(request, told))

    async def _at_leader(self, request: IRequest, work: Callable[[int | None], Awaitable[Response]]) -> Response:
        """
        Have it done here if this machine leads, or say where else; wait for a leader if need be.

        @param work: takes the place in line that the client has got here.
        """
        replica = self._replica
        place: int | None = None
        until: float | None = None
        while True:
            try:
                if replica.is_leader:
                    return await work(place)
            except LostError as lost:
                place, until = lost.index, None
            except NotDoneError:
                pass  # the next leader is to do it
            leader = replica.leader()
            if leader is not None and not replica.is_leader:
                return redirect(leader.client_url, _target(request.uri, place))
            until = await self._leader.until_led(until)

    def _text(self, text: str) -> Response:
        return answers.success(self._replica, 200, self._replica.index, text.encode(), TEXT)

    @app.handle_errors(Exception)
    def _failed(self, request: IRequest, failure: Failure) -> bytes:
        return send(request, answers.failed(self._replica, request, failure, self._log))


def _target(uri: bytes, place: int | None) -> bytes:
    """Where to ask another machine for the same; for C{place}, if there is one."""
    if place is None:
        return uri
    path, _, query = uri.partition(b"?")
    others = [each for each in query.split(b"&") if each and each.partition(b"=")[0] != words.INDEX.encode()]
    return path + b"?" + b"&".join([b"%s=%d" % (words.INDEX.encode(), place), *others])
