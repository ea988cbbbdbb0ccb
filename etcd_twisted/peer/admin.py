"""
The admin resource of the peer port: what administrators ask about machines (api, "Remove Machines").

Must never wait for anything, nor show a traceback to a client.
"""

import msgspec
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest

from etcd_twisted.http.answers import Response, plain
from etcd_twisted.http.pages import new_app, no_such_page, send
from etcd_twisted.interfaces import IReplica
from etcd_twisted.machines import Machine

_JSON = b"Content-Type: application/json\r\n"


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

    def __init__(self, replica: IReplica) -> None:
        self._replica = replica

    def _view(self, machine: Machine) -> MachineView:
        state = "leader" if machine == self._replica.leader() else "follower"
        return MachineView(machine.client_url, machine.name, machine.peer_url, state)

    @app.route("/v2/admin/machines", methods=["GET"])
    def machines(self, request: IRequest) -> bytes:
        """All registered machines."""
        views = [self._view(machine) for machine in self._replica.machines()]
        return send(request, Response(200, _JSON, msgspec.json.encode(views)))

    @app.route("/v2/admin/machines/<name>", methods=["GET"])
    def machine(self, request: IRequest, name: str) -> bytes:
        """One registered machine."""
        for machine in self._replica.machines():
            if machine.name == name:
                return send(request, Response(200, _JSON, msgspec.json.encode(self._view(machine))))
        return send(request, plain(404, f"no machine {name!r} is registered"))

    @app.handle_errors(Exception)
    def _failed(self, request: IRequest, failure: Failure) -> bytes:
        return send(request, no_such_page(failure) or self._broken(request, failure))

    def _broken(self, request: IRequest, failure: Failure) -> Response:
        self._log.failure("A request failed: {request}", failure=failure, request=request)
        return plain(500, "an error in the server; its log says more")
