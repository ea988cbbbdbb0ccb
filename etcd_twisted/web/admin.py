"""
The admin resource on the peer port: the members and the configuration of the cluster, and changes of them (api,
"Cluster Config", "Remove Machines").

A standby does not serve it. This module must never change anything but on the leader, nor show a traceback to a
client.
"""

from typing import cast

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.httpd.responses import JSON, Response, json_message
from etcd_twisted.interfaces import IReplica
from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.interfaces.cluster_config import config_json
from etcd_twisted.keyspace.events import format_time
from etcd_twisted.web import api_responses
from etcd_twisted.web.access import Access
from etcd_twisted.web.admin_changes import AdminChange, AllowMachine, Configure, RemoveMachine
from etcd_twisted.web.cluster_changes import ClusterChanges
from etcd_twisted.web.klein_pages import client_host, new_app, page_failure, send, tidy
from etcd_twisted.web.members import forbid_parameter
from etcd_twisted.web.redirects import (
    MIN_LEADER_WAIT_SECONDS,
    no_machines_known,
    redirect,
)


class ForbiddenView(msgspec.Struct):
    """A machine that is kept out, as C{/v2/admin/forbidden} shows it."""

    name: str
    by: str
    since: str


class MachineView(msgspec.Struct):
    """A machine, as C{/v2/admin/machines} shows it."""

    client_url: str = msgspec.field(name="clientURL")
    name: str
    peer_url: str = msgspec.field(name="peerURL")
    state: str


class AdminApp:
    """
    The routes below C{/v2/admin}.

    @ivar app: for L{klein.Klein.resource}.
    """

    app = new_app()

    _log = Logger()

    def __init__(self, replica: IReplica, clock: IReactorTime, leader_wait_seconds: float, forwards: bool) -> None:
        """
        See L{ClusterChanges}.
        """
        self._replica = replica
        self._access = Access(replica, clock, certificates=False)  # those of this port name machines
        self._changes = ClusterChanges(replica, clock, leader_wait_seconds, forwards)

    # Machines

    @app.route("/v2/admin/machines", methods=["GET"])
    def machines(self, request: IRequest) -> bytes:
        """List all registered machines."""
        views = [self._view(machine) for machine in self._known()]
        return send(request, Response(200, JSON, msgspec.json.encode(views)))

    @app.route("/v2/admin/machines/<name>", methods=["GET"])
    def machine(self, request: IRequest, name: str) -> bytes:
        """Show one registered machine."""
        for machine in self._known():
            if machine.name == name:
                return send(request, Response(200, JSON, msgspec.json.encode(self._view(machine))))
        raise EtcdError(ErrorCode.KEY_NOT_FOUND, f"no machine {name!r} is registered")

    def _known(self) -> list[Machine]:
        machines = self._replica.machines()
        if not machines:
            raise no_machines_known()
        return machines

    def _view(self, machine: Machine) -> MachineView:
        leader = self._replica.leader()
        leads = leader is not None and leader.name == machine.name
        return MachineView(machine.client_url, machine.name, machine.peer_url, "leader" if leads else "follower")

    @app.route("/v2/admin/machines/<name>", methods=["DELETE"])
    async def remove(self, request: IRequest, name: str) -> bytes:
        """Take a machine out of the cluster, and keep it out if the client asks for that."""
        by = client_host(request) if forbid_parameter(request.args) else None
        return send(request, await self._changed(RemoveMachine(name, by), request))

    @app.route("/v2/admin/machines/<name>", methods=["PUT"])
    async def allow(self, request: IRequest, name: str) -> bytes:
        """Allow a machine that is kept out to join again."""
        if forbid_parameter(request.args) is not False:
            cause = "forbid=false allows a machine again; DELETE with forbid=true keeps it out"
            raise EtcdError(ErrorCode.INVALID_FIELD, cause)
        return send(request, await self._changed(AllowMachine(name), request))

    @app.route("/v2/admin/forbidden", methods=["GET"])
    def forbidden(self, request: IRequest) -> bytes:
        """List the machines that are kept out."""
        self._check_copy()
        views = [ForbiddenView(each.name, each.by, format_time(each.since)) for each in self._replica.forbidden()]
        return send(request, Response(200, JSON, msgspec.json.encode(views)))

    def _check_copy(self) -> None:
        if not self._replica.serving:
            cause = "this machine does not know the configuration of the cluster yet; try again"
            raise EtcdError(ErrorCode.RAFT_INTERNAL, cause)

    # The configuration of the cluster

    @app.route("/v2/admin/config", methods=["GET"])
    def config(self, request: IRequest) -> bytes:
        """Show the configuration. A machine that has not caught up with the others can't do that yet."""
        self._check_copy()
        return send(request, Response(200, JSON, config_json(self._replica.cluster_config()).encode()))

    @app.route("/v2/admin/config", methods=["PUT"])
    async def configure(self, request: IRequest) -> bytes:
        """Change some fields of the configuration, or all. The body is JSON, whatever its C{Content-Type}."""
        return send(request, await self._changed(Configure(request.content.read()), request))

    async def _changed(self, change: AdminChange, request: IRequest) -> Response:
        user, target = await self._access.user_of(request), request.uri
        return await self._changes.make(change, user, lambda leader: redirect(leader.peer_url, target))

    # Errors

    @app.handle_errors(Exception)
    def _failed(self, request: IRequest, failure: Failure) -> bytes:
        return send(request, page_failure(self._replica, request, failure, self._log))


class AdminPages(Resource):
    """Everything that administrators are served. A standby has none of it."""

    isLeaf = True  # noqa: N815  # Twisted's name

    def __init__(
        self,
        replica: IReplica,
        clock: IReactorTime,
        leader_wait_seconds: float = MIN_LEADER_WAIT_SECONDS,
        forwards: bool = False,
    ) -> None:
        """
        See L{ClusterChanges}.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no types there
        self._replica = replica
        self._pages = AdminApp(replica, clock, leader_wait_seconds, forwards).app.resource()

    def render(self, request: IRequest) -> bytes | int:
        """See L{twisted.web.resource.IResource}."""
        tidy(request)
        if self._replica.standby:
            return send(request, json_message(404, "Not Found"))
        undecodable = api_responses.undecodable_path(request.path, self._replica.index)
        if undecodable is not None:
            return send(request, undecodable)
        return cast(int, self._pages.render(request))  # Klein sends the response later
