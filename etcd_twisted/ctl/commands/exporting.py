"""
The command that saves keys: C{export}.

This module must never leave half a file under the name of a whole one.
"""

import contextlib
import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from etcd_twisted.ctl.command import Command, Tool, text
from etcd_twisted.ctl.failures import BAD_ARGUMENTS, CommandFailedError
from etcd_twisted.ctl.progress import progress
from etcd_twisted.ctl.subtree import is_within, normal


def _keys(_ctx: click.Context, _param: click.Parameter, keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(normal(text(key)) for key in keys)


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    """
    A file that gets its name when the block has succeeded, and is on the disk then. Only its owner may read it, unless
    the file that it replaces says otherwise.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        if path.exists() and not path.is_file():
            raise CommandFailedError(f"{path} is no file: leave --file out for the standard output", BAD_ARGUMENTS)
        path = path.resolve()
        partial = path.with_name(f"{path.name}.partial")
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
        with open(partial, "r+b", opener=lambda name, flags: os.open(name, flags | os.O_CREAT, mode)) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CommandFailedError(f"{path} is being written by another process", BAD_ARGUMENTS) from None
            try:
                os.fchmod(file.fileno(), mode)
                file.truncate()
                yield file
                file.flush()
                os.fsync(file.fileno())
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise CommandFailedError(f"can't write {partial}: {error.strerror}", BAD_ARGUMENTS) from error


@contextlib.contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # whoever reads it has enough
        raise
    except OSError as error:
        raise CommandFailedError(f"can't write to the standard output: {error.strerror}", BAD_ARGUMENTS) from error


@click.command(cls=Command)
@click.option("--file", "-f", metavar="FILE", type=click.Path(path_type=Path), help="Where to; else the output.")
@click.option(
    "--hidden",
    metavar="KEY",
    multiple=True,
    callback=_keys,
    help="Export this hidden key too, which no listing shows; may be repeated.",
)
@click.option("--users", is_flag=True, help="Export users and roles too. The API does not tell passwords.")
@click.option(
    "--no-quorum",
    is_flag=True,
    help="Take one machine's copy, which may be old: for a cluster that has lost its majority.",
)
@click.argument("directory", default="/", callback=lambda _ctx, _param, value: normal(text(value)))
@click.pass_obj
def export(
    tool: Tool, directory: str, file: Path | None, hidden: tuple[str, ...], users: bool, no_quorum: bool
) -> None:
    """
    Save a directory, or everything, as JSON lines.

    All keys are as they were at one index, with their directories and the times at which they expire.
    """
    from etcd_twisted.ctl.exports import Export

    for key in hidden:
        if not is_within(key, directory):
            raise click.UsageError(f"--hidden {key} is not below {directory}, which is exported")
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(_standard_output() if file is None else _whole_file(file))
        shown = stack.enter_context(progress("Exporting", None))
        origin = tool.settings.discovery_srv or ",".join(tool.settings.endpoints)
        exporting = Export(directory, hidden, origin, not no_quorum, output, file is not None, shown)
        writer = tool.run(lambda client: exporting.run(client, users))
    summary = f"Exported {writer.count} records"
    if users and exporting.users:
        summary += "; passwords are not among them, since the API does not tell them"
    click.echo(summary, err=file is None)
