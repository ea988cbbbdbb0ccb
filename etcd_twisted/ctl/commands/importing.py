"""
The command that writes saved keys into a running cluster: C{import}.

This module must never have anything written before the command line is found to be whole: an import can't be undone.
"""

import time
from pathlib import Path

import click

from etcd_twisted.ctl.command import Command, Tool, text
from etcd_twisted.ctl.data_directories import machine_options
from etcd_twisted.ctl.progress import progress, shown_nowhere
from etcd_twisted.ctl.subtree import normal

_path = click.Path(path_type=Path)


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
@click.option("--from-data-dir", metavar="DIRECTORY", type=_path, help="Import the data directory of a stopped etcd.")
@click.option("--wal-dir", metavar="DIRECTORY", type=_path, help="etcd's --wal-dir, if it had one.")
@click.option("--uncommitted", is_flag=True, help="Take what etcd's log has behind the commit index too.")
@click.option("--to-data-dir", metavar="DIRECTORY", type=_path, help="Make a data directory of it.")
@click.option("--to-file", metavar="FILE", type=_path, help="Make a file of it, as export does.")
@machine_options
@click.argument("file", required=False)
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
    from_data_dir: Path | None,
    wal_dir: Path | None,
    uncommitted: bool,
    to_data_dir: Path | None,
    to_file: Path | None,
    name: str | None,
    client_url: str | None,
    peer_url: str | None,
    file: str | None,
) -> None:
    """
    Write the keys of FILE into the cluster.

    FILE is what export has written, or a recursive listing as a server answers with it; - is the standard input. An
    import that was interrupted goes on where it was when it is run again.

    With --from-data-dir, the data directory of a stopped etcd 2.0 to 3.5 takes the place of FILE. --to-data-dir makes
    a data directory of it, which keeps indexes and passwords, for a machine with the name and the URLs of etcd's
    member, or with those given.
    """
    from etcd_twisted.ctl.etcd_directory import Target, open_etcd_directory
    from etcd_twisted.ctl.imports import Import, Options, passwords_in
    from etcd_twisted.ctl.sources import source_of

    if passwords is not None and not users:
        raise click.UsageError("--passwords is for --users, which is not given")
    if (file is None) is (from_data_dir is None):
        raise click.UsageError("give either FILE or --from-data-dir")
    if from_data_dir is None and (wal_dir or uncommitted or to_data_dir or to_file):
        raise click.UsageError(
            "--wal-dir, --uncommitted, --to-data-dir and --to-file are for --from-data-dir, which is not given"
        )
    if to_data_dir is not None and to_file is not None:
        raise click.UsageError("give either --to-data-dir or --to-file")
    if (to_data_dir or to_file) and (source_directory or target_directory or overwrite or users or state):
        raise click.UsageError(
            "--from, --to, --overwrite, --users and --state are for a running cluster,"
            " not for --to-data-dir or --to-file, which take everything"
        )
    if to_data_dir is None and (name or client_url or peer_url):
        raise click.UsageError("--name, --client-url and --peer-url are for --to-data-dir, which is not given")
    if from_data_dir is not None:
        target = Target(to_data_dir, to_file, name, client_url, peer_url)
        source = open_etcd_directory(tool, from_data_dir, wal_dir, uncommitted, target, dry_run)
        if source is None:
            return
    else:
        source = source_of(str(file))
    survey = source.survey()
    if survey is not None and state is None:
        state = Path(f"{str(from_data_dir or file).rstrip('/')}.import-state")
    options = Options(source_directory, target_directory, overwrite, users, passwords_in(passwords), in_flight, state)
    if dry_run:
        importing = Import(source, survey, options, shown_nowhere)
        tool.run(lambda client: importing.show_what_would_be(client, tool.output))
        return
    started = time.monotonic()
    with progress("Importing", None if survey is None else survey.records) as shown:
        summary = tool.run(Import(source, survey, options, shown).run)
    summary.show(tool.output, time.monotonic() - started)
