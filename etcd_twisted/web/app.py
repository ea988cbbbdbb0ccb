"""
The pages of the client port beside the keys (spec, section 2; api, "Statistics").

Most of them show what the replica knows at the moment, and wait for nothing. This module must never show a traceback
to a client.
"""

import json
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from etcd_twisted import __version__
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.httpd.handler import RELAYED
from etcd_twisted.httpd.ordinary.request import Request
from etcd_twisted.httpd.responses import JSON, TEXT, Response, json_message, plain
from etcd_twisted.httpd.usage import Usage
from etcd_twisted.interfaces import IReplica
from etcd_twisted.interfaces.statistics import IWorkers, StartTime
from etcd_twisted.keyspace.events import encode_json
from etcd_twisted.web import api_responses
from etcd_twisted.web.access import Access
from etcd_twisted.web.api_options import ETCD04, ApiOptions
from etcd_twisted.web.auth.pages import AuthPages, AuthRequest
from etcd_twisted.web.cluster_changes import ClusterChanges
from etcd_twisted.web.dashboard.files import Files
from etcd_twisted.web.dashboard.pages import StatusPages
from etcd_twisted.web.discovery import DiscoveryPage
from etcd_twisted.web.keys import KeyEndpoint
from etcd_twisted.web.klein_pages import client_host, new_app, page_failure, send, tidy
from etcd_twisted.web.late_pages import LatePages
from etcd_twisted.web.member_changes import AddMember, MemberChange, MoveMember, RemoveMember, member_error
from etcd_twisted.web.members import forbid_parameter, leading_member, listing
from etcd_twisted.web.metrics import Metrics
from etcd_twisted.web.modules.pages import MODULES, NAMES, ModulePages
from etcd_twisted.web.redirects import MIN_LEADER_WAIT_SECONDS, no_leader, no_machines_known, redirect
from etcd_twisted.web.relay import ClientRequest, Relay
from etcd_twisted.web.statistics import counted, leader_statistics, self_statistics, store_statistics

_OF_ANY_MACHINE = (b"/version", b"/health", b"/metrics", b"/mod/dashboard/status")
"""Pages that a standby serves, too."""

_OF_THE_LEADER = (b"/mod/dashboard", b"/v2/stats/")
"""The paths of pages about one machine begin so: a standby does not show the leader's as if they were its own."""

_PASSED_ON = (b"Host", b"Content-Type", b"Accept", b"Authorization")
"""The headers of a request for a page that matter to whoever answers it."""

_OF_THE_CLUSTER = (b"/v2/machines", b"/v2/peers", b"/v2/members")
"""Pages that a standby serves while it knows of no leader, for clients that look for another machine."""


