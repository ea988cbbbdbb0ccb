"""
The client port's pages beside the keys (spec, section 2; api, "Statistics").

They tell what the replica knows at this moment and wait for nothing. Must never show a traceback to a client.
"""

import json
from typing import cast

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource

from etcd_twisted import __version__
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.httpd.pages import client_host, new_app, send, tidy
from etcd_twisted.httpd.responses import JSON, TEXT, Response, json_message, plain
from etcd_twisted.httpd.usage import Usage
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.events import encode_json
from etcd_twisted.web import answers
from etcd_twisted.web.dashboard.files import Files
from etcd_twisted.web.dashboard.pages import StatusPages
from etcd_twisted.web.members import MembersPage
from etcd_twisted.web.metrics import Metrics
from etcd_twisted.web.modules.pages import MODULES, NAMES, ModulePages
from etcd_twisted.web.referral import LEAST_WAIT, no_leader, nobody_known, redirect, wants_forbidden
from etcd_twisted.web.statistics import leader_statistics, self_statistics

_OF_ANY_MACHINE = (b"/version", b"/health", b"/metrics", b"/mod/dashboard/status")
"""Pages that a standby has too."""

_OF_THE_CLUSTER = (b"/v2/machines", b"/v2/peers", b"/v2/members")
"""Pages that a standby has while it knows of no leader, for clients that look for another machine."""


class ClientApp:
    """
    The routes.

    @ivar app: for L{klein.Klein.resource}.
    """

    app = new_app()

    _log = Logger()

    def __init__(self, replica: IReplica, clock: IReactorTime, usage: Usage, longest_wait: float) -> None:
        """
        @param clock: the one that the replica counts its traffic with.
        @param usage: the client port's.
        @param longest_wait: how long a change waits for a leader, in seconds.
        """
        self._members = MembersPage(replica, clock, longest_wait)
        self._replica = replica
        self._metrics = Metrics(replica, usage)
        self._clock = clock
        self._started = replica.now()
        self._dashboard = Files()
        self._status = StatusPages(replica, clock)

    @app.route("/version", methods=["GET"])
    def version(self, request: IRequest) -> bytes:
        """
        The server's name and version: as text, or as JSON where the client asks for that, or says nothing of what it
        wants, as programs do that were written for later versions.
        """
        accepted = request.getHeader(b"Accept")
        if accepted is None or b"application/json" in accepted.lower():
            body = encode_json({"etcdserver": __version__, "etcdcluster": __version__})
            return send(request, Response(200, JSON, body))
        return send(request, Response(200, TEXT, f"etcd_twisted {__version__}".encode()))

    @app.route("/health", methods=["GET"])
    def health(self, request: IRequest) -> bytes:
        """Whether requests are served, here or where a standby sends them. The space is one that clients look for."""
        replica = self._replica
        healthy = (replica.serving or replica.standby) and replica.leader() is not None
        body = json.dumps({"health": "true" if healthy else "false"}).encode()
        return send(request, Response(200 if healthy else 503, JSON, body))

    @app.route("/metrics", methods=["GET"])
    def metrics(self, request: IRequest) -> bytes:
        """Everything that is counted, for Prometheus."""
        return send(request, self._metrics.page())

    @app.route("/v2/machines", methods=["GET"])
    @app.route("/v2/peers", methods=["GET"])
    def machines(self, request: IRequest) -> bytes:
        """The client URLs of all machines, the leader's first."""
        leader = self._replica.leader()
        first = "" if leader is None else leader.name
        machines = sorted(self._replica.machines(), key=lambda machine: machine.name != first)
        if not machines:
            raise nobody_known()
        return send(request, Response(200, TEXT, ", ".join(each.client_url for each in machines).encode()))

    @app.route("/v2/members", methods=["GET"])
    def members(self, request: IRequest) -> bytes:
        """All machines, in later versions' words."""
        return send(request, self._members.listing())

    @app.route("/v2/members", methods=["POST"])
    async def add_member(self, request: IRequest) -> bytes:
        """Nobody is added by hand."""
        kind, body = request.getHeader(b"Content-Type"), request.content.read()
        return send(request, await self._members.add(request.uri, kind, body))

    @app.route("/v2/members/leader", methods=["GET"])
    def leading_member(self, request: IRequest) -> bytes:
        """The leader, in later versions' words."""
        return send(request, self._members.leader())

    @app.route("/v2/members/<member_id>", methods=["PUT"])
    async def move_member(self, request: IRequest, member_id: str) -> bytes:
        """Have the others look for a machine elsewhere."""
        kind, body = request.getHeader(b"Content-Type"), request.content.read()
        return send(request, await self._members.move(member_id, request.uri, kind, body))

    @app.route("/v2/members/<member_id>", methods=["DELETE"])
    async def remove_member(self, request: IRequest, member_id: str) -> bytes:
        """Take a machine out of the cluster."""
        try:
            by = client_host(request) if wants_forbidden(request.args) else None
        except EtcdError as error:
            return send(request, json_message(400, error.cause))
        return send(request, await self._members.remove(member_id, request.uri, by))

    @app.route("/v2/leader", methods=["GET"])
    def leader(self, request: IRequest) -> bytes:
        """The leader's peer URL."""
        leader = self._replica.leader()
        if leader is None:
            raise EtcdError(ErrorCode.DURING_ELECTION, "no leader is known")
        return send(request, Response(200, TEXT, leader.peer_url.encode()))

    @app.route("/v2/stats/store", methods=["GET"])
    def store_statistics(self, request: IRequest) -> bytes:
        """The store's counters."""
        return send(request, Response(200, JSON, encode_json(self._replica.statistics())))

    @app.route("/v2/stats/self", methods=["GET"])
    def self_statistics(self, request: IRequest) -> bytes:
        """What this machine is and since when, whom it follows, and what goes between it and others."""
        statistics = self_statistics(self._replica, self._started, self._clock.seconds())
        return send(request, Response(200, JSON, encode_json(statistics)))

    @app.route("/v2/stats/leader", methods=["GET"])
    def leader_statistics(self, request: IRequest) -> bytes:
        """How this machine's followers answer it; only the leader knows."""
        if not self._replica.is_leader:
            return send(request, plain(403, "not current leader"))
        return send(request, Response(200, JSON, encode_json(leader_statistics(self._replica))))

    @app.route("/mod/dashboard", methods=["GET"])
    @app.route("/mod/dashboard/<name>", methods=["GET"])
    def dashboard(self, request: IRequest, name: str = "") -> bytes:
        """The page for people and the files that it is made of, which it looks for behind the slash."""
        if request.path == b"/mod/dashboard":
            return send(request, plain(307, "307 the page has a slash at its end", b"Location: /mod/dashboard/\r\n"))
        return send(request, self._dashboard.answer(name, request.getHeader("If-None-Match")))

    @app.route("/mod/dashboard/status", methods=["GET"])
    def status(self, request: IRequest) -> bytes:
        """What that page shows of this machine."""
        return send(request, self._status.status())

    @app.route("/mod/dashboard/count", methods=["GET"])
    async def count(self, request: IRequest) -> bytes:
        """How much a directory holds."""
        return send(request, await self._status.count(request.uri.partition(b"?")[2]))

    @app.handle_errors(Exception)
    def _failed(self, request: IRequest, failure: Failure) -> bytes:
        return send(request, answers.failed(self._replica, request, failure, self._log))


