"""
The one table: the figures of each server for each piece of work, their ratio, and whether it reaches its target.

Two servers never run at once, and the figure of a measurement that failed is never printed.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from benchmarks import rounds, tables
from benchmarks.errors import BenchmarkError
from benchmarks.servers import KINDS

STRETCH, REACHED, MISSED, NONE = "stretch", "yes", "no", "-"


@attrs.frozen
class AtLeast:
    """
    A target where more is better.

    @ivar ratio: what ours has to be, in units of etcd's.
    @ivar stretch: what ours should better be.
    """

    ratio: float
    stretch: float

    def reached(self, ratio: float) -> str:
        """L{STRETCH}, L{REACHED} or L{MISSED}."""
        return STRETCH if ratio >= self.stretch else REACHED if ratio >= self.ratio else MISSED

    def __str__(self) -> str:
        return f">= {self.ratio:.2f} ({self.stretch:.2f})"


@attrs.frozen
class AtMost:
    """
    A target where less is better.

    @ivar ratio: what ours has to be, in units of etcd's.
    @ivar stretch: what ours should better be.
    """

    ratio: float
    stretch: float

    def reached(self, ratio: float) -> str:
        """L{STRETCH}, L{REACHED} or L{MISSED}."""
        return STRETCH if ratio <= self.stretch else REACHED if ratio <= self.ratio else MISSED

    def __str__(self) -> str:
        return f"<= {self.ratio:.2f} ({self.stretch:.2f})"


@attrs.frozen
class Line:
    """
    One figure of each server.

    @ivar work: what was done.
    @ivar unit: the unit of the figures, as it is written after them.
    @ivar decimals: how many are worth showing.
    @ivar target: for the ratio; C{None} when there is none.
    """

    work: str
    unit: str
    decimals: int = 0
    target: AtLeast | AtMost | None = None

    def cell(self, figure: float | None) -> str:
        """Returns a figure as text, or a dash if there is none."""
        return NONE if figure is None else f"{figure:,.{self.decimals}f}{self.unit}"


@attrs.frozen
class Part:
    """
    What is measured of one server, or cluster, that is started for it and for nothing else.

    @ivar lines: what there will be a figure of.
    @ivar measure: takes the server's name (of L{KINDS}) and an empty directory, and returns one figure for each line.
    """

    lines: tuple[Line, ...]
    measure: Callable[[str, Path], Sequence[float]]


@attrs.frozen
class Measured:
    """
    Everything that was measured.

    @ivar figures: for each line and server's name, those of all rounds.
    @ivar failures: what was measured again, or left out, and why.
    """

    figures: dict[tuple[Line, str], list[float]]
    failures: list[str]

    def median(self, line: Line, name: str) -> float | None:
        """Returns the median of all rounds, or C{None} if each of them failed."""
        figures = self.figures.get((line, name))
        return statistics.median(figures) if figures else None


def measure(parts: Sequence[Part], names: Sequence[str], count: int, directory: Path) -> Measured:
    """
    Measures in turns. What fails is measured again, and left out of this round if it fails again, and both are
    reported: an election in twenty minutes need not cost everything else.

    @param names: of L{KINDS}.
    @param count: of rounds.
    """
    found = Measured({}, [])
    for turn in rounds.order(parts, names, count):
        for consequence in ("measured once more", "left out"):
            try:
                figures = _alone(turn.work, turn.name, directory)
            except BenchmarkError as failure:
                told = f"{consequence}: round {turn.number}: {turn.work.lines[0].work}: {turn.name}: {failure}"
                found.failures.append(told)
                print(told, file=sys.stderr)
            else:
                _add(found, turn, figures)
                break
    return found


def _add(found: Measured, turn: rounds.Turn[Part], figures: Sequence[float]) -> None:
    for line, figure in zip(turn.work.lines, figures, strict=True):
        found.figures.setdefault((line, turn.name), []).append(figure)
        print(f"round {turn.number}: {line.work}: {turn.name} {line.cell(figure)}", file=sys.stderr)


def _alone(part: Part, name: str, directory: Path) -> Sequence[float]:
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=directory) as empty:
        return part.measure(name, Path(empty))


def table(lines: Sequence[Line], names: Sequence[str], measured: Measured) -> str:
    """
    Returns a table with one row for each line: the servers' medians and, for two servers, their ratio, its target and
    whether that is reached.

    @param names: of L{KINDS}.
    """
    heads = [KINDS[name].version() for name in names]
    rows = [["", *heads, *(["ratio", "target (stretch)", "reached"] if len(names) == 2 else [])]]
    for line in lines:
        medians = [measured.median(line, name) for name in names]
        rows.append([line.work, *map(line.cell, medians), *(_judged(line, *medians) if len(names) == 2 else [])])
    return "\n".join((tables.aligned(rows), *measured.failures))


def _judged(line: Line, ours: float | None, theirs: float | None) -> list[str]:
    ratio = tables.ratio(ours, theirs)
    if line.target is None or ours is None or not theirs:
        return [ratio, NONE if line.target is None else str(line.target), NONE]
    return [ratio, str(line.target), line.target.reached(ours / theirs)]


def run(names: Sequence[str], directory: Path, parts: Sequence[Part], count: int) -> str:
    """
    Measures all parts, with a new server for each figure.

    @param names: of L{KINDS}.
    @param count: of rounds, whose medians are shown.
    @return: the table.
    """
    lines = [line for part in parts for line in part.lines]
    return f"medians of {count}\n{table(lines, names, measure(parts, names, count, directory))}"
