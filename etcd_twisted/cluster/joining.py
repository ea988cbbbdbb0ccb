"""
Joining a cluster: this machine asks the leader to admit it, or to note its new addresses.

This module must never ask without end: a machine that nobody admits says so, and what can be done about it.
"""

from typing import Protocol

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from etcd_twisted.cluster.initial_group import SEED_OPTIONS
from etcd_twisted.cluster.known_machines import KnownMachines
from etcd_twisted.cluster.local_machine import LocalMachine
from etcd_twisted.cluster.membership_check import ClusterDescriber
from etcd_twisted.config import Config
from etcd_twisted.consensus.reconfiguration.liveness import alive_seconds
from etcd_twisted.consensus.storage.data_directory import Identity
from etcd_twisted.errors import ErrorCode, EtcdError, StartError
from etcd_twisted.interfaces.cluster import PROTOCOL_VERSION, ClusterView, JoinReply, JoinRequest, fingerprint
from etcd_twisted.interfaces.ids import new_id
from etcd_twisted.peer.client import UnreachableError

ROUND_PAUSE_SECONDS = 1.0
"""The pause between two rounds in which every known machine is asked."""

_TEMPORARY_ERRORS = (ErrorCode.RAFT_INTERNAL, ErrorCode.DURING_ELECTION, ErrorCode.KEY_EXISTS)
"""A leader may give another answer in a moment. A machine that has this one's name may just have died."""


class JoinClient(ClusterDescriber, Protocol):
    """Asks other machines on the way into a cluster."""

    async def explain(self, peer_url: str, error: UnreachableError) -> str:
        """Returns why nobody answered at C{peer_url}, in one line for people."""

    async def join(self, peer_url: str, request: JoinRequest) -> JoinReply:
        """
        Ask the leader at C{peer_url} to admit a machine.

        @raise EtcdError: see L{etcd_twisted.interfaces.IRaftPeer.join}.
        @raise UnreachableError: nobody answers there.
        """


@attrs.frozen
class NotAdmitted:
    """
    The leader does not admit this machine now: the cluster has as many members as it should, or the machine is kept
    out.

    @ivar view: the cluster that was asked.
    @ivar reason: says why the machine is kept out; empty if the cluster is full.
    """

    view: ClusterView
    reason: str


class _NoLeaderError(UnreachableError):
    """The machine that was asked knows no leader."""


