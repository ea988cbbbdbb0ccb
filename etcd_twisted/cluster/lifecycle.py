"""
The life of a machine: the first of a cluster, a member that joins or comes back, a standby (spec, section 3).

What is in the data directory decides first, then where the machine was told to look for others. Must never give a
machine that is of a cluster another identity, nor begin a new cluster when others were named.
"""

import math
import secrets
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Protocol

import attrs
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.cluster.membership_check import Describing, Vouching
from etcd_twisted.config import Config
from etcd_twisted.consensus.members import members_of
from etcd_twisted.consensus.raft.entries import Configuration, Member
from etcd_twisted.consensus.reconfiguration.changes import alive_for
from etcd_twisted.consensus.recovery import Recovered, Storage, come_back, enter_cluster, found_cluster, recover
from etcd_twisted.consensus.replica import Replica
from etcd_twisted.consensus.storage.data_directory import Identity
from etcd_twisted.consensus.storage.disk_thread import LogWriter
from etcd_twisted.errors import ErrorCode, EtcdError, StartError
from etcd_twisted.interfaces import ITransport
from etcd_twisted.interfaces.cluster import (
    PROTOCOL_VERSION,
    ClusterView,
    JoinReply,
    JoinRequest,
    Machine,
    fingerprint,
    fingerprinted,
)
from etcd_twisted.net.backoff import LONGEST, Backoff
from etcd_twisted.peer.client import UnreachableError

RETRY = 1.0
"""Seconds between rounds of asking others."""

DOUBT = 5.0
"""After how many seconds without serving a member asks whether it still is one."""

SEEK = 5.0
"""After how many seconds, at the least, others are looked for again that a machine does not know."""

MOST_SEEDS = 64
"""How many addresses of others are remembered: more than a cluster has, and some where they were."""

_NOT_NOW = (ErrorCode.RAFT_INTERNAL, ErrorCode.DURING_ELECTION, ErrorCode.KEY_EXISTS)
"""Errors of a leader that may be gone in a moment: who has this machine's name may have died just now."""


class Peers(Describing, Protocol):
    """How other machines are asked."""

    async def explain(self, peer_url: str, error: UnreachableError) -> str:
        """Say why nobody answered at C{peer_url}, in one line for people."""

    async def join(self, peer_url: str, request: JoinRequest) -> JoinReply:
        """
        Ask the leader at C{peer_url} to be taken in.

        @raise EtcdError: see L{etcd_twisted.interfaces.IRaftPeer.join}.
        @raise UnreachableError: nobody answers there.
        """


class Seeds(Protocol):
    """Where a machine looks for others that it does not know."""

    async def find(self, name: str) -> list[str]:
        """
        Find them for a machine that has been of no cluster.

        @param name: the machine's.
        @return: their peer URLs; none for the first machine.
        @raise StartError: what names them can't be used.
        """

    async def find_again(self, name: str) -> list[str]:
        """
        Find them for a machine that is of a cluster.

        @return: their peer URLs, as many as can be found.
        """


@attrs.frozen
class _Full:
    """
    There is no place for this machine: others are as many as there should be, or it is kept out.

    @ivar reason: what the leader says about that; empty if there are too many.
    """

    view: ClusterView
    reason: str