class ClientApp:
    """
    The routes.

    @ivar app: for L{klein.Klein.resource}.
    """

    app = new_app()

    _log = Logger()

    def __init__(
        self,
        replica: IReplica,
        clock: IReactorTime,
        usage: Usage,
        leader_wait_seconds: float,
        forwards: bool,
        options: ApiOptions,
        access: Access,
        workers: IWorkers | None,
        started: StartTime,
    ) -> None:
        """
        @param clock: the clock with which the replica counts its traffic.
        @param usage: the usage of the client port.
        @param leader_wait_seconds: how long a change waits for a leader.
        @param forwards: whether this machine has the leader make changes of keys while another one leads.
        @param access: the access control of the port.
        @param workers: the processes that serve the port, if it is not this one.
        @param started: when the machine was started.
        """
        keys = KeyEndpoint(replica, clock, leader_wait_seconds, forwards, options, access)
        self._access = access
        self._auth = AuthPages(replica, clock, access.passwords, leader_wait_seconds, forwards)
        self._changes = ClusterChanges(replica, clock, leader_wait_seconds, forwards, options)
        self._discovery = DiscoveryPage(replica, keys)
        self._options = options
        self._replica = replica
        self._workers = workers
        self._metrics = Metrics(replica, usage, access, workers)
        self._clock = clock
        self._started = started
        self._dashboard = Files()
        self._status = StatusPages(replica, clock, forwards, access, workers, started)

    @app.route("/version", methods=["GET"])
    def version(self, request: IRequest) -> bytes:
        """
        Show the server's name and version: as JSON if that is configured, or if the client accepts JSON or has no
        C{Accept} header, like programs that were written for later versions; else as text.
        """
        accepted = request.getHeader(b"Accept")
        if self._options.json_version or accepted is None or b"application/json" in accepted.lower():
            body = encode_json({"etcdserver": __version__, "etcdcluster": __version__})
            return send(request, Response(200, JSON, body))
        return send(request, Response(200, TEXT, f"etcd_twisted {__version__}".encode()))

    @app.route("/health", methods=["GET"])
    def health(self, request: IRequest) -> bytes:
        """Say whether this machine, or the leader for a standby, serves requests. Some clients look for the space."""
        replica = self._replica
        healthy = (replica.serving or replica.standby) and replica.leader() is not None
        body = json.dumps({"health": "true" if healthy else "false"}).encode()
        return send(request, Response(200 if healthy else 503, JSON, body))

    @app.route("/metrics", methods=["GET"])
    async def metrics(self, request: IRequest) -> bytes:
        """Show all metrics to Prometheus."""
        return send(request, await self._metrics.page())

    @app.route("/v2/machines", methods=["GET"])
    @app.route("/v2/peers", methods=["GET"])
    def machines(self, request: IRequest) -> bytes:
        """List the client URLs of all machines, the leader's first."""
        leader = self._replica.leader()
        first = "" if leader is None else leader.name
        machines = sorted(self._replica.machines(), key=lambda machine: machine.name != first)
        machines = [each for each in machines if each.client_url]
        if not machines:
            raise no_machines_known()
        return send(request, Response(200, TEXT, ", ".join(each.client_url for each in machines).encode()))

    @app.route("/v2/members", methods=["GET"])
    def members(self, request: IRequest) -> bytes:
        """List all machines, in the format of later versions."""
        return send(request, listing(self._replica, self._options))

    @app.route("/v2/members", methods=["POST"])
    async def add_member(self, request: IRequest) -> bytes:
        """Await a machine."""
        change = AddMember(request.getHeader(b"Content-Type"), request.content.read())
        return send(request, await self._changed(change, request))

    @app.route("/v2/members/leader", methods=["GET"])
    def leading_member(self, request: IRequest) -> bytes:
        """Show the leader, in the format of later versions."""
        return send(request, leading_member(self._replica, self._options))

    @app.route("/v2/members/<member_id>", methods=["PUT"])
    async def move_member(self, request: IRequest, member_id: str) -> bytes:
        """Change the address at which the other machines look for a machine."""
        change = MoveMember(member_id, request.getHeader(b"Content-Type"), request.content.read())
        return send(request, await self._changed(change, request))

    @app.route("/v2/members/<member_id>", methods=["DELETE"])
    async def remove_member(self, request: IRequest, member_id: str) -> bytes:
        """Take a machine out of the cluster."""
        try:
            forbid = forbid_parameter(request.args)
        except EtcdError as error:
            return send(request, json_message(400, error.cause))
        return send(request, await self._changed(RemoveMember(member_id, client_host(request), forbid), request))

    async def _changed(self, change: MemberChange, request: IRequest) -> Response:
        target: bytes = request.uri
        try:
            user = await self._access.user_of(request)
            return await self._changes.make(change, user, lambda leader: redirect(leader.client_url, target))
        except EtcdError as error:
            return member_error(error)

    def answer(self, question: bytes, user: str) -> "Deferred[bytes] | None":
        """
        Answer a question of another machine; see L{etcd_twisted.interfaces.AnswerQuestion}. Returns C{None} if it is
        about something else.
        """
        return self._changes.answer(question, user)

    @app.route("/v2/auth/<path:path>")
    async def auth(self, request: IRequest, path: str) -> bytes:
        """Show and change users, roles, and whether authentication is enabled."""
        body = request.content.read()
        asked = AuthRequest(request.method, path, request.uri, body, lambda: self._access.user_of(request))
        return send(request, await self._auth.handle(asked))

    @app.route("/discovery/new", methods=["GET", "POST", "PUT"])
    async def new_token(self, request: IRequest) -> bytes:
        """Make a token of the discovery service, and show its URL."""
        if request.method == b"HEAD":
            return send(request, plain(405, "a token is made by GET or POST", b"Allow: GET, POST, PUT, OPTIONS\r\n"))
        return send(request, await self._discovery.new(request))

    @app.route("/v2/leader", methods=["GET"])
    def leader(self, request: IRequest) -> bytes:
        """Show the leader's peer URL."""
        leader = self._replica.leader()
        if leader is None:
            raise EtcdError(ErrorCode.DURING_ELECTION, "no leader is known")
        return send(request, Response(200, TEXT, leader.peer_url.encode()))

    @app.route("/v2/stats/store", methods=["GET"])
    async def store_statistics(self, request: IRequest) -> bytes:
        """Show the counters of the store."""
        counts = None if self._workers is None else await counted(self._workers)
        return send(request, Response(200, JSON, encode_json(store_statistics(self._replica, counts))))

    @app.route("/v2/stats/self", methods=["GET"])
    def self_statistics(self, request: IRequest) -> bytes:
        """Show this machine's role and start, its leader, and its traffic with other machines."""
        statistics = self_statistics(self._replica, self._started.microseconds, self._clock.seconds(), self._options)
        return send(request, Response(200, JSON, encode_json(statistics)))

    @app.route("/v2/stats/leader", methods=["GET"])
    def leader_statistics(self, request: IRequest) -> bytes:
        """Show how the followers answer this machine. Only the leader knows."""
        if not self._replica.is_leader:
            refuse = json_message if self._options.hex_member_ids else plain
            return send(request, refuse(403, "not current leader"))
        return send(request, Response(200, JSON, encode_json(leader_statistics(self._replica, self._options))))

    @app.route("/mod/dashboard", methods=["GET"])
    @app.route("/mod/dashboard/<name>", methods=["GET"])
    def dashboard(self, request: IRequest, name: str = "") -> bytes:
        """Serve the dashboard's page and its files, whose addresses are relative to the path with the slash."""
        if request.path == b"/mod/dashboard":
            return send(request, plain(307, "307 the page has a slash at its end", b"Location: /mod/dashboard/\r\n"))
        return send(request, self._dashboard.response(name, request.getHeader("If-None-Match")))

    @app.route("/mod/dashboard/status", methods=["GET"])
    async def status(self, request: IRequest) -> bytes:
        """Show the state of this machine, for the dashboard."""
        return send(request, await self._status.status())

    @app.route("/mod/dashboard/user", methods=["GET"])
    async def dashboard_user(self, request: IRequest) -> bytes:
        """Say whose credentials a request has, for the dashboard."""
        return send(request, await self._status.user(request))

    @app.route("/mod/dashboard/count", methods=["GET"])
    async def count(self, request: IRequest) -> bytes:
        """Count the keys in a directory, for the dashboard."""
        return send(request, await self._status.count(request))

    @app.handle_errors(Exception)
    def _failed(self, request: IRequest, failure: Failure) -> bytes:
        return send(request, page_failure(self._replica, request, failure, self._log))


