"""
What administrators do (C{api.md}, "Cluster Config", "Remove Machines"; C{/v2/members} of etcd 2): C{client.admin}.

The resource below C{/v2/admin} is on the machines' peer ports, where other addresses are known and other redirects are
followed than on the client ports. This module must never send an administrator's request over a plain connection when
the client's own connections are encrypted.
"""

import urllib.parse
from collections.abc import Iterable
from datetime import datetime

import msgspec
from twisted.internet.defer import Deferred

from etcd_twisted.client.answers import decode_json
from etcd_twisted.client.errors import ConnectionFailed, UnexpectedAnswer
from etcd_twisted.client.machines import Machines
from etcd_twisted.client.members import MEMBERS, machine_of, members_of
from etcd_twisted.client.messages import Answer, Request
from etcd_twisted.client.results import AdminMachine, ClusterConfig, ForbiddenMachine, Machine
from etcd_twisted.client.sender import Sender

_CONFIG = "/v2/admin/config"
_MACHINES = "/v2/admin/machines"


class _WireConfig(msgspec.Struct, rename="camel"):
    active_size: int
    remove_delay: float
    sync_interval: float


class _WireMachine(msgspec.Struct):
    name: str
    state: str
    client_url: str = msgspec.field(name="clientURL")
    peer_url: str = msgspec.field(name="peerURL")


class _WireForbidden(msgspec.Struct):
    name: str
    by: str
    since: str


