"""
How far a long command is: a bar on a terminal, and nothing elsewhere.

This module must never write to the standard output, which may be the export itself.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Is told how far a command is."""

    def __call__(self, done: int) -> None:
        """@param done: how many records are done."""


def shown_nowhere(done: int) -> None:
    """Show nothing."""
    del done


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Progress]:
    """
    Show a bar while the block runs, if the error output is a terminal.

    @param total: how many records there are, or C{None} if that is not known.
    """
    if not sys.stderr.isatty():
        yield shown_nowhere
        return
    import rich.progress
    from rich.console import Console

    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.TextColumn("{task.completed:,.0f} records"),
        rich.progress.TimeElapsedColumn(),
        *(() if total is None else (rich.progress.TimeRemainingColumn(),)),
    )
    with rich.progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)
