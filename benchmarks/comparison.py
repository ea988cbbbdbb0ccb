"""
The one table: the figures of each server for each piece of work, their ratio, and whether it reaches its target.

Two servers never run at once, and the figure of a measurement that failed is never printed.
"""

import abc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from benchmarks import rounds, syncs, tables
from benchmarks.errors import BenchmarkError
from benchmarks.servers import KINDS

STRETCH, REACHED, MISSED, NONE = "stretch", "yes", "no", "-"


Figures = Sequence[float | None]
"""One figure for each line of a part; C{None} where this server has none."""


@attrs.frozen
class Target(abc.ABC):
    """
    The target for our figure.

    @ivar ratio: what ours has to be, in units of etcd's.
    @ivar stretch: what ours should better be.
    @ivar own: whether both are for our figure itself, and not for the ratio.
    @ivar limit: what our figure itself must not exceed as well.
    """

    ratio: float
    stretch: float
    own: bool = attrs.field(default=False, kw_only=True)
    limit: float | None = attrs.field(default=None, kw_only=True)

    @abc.abstractmethod
    def reached(self, ratio: float) -> str:
        """L{STRETCH}, L{REACHED} or L{MISSED}."""

    def judged(self, ours: float | None, theirs: float | None) -> str:
        """Returns the same for the figures of both, or L{NONE} if there is nothing to judge."""
        if ours is None or not (self.own or theirs):
            return NONE
        if self.limit is not None and ours > self.limit:
            return MISSED
        return self.reached(ours if self.own or not theirs else ours / theirs)

    def _text(self, sign: str) -> str:
        limit = "" if self.limit is None else f", <= {self.limit}"
        return f"{sign} {self.ratio:.2f} ({self.stretch:.2f}){limit}"


@attrs.frozen
class AtLeast(Target):
    """A target where more is better."""

    def reached(self, ratio: float) -> str:
        return STRETCH if ratio >= self.stretch else REACHED if ratio >= self.ratio else MISSED

    def __str__(self) -> str:
        return self._text(">=")


@attrs.frozen
class AtMost(Target):
    """A target where less is better."""

    def reached(self, ratio: float) -> str:
        return STRETCH if ratio <= self.stretch else REACHED if ratio <= self.ratio else MISSED

    def __str__(self) -> str:
        return self._text("<=")


@attrs.frozen
class Line:
    """
    One figure of each server.

    @ivar work: what was done.
    @ivar unit: the unit of the figures, as it is written after them.
    @ivar decimals: how many are worth showing.
    @ivar target: C{None} when there is none.
    @ivar compared: whether the ratio of both servers' figures says something. That of two shares does not.
    """

    work: str
    unit: str
    decimals: int = 0
    target: AtLeast | AtMost | None = None
    compared: bool = True

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
    measure: Callable[[str, Path], Figures]


@attrs.frozen
class Measured:
    """
    Everything that was measured.

    @ivar figures: for each line and server's name, those of all rounds.
    @ivar failures: what was measured again, or left out, and why.
    @ivar syncs: how long syncs took at the beginning of each round, in milliseconds.
    """

    figures: dict[tuple[Line, str], list[float]]
    failures: list[str]
    syncs: list[float] = attrs.Factory(list)

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
    number = 0
    for turn in rounds.order(parts, names, count):
        if turn.number > number:
            number = turn.number
            found.syncs.extend(syncs.durations(directory))
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


def _add(found: Measured, turn: rounds.Turn[Part], figures: Figures) -> None:
    for line, figure in zip(turn.work.lines, figures, strict=True):
        if figure is not None:
            found.figures.setdefault((line, turn.name), []).append(figure)
        print(f"round {turn.number}: {line.work}: {turn.name} {line.cell(figure)}", file=sys.stderr)


def _alone(part: Part, name: str, directory: Path) -> Figures:
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=directory) as empty:
        return part.measure(name, Path(empty))


def rows(lines: Sequence[Line], names: Sequence[str], measured: Measured) -> list[list[str]]:
    """
    Returns the cells of a table with one row for each line: the servers' medians and, for two servers, their ratio,
    the target and whether that is reached. The first row is the head.

    @param names: of L{KINDS}.
    """
    heads = [KINDS[name].version() for name in names]
    found = [["work", *heads, *(["ratio", "target (stretch)", "reached"] if len(names) == 2 else [])]]
    for line in lines:
        medians = [measured.median(line, name) for name in names]
        found.append([line.work, *map(line.cell, medians), *(_judged(line, *medians) if len(names) == 2 else [])])
    return found


def table(lines: Sequence[Line], names: Sequence[str], measured: Measured) -> str:
    """Returns the L{rows} as aligned text, and what failed."""
    return "\n".join((tables.aligned(rows(lines, names, measured)), *measured.failures))


def _judged(line: Line, ours: float | None, theirs: float | None) -> list[str]:
    ratio = tables.ratio(ours, theirs) if line.compared else NONE
    if line.target is None:
        return [ratio, NONE, NONE]
    return [ratio, str(line.target), line.target.judged(ours, theirs)]


def run(names: Sequence[str], directory: Path, parts: Sequence[Part], count: int, markdown: Path | None = None) -> str:
    """
    Measures all parts, with a new server for each figure.

    @param names: of L{KINDS}.
    @param count: of rounds, whose medians are shown.
    @param markdown: where to write the table as it is in C{docs/performance.md}; C{None} for nowhere.
    @return: the table.
    """
    lines = [line for part in parts for line in part.lines]
    measured = measure(parts, names, count, directory)
    caption = f"medians of {count}; {syncs.summary(measured.syncs)}"
    if markdown is not None:
        machine = tables.machine(directory, [KINDS[name].version() for name in names])
        markdown.write_text(
            f"{time.strftime('%Y-%m-%d')}: {machine}; {caption}.\n\n{tables.markdown(rows(lines, names, measured))}\n"
        )
    return f"{caption}\n{table(lines, names, measured)}"
