"""
The client port's pages beside the keys (spec, section 2; api, "Statistics").

They tell what the replica knows at this moment and wait for nothing. Must never show a traceback to a client.
"""

import json
from typing import cast

import msgspec
from klein import Klein
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import HTTPException

from etcd_twisted import __version__
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.http import answers
from etcd_twisted.http.answers import Response
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.events import encode_json, format_time
from etcd_twisted.web.durations import go_duration

_JSON = b"Content-Type: application/json\r\n"
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

    @ivar app: for L{Klein.resource}.
    """

    app = Klein()
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False

    _log = Logger()

    def __init__(self, replica: IReplica) -> None:
        self._replica = replica
        self._started = replica.now()

    @app.route("/version", methods=["GET"])
    def version(self, request: IRequest) -> bytes:
        """The server's name and version: as text, or as JSON where the client asks for that."""
        if b"application/json" in (request.getHeader(b"Accept") or b"").lower():
            body = encode_json({"etcdserver": __version__, "etcdcluster": __version__})
            return _send(request, Response(200, _JSON, body))
        return _send(request, Response(200, _TEXT, f"etcd_twisted {__version__}".encode()))

    @app.route("/health", methods=["GET"])
    def health(self, request: IRequest) -> bytes:
        """Whether requests are served. The space is the one that clients look for."""
        healthy = self._replica.serving and self._replica.leader() is not None
        body = json.dumps({"health": "true" if healthy else "false"}).encode()
        return _send(request, Response(200 if healthy else 503, _JSON, body))

    @app.route("/v2/machines", methods=["GET"])
    @app.route("/v2/peers", methods=["GET"])
    def machines(self, request: IRequest) -> bytes:
        """The client URLs of all machines, the leader's first."""
        leader = self._replica.leader()
        machines = sorted(self._replica.machines(), key=lambda machine: machine != leader)
        return _send(request, Response(200, _TEXT, ", ".join(each.client_url for each in machines).encode()))

    @app.route("/v2/leader", methods=["GET"])
    def leader(self, request: IRequest) -> bytes:
        """The leader's peer URL."""
        leader = self._replica.leader()
        if leader is None:
            raise EtcdError(ErrorCode.DURING_ELECTION, "no leader is known")
        return _send(request, Response(200, _TEXT, leader.peer_url.encode()))

    @app.route("/v2/stats/store", methods=["GET"])
    def store_statistics(self, request: IRequest) -> bytes:
        """The store's counters."""
        return _send(request, Response(200, _JSON, encode_json(self._replica.statistics())))

    @app.route("/v2/stats/self", methods=["GET"])
    def self_statistics(self, request: IRequest) -> bytes:
        """What this machine is, since when, and whom it follows."""
        replica = self._replica
        leader = replica.leader()
        uptime = replica.now() - replica.leading_since if replica.is_leader else 0
        statistics = _SelfStatistics(
            replica.name,
            "leader" if replica.is_leader else "follower",
            format_time(self._started),
            _Leader("" if leader is None else leader.name, go_duration(uptime)),
        )
        return _send(request, Response(200, _JSON, encode_json(statistics)))

    @app.handle_errors(HTTPException)
    def _no_such_route(self, request: IRequest, failure: Failure) -> bytes:
        error = cast(HTTPException, failure.value)
        status = error.code or 500
        allowed = dict(error.get_headers()).get("Allow")
        fields = b"Allow: %s\r\n" % allowed.encode() if allowed else b""
        return _send(request, answers.plain(status, f"{status} {error.name.lower()}", fields))

    @app.handle_errors(EtcdError)
    def _refused(self, request: IRequest, failure: Failure) -> bytes:
        return _send(request, answers.failure(cast(EtcdError, failure.value), self._replica.index))

    @app.handle_errors(Exception)
    def _failed(self, request: IRequest, failure: Failure) -> bytes:
        self._log.failure("A request failed: {request}", failure=failure, request=request)
        error = EtcdError(ErrorCode.RAFT_INTERNAL, "an error in the server; its log says more")
        return _send(request, answers.failure(error, self._replica.index))


def _send(request: IRequest, response: Response) -> bytes:
    """Set what C{response} says; its body is to be returned."""
    request.setResponseCode(response.status)
    for line in response.fields.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        request.setHeader(name, value)
    body = cast(bytes, response.body)
    request.setHeader(b"Content-Length", b"%d" % len(body))
    return body