class ClientPages(Resource):
    """
    The pages, on a machine that may be a standby: then it has only those about itself, and sends clients to the
    leader for the others, whatever they are.
    """

    isLeaf = True  # noqa: N815  # Twisted's name

    def __init__(
        self, replica: IReplica, clock: IReactorTime, usage: Usage, longest_wait: float = LEAST_WAIT
    ) -> None:
        """
        @param clock: see L{ClientApp}; so for the others.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no types there
        self._replica = replica
        self._pages = ClientApp(replica, clock, usage, longest_wait).app.resource()
        self._modules = ModulePages(replica, clock, longest_wait)
        self._module_pages = self._modules.app.resource()

    def stop(self) -> None:
        """Send those away who wait for a lock."""
        self._modules.stop()

    def render(self, request: IRequest) -> bytes | int:
        """See L{twisted.web.resource.IResource}."""
        tidy(request, NAMES)
        if self._replica.standby and not self._is_for_standby(request):
            return send(request, self._refer(request))
        undecodable = answers.undecodable(request.path, self._replica.index)
        if undecodable is not None:
            return send(request, undecodable)
        pages = self._module_pages if request.path.startswith(MODULES) else self._pages
        return cast(int, pages.render(request))  # Klein answers later

    def _is_for_standby(self, request: IRequest) -> bool:
        if request.path in _OF_ANY_MACHINE:
            return True
        if request.path.startswith(b"/mod/dashboard/") and self._replica.leader() is None:
            return True  # there is no other page to send a person to
        is_listing = request.method in (b"GET", b"HEAD") and request.path.rstrip(b"/") in _OF_THE_CLUSTER
        return is_listing and self._replica.leader() is None

    def _refer(self, request: IRequest) -> Response:
        leader = self._replica.leader()
        if leader is None:
            return answers.failure(no_leader(), self._replica.index)
        return redirect(leader.client_url, request.uri)
