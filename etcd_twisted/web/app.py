"""
The client port's pages beside the keys (spec, section 2; api, "Statistics").

They tell what the replica knows at this moment and wait for nothing. Must never show a traceback to a client.
"""

import json

import msgspec
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest

from etcd_twisted import __version__
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.http.answers import Response
from etcd_twisted.http.pages import new_app, no_such_page, send
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.events import encode_json, format_time
from etcd_twisted.web import answers
from etcd_twisted.web.answers import JSON
from etcd_twisted.web.durations import go_duration

_TEXT = b"Content-Type: text/plain; charset=utf-8\r\n"


class _Leader(msgspec.Struct):
    leader: str
    uptime: str


class _SelfStatistics(msgspec.Struct, rename="camel"):
    """C{/v2/stats/self}; on a machine without peers nothing is sent or received, and there are no rates."""

    name: str
    state: str
    start_time: str
    leader_info: _Leader
    recv_append_request_cnt: int = 0
    send_append_request_cnt: int = 0


class ClientApp:
    """
    The routes.

    @ivar app: for L{klein.Klein.resource}.
    """

    app = new_app()

    _log = Logger()

    def __init__(self, replica: IReplica) -> None:
        self._replica = replica
        self._started = replica.now()

    @app.route("/version", methods=["GET"])
    def version(self, request: IRequest) -> bytes:
        """The server's name and version: as text, or as JSON where the client asks for that."""
        if b"application/json" in (request.getHeader(b"Accept") or b"").lower():
            body = encode_json({"etcdserver": __version__, "etcdcluster": __version__})
            return send(request, Response(200, JSON, body))
        return send(request, Response(200, _TEXT, f"etcd_twisted {__version__}".encode()))

    @app.route("/health", methods=["GET"])
    def health(self, request: IRequest) -> bytes:
        """Whether requests are served. The space is the one that clients look for."""
        healthy = self._replica.serving and self._replica.leader() is not None
        body = json.dumps({"health": "true" if healthy else "false"}).encode()
        return send(request, Response(200 if healthy else 503, JSON, body))

    @app.route("/v2/machines", methods=["GET"])
    @app.route("/v2/peers", methods=["GET"])
    def machines(self, request: IRequest) -> bytes:
        """The client URLs of all machines, the leader's first."""
        leader = self._replica.leader()
        machines = sorted(self._replica.machines(), key=lambda machine: machine != leader)
        return send(request, Response(200, _TEXT, ", ".join(each.client_url for each in machines).encode()))

    @app.route("/v2/leader", methods=["GET"])
    def leader(self, request: IRequest) -> bytes:
        """The leader's peer URL."""
        leader = self._replica.leader()
        if leader is None:
            raise EtcdError(ErrorCode.DURING_ELECTION, "no leader is known")
        return send(request, Response(200, _TEXT, leader.peer_url.encode()))

    @app.route("/v2/stats/store", methods=["GET"])
    def store_statistics(self, request: IRequest) -> bytes:
        """The store's counters."""
        return send(request, Response(200, JSON, encode_json(self._replica.statistics())))

    @app.route("/v2/stats/self", methods=["GET"])
    def self_statistics(self, request: IRequest) -> bytes:
        """What this machine is, since when, and whom it follows."""
        replica = self._replica
        leader = replica.leader()
        uptime = replica.now() - replica.led_since if replica.is_leader else 0
        statistics = _SelfStatistics(
            replica.name,
            "leader" if replica.is_leader else "follower",
            format_time(self._started),
            _Leader("" if leader is None else leader.name, go_duration(uptime)),
        )
        return send(request, Response(200, JSON, encode_json(statistics)))

    @app.handle_errors(Exception)
    def _failed(self, request: IRequest, failure: Failure) -> bytes:
        return send(request, no_such_page(failure) or self._failure(request, failure))

    def _failure(self, request: IRequest, failure: Failure) -> Response:
        if isinstance(failure.value, EtcdError):
            return answers.failure(failure.value, self._replica.index)
        self._log.failure("A request failed: {request}", failure=failure, request=request)
        return answers.broken(self._replica.index)
