"""
What a majority of the voters has in common.

Must never know what the numbers are: indexes, rounds or votes.
"""

from collections.abc import Iterable


def size(voters: int) -> int:
    """How many of so many voters are a quorum."""
    return voters // 2 + 1


def reached(values: Iterable[int]) -> int:
    """The largest number that a quorum of the voters has reached, given each voter's; 0 without voters."""
    ordered = sorted(values, reverse=True)
    return ordered[size(len(ordered)) - 1] if ordered else 0