class Joining:
    """Asks the machines that this one knows, and through them the leader."""

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, config: Config, client: JoinClient, local: LocalMachine, known: KnownMachines
    ) -> None:
        self._clock = clock
        self._config = config
        self._client = client
        self._local = local
        self._known = known

    async def join(self, identity: Identity | None) -> Identity | NotAdmitted:
        """
        Ask round after round to be admitted, as often as is configured.

        @param identity: who this machine was in the cluster before; C{None} for a new one.
        @return: who it is in the cluster, if it is admitted.
        @raise StartError: nobody answers, or the cluster does not want this machine.
        """
        machine_id = new_id() if identity is None else identity.machine_id
        problem = "nobody was asked"
        unanswered: tuple[str, UnreachableError] | None = None
        name_taken: EtcdError | None = None
        for attempt in range(self._config.max_retry_attempts):
            if attempt:
                await self._pause(name_taken is not None)
                name_taken = None
            for url in list(self._known.urls):
                self._log.debug("Asking the cluster of {url} to admit this machine", url=url)
                try:
                    reply = await self.ask(url, machine_id, identity)
                except UnreachableError as error:
                    unanswered = (url, error)
                except EtcdError as error:
                    unanswered = None
                    if error.code not in _TEMPORARY_ERRORS:
                        raise self._refusal(error) from error
                    if error.code is ErrorCode.KEY_EXISTS:
                        name_taken = error
                        break
                    problem = f"{url} says: {error.cause}"
                else:
                    if isinstance(reply, NotAdmitted):
                        return reply
                    return Identity(self._local.name, machine_id, reply.cluster_id)
        if name_taken is not None:
            raise self._refusal(name_taken)
        if unanswered is not None:
            problem = await self._client.explain(*unanswered)
        tried = ", ".join(self._known.urls)
        raise StartError(
            f"{self._seed_option()}: no cluster admits this machine; tried {tried}: {problem};"
            " see that one of them runs and leads, or name others"
        )

    async def _pause(self, name_taken: bool) -> None:
        """Wait for the next round; if the name is taken, until the leader notices that its owner has died."""
        seconds = alive_seconds(self._local.election_timeout_seconds) if name_taken else ROUND_PAUSE_SECONDS
        await deferLater(self._clock, seconds, lambda: None)

    def _seed_option(self) -> str:
        given = [each for each in SEED_OPTIONS if each in self._config.sources]
        return ", ".join(self._config.given_as(each) for each in given or ["peers"])

    def _refusal(self, error: EtcdError) -> StartError:
        if error.code is ErrorCode.PEER_ADDRESS_EXISTS:
            is_client = self._config.client_url in error.cause
            option, address = ("addr", self._config.addr) if is_client else ("peer-addr", self._config.peer_addr)
            return StartError(f"{self._config.given_as(option)} {address}: {error.cause}; choose another address")
        if error.code is ErrorCode.KEY_EXISTS:
            remedy = "stop it if this one is to take its place, or choose another name"
            return StartError(f"{self._config.given_as('name')} {self._local.name}: {error.cause}; {remedy}")
        return StartError(f"{self._seed_option()}: the cluster refused this machine: {error}")

    async def ask(self, url: str, machine_id: str, identity: Identity | None) -> JoinReply | NotAdmitted:
        """
        Ask the leader of the cluster of the machine at C{url}, once.

        @raise EtcdError: the leader refuses.
        @raise UnreachableError: there is no leader, or it can't be asked.
        """
        view = await self._client.describe(url)
        leader = _leader_of(view)
        if leader is None:
            raise _NoLeaderError(f"{url} knows no leader")
        local = self._local
        own = local.machine
        try:
            reply = await self._client.join(leader, self._request(machine_id, identity))
        except EtcdError as error:
            if error.code is ErrorCode.NO_MORE_PEER:
                return NotAdmitted(view, "" if error.cause == own.name else error.cause)
            raise
        if view.ids:
            own_fingerprint = fingerprint(reply.cluster_id, machine_id)
            local.remember(reply.cluster_id, {**view.members(), own_fingerprint: own})
        return reply

    def _request(self, machine_id: str, identity: Identity | None) -> JoinRequest:
        own = self._local.machine
        cluster_id = "" if identity is None else identity.cluster_id
        return JoinRequest(PROTOCOL_VERSION, machine_id, cluster_id, own.name, own.client_url, own.peer_url)

    async def announce(self) -> bool:
        """Tell the leader this machine's addresses, through each known machine in turn. Returns whether it did."""
        identity = self._local.identity
        if identity is None:
            return True
        for url in list(self._known.urls):
            try:
                await self._announce_to(url, identity)
            except (UnreachableError, EtcdError) as error:
                self._log.info(
                    "Can't tell {machine} the address of this machine: {error}",
                    machine=self._known.described(url),
                    error=error,
                )
            else:
                return True
        return False

    async def _announce_to(self, url: str, identity: Identity) -> None:
        """
        Tell the leader this machine's addresses, through the machine at C{url}. Where no leader is known, that
        machine may lead all the same: it does not say so before it has committed an entry, for which it may need to
        send this machine a snapshot first.

        @raise EtcdError: the leader refuses.
        @raise UnreachableError: there is no leader, or it can't be asked.
        """
        try:
            await self.ask(url, identity.machine_id, identity)
        except _NoLeaderError:
            await self._client.join(url, self._request(identity.machine_id, identity))

    async def leaders_view(self) -> ClusterView | None:
        """
        Returns the cluster as its leader sees it; C{None} if the leader can't be asked. Others may know of no leader,
        or of one that no longer leads.
        """
        for url in list(self._known.urls):
            try:
                leader = _leader_of(await self._client.describe(url))
                view = None if leader is None else await self._client.describe(leader)
            except (UnreachableError, EtcdError) as error:
                self._log.debug("{url} does not say who is in the cluster: {error}", url=url, error=error)
            else:
                if view is not None and _leader_of(view) == leader and self._local.is_of_cluster(view):
                    return view
        return None


def _leader_of(view: ClusterView) -> str | None:
    """Returns the leader's peer URL."""
    return next((each.peer_url for each in view.machines if each.name == view.leader), None)
