"""
What people and programs are told about a data directory or a backup: a line for people, and fields for programs.

The fields are documented (C{docs/backup.md}), and stay as they are.
"""

from pathlib import Path
from typing import Any

import attrs

from etcd_twisted.auth.state import AuthState
from etcd_twisted.consensus.raft.entries import Configuration, HardState
from etcd_twisted.datadir.content import Content
from etcd_twisted.datadir.etcd.directory import EtcdDirectory
from etcd_twisted.datadir.from_etcd import Converted
from etcd_twisted.datadir.machine import MachineDirectory

_SHOWN = 5


@attrs.frozen
class Summary:
    """
    A summary.

    @ivar title: one line.
    @ivar rows: pairs of a label and a text.
    @ivar fields: the same for programs.
    @ivar warnings: what people should know, a sentence each.
    """

    title: str
    rows: tuple[tuple[str, str], ...]
    fields: dict[str, Any]
    warnings: tuple[str, ...] = ()


def of_machine(found: MachineDirectory) -> Summary:
    """Returns what there is in the data directory of a machine."""
    identity, snapshot, content = found.identity, found.snapshot, found.content
    term, vote = found.hard_state.term, found.hard_state.vote
    behind = (
        f"{found.entries} entries behind it, up to index {content.log_index}, in {_number(found.segments, 'file')}"
    )
    rows = (
        ("machine", f"{identity.name}, id {identity.machine_id}, of the cluster {identity.cluster_id}"),
        ("group", _group(content.configuration)),
        ("snapshot", f"log index {snapshot.index}, term {snapshot.term}" if snapshot.index else "none"),
        ("log", behind),
        ("hard state", f"term {term}, vote for {vote}" if vote else f"term {term}, no vote"),
    )
    fields = {
        "kind": "machine",
        "path": str(found.path),
        "name": identity.name,
        "machineId": identity.machine_id,
        "clusterId": identity.cluster_id,
        "snapshotIndex": snapshot.index,
        "entries": found.entries,
        **_state_fields(found.hard_state),
    }
    warnings: tuple[str, ...] = ()
    if (torn := found.torn) is not None:
        warnings = (
            f"{torn.path} ends in an unfinished append: the next start cuts {torn.length} bytes off, from byte"
            f" {torn.offset} on. Nobody was told that it was done.",
        )
    return Summary(
        f"{found.path} is sound: the data directory of a machine",
        rows + _content_rows(content),
        fields | _content_fields(content),
        warnings,
    )


def of_backup(path: Path, content: Content) -> Summary:
    """Returns what there is in a backup."""
    rows = (("cluster", content.cluster_id or "unknown"), ("group", _group(content.configuration)))
    fields = {"kind": "backup", "path": str(path), "clusterId": content.cluster_id, "term": content.term}
    return Summary(f"{path} is sound: a backup", rows + _content_rows(content), fields | _content_fields(content))


def of_etcd(etcd: EtcdDirectory, converted: Converted) -> Summary:
    """Returns what there is in a data directory of etcd."""
    names = ", ".join(f"{each.name or '(no name)'} {' '.join(each.client_urls)}" for each in etcd.members)
    rows = (
        ("etcd", f"cluster version {etcd.version or '2.0'}"),
        ("member", f"id {etcd.member_id}, of the cluster {etcd.cluster_id}"),
        ("members", names or "none"),
        ("snapshot", f"log index {etcd.snapshot_index}" if etcd.snapshot_index else "none"),
        ("log", f"applied up to index {etcd.index}, term {etcd.term}"),
    )
    fields = {
        "kind": "etcd",
        "path": str(etcd.path),
        "version": etcd.version,
        "memberId": etcd.member_id,
        "clusterId": etcd.cluster_id,
        "members": [attrs.asdict(each) for each in etcd.members],
        "snapshotIndex": etcd.snapshot_index,
        "term": etcd.term,
        "notCommitted": etcd.not_committed,
        "leftOut": list(converted.left_out),
    }
    warnings = etcd.warnings
    if converted.left_out:
        shown = ", ".join(converted.left_out[:_SHOWN]) + (" and more" if len(converted.left_out) > _SHOWN else "")
        warnings += (f"Left out, since this program keeps its own cluster there: {shown}",)
    content = converted.content
    return Summary(
        f"{etcd.path} is a data directory of etcd",
        rows + _content_rows(content),
        fields | _content_fields(content),
        warnings,
    )


def _state_fields(state: HardState) -> dict[str, Any]:
    return {"term": state.term, "vote": state.vote}


def _content_rows(content: Content) -> tuple[tuple[str, str], ...]:
    counted, auth = content.count(), content.auth
    nodes = f"{_number(counted.keys, 'key')} and {_number(counted.directories, 'directory', 'directories')}"
    return (
        ("index", str(content.state.index)),
        ("holds", f"{nodes}, {counted.hidden} of them hidden, {content.count_expiring()} with a TTL"),
        ("users", _users(auth)),
    )


def _content_fields(content: Content) -> dict[str, Any]:
    counted, auth = content.count(), content.auth
    return {
        "index": content.state.index,
        "logIndex": content.log_index,
        "machines": _machines(content.configuration),
        "keys": counted.keys,
        "directories": counted.directories,
        "hidden": counted.hidden,
        "expiring": content.count_expiring(),
        "users": sorted(auth.users),
        "roles": sorted(auth.roles),
        "authEnabled": auth.enabled,
    }


def _machines(configuration: Configuration) -> list[dict[str, str]]:
    return [
        {"id": machine_id, "name": member.name, "clientURL": member.client_url, "peerURL": member.peer_url}
        for machine_id, member in sorted(configuration.members.items())
    ]


def _group(configuration: Configuration) -> str:
    return ", ".join(f"{each.name} at {each.client_url}" for each in configuration.members.values()) or "unknown"


def _users(auth: AuthState) -> str:
    state = "enabled" if auth.enabled else "disabled"
    return f"{_number(len(auth.users), 'user')} and {_number(len(auth.roles), 'role')}, authentication {state}"


def _number(count: int, one: str, several: str = "") -> str:
    return f"{count} {one if count == 1 else several or one + 's'}"
