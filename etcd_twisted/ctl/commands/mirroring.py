"""
The command that keeps a copy of a directory in another cluster: C{mirror}.
"""

from pathlib import Path

import attrs
import click

from etcd_twisted.ctl.command import Command, Tool, text
from etcd_twisted.ctl.settings import Settings, credentials_of, duration, endpoints_of
from etcd_twisted.ctl.subtree import Move, normal

_TOTAL_SECONDS = 60.0
_ATTEMPT_SECONDS = 15.0
"""A comparison reads all that is copied at once, which takes longer than other requests."""


def _for_large_reads(settings: Settings) -> Settings:
    """Returns settings with which large reads have the time that they take."""
    return attrs.evolve(
        settings,
        total_seconds=max(settings.total_seconds, _TOTAL_SECONDS),
        attempt_seconds=max(settings.attempt_seconds, _ATTEMPT_SECONDS),
    )


@click.command(cls=Command)
@click.option("--to", metavar="URL,...", help="Machines of the cluster that gets the copy.")
@click.option("--to-v3", metavar="URL,...", help="The same, with version 3 of etcd's API (3.4 and later).")
@click.option("--to-directory", metavar="DIRECTORY", help="Where the copy is; else the same directory.")
@click.option(
    "--to-username",
    metavar="NAME[:PASSWORD]",
    envvar="TXETCDCTL_TO_USERNAME",
    help="A user of that cluster; a password that is not given is asked for.",
)
@click.option("--to-ca-file", metavar="FILE", help="Authorities of its machines' certificates.")
@click.option("--to-cert-file", metavar="FILE", help="The certificate to show to it.")
@click.option("--to-key-file", metavar="FILE", help="The key of that certificate.")
@click.option("--overwrite", is_flag=True, help="Begin where there are keys already, and replace them.")
@click.option("--resync", is_flag=True, help="Compare first, also with another cluster than before.")
@click.option("--once", is_flag=True, help="Make the copy the same as the source, and end.")
@click.option(
    "--report",
    metavar="DURATION",
    callback=duration,
    default="10s",
    show_default=True,
    help="How often to print the lag, and write --metrics-file.",
)
@click.option("--metrics-port", metavar="PORT", type=click.IntRange(1, 65535), help="Serve metrics on 127.0.0.1.")
@click.option("--metrics-file", metavar="FILE", type=click.Path(path_type=Path), help="Write metrics to this file.")
@click.argument("directory", default="/")
@click.pass_obj
def mirror(
    tool: Tool,
    to: str | None,
    to_v3: str | None,
    to_directory: str | None,
    to_username: str | None,
    to_ca_file: str | None,
    to_cert_file: str | None,
    to_key_file: str | None,
    overwrite: bool,
    resync: bool,
    once: bool,
    report: float,
    metrics_port: int | None,
    metrics_file: Path | None,
    directory: str,
) -> None:
    """
    Keep a directory, or everything, as a copy in another cluster, until Ctrl-C.

    Changes are copied in order, as they happen. A mirror that is started again goes on where it was.
    """
    urls = to or to_v3
    if urls is None or (to is not None and to_v3 is not None):
        raise click.UsageError("name the cluster that gets the copy: either --to URL or --to-v3 URL")
    source = normal(text(directory))
    move = Move(source, source if to_directory is None else text(to_directory))
    target = Settings(
        endpoints_of(urls),
        ca_file=to_ca_file,
        cert_file=to_cert_file,
        key_file=to_key_file,
        credentials=None if to_username is None else credentials_of(to_username, "Password at the target"),
        sync=tool.settings.sync,
    )
    from etcd_twisted.ctl.mirror.run import Options, run

    options = Options(
        move,
        _for_large_reads(target),
        to_v3 is not None,
        overwrite,
        resync,
        once,
        report,
        metrics_port,
        metrics_file,
        tool.output == "json",
    )
    attrs.evolve(tool, settings=_for_large_reads(tool.settings)).run(lambda client: run(client, options))