class Admin:
    """
    What administrators do. Each method returns a Deferred, which can be awaited and cancelled. What changes something
    may raise L{OutcomeUnknown}, like any write.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    # The configuration of the cluster

    def config(self, *, timeout_seconds: float | None = None) -> "Deferred[ClusterConfig]":
        """Read the settings that all machines share."""
        return self._ask(Request("GET", _CONFIG), timeout_seconds).addCallback(_config_of)

    def configure(
        self,
        *,
        active_size: int | None = None,
        remove_delay_seconds: float | None = None,
        sync_interval_seconds: float | None = None,
        timeout_seconds: float | None = None,
    ) -> "Deferred[ClusterConfig]":
        """
        Change settings that all machines share. What is C{None} stays as it is.

        @return: fires with all settings as they are now.
        @raise ValueError: nothing is to be changed.
        @raise InvalidActiveSize: (as a failure) the cluster can't have this size.
        @raise InvalidRemoveDelay: (as a failure) machines can't be removed after this delay.
        """
        given = {"activeSize": active_size, "removeDelay": remove_delay_seconds, "syncInterval": sync_interval_seconds}
        wanted = {name: value for name, value in given.items() if value is not None}
        if not wanted:
            raise ValueError("name at least one of active_size, remove_delay_seconds and sync_interval_seconds")
        request = Request("PUT", _CONFIG, json=msgspec.json.encode(wanted), changes=True, for_leader=True)
        return self._ask(request, timeout_seconds).addCallback(_config_of)

    # The machines, by their names

    def machines(self, *, timeout_seconds: float | None = None) -> "Deferred[tuple[AdminMachine, ...]]":
        """List the machines that take part in consensus."""
        return self._ask(Request("GET", _MACHINES), timeout_seconds).addCallback(_machines_of)

    def machine(self, name: str, *, timeout_seconds: float | None = None) -> "Deferred[AdminMachine]":
        """
        Read about one machine.

        @raise KeyNotFound: (as a failure) no machine of this name takes part.
        """
        return self._ask(Request("GET", _target(name)), timeout_seconds).addCallback(_machine_of)

    def remove_machine(
        self, name: str, *, forbid: bool = False, timeout_seconds: float | None = None
    ) -> "Deferred[None]":
        """
        Take a machine out of the cluster.

        @param forbid: whether it is kept out until L{allow_machine}. Otherwise it joins again as soon as there is a
            place, if it still runs.
        @raise KeyNotFound: (as a failure) no machine of this name takes part.
        @raise RaftFailed: (as a failure) the others could not go on without it.
        """
        target = _target(name) + ("?forbid=true" if forbid else "")
        request = Request("DELETE", target, changes=True, for_leader=True)
        return self._ask(request, timeout_seconds).addCallback(_nothing)

    def allow_machine(self, name: str, *, timeout_seconds: float | None = None) -> "Deferred[None]":
        """
        Let a machine join again that was kept out.

        @raise KeyNotFound: (as a failure) it is not kept out.
        """
        request = Request("PUT", f"{_target(name)}?forbid=false", changes=True, for_leader=True)
        return self._ask(request, timeout_seconds).addCallback(_nothing)

    def forbidden_machines(self, *, timeout_seconds: float | None = None) -> "Deferred[tuple[ForbiddenMachine, ...]]":
        """List the machines that are kept out."""
        return self._ask(Request("GET", "/v2/admin/forbidden"), timeout_seconds).addCallback(_forbidden_of)

    # The machines, by their ids

    def add_member(self, peer_urls: Iterable[str], *, timeout_seconds: float | None = None) -> "Deferred[Machine]":
        """
        Announce a machine that is to be started, as etcd wants it. Machines of this project's server may join without
        that.

        @param peer_urls: where the other machines will reach it.
        @raise RequestRefused: (as a failure) the cluster does not take it.
        """
        request = Request("POST", MEMBERS.target, json=_peer_urls(peer_urls), changes=True, for_leader=True)
        return self._sender.send(request, timeout_seconds).addCallback(machine_of)

    def update_member(
        self, member_id: str, peer_urls: Iterable[str], *, timeout_seconds: float | None = None
    ) -> "Deferred[None]":
        """
        Change where the other machines look for a machine.

        @param member_id: the machine's L{Machine.id}.
        @raise RequestRefused: (as a failure) there is no such machine, or it can't be there.
        """
        target = _member_target(member_id)
        request = Request("PUT", target, json=_peer_urls(peer_urls), changes=True, for_leader=True)
        return self._sender.send(request, timeout_seconds).addCallback(_nothing)

    def remove_member(self, member_id: str, *, timeout_seconds: float | None = None) -> "Deferred[None]":
        """
        Take a machine out of the cluster.

        @param member_id: the machine's L{Machine.id}.
        @raise RequestRefused: (as a failure) there is no such machine, or the others could not go on without it.
        """
        request = Request("DELETE", _member_target(member_id), changes=True, for_leader=True)
        return self._sender.send(request, timeout_seconds).addCallback(_nothing)

    # How machines' peer ports are asked

    def _ask(self, request: Request, timeout_seconds: float | None) -> "Deferred[Answer]":
        return Deferred.fromCoroutine(self._ask_peers(request, timeout_seconds))

    async def _ask_peers(self, request: Request, timeout_seconds: float | None) -> Answer:
        members = members_of(await self._sender.send(MEMBERS, timeout_seconds))
        urls = [url for member in members for url in member.peer_urls]
        try:
            peers: Machines = self._sender.machines.only(urls)
        except ValueError as error:
            raise ConnectionFailed(f"the machines' peer ports can't be used: {error}") from error
        return await self._sender.send(request, timeout_seconds, peers)


def _target(name: str) -> str:
    return f"{_MACHINES}/{urllib.parse.quote(name, safe='')}"


def _member_target(member_id: str) -> str:
    return f"{MEMBERS.target}/{urllib.parse.quote(member_id, safe='')}"


def _peer_urls(urls: Iterable[str]) -> bytes:
    if isinstance(urls, str):
        urls = (urls,)
    return msgspec.json.encode({"peerURLs": list(urls)})


def _nothing(_: Answer) -> None:
    """The answer says no more than that it was done."""


def _config_of(answer: Answer) -> ClusterConfig:
    wire = decode_json(answer, _WireConfig)
    return ClusterConfig(wire.active_size, wire.remove_delay, wire.sync_interval)


def _machines_of(answer: Answer) -> tuple[AdminMachine, ...]:
    return tuple(map(_machine, decode_json(answer, list[_WireMachine])))


def _machine_of(answer: Answer) -> AdminMachine:
    return _machine(decode_json(answer, _WireMachine))


def _machine(wire: _WireMachine) -> AdminMachine:
    return AdminMachine(wire.name, wire.state, wire.client_url, wire.peer_url)


def _forbidden_of(answer: Answer) -> tuple[ForbiddenMachine, ...]:
    try:
        return tuple(
            ForbiddenMachine(each.name, each.by, datetime.fromisoformat(each.since).timestamp())
            for each in decode_json(answer, list[_WireForbidden])
        )
    except ValueError as error:
        raise UnexpectedAnswer(answer.status, answer.body, str(error)) from error