class Life:
    """
    One machine's.

    @ivar storage: its files, from L{begin} on; to be closed by who began it.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        config: Config,
        replica: Replica,
        peers: Peers,
        transport: ITransport,
        seeking: Seeds,
    ) -> None:
        self.storage: Storage | None = None
        self._clock = clock
        self._config = config
        self._replica = replica
        self._peers = peers
        self._transport = transport
        self._seeking = seeking
        self._next_search = -math.inf
        self._seeds: list[str] = []
        self._vouching = Vouching(clock, peers, replica.peer, config.peer_url, self._known)
        self._writer: LogWriter | None = None
        self._identity: Identity | None = None
        self._name = ""
        self._refused_for = ""
        self._task: Deferred[None] | None = None
        self._in_doubt = False
        self._stopped = False

    # Starting

    async def begin(self, storage: Storage, writer: LogWriter) -> None:
        """
        Return when this machine takes part, or stands by.

        @raise StartError: it can't.
        """
        self.storage = storage
        self._writer = writer
        recovered = None if storage.directory.is_to_forget else await self._recover(storage)
        if recovered is not None and recovered.identity is not None:
            await self._come_back(storage, recovered, recovered.identity)
        elif (full := await self._begin_anew(storage, recovered)) is not None:
            await self._stand_by(full.view)
            self._tell_refusal(full.reason)
            self._do(self._wait_for_a_place())

    async def when_serving(self) -> None:
        """Return when this machine serves, or stands by; it has begun."""
        await self._serve(self._doubt)
        self._check_address()

    async def _come_back(self, storage: Storage, recovered: Recovered, identity: Identity) -> None:
        """Take part as a machine that has done so before."""
        self._name = identity.name
        if not recovered.configuration.members:  # it was taken in, and stopped before it knew by whom
            await self._seek()
        come_back(storage, recovered)
        self._take_part(recovered)
        if self._is_known_otherwise(recovered.configuration, identity):
            self._do(self._announce())

    async def _begin_anew(self, storage: Storage, recovered: Recovered | None) -> "_Full | None":
        """
        Take part as a machine that has not done so before, in the cluster of the seeds, or in a new one.

        @param recovered: what was found; C{None} when that is to be forgotten, which is done once the machine is
            certain to start.
        @return: C{None} when it does.
        @raise StartError: nobody answers, or the cluster does not want this machine.
        """
        self._name = self._config.name or str(uuid.uuid4())
        self._note_seeds(await self._seeking.find(self._name))
        place = await self._be_taken_in(None) if self._seeds else None
        storage.directory.forget()
        if recovered is None:
            recovered = await self._recover(storage)
        if isinstance(place, _Full):
            return place
        if place is None:
            identity = Identity(self._name, secrets.token_hex(8), secrets.token_hex(8))
            found_cluster(storage, recovered, identity, self._member())
            self._take_part(recovered)
        else:
            self._take_place(recovered, place)
        return None

    def _check_address(self) -> None:
        """
        Ask whether others know where this machine is, if what is committed says that they do not. What its own log
        held at the start may have been older than that, or an entry that was never committed; nobody could send it a
        snapshot then.

        Not later than when it begins to serve: then an administrator may say that it is to be found elsewhere.
        """
        if self._replica.standby or self._identity is None:
            return
        if self._replica.members().get(self._identity.machine_id) != self._machine():
            self.excluded()

    async def _doubt(self) -> bool:
        self.excluded()
        return True

    async def _serve(self, doubt: Callable[[], Awaitable[bool]]) -> None:
        """
        Return when this machine serves, or stands by. Nobody can tell it that it was taken out before it had the log,
        since neither knows of the other: it asks.

        @param doubt: has it asked; whether anybody could say.
        """
        while not self._replica.serving and not self._replica.standby:
            try:
                await self._replica.when_serving().addTimeout(DOUBT, self._clock)
            except defer.TimeoutError:
                if not await doubt():
                    await self._seek()

    async def _recover(self, storage: Storage) -> Recovered:
        replica = self._replica
        recovered = await recover(storage, replica.keyspace, self._config.name, replica.turn, self._recall)
        self._identity = recovered.identity
        return recovered

    def _recall(self, identity: Identity, configuration: Configuration) -> None:
        """Clients are told of these machines before this one has a leader."""
        self._replica.name = identity.name
        cluster_id = identity.cluster_id
        self._replica.recall(cluster_id, fingerprinted(cluster_id, members_of(configuration)))

    def _machine(self) -> Machine:
        return Machine(self._name, self._config.client_url, self._config.peer_url)

    def _member(self) -> Member:
        return Member(self._name, self._config.client_url, self._config.peer_url)

    def _take_part(self, recovered: Recovered) -> None:
        if self.storage is None or self._writer is None:
            raise RuntimeError("a machine's life begins with its files")
        self._identity = recovered.identity
        self._remember(recovered.configuration, recovered.identity)
        self._replica.start(self._machine(), self.storage, self._writer, recovered, self._transport)

    def _remember(self, configuration: Configuration, identity: Identity | None) -> None:
        """Note where others are, for when this machine has to ask them."""
        own = "" if identity is None else identity.machine_id
        self._note_seeds(member.peer_url for each, member in configuration.members.items() if each != own)

    def _note_seeds(self, urls: Iterable[str]) -> None:
        """These are the first to be asked from here on."""
        self._seeds = list(dict.fromkeys([*urls, *self._seeds]))[:MOST_SEEDS]

    async def _seek(self) -> None:
        """
        Nobody of those that it knows answers: look where this machine was told to look for others. Not all the time,
        as that is asked of others too.
        """
        now = self._clock.seconds()
        if now >= self._next_search:
            self._next_search = now + SEEK
            self._note_seeds(await self._seeking.find_again(self._name))

    def _is_known_otherwise(self, configuration: Configuration, identity: Identity) -> bool:
        """Whether others are told a name or addresses of this machine that are not its own any more."""
        others = set(configuration.voters) - {identity.machine_id}
        return bool(others) and configuration.members.get(identity.machine_id) != self._member()

    # Joining

    def _take_place(self, recovered: Recovered, identity: Identity) -> None:
        """Be who was taken in."""
        if self.storage is None:
            raise RuntimeError("a machine's life begins with its files")
        if recovered.identity is None:
            enter_cluster(self.storage, recovered, identity)
        else:
            come_back(self.storage, recovered)
        self._take_part(recovered)

    async def _be_taken_in(self, identity: Identity | None) -> "Identity | _Full":
        """
        Ask round after round, as often as is configured.

        @return: who this machine is in the cluster.
        """
        machine_id = secrets.token_hex(8) if identity is None else identity.machine_id
        problem = "nobody was asked"
        unanswered: tuple[str, UnreachableError] | None = None
        taken: EtcdError | None = None
        for attempt in range(self._config.max_retry_attempts):
            if attempt:
                await self._pause(RETRY if taken is None else alive_for(self._replica.timing.election))
                taken = None
            for url in list(self._seeds):
                self._log.debug("Asking the cluster of {url} to take this machine in", url=url)
                try:
                    reply = await self._ask(url, machine_id, identity)
                except UnreachableError as error:
                    unanswered = (url, error)
                except EtcdError as error:
                    unanswered = None
                    if error.code not in _NOT_NOW:
                        raise self._refusal(error) from error
                    if error.code is ErrorCode.KEY_EXISTS:
                        taken = error
                        break
                    problem = f"{url} says: {error.cause}"
                else:
                    if isinstance(reply, _Full):
                        return reply
                    return Identity(self._name, machine_id, reply.cluster_id)
        if taken is not None:
            raise self._refusal(taken)
        if unanswered is not None:
            problem = await self._peers.explain(*unanswered)
        tried = ", ".join(self._seeds)
        raise StartError(
            f"{self._seed_option()}: no cluster takes this machine in; tried {tried}: {problem};"
            " see that one of them runs and leads, or name others"
        )

    def _seed_option(self) -> str:
        given = [each for each in ("discovery", "peers", "peers-file") if each in self._config.sources]
        return ", ".join(self._config.given_as(each) for each in given or ["peers"])

    def _refusal(self, error: EtcdError) -> StartError:
        if error.code is ErrorCode.PEER_ADDRESS_EXISTS:
            is_client = self._config.client_url in error.cause
            option, address = ("addr", self._config.addr) if is_client else ("peer-addr", self._config.peer_addr)
            return StartError(f"{self._config.given_as(option)} {address}: {error.cause}; choose another address")
        if error.code is ErrorCode.KEY_EXISTS:
            remedy = "stop it if this one is to take its place, or choose another name"
            return StartError(f"{self._config.given_as('name')} {self._name}: {error.cause}; {remedy}")
        return StartError(f"{self._seed_option()}: the cluster refused this machine: {error}")

    async def _ask(self, url: str, machine_id: str, identity: Identity | None) -> "JoinReply | _Full":
        """Ask the leader of the cluster of the machine at C{url}."""
        view = await self._peers.describe(url)
        leader = _leader_of(view)
        if leader is None:
            raise UnreachableError(f"{url} knows no leader")
        cluster_id = "" if identity is None else identity.cluster_id
        request = JoinRequest(
            PROTOCOL_VERSION, machine_id, cluster_id, self._name, self._config.client_url, self._config.peer_url
        )
        try:
            reply = await self._peers.join(leader, request)
        except EtcdError as error:
            if error.code is ErrorCode.NO_MORE_PEER:
                return _Full(view, "" if error.cause == self._name else error.cause)
            raise
        if view.ids:
            own = fingerprint(reply.cluster_id, machine_id)
            self._replica.recall(reply.cluster_id, {**view.members(), own: self._machine()})
        return reply

    async def _announce(self) -> None:
        """
        A member has come back with another name or address: have the leader note it. Who may not be a member any more
        is to find that out before it goes on.
        """
        while self._identity is not None:
            for url in list(self._seeds):
                try:
                    await self._ask(url, self._identity.machine_id, self._identity)
                except (UnreachableError, EtcdError) as error:
                    problem = "Can't tell {machine} the address of this machine: {error}"
                    self._log.info(problem, machine=self._called(url), error=error)
                else:
                    return
            await self._seek()
            await self._pause(RETRY)
            if self._in_doubt:
                return

    def claimed(self) -> None:
        """A machine that this one does not know says to be of the cluster."""
        self._vouching.ask()

    # Standing by

    def excluded(self) -> None:
        """This machine may have been taken out of the cluster."""
        if self._stopped or self._replica.standby:
            return
        if self._task is None:
            self._do(self._leave_if_excluded())
        else:
            self._in_doubt = True  # nobody may say it again

    async def _leave_if_excluded(self) -> None:
        """
        Ask until somebody can say. Soon again at first: who was sent to a leader that was taken out waits until it
        knows of the next one.
        """
        pauses = Backoff(lambda: 1.0)
        while not await self._stand_by_if_excluded():
            pause = pauses.next()
            if pause >= LONGEST:
                await self._seek()
            await self._pause(pause)
        await self._wait_for_a_place()

    async def _stand_by_if_excluded(self) -> bool:
        """Ask whether this machine is in the cluster, and stand by if it is not; whether anybody could say."""
        self._note_seeds(self._known())
        view = await self._look()
        if view is None:
            return False
        if not self._is_among(view):
            await self._stand_by(view)
        elif self._machine() not in view.machines:
            await self._announce()
        return True

    def _is_among(self, view: ClusterView) -> bool:
        """
        Whether this machine is in the cluster, maybe at another address: it may have moved before it had the log. One
        of the same name and address may be another, which began anew; a leader of an older version can't tell.
        """
        if self._identity is not None and view.fingerprints:
            return fingerprint(view.cluster_id, self._identity.machine_id) in view.fingerprints
        own = self._machine()
        return any(each.peer_url == own.peer_url and each.name == own.name for each in view.machines)

    def _known(self) -> list[str]:
        """Where others of the cluster are, or were."""
        others = [each.peer_url for each in self._replica.machines() if each.peer_url != self._config.peer_url]
        return list(dict.fromkeys([*others, *self._seeds]))

    def _called(self, url: str) -> str:
        """Returns how the log names the machine at a peer URL: with its name, if that is known."""
        names = [each.name for each in self._replica.machines() if each.peer_url == url]
        return f"{names[0]} ({url})" if names else f"the machine at {url}"

    async def _look(self) -> ClusterView | None:
        """
        What the leader says who is in the cluster; C{None} when it can't be asked. Others may know of no leader, or of
        one that no longer leads.
        """
        for url in list(self._seeds):
            try:
                leader = _leader_of(await self._peers.describe(url))
                view = None if leader is None else await self._peers.describe(leader)
            except (UnreachableError, EtcdError) as error:
                self._log.debug("{url} does not say who is in the cluster: {error}", url=url, error=error)
            else:
                if view is not None and _leader_of(view) == leader and self._is_of_cluster(view):
                    return view
        return None

    def _is_of_cluster(self, view: ClusterView) -> bool:
        return self._identity is None or view.cluster_id == self._identity.cluster_id

    async def _stand_by(self, view: ClusterView) -> None:
        self._replica.name = self._name
        await self._replica.stand_by(view)
        self._note_seeds(each.peer_url for each in view.machines)
        if self.storage is not None:
            self.storage.log.close()
        self._log.info("{name} is a standby: it sends everyone to the leader", name=self._name)

    async def _wait_for_a_place(self) -> None:
        pause = self._replica.cluster_config().sync_interval
        while self._replica.standby and not self._stopped:
            await self._pause(pause)
            view = await self._look()
            if view is None:
                await self._lose_leader()
                pause = min(RETRY, self._replica.cluster_config().sync_interval)
                continue
            pause = view.config.sync_interval
            await self._replica.stand_by(view)
            if len(view.machines) < view.config.active_size:
                await self._try_to_enter()

    def _tell_refusal(self, reason: str) -> None:
        """Log once why this standby can't join the cluster."""
        if reason and reason != self._refused_for:
            self._log.warn("This standby can't join the cluster: {reason}", reason=reason)
        self._refused_for = reason

    async def _lose_leader(self) -> None:
        """This standby has found out that there is no leader: forget the old one, and go on looking."""
        if self._replica.leader() is not None:
            self._log.warn("{name} is a standby and finds no leader: it looks for one each second", name=self._name)
            await self._replica.lose_leader()
        await self._seek()

    async def _try_to_enter(self) -> None:
        """Ask for the place, and only then read again what is on the disk."""
        if self.storage is None:
            return
        try:
            reply = await self._be_taken_in(self._identity)
        except StartError as error:
            self._log.warn("This standby was not taken in: {error}", error=error)
            return
        if isinstance(reply, _Full):
            self._tell_refusal(reply.reason)
            return
        self.storage = Storage.within(self.storage.directory)
        self._take_place(await self._recover(self.storage), reply)
        await self._serve(self._stand_by_if_excluded)
        if self._replica.serving:
            self._log.info(
                "{name} is a member now, and serves clients at {client_url} and machines at {peer_url}",
                name=self._name,
                client_url=self._config.client_url,
                peer_url=self._config.peer_url,
            )

    # Tasks

    def _pause(self, seconds: float) -> "Deferred[None]":
        return deferLater(self._clock, seconds, lambda: None)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done beside; one thing at a time."""
        task = ensureDeferred(work)
        if task.called:
            task.addErrback(self._broken)
            return
        self._task = task
        task.addErrback(self._broken)
        task.addCallback(self._done, task)

    def _done(self, _: None, task: "Deferred[None]") -> None:
        if self._task is task:
            self._task = None
        if self._in_doubt:
            self._in_doubt = False
            self.excluded()

    def _broken(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("This machine's place in the cluster is not looked after", failure)

    def stop(self) -> None:
        """Ask and wait no more."""
        self._stopped = True
        self._vouching.stop()
        if self._task is not None:
            self._task.cancel()


def _leader_of(view: ClusterView) -> str | None:
    """The leader's peer URL."""
    return next((each.peer_url for each in view.machines if each.name == view.leader), None)
