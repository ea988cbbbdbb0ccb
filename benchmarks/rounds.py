"""
The order in which servers are measured: in turns, and in each round the other one first.

This module knows only the order, and measures nothing itself.
"""

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import attrs

Work = TypeVar("Work")


@attrs.frozen
class Turn(Generic[Work]):
    """
    One server's turn with one piece of work.

    @ivar number: of the round, from 1.
    @ivar work: what is measured.
    @ivar name: the server's.
    """

    number: int
    work: Work
    name: str


def order(works: Sequence[Work], names: Sequence[str], rounds: int) -> Iterator[Turn[Work]]:
    """
    Returns each piece of work by each server in each round. The servers follow each other directly, so that a slow
    minute of the machine hurts them alike, and the first one changes with the round, so that being first is no
    advantage.
    """
    for number in range(1, rounds + 1):
        for work in works:
            for name in names if number % 2 else reversed(names):
                yield Turn(number, work, name)
