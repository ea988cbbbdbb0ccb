"""
What a majority of the voters has reached.

This module must never know whether its numbers are indexes, rounds or votes.
"""

from collections.abc import Iterable


def size(voters: int) -> int:
    """Returns how many voters make a quorum, out of C{voters}."""
    return voters // 2 + 1


def reached(values: Iterable[int]) -> int:
    """Returns the largest number that a quorum has reached, given the number of each voter; 0 without voters."""
    ordered = sorted(values, reverse=True)
    return ordered[size(len(ordered)) - 1] if ordered else 0
