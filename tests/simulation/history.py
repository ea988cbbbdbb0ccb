"""
The requests of clients and their answers: the history that has to be linearizable.

Only the clients that made the requests may write it.
"""

import enum
from collections.abc import Hashable

import attrs

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.commands import (
    Change,
    CompareAndDelete,
    CompareAndSwap,
    Create,
    CreateInOrder,
    Delete,
    Set,
    Update,
)
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import Directory, Node
from tests.simulation.linearizability import IMPOSSIBLE, NEVER, Step


@enum.unique
class Outcome(enum.Enum):
    """What a client learned of the outcome."""

    DONE = "done"
    """The request was carried out; for a read, this is what is there."""
    REFUSED = "refused"
    """The key space refused the request, and was not changed."""
    NOT_DONE = "not done"
    """The request was not carried out and won't be."""
    UNKNOWN = "unknown"
    """There was no answer, or the answer was that the outcome is unknown."""


@attrs.frozen
class Read:
    """
    A linearizable read.

    @ivar lease: whether a lease is enough, or leadership has to be confirmed.
    """

    key: str
    lease: bool


@attrs.define(eq=False)
class Operation:
    """
    A client's request and its outcome.

    @ivar number: another one for each operation.
    @ivar called: when it was called.
    @ivar answered: when it was answered; never, if its outcome is unknown.
    @ivar event: the event of a change.
    @ivar node: what a read found; C{None} for nothing.
    @ivar error: why it was refused.
    @ivar index: the key space's index that came with the answer.
    """

    number: int
    client: str
    request: Change | Read
    called: float
    answered: float = NEVER
    outcome: Outcome = Outcome.UNKNOWN
    event: Event | None = None
    node: Node | None = None
    error: EtcdError | None = None
    index: int = 0

    @property
    def key(self) -> str:
        """The key that the operation is about; for an in-order file, that file's."""
        in_order = isinstance(self.request, CreateInOrder) and self.event is not None
        return self.event.node.key if in_order and self.event is not None else self.request.key

    def __str__(self) -> str:
        told = self.event or self.error or self.node
        when = f"{self.called:.6f}-{self.answered:.6f}"
        return f"#{self.number} {self.client} {when} {self.request} {self.outcome.value}: {told}"


# The state of one key is its value, or None if it does not exist.


def steps_of(operations: list[Operation]) -> list[Step]:
    """
    Returns one key's operations, as steps between its values.

    A change with a TTL may be undone by itself some time later.
    """
    steps = []
    for operation in operations:
        if operation.outcome is Outcome.NOT_DONE:
            continue
        unknown = operation.outcome is Outcome.UNKNOWN
        if unknown and isinstance(operation.request, Read):
            continue
        steps.append(Step(operation.called, operation.answered, _Effect(operation), optional=unknown))
        expires = getattr(operation.request, "expires", None)
        if expires is not None and operation.outcome is not Outcome.REFUSED:
            value = getattr(operation.request, "value", None)
            steps.append(Step(operation.called, NEVER, _Expiry(value), optional=True))
    return steps


class _Expiry:
    """The expiry of a value."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, state: Hashable) -> Hashable:
        return None if state == self._value else IMPOSSIBLE


class _Effect:
    """The effect of an operation on its key, which fails if the operation can't have had its outcome."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    def __call__(self, state: Hashable) -> Hashable:
        operation = self._operation
        match operation.outcome:
            case Outcome.DONE:
                return self._done(state)
            case Outcome.REFUSED:
                return state if self._may_refuse(state) else IMPOSSIBLE
            case _:
                return self._may_do(state)

    def _done(self, state: Hashable) -> Hashable:
        operation = self._operation
        if isinstance(operation.request, Read):
            return state if state == _value(operation.node) else IMPOSSIBLE
        if operation.event is None:
            raise ValueError(f"{operation} was done, and nothing came of it")
        previous = operation.event.result.prev_node
        if previous is None and not isinstance(operation.request, Create | CreateInOrder) and state is not None:
            return IMPOSSIBLE
        if previous is not None and previous.value != state:
            return IMPOSSIBLE
        return self._may_do(state)

    def _may_do(self, state: Hashable) -> Hashable:
        """Returns the value after the operation if nothing but the request is known."""
        request = self._operation.request
        match request:
            case Set():
                return request.value
            case Create() | CreateInOrder():
                return request.value if state is None else IMPOSSIBLE
            case Update():
                return request.value if state is not None else IMPOSSIBLE
            case Delete():
                return None if state is not None else IMPOSSIBLE
            case CompareAndSwap():
                return request.value if state is not None and self._matches(state) else IMPOSSIBLE
            case CompareAndDelete():
                return None if state is not None and self._matches(state) else IMPOSSIBLE
            case _:
                raise ValueError(f"{request} is about no single key")

    def _matches(self, state: Hashable) -> bool:
        request = self._operation.request
        expected = getattr(request, "previous_value", None)
        return expected is None or expected == state

    def _may_refuse(self, state: Hashable) -> bool:
        error = self._operation.error
        match None if error is None else error.code:
            case ErrorCode.KEY_NOT_FOUND:
                return state is None
            case ErrorCode.KEY_EXISTS:
                return state is not None
            case ErrorCode.COMPARE_FAILED:
                return state is not None and error is not None and error.cause.endswith(f" != {state}]")
            case _:
                raise ValueError(f"{self._operation} was refused for no reason")


def _value(node: Node | None) -> str | None:
    if isinstance(node, Directory):
        raise ValueError(f"{node} is no file")
    return None if node is None else node.value


def is_about_one_file(operation: Operation) -> bool:
    """Returns whether the operation is about one known file, and not about the content of a directory."""
    unknown = isinstance(operation.request, CreateInOrder) and operation.event is None
    return not unknown and not isinstance(operation.node, Directory)