class ClientPages(Resource):
    """
    The pages, on a machine that may be a standby. A standby has only the pages about itself. For everything else, it
    passes requests on, or sends clients to the leader.
    """

    isLeaf = True  # noqa: N815  # Twisted's name

    def __init__(
        self,
        replica: IReplica,
        clock: IReactorTime,
        usage: Usage,
        leader_wait_seconds: float = MIN_LEADER_WAIT_SECONDS,
        forwards: bool = False,
        options: ApiOptions = ETCD04,
        access: Access | None = None,
        relay: Relay | None = None,
        workers: IWorkers | None = None,
        started: StartTime | None = None,
    ) -> None:
        """
        See L{ClientApp}, L{ModulePages} and L{KeyEndpoint}.

        @param access: the access control of the port; C{None} to have an own one.
        @param started: when the machine was started; C{None} for now.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no types there
        self._replica = replica
        self._relay = relay
        access = access or Access(replica, clock)
        started = started or StartTime(replica.now(), clock.seconds())
        self._app = ClientApp(replica, clock, usage, leader_wait_seconds, forwards, options, access, workers, started)
        self._pages = self._app.app.resource()
        self._modules = ModulePages(replica, clock, leader_wait_seconds, forwards, access)
        self._module_pages = self._modules.app.resource()
        replica.answer_questions(self.answer)

    def stop(self) -> None:
        """Send all clients that wait for a lock away, and keep no connection to another machine."""
        self._replica.answer_questions(None)
        self._modules.stop()
        if self._relay is not None:
            self._relay.stop()

    def answer(self, question: bytes, user: str) -> "Deferred[bytes]":
        """Answer a question of another machine; see L{etcd_twisted.interfaces.AnswerQuestion}."""
        return self._app.answer(question, user) or self._modules.answer(question, user)

    def render(self, request: IRequest) -> bytes | int:
        """See L{twisted.web.resource.IResource}."""
        tidy(request, NAMES)
        if self._replica.standby and not self._is_for_standby(request):
            return self._refer(request)
        undecodable = api_responses.undecodable_path(request.path, self._replica.index)
        if undecodable is not None:
            return send(request, undecodable)
        pages = self._module_pages if request.path.startswith(MODULES) else self._pages
        return cast(int, pages.render(request))  # Klein sends the response later

    def _is_for_standby(self, request: IRequest) -> bool:
        if request.path in _OF_ANY_MACHINE:
            return True
        if request.path.startswith(b"/mod/dashboard/") and self._replica.leader() is None:
            return True  # a person can't be sent to another page
        is_listing = request.method in (b"GET", b"HEAD") and request.path.rstrip(b"/") in _OF_THE_CLUSTER
        return is_listing and self._replica.leader() is None

    def _refer(self, request: IRequest) -> bytes | int:
        leader = self._replica.leader()
        if leader is None:
            return send(request, api_responses.error_response(no_leader(), self._replica.index))
        of_leader = request.path.startswith(_OF_THE_LEADER)
        if self._relay is None or of_leader or request.requestHeaders.hasHeader(RELAYED):
            return send(request, redirect(leader.client_url, request.uri))
        headers = tuple((name, request.getHeader(name)) for name in _PASSED_ON)
        passed_on = ClientRequest(request.method, request.uri, request.content.read(), headers)
        self._send_later(request, self._relay.answer(leader, passed_on))
        return NOT_DONE_YET

    @staticmethod
    def _send_later(request: IRequest, answer: "Deferred[Response]") -> None:
        """Send a response once it is there, unless the client has gone by then."""
        wanted = True

        def gone(_: Failure) -> None:
            nonlocal wanted
            wanted = False
            answer.cancel()

        def finish(response: Response) -> None:
            if wanted:
                request.write(send(request, response))
                request.finish()

        cast(Request, request).notifyFinish().addErrback(gone)
        answer.addCallback(finish)


class MetricsPages(Resource):
    """Two of the pages, for addresses where nothing else is served."""

    isLeaf = True  # noqa: N815  # Twisted's name

    def __init__(self, pages: LatePages[ClientPages]) -> None:
        """
        @param pages: all pages.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no types there
        self._pages = pages

    def render(self, request: IRequest) -> bytes | int:
        """See L{twisted.web.resource.IResource}."""
        if request.path in (b"/metrics", b"/health"):
            return self._pages.render(request)
        return send(request, json_message(404, "only /metrics and /health are served here"))
