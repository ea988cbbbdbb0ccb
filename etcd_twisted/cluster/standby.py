"""
Standing by: a machine for which the cluster has no room waits until there is some, and joins then.

This module must never keep sending clients to a leader that can't be found, nor read the disk again before it is
admitted.
"""

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from etcd_twisted.cluster.exclusion import ExclusionCheck
from etcd_twisted.cluster.joining import ROUND_PAUSE_SECONDS, Joining, NotAdmitted
from etcd_twisted.cluster.known_machines import KnownMachines
from etcd_twisted.cluster.local_machine import LocalMachine
from etcd_twisted.errors import StartError
from etcd_twisted.interfaces import IReplica


class Standby:
    """What a standby does."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        local: LocalMachine,
        replica: IReplica,
        joining: Joining,
        known: KnownMachines,
        exclusion: ExclusionCheck,
    ) -> None:
        self._clock = clock
        self._local = local
        self._replica = replica
        self._joining = joining
        self._known = known
        self._exclusion = exclusion
        self._logged_refusal = ""
        self._stopped = False

    async def wait_for_room(self) -> None:
        """Returns when this machine is a member, or L{stop} was called."""
        replica = self._replica
        pause_seconds = replica.cluster_config().sync_interval_seconds
        while replica.standby and not self._stopped:
            await deferLater(self._clock, pause_seconds, lambda: None)
            view = await self._joining.leaders_view()
            if view is None:
                await self._lose_leader()
                pause_seconds = min(ROUND_PAUSE_SECONDS, replica.cluster_config().sync_interval_seconds)
                continue
            pause_seconds = view.config.sync_interval_seconds
            await self._local.follow(view)
            if len(view.machines) < view.config.active_size:
                await self._try_to_join()

    async def _lose_leader(self) -> None:
        """Forget a leader that can't be found, and look for machines that know one."""
        if self._replica.leader() is not None:
            name = self._local.name
            self._log.warn("{name} is a standby and finds no leader: it looks for one each second", name=name)
            await self._local.lose_leader()
        await self._known.search(self._local.name)

    async def _try_to_join(self) -> None:
        """Ask to be admitted, and only then read again what is on the disk."""
        local = self._local
        try:
            reply = await self._joining.join(local.identity)
        except StartError as error:
            self._log.warn("This standby was not admitted: {error}", error=error)
            return
        if isinstance(reply, NotAdmitted):
            self.log_refusal(reply.reason)
            return
        local.reopen_files()
        recovered = await local.recover()
        local.enter_cluster(recovered, reply)
        self._known.note_members(recovered)
        await self._exclusion.when_serving(self._exclusion.stand_by_if_excluded)
        if self._replica.serving:
            own = local.machine
            self._log.info(
                "{name} is a member now, and serves clients at {client_url} and machines at {peer_url}",
                name=own.name,
                client_url=own.client_url,
                peer_url=own.peer_url,
            )

    def log_refusal(self, reason: str) -> None:
        """
        Log once why this standby is kept out of the cluster.

        @param reason: empty if it is not kept out.
        """
        if reason and reason != self._logged_refusal:
            self._log.warn("This standby can't join the cluster: {reason}", reason=reason)
        self._logged_refusal = reason

    def stop(self) -> None:
        """Make L{wait_for_room} ask no more."""
        self._stopped = True
