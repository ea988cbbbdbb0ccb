"""
The group of the machines that begin a cluster together: what C{--initial-cluster} or C{--discovery-srv} and
C{--initial-cluster-token} make of it.

Every machine derives the same cluster id, the same machine ids and the same first entry of the log from the list and
the token. This module must never use anything else for them, as what only one machine knows: the group would differ
from machine to machine.
"""

from hashlib import blake2b

import attrs

from etcd_twisted.config import Config
from etcd_twisted.config.initial_cluster import InitialCluster, InitialMachine, normalized_peer_url
from etcd_twisted.consensus.raft.entries import Configuration, Member
from etcd_twisted.consensus.storage.data_directory import Identity
from etcd_twisted.errors import StartError
from etcd_twisted.interfaces.cluster import fingerprint

SEED_OPTIONS = ("initial-cluster", "discovery-srv", "discovery", "peers", "peers-file")
"""The options that name the other machines of a cluster."""

_SAME = "give all machines the same list, and each the name and the peer address that it has there"


@attrs.frozen
class InitialGroup:
    """
    The group, as one of its machines sees it.

    @ivar cluster_id: the id of the cluster that it begins.
    @ivar configuration: the machines, which all have votes. No machine knows where the others serve clients.
    @ivar own_id: the id of this machine.
    @ivar others: the peer URLs of each of the other machines, by name.
    """

    cluster_id: str
    configuration: Configuration
    own_id: str
    others: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, listed: InitialCluster, token: str, own: InitialMachine) -> "InitialGroup":
        """
        Returns the group of a list.

        @param own: this machine, which is in the list.
        """
        cluster_id = blake2b(str(listed).encode(), digest_size=8, key=_key(token)).hexdigest()
        ids = {machine.name: fingerprint(cluster_id, machine.name) for machine in listed.machines}
        members = {ids[machine.name]: Member(machine.name, "", machine.urls[0]) for machine in listed.machines}
        others = {machine.name: machine.urls for machine in listed.machines if machine.name != own.name}
        return cls(cluster_id, Configuration(tuple(members), (), members), ids[own.name], others)

    @property
    def quorum(self) -> int:
        """How many of the machines make a majority."""
        return len(self.configuration.voters) // 2 + 1

    @property
    def own_fingerprint(self) -> str:
        """See L{fingerprint}; it tells this machine of this group from any other."""
        return fingerprint(self.cluster_id, self.own_id)

    def identity(self, name: str) -> Identity:
        """Returns the identity of this machine."""
        return Identity(name, self.own_id, self.cluster_id)


def list_option(config: Config) -> str:
    """Returns how the static list was given, as in C{--initial-cluster} or C{ETCD_DISCOVERY_SRV}."""
    return config.given_as("discovery-srv" if config.initial_cluster is None else "initial-cluster")


def own_machine(listed: InitialCluster, config: Config) -> InitialMachine:
    """
    Returns this machine, as a list has it. The list of C{--discovery-srv} has made-up names, so the peer URL decides
    there.

    @raise StartError: the list does not have this machine, or has it at another address.
    """
    option, url = list_option(config), normalized_peer_url(config.peer_url)
    found = next((each for each in listed.machines if url in each.urls), None)
    address = f"{config.given_as('peer-addr')} {config.peer_url}"
    name = config.name if config.initial_cluster is not None else None
    named = next((each for each in listed.machines if each.name == name), None)
    if name is not None and named is None:
        raise StartError(f"{option} {listed}: {name} is not in the list; {_SAME}")
    if named is not None and named is not found:
        raise StartError(f"{option} {listed}: {name} is at {address} and not where the list has it; {_SAME}")
    if found is None:
        raise StartError(f"{option} {listed}: no machine of the list is at {address}; {_SAME}")
    return found


def check_alone(config: Config) -> None:
    """
    Check that nothing else says which machines begin the cluster, or have it.

    @raise StartError: something does.
    """
    given = [
        config.given_as(name) for name in SEED_OPTIONS if getattr(config, name.replace("-", "_")) not in (None, ())
    ]
    if len(given) > 1:
        raise StartError(f"{' and '.join(given)} both say where the machines of the cluster are; give one of them")


def _key(token: str) -> bytes:
    """Returns a key of a hash, which may be 64 bytes long and no longer, made of a token of any length."""
    return blake2b(token.encode()).digest()
