"""
What has to be true of a whole history at its end.

  - Each answer agrees with the log: what was done is there once, and what was not done never.
  - There is an order of all operations that agrees with the log and with real time.
  - Each key's history is linearizable, whatever the log says.
  - A watcher has seen every event that it should see, once, in order.
"""

from collections import defaultdict
from typing import Protocol

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace import tree
from etcd_twisted.keyspace.commands import Command
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import Directory, Node
from tests.simulation.history import Operation, Outcome, Read, is_about_one_file, steps_of
from tests.simulation.invariants import Violation
from tests.simulation.linearizability import linearizable
from tests.simulation.reference import Reference

_LOOKED_FOR = (Outcome.DONE, Outcome.REFUSED)


def check_history(reference: Reference, operations: list[Operation], leases_hold: bool) -> None:
    """
    Checks the answers to clients against the log, and against time.

    @param leases_hold: whether reads by a lease have to be right.
    @raise Violation: an answer was wrong.
    """
    judged = [each for each in operations if leases_hold or not _is_by_lease(each)]
    logged = _check_logged(reference, judged)
    for operation in judged:
        if isinstance(operation.request, Read) and operation.outcome is Outcome.DONE:
            _check_read(reference, operation)
    _check_order(judged)
    _check_keys(judged, logged)


def _is_by_lease(operation: Operation) -> bool:
    return isinstance(operation.request, Read) and operation.request.lease


def _check_logged(reference: Reference, operations: list[Operation]) -> set[int]:
    """
    Checks that what was done is in the log once, with the outcome that the client got, and that what was not done is
    not.

    @return: the numbers of the operations that are in the log.
    """
    results: dict[tuple[str, int], list[Event | EtcdError | None]] = defaultdict(list)
    for command, result in reference.commands.values():
        name, time = _identity(command)
        results[(name, reference.asked_times.get((name, time), time))].append(result)
    logged = set()
    for operation in operations:
        if isinstance(operation.request, Read):
            continue
        found = results.get(_identity(operation.request), [])
        if found:
            logged.add(operation.number)
        if len(found) > 1:
            raise Violation(f"{operation} was done {len(found)} times")
        if operation.outcome is Outcome.NOT_DONE and found:
            raise Violation(f"{operation}, and it was done: {found[0]}")
        told = _comparable(operation.event or operation.error)
        if operation.outcome in _LOOKED_FOR and [_comparable(each) for each in found] != [told]:
            raise Violation(f"{operation}, and in the log: {found}")
    return logged


def _comparable(result: Event | EtcdError | None) -> object:
    return (result.code, result.cause, result.index) if isinstance(result, EtcdError) else result


def _identity(command: Command) -> tuple[str, int]:
    return type(command).__name__, command.time


def _check_read(reference: Reference, operation: Operation) -> None:
    root = reference.roots.get(operation.index)
    if root is None:
        raise Violation(f"{operation}, and the index {operation.index} was never seen by anybody")
    if _find(root, operation.key) != operation.node:
        raise Violation(f"{operation}, and at index {operation.index} there is {_find(root, operation.key)}")


def _find(root: Directory, key: str) -> Node | None:
    try:
        return tree.find(root, key)
    except EtcdError as error:
        if error.code is not ErrorCode.KEY_NOT_FOUND:
            raise
        return None


def _check_order(operations: list[Operation]) -> None:
    """
    The order of the indexes is an order in time: what was answered before another was called does not come after it.

    Changes come before what was only seen at their index.
    """
    told = [each for each in operations if each.outcome in _LOOKED_FOR]
    told.sort(key=lambda each: (each.index, each.event is None))
    latest: Operation | None = None
    at = 0
    while at < len(told):
        group = [told[at]]
        while group[0].event is None and at + len(group) < len(told) and told[at + len(group)].index == told[at].index:
            group.append(told[at + len(group)])
        for each in group:
            if latest is not None and each.answered < latest.called:
                raise Violation(f"{each} was answered before {latest} was called, and comes after it")
        last = max(group, key=lambda each: each.called)
        latest = last if latest is None or last.called > latest.called else latest
        at += len(group)


def _check_keys(operations: list[Operation], logged: set[int]) -> None:
    keys: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        in_log = isinstance(operation.request, Read) or operation.number in logged
        if is_about_one_file(operation) and (in_log or operation.outcome in _LOOKED_FOR):
            keys[operation.key].append(operation)
    for key, about in keys.items():
        if not linearizable(steps_of(about), None):
            story = "\n".join(str(each) for each in about)
            raise Violation(f"the history of {key} is not linearizable:\n{story}")


class Watched(Protocol):
    """What a client has watched, see L{tests.simulation.clients.Watching}."""

    key: str
    name: str
    seen: list[Event]
    gaps: list[tuple[int, int]]


def check_watching(reference: Reference, watching: Watched, kept: int) -> None:
    """
    Checks what a watcher has seen against what happened.

    @param kept: how many events a machine keeps for watchers.
    """
    everything = reference.state().history
    happened = [each for each in everything if each.touches(watching.key, True)]
    missed = {index for first, last in watching.gaps for index in range(first, last + 1)}
    expected = [each for each in happened if each.index not in missed]
    if watching.seen != expected:
        for seen, should in zip(watching.seen, expected, strict=False):
            if seen != should:
                raise Violation(f"{watching.name} saw {seen} and should have seen {should}")
        raise Violation(f"{watching.name} saw {len(watching.seen)} events, and there were {len(expected)}")
    if missed and len(everything) < kept:
        raise Violation(f"{watching.name} was told that events {watching.gaps} are gone, and none need be")
