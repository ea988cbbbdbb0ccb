"""
Decides whether a history is linearizable: whether each operation can have had its effect at one moment between its
call and its answer (Herlihy and Wing, 1990).

The search is Wing and Gong's, with Lowe's memory of what was tried in vain. It must never know what an operation is:
only when it was, and what it does to a state.
"""

from collections.abc import Callable, Hashable, Sequence

import attrs

NEVER = float("inf")

IMPOSSIBLE = object()
"""The result of L{Step.apply} if the operation can't have had its outcome in that state."""


@attrs.frozen
class Step:
    """
    One operation.

    @ivar called: when it was called.
    @ivar answered: when it was answered; L{NEVER} when it was not.
    @ivar apply: gives the state after it, or L{IMPOSSIBLE}, for a state before.
    @ivar optional: whether it may have had no effect at all.
    """

    called: float
    answered: float
    apply: Callable[[Hashable], Hashable]
    optional: bool = False


class _TooMuchError(Exception):
    """The search takes too long."""


def linearizable(steps: Sequence[Step], initial: Hashable, most: int = 2_000_000) -> bool:
    """
    Returns whether there is an order.

    @param initial: the state at the beginning.
    @param most: how many states to try at most.
    @raise RuntimeError: there were more.
    """
    ordered = sorted(steps, key=lambda step: step.called)
    try:
        return _Search(ordered, most).run(initial)
    except _TooMuchError:
        raise RuntimeError(f"{len(steps)} operations are too many to look for an order") from None


class _Search:
    """
    Goes through the orders depth first.

    A position in the search is the set of operations that have had their effect, as bits, and the state. Because the
    operations are in the order of their calls, all those before C{first} are done.
    """

    def __init__(self, steps: list[Step], most: int) -> None:
        self._steps = steps
        self._needed = sum(1 << at for at, step in enumerate(steps) if not step.optional)
        self._most = most
        self._tried: set[tuple[int, Hashable]] = set()

    def run(self, initial: Hashable) -> bool:
        stack: list[tuple[int, Hashable]] = [(0, initial)]
        while stack:
            done, state = stack.pop()
            if done & self._needed == self._needed:
                return True
            if (done, state) in self._tried:
                continue
            self._tried.add((done, state))
            if len(self._tried) > self._most:
                raise _TooMuchError
            stack += self._onward(done, state)
        return False

    def _onward(self, done: int, state: Hashable) -> list[tuple[int, Hashable]]:
        """
        Returns the positions one operation further; the operation that was answered first comes last, so that it is
        tried first.
        """
        onward: list[tuple[float, int, Hashable]] = []
        first_answer = NEVER
        for at in range(_trailing_ones(done), len(self._steps)):
            step = self._steps[at]
            if step.called > first_answer:
                break  # another operation was over before this one began, and before all that follow
            if done >> at & 1:
                continue
            first_answer = min(first_answer, step.answered)
            after = step.apply(state)
            if after is not IMPOSSIBLE:
                onward.append((step.answered, done | 1 << at, after))
        onward.sort(key=lambda each: -each[0])
        return [(after_done, after) for _, after_done, after in onward]


def _trailing_ones(number: int) -> int:
    return (~number & number + 1).bit_length() - 1
