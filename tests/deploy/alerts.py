"""
Figures of clusters that are ill, each with the alert that should fire, and of one that is healthy.

Series are in promtool's notation: C{0x10} is 0 eleven times, C{0+5x10} grows by 5 each time.
"""

import attrs

MINUTES = 40
"""How long each of them goes on, in minutes: long enough for all alerts."""


@attrs.frozen
class Illness:
    """
    @ivar series: the figures, one minute apart.
    @ivar fires: the labels of each alert that should fire, beside its severity.
    """

    alert: str
    series: dict[str, str]
    fires: tuple[dict[str, str], ...]


def _of(name: str, values: str, instance: str = "a:4001", **labels: str) -> dict[str, str]:
    """Returns one series of a machine of the cluster."""
    labels = {"instance": instance, "job": "etcd"} | labels
    written = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return {f"{name}{{{written}}}": values}


def _steady(value: object) -> str:
    return f"{value}x{MINUTES}"


def _histogram(name: str, quick: int, slow: int) -> dict[str, str]:
    """
    Returns a histogram in which, each minute, so many operations took a millisecond or less, and so many more a
    second.
    """
    return (
        _of(f"{name}_bucket", f"0+{quick}x{MINUTES}", le="0.001")
        | _of(f"{name}_bucket", f"0+{quick + slow}x{MINUTES}", le="1.024")
        | _of(f"{name}_bucket", f"0+{quick + slow}x{MINUTES}", le="+Inf")
    )


def _machines(name: str, *values: object, instance: str = "a:4001") -> dict[str, str]:
    """Returns what one machine knows of several machines, in their order."""
    series: dict[str, str] = {}
    for number, value in enumerate(values):
        series |= _of(name, _steady(value), instance, machine=f"machine{number}")
    return series


_A = {"instance": "a:4001", "job": "etcd"}

WELL: dict[str, str] = (
    _of("up", _steady(1))
    | _of("up", _steady(1), "b:4001")
    | _of("up", _steady(1), "c:4001")
    | _machines("etcd_twisted_machine_up", 1, 1, 1)
    | _machines("etcd_twisted_machine_up", 1, 1, 1, instance="b:4001")
    | _of("etcd_server_has_leader", _steady(1))
    | _of("etcd_server_leader_changes_seen_total", "1x20 2x19")
    | _of("etcd_server_proposals_committed_total", f"0+20000x{MINUTES}")
    | _of("etcd_server_proposals_applied_total", f"0+20000x{MINUTES}")
    | _of("etcd_server_proposals_applied_total", f"0+19999x{MINUTES}", "b:4001")
    | _of("etcd_server_proposals_failed_total", _steady(100))
    | _histogram("etcd_disk_wal_fsync_duration_seconds", 1000, 1)
    | _histogram("etcd_twisted_server_commit_duration_seconds", 1000, 1)
    | _of("etcd_twisted_store_quota_alarm", _steady(0))
    | _machines("etcd_twisted_machine_clock_ahead_seconds", 0, -0.9, 0.9)
    | _of("etcd_twisted_clock_jumps_total", _steady(3))
    | _of("etcd_twisted_auth_failed_logins_total", "0x20 5x20")
    | _of("etcd_twisted_disk_free_bytes", _steady(500))
    | _of("etcd_twisted_disk_size_bytes", _steady(1000))
    | _of("etcd_twisted_disk_free_bytes", _steady(0), "unknown:4001")
    | _of("etcd_twisted_disk_size_bytes", _steady(0), "unknown:4001")
    | _of("process_open_fds", _steady(50))
    | _of("process_max_fds", _steady(1000))
)
"""The figures of a healthy cluster, on which no alert fires."""

ILL = (
    Illness("MachineDown", _of("up", _steady(0)) | _of("up", _steady(1), "b:4001"), (_A,)),
    Illness(
        "MachineUnreachable",
        _machines("etcd_twisted_machine_up", 1, 1, 0)
        | _machines("etcd_twisted_machine_up", 1, 1, 0, instance="b:4001"),
        ({"job": "etcd", "machine": "machine2"},),
    ),
    # The only one of three that is left.
    Illness("MajorityLost", _machines("etcd_twisted_machine_up", 1, 0, 0), ({"job": "etcd"},)),
    # Two of four are half, and no majority.
    Illness(
        "MajorityLost",
        _machines("etcd_twisted_machine_up", 1, 1, 0, 0)
        | _machines("etcd_twisted_machine_up", 1, 0, 0, 0, instance="b:4001"),
        ({"job": "etcd"},),
    ),
    Illness("MajorityLost", _of("up", _steady(0)) | _of("up", _steady(0), "b:4001"), ({"job": "etcd"},)),
    Illness("NoLeader", _of("etcd_server_has_leader", _steady(0)), (_A,)),
    Illness("LeaderChanges", _of("etcd_server_leader_changes_seen_total", f"0+1x{MINUTES}"), (_A,)),
    Illness(
        "Behind",
        _of("etcd_server_proposals_committed_total", _steady(20001), "b:4001")
        | _of("etcd_server_proposals_committed_total", _steady(9))
        | _of("etcd_server_proposals_applied_total", _steady(20001), "b:4001")
        | _of("etcd_server_proposals_applied_total", _steady(9)),
        (_A,),
    ),
    Illness("FailedProposals", _of("etcd_server_proposals_failed_total", f"0+1x{MINUTES}"), (_A,)),
    Illness("SlowDisk", _histogram("etcd_disk_wal_fsync_duration_seconds", 100, 10), (_A,)),
    Illness("SlowCommits", _histogram("etcd_twisted_server_commit_duration_seconds", 100, 10), (_A,)),
    Illness("QuotaNear", _of("etcd_twisted_store_quota_alarm", _steady(1)), (_A,)),
    Illness(
        "ClockDiffers",
        _machines("etcd_twisted_machine_clock_ahead_seconds", 0, -1.5, 0.5),
        ({"job": "etcd", "machine": "machine1"},),
    ),
    Illness("ClockJumped", _of("etcd_twisted_clock_jumps_total", "0x35 1x5"), (_A,)),
    Illness("FailedLogins", _of("etcd_twisted_auth_failed_logins_total", f"0+5x{MINUTES}"), (_A,)),
    Illness(
        "DiskSpace",
        _of("etcd_twisted_disk_free_bytes", _steady(99)) | _of("etcd_twisted_disk_size_bytes", _steady(1000)),
        (_A,),
    ),
    Illness("OpenFiles", _of("process_open_fds", _steady(900)) | _of("process_max_fds", _steady(1000)), (_A,)),
)
