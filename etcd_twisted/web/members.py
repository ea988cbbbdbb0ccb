"""
C{/v2/members}: the members of the cluster, as etcd 2 and 3.4 show them, and changes of them (spec, section 1, "Later
additions").

Errors are like theirs: JSON with a C{message}. A machine joins by itself here, so clients can't add one. The ids are
fingerprints: where machines have no certificates, a client that knows a machine's own id can impersonate it. This
module must never change anything except on the leader, nor say that something was done that was not, nor show a
machine's own id.
"""

from collections.abc import Awaitable, Callable, Mapping

import msgspec
from twisted.internet.interfaces import IReactorTime

from etcd_twisted.config.addresses import read_url
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.httpd.responses import JSON, Response, json_message
from etcd_twisted.interfaces import IReplica
from etcd_twisted.interfaces.cluster import Machine, fingerprint
from etcd_twisted.web.forms import boolean
from etcd_twisted.web.redirects import LeaderWait, no_machines_known, redirect

_DONE = Response(204, b"", b"")
_STATUSES = {ErrorCode.KEY_NOT_FOUND: 404, ErrorCode.RAFT_INTERNAL: 500}
"""The statuses of errors of a change. For all others it is 409, whose message etcd's clients show."""


def removal_note(name: str) -> str:
    """Returns what the response to a removal says: the machine may come back at once."""
    return (
        f"{name} is out of the cluster; if it still runs it joins again as soon as there is a place: "
        "stop it, or remove it with ?forbid=true to keep it out"
    )


def forbid_parameter(arguments: Mapping[bytes, list[bytes]]) -> bool | None:
    """
    Returns the parameter C{forbid} of a request about a machine, or C{None} if it is not given.

    @param arguments: those of the query.
    @raise EtcdError: 209, it is neither true nor false.
    """
    values = arguments.get(b"forbid")
    if values is None:
        return None
    forbid = boolean(values[0].decode("latin-1"))
    if forbid is None:
        raise EtcdError(ErrorCode.INVALID_FIELD, "forbid should be true or false")
    return forbid


class _Member(msgspec.Struct):
    """A machine, as clients see it."""

    id: str
    name: str
    peer_urls: list[str] = msgspec.field(name="peerURLs")
    client_urls: list[str] = msgspec.field(name="clientURLs")


class _Listing(msgspec.Struct):
    members: list[_Member]


class _JoinForm(msgspec.Struct):
    """What a client sends. Other fields are ignored, as etcd does."""

    peer_urls: list[str] = msgspec.field(name="peerURLs")


class _RefusedError(Exception):
    """The client asks for something that can't be done."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.response = json_message(status, message)


_decode = msgspec.json.Decoder(_JoinForm).decode


def _json(status: int, value: object) -> Response:
    return Response(status, JSON, msgspec.json.encode(value))


def _view(member_id: str, machine: Machine) -> _Member:
    return _Member(member_id, machine.name, [machine.peer_url], [machine.client_url] if machine.client_url else [])


class MembersPage:
    """Makes the responses. The routes are in L{etcd_twisted.web.app}."""

    def __init__(self, replica: IReplica, clock: IReactorTime, leader_wait_seconds: float) -> None:
        """
        @param leader_wait_seconds: how long a change waits for a leader.
        """
        self._replica = replica
        self._wait = LeaderWait(replica, clock, leader_wait_seconds)

    def listing(self) -> Response:
        """
        Returns a list of all machines.

        @raise EtcdError: this machine has never known of any, or it is a standby of a leader that tells it no ids.
        """
        members = self._replica.fingerprints()
        if not members:
            raise no_machines_known()
        return _json(200, _Listing([_view(each, members[each]) for each in sorted(members)]))

    def leader(self) -> Response:
        """Returns the machine that leads."""
        leader = self._replica.leader()
        for member_id, machine in self._replica.fingerprints().items():
            if leader is not None and machine.name == leader.name:
                return _json(200, _view(member_id, machine))
        return json_message(503, "During election")

    async def add(self, target: bytes, content_type: bytes | None, body: bytes) -> Response:
        """
        Refuse to add a machine, and say how a machine joins.

        @param target: the path and query of the request.
        """

        async def refuse() -> Response:
            url = _peer_url(content_type, body)
            if any(machine.peer_url == url for machine in self._replica.machines()):
                raise _RefusedError(409, "membership: peerURL exists")
            known = self._replica.leader()
            peers = "" if known is None else f" --peers {read_url(known.peer_url)[1]}"
            raise _RefusedError(409, f"a machine joins by itself: start it with --peer-addr {read_url(url)[1]}{peers}")

        return await self._change(target, refuse)

    async def move(self, member_id: str, target: bytes, content_type: bytes | None, body: bytes) -> Response:
        """Change the address at which the other machines look for a machine."""

        async def move() -> Response:
            url = _peer_url(content_type, body)
            machine_id, _ = self._find(member_id)
            await self._replica.move(machine_id, url)
            return _DONE

        return await self._change(target, move)

    async def remove(self, member_id: str, target: bytes, by: str | None = None) -> Response:
        """
        Take a machine out of the cluster. The response has no body that could say that it may come back, so a header
        says it.

        @param by: the client that wants the machine to be kept out; C{None} if it may come back.
        """

        async def remove() -> Response:
            _, machine = self._find(member_id)
            await self._replica.remove(machine.name, by)
            if by is not None:
                return _DONE
            return Response(204, f'Warning: 299 etcd_twisted "{removal_note(machine.name)}"\r\n'.encode(), b"")

        return await self._change(target, remove)

    def _find(self, member_id: str) -> tuple[str, Machine]:
        """Returns a machine's own id, and the machine."""
        cluster_id = self._replica.cluster_id
        for machine_id, machine in self._replica.members().items():
            if fingerprint(cluster_id, machine_id) == member_id:
                return machine_id, machine
        raise _RefusedError(404, f"No such member: {member_id}")

    async def _change(self, target: bytes, change: Callable[[], Awaitable[Response]]) -> Response:
        try:
            return await self._wait.at_leader(change, lambda leader: redirect(leader.client_url, target))
        except _RefusedError as error:
            return error.response
        except EtcdError as error:
            return json_message(_STATUSES.get(error.code, 409), error.cause)


def _peer_url(content_type: bytes | None, body: bytes) -> str:
    """
    Returns the one peer URL in a body.

    @raise _RefusedError: there is none, or the body is not what it should be.
    """
    kind = (content_type or b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise _RefusedError(415, f"Bad Content-Type {kind.decode('ascii', 'replace')}, accept application/json")
    try:
        urls = _decode(body).peer_urls
    except (ValueError, RecursionError) as error:  # msgspec raises ValueErrors
        raise _RefusedError(400, str(error)) from error
    if not urls:
        raise _RefusedError(400, "no valid URLs given")
    if len(urls) > 1:
        raise _RefusedError(400, f"a machine has one peer URL, not {len(urls)}")
    try:
        _, address = read_url(urls[0])
        address.check_reachable()
    except ValueError as error:
        raise _RefusedError(400, str(error)) from error
    return urls[0].removesuffix("/")
