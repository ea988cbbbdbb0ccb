"""
What the cluster keeps about itself in the key space: its machines, its configuration, the forbidden machines, and
records of members.

Each machine is the key C{/_etcd/machines/NAME} with the value C{etcd=CLIENT_URL&raft=PEER_URL}, each URL
percent-encoded (spec, section 3, "Joining"). This module must never change anything: it reads a tree and returns
commands to apply.
"""

import itertools

import msgspec

from etcd_twisted.errors import EtcdError
from etcd_twisted.interfaces.cluster import FORBIDDEN, NAME, Forbidden, Machine
from etcd_twisted.interfaces.cluster_config import ClusterConfig, read_config
from etcd_twisted.interfaces.ids import is_id
from etcd_twisted.interfaces.member_records import DIRECTORY as RECORDS
from etcd_twisted.interfaces.member_records import MemberRecord
from etcd_twisted.keyspace import tree
from etcd_twisted.keyspace.commands import Change, Create, Delete, Set
from etcd_twisted.keyspace.nodes import Directory, File

CONFIG_KEY = "/_etcd/config"
"""The key that holds the L{ClusterConfig}, once somebody has set it."""

_MAX_ADDRESS_CHARACTERS = 100
"""The longest address of an administrator, in characters."""


def registrations(root: Directory, before: list[Machine], after: list[Machine]) -> list[Change]:
    """
    Returns the commands that register a cluster's machines in a key space and remove those that have left.

    @param before: the machines that were in the cluster before.
    @param after: the machines that are in it now.
    """
    staying = {machine.name for machine in after}
    commands: list[Change] = [Delete(each.key, 0) for each in before if each.name not in staying]
    for machine in after:
        try:
            node = tree.look_up(root, machine.key).node
        except EtcdError:  # a file stands where a directory should be: the command will say so
            node = None
        if node is None:
            commands.append(Create(machine.key, 0, machine.value))
        elif not isinstance(node, File) or node.value != machine.value:
            commands.append(Set(machine.key, 0, machine.value))
    return commands


def stored_config(root: Directory) -> ClusterConfig | None:
    """Returns the configuration in a key space, or C{None} if nobody has set one or the key holds something else."""
    try:
        node = tree.look_up(root, CONFIG_KEY).node
        return read_config(node.value, ClusterConfig()) if isinstance(node, File) else None
    except EtcdError:
        return None


def forbidden_machines(root: Directory) -> list[Forbidden]:
    """
    Returns the machines that the key space names as forbidden, sorted by name. A key that a client has set there
    counts too if a machine can have that name: the name is logged, as a part of a command that people copy from the
    log.
    """
    return [_forbidden(name, value) for name, value in _values(root, FORBIDDEN) if NAME.fullmatch(name)]


def member_records(root: Directory) -> list[MemberRecord]:
    """Returns the records of members in a key space, sorted by id. It passes over keys that are no records."""
    return [record for record in itertools.starmap(_member_record, _values(root, RECORDS)) if record is not None]


def _values(root: Directory, key: str) -> list[tuple[str, str]]:
    """Returns the names and the values of the files in a directory, sorted by name; nothing if there is none."""
    try:
        directory = tree.look_up(root, key).node
    except EtcdError:
        return []
    if not isinstance(directory, Directory):
        return []
    return [(name, node.value) for name, node in sorted(directory.children.items()) if isinstance(node, File)]


def _member_record(member_id: str, value: str) -> MemberRecord | None:
    try:
        record = _decode_record(value)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    return record if is_id(member_id) and record.id == member_id else None


def _forbidden(name: str, value: str) -> Forbidden:
    try:
        found = _decode_forbidden(value)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return Forbidden(name)
    by = found.by if found.by.isprintable() and len(found.by) <= _MAX_ADDRESS_CHARACTERS else ""
    return msgspec.structs.replace(found, name=name, by=by)


_decode_forbidden = msgspec.json.Decoder(Forbidden).decode
_decode_record = msgspec.json.Decoder(MemberRecord).decode
