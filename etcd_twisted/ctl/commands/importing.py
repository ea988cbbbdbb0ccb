"""
The command that writes saved keys into a running cluster: C{import}.
"""

import time
from pathlib import Path

import click

from etcd_twisted.ctl.command import Command, Tool, text
from etcd_twisted.ctl.progress import progress, shown_nowhere
from etcd_twisted.ctl.subtree import normal


def _directory(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else normal(text(value))


@click.command(cls=Command, name="import")
@click.option("--from", "source_directory", metavar="DIRECTORY", callback=_directory, help="Only what is in this one.")
@click.option("--to", "target_directory", metavar="DIRECTORY", callback=_directory, help="Write it into this one.")
@click.option("--overwrite", is_flag=True, help="Replace keys that exist.")
@click.option("--users", is_flag=True, help="Import users and roles too.")
@click.option(
    "--passwords",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A file with a line NAME:PASSWORD for each user; others get a random password.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be imported, and write nothing.")
@click.option(
    "--in-flight",
    metavar="N",
    type=click.IntRange(1, 1024),
    default=64,
    show_default=True,
    help="How many writes to have under way.",
)
@click.option(
    "--state", metavar="FILE", type=click.Path(path_type=Path), help="Where to keep how far it is; else beside FILE."
)
@click.argument("file")
@click.pass_obj
def import_(
    tool: Tool,
    source_directory: str | None,
    target_directory: str | None,
    overwrite: bool,
    users: bool,
    passwords: Path | None,
    dry_run: bool,
    in_flight: int,
    state: Path | None,
    file: str,
) -> None:
    """
    Write the keys of FILE into the cluster.

    FILE is what export has written, or a recursive listing as a server answers with it; - is the standard input. An
    import that was interrupted goes on where it was when it is run again.
    """
    from etcd_twisted.ctl.imports import Import, Options, passwords_in
    from etcd_twisted.ctl.sources import source_of

    if passwords is not None and not users:
        raise click.UsageError("--passwords is for --users, which is not given")
    source = source_of(file)
    survey = source.survey()
    if survey is not None and state is None:
        state = Path(f"{file}.import-state")
    options = Options(source_directory, target_directory, overwrite, users, passwords_in(passwords), in_flight, state)
    if dry_run:
        importing = Import(source, survey, options, shown_nowhere)
        tool.run(lambda client: importing.show_what_would_be(client, tool.output))
        return
    started = time.monotonic()
    with progress("Importing", None if survey is None else survey.records) as shown:
        summary = tool.run(Import(source, survey, options, shown).run)
    summary.show(tool.output, time.monotonic() - started)
