"""
The members of a group, as clients and other machines see them: L{Machine}s.

This module must never hold any state.
"""

from collections.abc import Mapping

from etcd_twisted.consensus.raft.entries import Configuration
from etcd_twisted.interfaces.cluster import Machine


def members_of(configuration: Configuration) -> dict[str, Machine]:
    """Returns the machines of a group, by id."""
    members = configuration.members.items()
    return {each: Machine(member.name, member.client_url, member.peer_url) for each, member in members}


def in_order(machines: Mapping[str, Machine]) -> list[Machine]:
    """Returns machines in the order of their names."""
    return sorted(machines.values(), key=lambda machine: machine.name)


def machines_of(configuration: Configuration) -> list[Machine]:
    """Returns the machines of a group, in the order of their names."""
    return in_order(members_of(configuration))
