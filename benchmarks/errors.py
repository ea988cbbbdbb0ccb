"""The one exception of the benchmarks. A figure that can't be trusted is raised, never printed."""


class BenchmarkError(Exception):
    """A measurement that can't be made or trusted; its text says what failed, and gives the remedy."""
