"""
Figures for people: aligned tables, and the facts of the machine without which no figure means anything.
"""

import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs


def ratio(ours: float | None, theirs: float | None) -> str:
    """Returns C{ours / theirs} with two decimals, or a dash if one of them is missing or the divisor is zero."""
    if ours is None or not theirs:
        return "-"
    return f"{ours / theirs:.2f}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """
    Returns a table: the first column to the left, the others to the right, a rule below the first row.

    @param rows: the head and then the lines, all of the same length.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(cells))
        for cells in (tuple(zip(row, widths, strict=True)) for row in rows)
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """
    Returns a table in Markdown.

    @param rows: the head and then the lines, all of the same length.
    """
    head, *lines = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join((head, "|---" * len(rows[0]) + "|", *lines))


@attrs.frozen
class Line:
    """
    One piece of work in a comparison.

    @ivar work: what was done, with the figure's unit.
    @ivar figures: one for each server, in the order of the columns; C{None} where there is none.
    @ivar decimals: how many are worth showing.
    """

    work: str
    figures: tuple[float | None, ...]
    decimals: int = 0

    def cells(self) -> list[str]:
        """Returns the figures as text."""
        return ["-" if figure is None else f"{figure:,.{self.decimals}f}" for figure in self.figures]

    def ratios(self) -> list[str]:
        """Returns, for two servers, what the first's figure is in units of the second's."""
        return [ratio(*self.figures)] if len(self.figures) == 2 else []


def compared(lines: Sequence[Line], heads: Sequence[str]) -> str:
    """
    Returns a table of one line per piece of work, one column per server and, with two servers, their ratio.

    @param heads: the heads of the servers' columns.
    """
    ratios = ["ratio"] if len(heads) == 2 else []
    return aligned([["", *heads, *ratios], *([line.work, *line.cells(), *line.ratios()] for line in lines)])


def file_system(directory: Path, mounts: str) -> str:
    """
    Returns the type of the file system that holds a directory.

    @param mounts: the text of C{/proc/self/mounts}.
    """
    deepest, found = -1, "unknown"
    for line in mounts.splitlines():
        _device, point, kind, *_rest = line.split(" ")
        place = Path(point.replace("\\040", " "))
        if directory.is_relative_to(place) and len(place.parts) >= deepest:  # a later mount hides an earlier one
            deepest, found = len(place.parts), kind
    return found


def machine(directory: Path, versions: Sequence[str]) -> str:
    """
    Returns one line: cores, kernel, the file system that the servers write to, and what is compared. It also says
    which Python runs, because one build of a version may be a third faster than another.
    """
    kind = file_system(directory.resolve(), Path("/proc/self/mounts").read_text())
    warning = " (in memory: a sync costs nothing there)" if kind in {"tmpfs", "ramfs"} else ""
    python = f"Python {platform.python_version()} ({Path(sys.executable).resolve()})"
    kernel = f"{platform.system()} {platform.release()}"
    return ", ".join((f"{os.cpu_count()} cores", kernel, f"{kind}{warning}", python, *versions))
