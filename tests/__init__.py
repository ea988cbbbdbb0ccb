"""
The tests, laid out like the package. Beside them are whole simulated clusters, real processes, clients and a browser.

Must never judge by how long anything takes, which is the job of C{benchmarks}. Hypothesis therefore has no deadline,
neither for an example nor for making one.
"""

import os

from hypothesis import HealthCheck, settings

_EXAMPLES_PERCENT = int(os.environ.get("EXAMPLES_PERCENT", "15"))
"""The share of each property's examples that is tried. C{make properties} tries more."""


def examples(count: int) -> int:
    """Returns how many examples to try, where C{count} are enough to find the faults of a property."""
    return max(1, count * _EXAMPLES_PERCENT // 100)


settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=examples(100)
)
settings.load_profile("untimed")
