"""
The life of a machine: the first of a cluster or one of its first, a member that joins or comes back, a standby (spec,
section 3).

The data directory decides first how a machine starts, then the configured list of first machines or the seeds do.
This module must never give a machine that is in a cluster another identity, nor begin a new cluster when others were
named.
"""

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.cluster.bootstrap import Bootstrap
from etcd_twisted.cluster.exclusion import ExclusionCheck
from etcd_twisted.cluster.initial_group import InitialGroup, check_alone, list_option, own_machine
from etcd_twisted.cluster.joining import JoinClient, Joining, NotAdmitted
from etcd_twisted.cluster.known_machines import KnownMachines, SeedSource
from etcd_twisted.cluster.local_machine import LocalMachine
from etcd_twisted.cluster.membership_check import MembershipCheck
from etcd_twisted.cluster.standby import Standby
from etcd_twisted.config import Config
from etcd_twisted.config.initial_cluster import InitialCluster
from etcd_twisted.consensus.machines import members_of
from etcd_twisted.consensus.participation import Participation
from etcd_twisted.consensus.recovery import Recovered
from etcd_twisted.consensus.storage.disk_thread import DiskThread
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.interfaces import ITransport
from etcd_twisted.interfaces.cluster import fingerprinted


class Lifecycle:
    """Begins, joins or comes back, and looks after this machine's membership from then on."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        config: Config,
        participation: Participation,
        client: JoinClient,
        transport: ITransport,
        seeds: SeedSource,
    ) -> None:
        self._clock = clock
        self._config = config
        self._client = client
        self._seeds = seeds
        self._replica = replica = participation.replica
        self.local = local = LocalMachine(config, participation, transport)
        self.known = known = KnownMachines(clock, replica, config.peer_url, seeds)
        self._joining = joining = Joining(clock, config, client, local, known)
        self._exclusion = ExclusionCheck(clock, local, replica, joining, known)
        self._standby = Standby(clock, local, replica, joining, known, self._exclusion)
        self._membership_check = MembershipCheck(clock, client, replica.peer, config.peer_url, known.of_cluster)
        self._wait_to_begin: Callable[[], Awaitable[None]] | None = None
        self._task: Deferred[None] | None = None
        self._stopped = False

    @property
    def storage(self) -> Storage | None:
        """This machine's files, from L{begin} on; closed by whoever opened them."""
        return self.local.storage

    # Beginning

    async def begin(self, storage: Storage, disk_thread: DiskThread) -> None:
        """
        Returns when this machine takes part, or stands by, or has to wait for others to begin a cluster with.

        @raise StartError: it can't.
        """
        self.local.open(storage, disk_thread)
        recovered = None if storage.directory.is_to_forget else await self.local.recover()
        if recovered is not None and recovered.identity is not None:
            await self._come_back(recovered)
            return
        listed = await self._seeds.initial_cluster()
        if listed is not None and self._config.initial_cluster_state == "new":
            await self._begin_with_others(storage, recovered, listed)
        elif (refused := await self._begin_anew(storage, recovered, listed)) is not None:
            await self._exclusion.stand_by(refused.view)
            self._standby.log_refusal(refused.reason)
            self._run(self._standby.wait_for_room())

    async def when_serving(self) -> None:
        """
        Returns when this machine serves, or stands by; it has begun.

        @raise StartError: it had to wait for others, and they say that it must not begin a cluster with them.
        """
        if self._wait_to_begin is not None:
            await self._wait_to_begin()
        await self._exclusion.when_serving(self._ask_in_background)
        self._check_address()

    async def _come_back(self, recovered: Recovered) -> None:
        """Take part as a machine that has done so before."""
        local = self.local
        if recovered.identity is not None:
            local.name = recovered.identity.name
        if not recovered.configuration.members:  # it was admitted, and stopped before it knew the members
            await self.known.search(local.name)
        local.come_back(recovered)
        self.known.note_members(recovered)
        if local.is_registered_otherwise(recovered.configuration):
            self._run(self._exclusion.announce())

    async def _begin_with_others(self, storage: Storage, recovered: Recovered | None, listed: InitialCluster) -> None:
        """
        Begin a cluster together with the other machines of a list. If they are not there yet, L{when_serving} does so
        later: whoever starts this machine must be free to start the others.

        @param recovered: see L{_begin_anew}.
        @raise StartError: this machine is not in the list, or must not begin the cluster.
        """
        config = self._config
        check_alone(config)
        own = own_machine(listed, config)
        self.local.choose_name(own.name)
        group = InitialGroup.of(listed, config.initial_cluster_token, own)
        members = fingerprinted(group.cluster_id, members_of(group.configuration))
        self.local.remember(group.cluster_id, members, waits=True)
        bootstrap = Bootstrap(self._clock, self._client, group, list_option(config))
        begin = partial(self._found_together, storage, recovered, group)
        if await bootstrap.is_ready():
            await begin()
        else:
            self._wait_to_begin = partial(self._begin_when_ready, bootstrap, begin)

    async def _begin_when_ready(self, bootstrap: Bootstrap, begin: Callable[[], Awaitable[None]]) -> None:
        await bootstrap.when_ready()
        await begin()

    async def _found_together(self, storage: Storage, recovered: Recovered | None, group: InitialGroup) -> None:
        local = self.local
        storage.directory.forget()
        if recovered is None:
            recovered = await local.recover()
        self._log.info(
            "{name} begins the cluster {cluster_id} with {others}",
            name=local.name,
            cluster_id=group.cluster_id,
            others=", ".join(group.others) or "nobody else",
        )
        local.found_together(recovered, group.identity(local.name), group.configuration)
        self.known.note_members(recovered)

    async def _begin_anew(
        self, storage: Storage, recovered: Recovered | None, listed: InitialCluster | None
    ) -> NotAdmitted | None:
        """
        Take part as a machine that has not done so before, in the cluster of the seeds or in a new one.

        @param recovered: what was found on the disk; C{None} if that is to be forgotten. It is forgotten once the
            machine is certain to start.
        @param listed: the machines that have a cluster already, with this one among them.
        @return: C{None} if it takes part.
        @raise StartError: nobody answers, or the cluster does not want this machine.
        """
        local = self.local
        local.choose_name("" if listed is None else own_machine(listed, self._config).name)
        await self.known.find(local.name)
        joined = await self._joining.join(None) if self.known.urls else None
        storage.directory.forget()
        if recovered is None:
            recovered = await local.recover()
        if isinstance(joined, NotAdmitted):
            return joined
        if joined is None:
            local.found_cluster(recovered)
        else:
            local.enter_cluster(recovered, joined)
        self.known.note_members(recovered)
        return None

    # Membership

    def claimed(self) -> None:
        """Another machine says that it is in the cluster, and this one does not know it."""
        self._membership_check.ask()

    def excluded(self) -> None:
        """This machine may have been removed from the cluster."""
        if self._stopped or self._replica.standby:
            return
        if self._task is None:
            self._run(self._leave_if_excluded())
        else:
            self._exclusion.in_doubt = True  # nobody may say it again

    async def _leave_if_excluded(self) -> None:
        await self._exclusion.ask_until_known()
        await self._standby.wait_for_room()

    async def _ask_in_background(self) -> bool:
        self.excluded()
        return True

    def _check_address(self) -> None:
        """
        Ask whether others know where this machine is, if what is committed says that they do not. What its own log
        held at the start may be older than that, or an entry that was never committed. Otherwise nobody could send it
        a snapshot.

        This happens no later than it begins to serve: from then on an administrator may say that it is elsewhere.
        """
        local = self.local
        if self._replica.standby or local.identity is None:
            return
        if self._replica.members().get(local.identity.machine_id) != local.machine:
            self.excluded()

    # The one task that runs in the background

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = ensureDeferred(work)
        if task.called:
            task.addErrback(self._failed)
            return
        self._task = task
        task.addErrback(self._failed)
        task.addCallback(self._done, task)

    def _done(self, _: None, task: "Deferred[None]") -> None:
        if self._task is task:
            self._task = None
        if self._exclusion.in_doubt:
            self._exclusion.in_doubt = False
            self.excluded()

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("Looking after this machine's membership failed", failure)

    def stop(self) -> None:
        """Ask nobody any more, and wait for nothing."""
        self._stopped = True
        self._membership_check.stop()
        self._standby.stop()
        if self._task is not None:
            self._task.cancel()
