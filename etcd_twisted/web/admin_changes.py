"""
The changes that administrators make on the peer port, as the leader makes them (api, "Cluster Config", "Remove
Machines").

This module must never change anything but on the leader.
"""

import msgspec
from twisted.internet.defer import ensureDeferred

from etcd_twisted.httpd.responses import JSON, TEXT, Response
from etcd_twisted.interfaces import IReplica
from etcd_twisted.interfaces.cluster_config import config_json, read_config
from etcd_twisted.web.member_changes import removal_note


class RemoveMachine(msgspec.Struct, array_like=True, frozen=True, tag="remove_machine"):
    """
    Take a machine out of the cluster.

    @ivar by: the address of the client who wants the machine to be kept out; C{None} if it may come back.
    """

    name: str
    by: str | None


class AllowMachine(msgspec.Struct, array_like=True, frozen=True, tag="allow_machine"):
    """Allow a machine that is kept out to join again."""

    name: str


class Configure(msgspec.Struct, array_like=True, frozen=True, tag="configure"):
    """
    Change the configuration of the cluster.

    @ivar text: JSON with the fields to change.
    """

    text: bytes


AdminChange = RemoveMachine | AllowMachine | Configure


async def change_as_administrator(replica: IReplica, change: AdminChange) -> Response:
    """
    Make a change, as this machine leads.

    @raise EtcdError: it can't be made.
    @raise RequestDroppedError: this machine does not lead any more, and nothing was changed.
    """
    if isinstance(change, RemoveMachine):
        await replica.remove(change.name, change.by)
        return machine_removed(change)
    if isinstance(change, AllowMachine):
        await replica.allow(change.name)
        return _done(f"{change.name} may join the cluster again")
    return await replica.configuring.run(lambda: ensureDeferred(_configure(replica, change.text)))


def machine_removed(change: RemoveMachine) -> Response:
    """Returns the response for a machine that was removed."""
    name = change.name
    if change.by is None:
        return _done(removal_note(name))
    allow = f"PUT /v2/admin/machines/{name}?forbid=false"
    return _done(f"{name} is out of the cluster, and kept out until it is allowed again: {allow}")


def _done(text: str) -> Response:
    """Returns the response that says what was done."""
    return Response(200, TEXT, f"{text}\n".encode())


async def _configure(replica: IReplica, text: bytes) -> Response:
    config = read_config(text, replica.cluster_config())
    await replica.configure(config)
    return Response(200, JSON, config_json(config).encode())
