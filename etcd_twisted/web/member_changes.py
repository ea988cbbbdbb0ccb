"""
Changes of the members, in the form of etcd 2 and 3.4, as the leader makes them (spec, section 1, "Later additions").

Errors are like theirs: JSON with a C{message}. This module must never change anything except on the leader, nor say
that something was done that was not.
"""

import msgspec

from etcd_twisted.config.addresses import read_url
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.httpd.responses import Response, json_message
from etcd_twisted.interfaces import IReplica
from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.web.api_options import ApiOptions
from etcd_twisted.web.members import find_member, member_response

_DONE = Response(204, b"", b"")
_STATUSES = {ErrorCode.UNAUTHORIZED: 401, ErrorCode.KEY_NOT_FOUND: 404, ErrorCode.RAFT_INTERNAL: 500}
"""The statuses of errors of a change. For all others it is 409, whose message etcd's clients show."""


class AddMember(msgspec.Struct, array_like=True, frozen=True, tag="add_member"):
    """Await a machine. The content type and the body are those of the request."""

    content_type: bytes | None
    body: bytes


class MoveMember(msgspec.Struct, array_like=True, frozen=True, tag="move_member"):
    """Change the address at which the other machines look for a machine."""

    member_id: str
    content_type: bytes | None
    body: bytes


class RemoveMember(msgspec.Struct, array_like=True, frozen=True, tag="remove_member"):
    """
    Take a machine out of the cluster.

    @ivar by: the address of the client who wants that.
    @ivar forbid: whether to keep it out; C{None} if the client does not say.
    """

    member_id: str
    by: str
    forbid: bool | None


MemberChange = AddMember | MoveMember | RemoveMember


class _JoinForm(msgspec.Struct):
    """What a client sends. Other fields are ignored, as etcd does."""

    peer_urls: list[str] = msgspec.field(name="peerURLs")


class _RefusedError(Exception):
    """The client asks for something that can't be done."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.response = json_message(status, message)


_decode = msgspec.json.Decoder(_JoinForm).decode


def removal_note(name: str) -> str:
    """Returns what the response to a removal says: the machine may come back at once."""
    return (
        f"{name} is out of the cluster; if it still runs it joins again as soon as there is a place: "
        "stop it, or remove it with ?forbid=true to keep it out"
    )


def member_error(error: EtcdError) -> Response:
    """Returns the response for an error of a change."""
    return json_message(_STATUSES.get(error.code, 409), error.cause)


async def change_members(replica: IReplica, options: ApiOptions, change: MemberChange) -> Response:
    """
    Make a change, as this machine leads. Returns the response, which may be an error.

    @raise RequestDroppedError: this machine does not lead any more, and nothing was changed.
    """
    try:
        if isinstance(change, AddMember):
            return await _add(replica, options, change)
        if isinstance(change, MoveMember):
            return await _move(replica, options, change)
        return await _remove(replica, options, change)
    except _RefusedError as error:
        return error.response
    except EtcdError as error:
        return member_error(error)


async def _add(replica: IReplica, options: ApiOptions, change: AddMember) -> Response:
    url = _peer_url(change.content_type, change.body)
    _check_free(replica, url)
    member_id = await replica.await_machine(url)
    return member_response(options, 201, member_id, Machine("", "", url))


async def _move(replica: IReplica, options: ApiOptions, change: MoveMember) -> Response:
    url = _peer_url(change.content_type, change.body)
    shown_id, machine = _find(replica, options, change.member_id)
    if url != machine.peer_url:
        _check_free(replica, url)
    own_ids = [machine_id for machine_id, each in replica.members().items() if machine.name and each == machine]
    await replica.move(own_ids[0] if own_ids else shown_id, url)
    return _DONE


async def _remove(replica: IReplica, options: ApiOptions, change: RemoveMember) -> Response:
    forbid = is_forbidden(options, change)
    shown_id, machine = _find(replica, options, change.member_id)
    if not machine.name:
        await replica.dismiss(shown_id, forbid)
        return _DONE
    await replica.remove(machine.name, change.by if forbid else None)
    return member_removed(options, change, machine.name)


def is_forbidden(options: ApiOptions, change: RemoveMember) -> bool:
    """Returns whether a member that is removed is kept out."""
    return options.hex_member_ids if change.forbid is None else change.forbid


def member_removed(options: ApiOptions, change: RemoveMember, name: str) -> Response:
    """
    Returns the response for a machine that was removed. It has no body that could say that the machine may come back,
    so a header says it.
    """
    if is_forbidden(options, change):
        return _DONE
    return Response(204, f'Warning: 299 etcd_twisted "{removal_note(name)}"\r\n'.encode(), b"")


def _find(replica: IReplica, options: ApiOptions, member_id: str) -> tuple[str, Machine]:
    """Returns the id by which clients may find a machine in each profile, and the machine."""
    found = find_member(replica, options, member_id)
    if found is not None:
        return found
    if options.hex_member_ids and replica.was_removed(member_id):
        raise _RefusedError(410, f"Member permanently removed: {member_id}")
    raise _RefusedError(404, f"No such member: {member_id}")


def _check_free(replica: IReplica, url: str) -> None:
    if any(machine.peer_url == url for machine in replica.shown_members().values()):
        raise _RefusedError(409, "membership: peerURL exists")


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
