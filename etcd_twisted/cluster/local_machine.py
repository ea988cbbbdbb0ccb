"""
This machine as a member of a cluster: its identity, its files and its part in consensus.

This module must never give a machine that is in a cluster another identity, nor write to the disk before it is certain
to start.
"""

import uuid
from collections.abc import Mapping

from twisted.logger import Logger

from etcd_twisted.config import Config
from etcd_twisted.consensus.machines import members_of
from etcd_twisted.consensus.participation import Participation
from etcd_twisted.consensus.raft.entries import Configuration, Member
from etcd_twisted.consensus.recovery import (
    Recovered,
    come_back,
    enter_cluster,
    found_cluster,
    found_together,
    recover,
)
from etcd_twisted.consensus.storage.data_directory import Identity
from etcd_twisted.consensus.storage.disk_thread import DiskThread
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.interfaces import ITransport
from etcd_twisted.interfaces.cluster import ClusterView, Machine, fingerprint, fingerprinted
from etcd_twisted.interfaces.ids import new_id


class LocalMachine:
    """
    This machine.

    @ivar name: its name in the cluster; empty until it is known.
    @ivar identity: its ids; C{None} until it is in a cluster.
    @ivar election_timeout_seconds: how long a leader may be silent.
    @ivar storage: its files, from L{open} on; closed by whoever opened them.
    """

    _log = Logger()

    def __init__(self, config: Config, participation: Participation, transport: ITransport) -> None:
        self.name = ""
        self.identity: Identity | None = None
        self.election_timeout_seconds = participation.replica.timing.election_timeout_seconds
        self._participation = participation
        self._replica = participation.replica
        self.storage: Storage | None = None
        self._config = config
        self._transport = transport
        self._disk_thread: DiskThread | None = None

    def open(self, storage: Storage, disk_thread: DiskThread) -> None:
        """Take the files that this machine works with, and the thread that writes its log."""
        self.storage = storage
        self._disk_thread = disk_thread

    @property
    def _files(self) -> tuple[Storage, DiskThread]:
        if self.storage is None or self._disk_thread is None:
            raise RuntimeError("the machine has no files yet")
        return self.storage, self._disk_thread

    @property
    def machine(self) -> Machine:
        """This machine as it should be registered."""
        return Machine(self.name, self._config.client_url, self._config.peer_url)

    @property
    def _member(self) -> Member:
        return Member(self.name, self._config.client_url, self._config.peer_url)

    def choose_name(self, listed: str = "") -> None:
        """
        Take the configured name, or make one up.

        @param listed: the name of this machine in a static list, which it has unless another one is configured.
        """
        self.name = self._config.name or listed or str(uuid.uuid4())

    def is_registered_otherwise(self, configuration: Configuration) -> bool:
        """Returns whether others know another name or other addresses of this machine than it has now."""
        if self.identity is None:
            return False
        machine_id = self.identity.machine_id
        others = set(configuration.voters) - {machine_id}
        return bool(others) and configuration.members.get(machine_id) != self._member

    def is_among(self, view: ClusterView) -> bool:
        """
        Returns whether this machine is in the cluster, maybe at another address: it may have moved before it had the
        log.

        Another machine may have the same name and address if it lost its data; a leader of an older version can't
        tell.
        """
        if self.identity is not None and view.fingerprints:
            return fingerprint(view.cluster_id, self.identity.machine_id) in view.fingerprints
        own = self.machine
        return any(each.peer_url == own.peer_url and each.name == own.name for each in view.machines)

    def is_of_cluster(self, view: ClusterView) -> bool:
        """Returns whether a view is of this machine's cluster, as far as it is in one."""
        return self.identity is None or view.cluster_id == self.identity.cluster_id

    # Files

    async def recover(self) -> Recovered:
        """
        Read what is on the disk, and change nothing there.

        @raise StartError: it can't be used.
        """
        storage, _ = self._files
        keyspace, turn = self._replica.keyspace, self._participation.turn
        recovered = await recover(storage, keyspace, self._config.name, turn, self._remember_group)
        self.identity = recovered.identity
        return recovered

    def _remember_group(self, identity: Identity, configuration: Configuration) -> None:
        """Let clients know of these machines before this one has a leader."""
        self._replica.name = identity.name
        cluster_id = identity.cluster_id
        self.remember(cluster_id, fingerprinted(cluster_id, members_of(configuration)))

    def remember(self, cluster_id: str, members: Mapping[str, Machine], waits: bool = False) -> None:
        """See L{Participation.remember}."""
        self._participation.remember(cluster_id, members, waits)

    def reopen_files(self) -> None:
        """Open the files of a standby again."""
        storage, _ = self._files
        self.storage = Storage.within(storage.directory, storage.log.segment_bytes)

    # Taking part

    def found_cluster(self, recovered: Recovered) -> None:
        """Make this the first machine of a new cluster, and take part."""
        storage, _ = self._files
        identity = Identity(self.name, new_id(), new_id())
        found_cluster(storage, recovered, identity, self._member)
        self._start(recovered)

    def found_together(self, recovered: Recovered, identity: Identity, configuration: Configuration) -> None:
        """Make this one of the machines that begin a cluster together, and take part."""
        storage, _ = self._files
        found_together(storage, recovered, identity, configuration)
        self._start(recovered)

    def enter_cluster(self, recovered: Recovered, identity: Identity) -> None:
        """Take part in the cluster that has admitted this machine, under an identity that may be the one it had."""
        storage, _ = self._files
        if recovered.identity is None:
            enter_cluster(storage, recovered, identity)
        else:
            come_back(storage, recovered)
        self._start(recovered)

    def come_back(self, recovered: Recovered) -> None:
        """Take part again, as the machine that was recovered."""
        storage, _ = self._files
        come_back(storage, recovered)
        self._start(recovered)

    def _start(self, recovered: Recovered) -> None:
        storage, disk_thread = self._files
        self.identity = recovered.identity
        self._participation.start(self.machine, storage, disk_thread, recovered, self._transport)

    async def stand_by(self, view: ClusterView) -> None:
        """Take part no longer: members of the cluster answer the clients of this machine."""
        self._replica.name = self.name
        await self._participation.stand_by(view)
        if self.storage is not None:
            self.storage.log.close()
        self._log.info("{name} is a standby: members of the cluster answer its clients", name=self.name)

    async def follow(self, view: ClusterView) -> None:
        """Go by a newer view of the cluster, as a standby."""
        await self._participation.stand_by(view)

    async def lose_leader(self) -> None:
        """See L{Participation.lose_leader}."""
        await self._participation.lose_leader()
