"""
The problems of the cluster and of this machine, as sentences for the dashboard. The worst comes first.

This module must never claim that something is right or wrong unless this machine knows it.
"""

from collections.abc import Iterator

import msgspec

from etcd_twisted.auth.rights import guests_may_do_everything
from etcd_twisted.interfaces import IReplica
from etcd_twisted.interfaces.cluster import Health, MachineStatus

MAX_ENTRIES_BEHIND = 1_000
"""How many log entries a machine may be behind the leader before the page says so."""


class Problem(msgspec.Struct):
    """
    Something that is wrong.

    @ivar title: a few words, for the title of the window.
    @ivar text: whole sentences.
    """

    title: str
    text: str


def problems(replica: IReplica) -> list[Problem]:
    """Returns everything that is wrong, as far as this machine knows."""
    health = replica.health()
    if replica.standby:
        return [_standing_by(health)]
    here = (*_unprotected(replica), *_behind(replica, health), *_full(replica))
    return [*_leaderless(health), *_missing(health), *here, *_clocks(health)]


def _standing_by(health: Health) -> Problem:
    if health.leader:
        served = f"{health.leader} leads the cluster and serves its clients. Reload the page to go there."
    else:
        served = "It finds no machine that leads the cluster."
    return Problem("Standby", f"This machine is a standby and holds no keys. {served}")


def _leaderless(health: Health) -> Iterator[Problem]:
    if health.leader:
        return
    if not health.voters:
        yield Problem("No cluster", "This machine does not take part in a cluster yet.")
    elif health.has_majority:
        meaning = "Writes are refused until one is elected."
        yield Problem("No leader", f"No machine leads, although a majority answers: {health.count}. {meaning}")
    else:
        meaning = "Writes are refused until more machines are started or can be reached."
        yield Problem("No majority", f"There is no majority: {health.count}. {meaning}")


def _missing(health: Health) -> Iterator[Problem]:
    """Yields the machines that are missing, and whether another one may fail."""
    for status in health.missing:
        text = f"{status.name} has not answered for {duration(status.lasted_seconds)}: {status.problem}."
        if health.leader and status.machine_id in health.voters and health.answering == health.needed:
            text += " If another machine fails, writes are refused."
        yield Problem(f"{status.name} does not answer", text)


def _unprotected(replica: IReplica) -> Iterator[Problem]:
    state = replica.auth
    if state.problem:
        text = f"The users and roles of the cluster can't be read, so nobody may do anything: {state.problem}."
        yield Problem("Users can't be read", text)
    if guests_may_do_everything(state):
        meaning = "Whoever reaches this machine needs no password. Take the rights from the role guest."
        yield Problem("Open to guests", f"Users are enabled, but guests may read and change every key. {meaning}")


def _behind(replica: IReplica, health: Health) -> Iterator[Problem]:
    if not replica.serving:
        if health.leader:
            text = "This machine is catching up with the others and does not serve requests yet."
            yield Problem("Catching up", text)
        elif health.voters:
            text = "This machine was restarted. It shows no keys until it has heard from a leader."
            yield Problem("Not ready", text)
        return
    leading = next((each.report for each in health.statuses.values() if each.name == health.leader), None)
    behind = 0 if leading is None else leading.applied - replica.raft_index
    if behind >= MAX_ENTRIES_BEHIND:
        yield Problem("Behind", f"This machine is {behind:,} log entries behind the leader, so it shows old data.")


def _full(replica: IReplica) -> Iterator[Problem]:
    contents = replica.measurements().contents
    if contents.alarm:
        held = f"The key space holds {amount(contents.size_bytes)} of the {amount(contents.quota_bytes)}"
        meaning = "Writes that would exceed this quota are refused."
        remedy = "Delete keys, or restart the machines with a larger quota."
        yield Problem("Key space nearly full", f"{held} that --quota-bytes allows. {meaning} {remedy}")


def _clocks(health: Health) -> Iterator[Problem]:
    for status in health.statuses.values():
        if status.clock_differs:
            yield Problem(f"The clock of {status.name} differs", _clock(status))


def _clock(status: MachineStatus) -> str:
    ahead = status.clock_ahead_seconds or 0.0
    side = "ahead of" if ahead > 0 else "behind"
    return f"The clock of {status.name} is {abs(ahead):.1f} s {side} this machine's. Have NTP keep the clocks of both."


def amount(size_bytes: int) -> str:
    """Returns a number of bytes as text, in the largest unit that makes it at least 1."""
    size = float(size_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1_000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1_000
    return f"{size:,.1f} TB"


def duration(seconds: float) -> str:
    """Returns a number of seconds as text, in its two largest units."""
    whole = int(seconds)
    amounts = (whole // 86_400, "d"), (whole // 3_600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")
    known = [f"{number} {unit}" for number, unit in amounts if number]
    return " ".join(known[:2]) or "0 s"
