"""
The admin resource of the peer port: what administrators ask about machines (api, "Remove Machines").
"""

import msgspec
from klein import Klein
from twisted.web.iweb import IRequest

from etcd_twisted.interfaces import IReplica
from etcd_twisted.machines import Machine


class MachineView(msgspec.Struct, rename="camel"):
    """A machine, as C{/v2/admin/machines} shows it."""

    client_url: str = msgspec.field(name="clientURL")
    name: str
    peer_url: str = msgspec.field(name="peerURL")
    state: str


class AdminApp:
    """The routes below C{/v2/admin}."""

    app = Klein()

    def __init__(self, replica: IReplica) -> None:
        self._replica = replica

    def _view(self, machine: Machine) -> MachineView:
        state = "leader" if machine == self._replica.leader() else "follower"
        return MachineView(machine.client_url, machine.name, machine.peer_url, state)

    @app.route("/v2/admin/machines", methods=["GET"])
    def machines(self, request: IRequest) -> bytes:
        """All registered machines."""
        request.setHeader("Content-Type", "application/json")
        return msgspec.json.encode([self._view(machine) for machine in self._replica.machines()])

    @app.route("/v2/admin/machines/<name>", methods=["GET"])
    def machine(self, request: IRequest, name: str) -> bytes:
        """One registered machine."""
        for machine in self._replica.machines():
            if machine.name == name:
                request.setHeader("Content-Type", "application/json")
                return msgspec.json.encode(self._view(machine))
        request.setResponseCode(404)
        request.setHeader("Content-Type", "text/plain; charset=utf-8")
        return f"no machine {name!r} is registered\n".encode()
