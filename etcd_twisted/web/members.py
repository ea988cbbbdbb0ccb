"""
C{/v2/members}: the members of the cluster, as etcd 2 and 3.4 show them (spec, section 1, "Later additions").

A member's id is its name, or 16 hex digits, as is configured: what C{leaderInfo.leader} in the statistics is too,
since clients look that up here. A machine that is awaited has no name yet: its id is the digits in either case.

The digits are a fingerprint: where machines have no certificates, a client that knows a machine's own id can
impersonate it. This module must never change anything, nor show a machine's own id.
"""

from collections.abc import Mapping

import msgspec

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.httpd.responses import JSON, Response, json_message
from etcd_twisted.interfaces import IReplica
from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.web.api_options import ApiOptions
from etcd_twisted.web.forms import boolean
from etcd_twisted.web.redirects import no_machines_known


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


def _view(options: ApiOptions, shown_id: str, machine: Machine) -> _Member:
    client_urls = [machine.client_url] if machine.client_url else []
    return _Member(_id(options, shown_id, machine.name), machine.name, [machine.peer_url], client_urls)


def _id(options: ApiOptions, shown_id: str, name: str) -> str:
    return shown_id if options.hex_member_ids else name or shown_id


def _json(options: ApiOptions, status: int, value: object) -> Response:
    """Returns a response, with the line end that etcd 2 puts behind it."""
    return Response(status, JSON, msgspec.json.encode(value) + (b"\n" if options.hex_member_ids else b""))


def member_response(options: ApiOptions, status: int, shown_id: str, machine: Machine) -> Response:
    """Returns a response that shows one machine."""
    return _json(options, status, _view(options, shown_id, machine))


def listing(replica: IReplica, options: ApiOptions) -> Response:
    """
    Returns a list of all machines.

    @raise EtcdError: this machine has never known of any, or it is a standby of a leader that tells it no ids.
    """
    views = [_view(options, shown_id, machine) for shown_id, machine in replica.shown_members().items()]
    if not views:
        raise no_machines_known()
    return _json(options, 200, _Listing(sorted(views, key=lambda view: view.id)))


def leading_member(replica: IReplica, options: ApiOptions) -> Response:
    """Returns the machine that leads."""
    leader = replica.leader()
    found = None if leader is None else _named(replica, leader.name)
    return json_message(503, "During election") if found is None else member_response(options, 200, *found)


def member_id(replica: IReplica, options: ApiOptions, name: str) -> str:
    """Returns the id of the machine with a name, as the list has it; empty if the list has none."""
    if not options.hex_member_ids:
        return name
    found = _named(replica, name)
    return "" if found is None else found[0]


def find_member(replica: IReplica, options: ApiOptions, wanted: str) -> tuple[str, Machine] | None:
    """
    Returns the machine that a client means, with the id of digits; C{None} if there is none. Where ids are names, the
    digits are understood too, as an awaited machine had them until it started.
    """
    machine = replica.shown_members().get(wanted)
    if not options.hex_member_ids:
        found = _named(replica, wanted)
        if found is not None:
            return found
    return None if machine is None else (wanted, machine)


def _named(replica: IReplica, name: str) -> tuple[str, Machine] | None:
    return next(((each, machine) for each, machine in replica.shown_members().items() if machine.name == name), None)
