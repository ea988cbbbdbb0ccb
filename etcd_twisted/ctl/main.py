"""
The program: its global options, and how it ends.

This module must never know what a command does.
"""

import atexit
import gc
import sys
from collections.abc import Sequence

import click

from etcd_twisted.ctl import commands
from etcd_twisted.ctl.command import NAME, Asker, Runner, Tool
from etcd_twisted.ctl.failures import BAD_ARGUMENTS, report_of
from etcd_twisted.ctl.lazy import LazyGroup
from etcd_twisted.ctl.output import FORMATS, color
from etcd_twisted.ctl.session import SignalledError, ask, run
from etcd_twisted.ctl.settings import DEFAULT_ENDPOINTS, Settings, credentials_of, duration, endpoints_of

_INTERRUPTED = 130

_NEW_OBJECTS_PER_PASS = 50_000
"""How many objects more than before there are when the garbage collector runs. A command that goes on makes them."""


def _variables(*names: str) -> list[str]:
    return [prefix + name for name in names for prefix in ("TXETCDCTL_", "ETCDCTL_")]


def _show_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        from etcd_twisted import __version__

        click.echo(f"{NAME} {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    sections=commands.SECTIONS,
    aliases=commands.ALIASES,
    package=commands.__name__,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done, 1 wrong command line, 2 no machine has answered, 4 an error of the cluster, 5 not all"
    " machines are healthy.",
)
@click.option(
    *("--endpoints", "--endpoint", "--peers", "-C"),
    metavar="URL,...",
    envvar=_variables("ENDPOINTS", "PEERS"),
    default=",".join(DEFAULT_ENDPOINTS),
    show_default=True,
    help="Machines of the cluster; one is enough, several are safer.",
)
@click.option(
    *("--discovery-srv", "-D"),
    metavar="DOMAIN",
    envvar=_variables("DISCOVERY_SRV"),
    help="Find the machines in the DNS SRV records of this domain.",
)
@click.option("--no-sync", is_flag=True, help="Ask only the machines that are named, not the others of their cluster.")
@click.option("--ca-file", metavar="FILE", envvar=_variables("CA_FILE"), help="Authorities of machines' certificates.")
@click.option("--cert-file", metavar="FILE", envvar=_variables("CERT_FILE"), help="The client's certificate.")
@click.option("--key-file", metavar="FILE", envvar=_variables("KEY_FILE"), help="The key of that certificate.")
@click.option(
    *("--username", "--user", "-u"),
    metavar="NAME[:PASSWORD]",
    envvar=_variables("USERNAME"),
    help="A user. Without a password, it is asked for.",
)
@click.option(
    "--timeout",
    metavar="DURATION",
    callback=duration,
    envvar=_variables("TIMEOUT"),
    default="2s",
    show_default=True,
    help="How long a connection, and one machine over a read, may take.",
)
@click.option(
    "--total-timeout",
    metavar="DURATION",
    callback=duration,
    envvar=_variables("TOTAL_TIMEOUT"),
    default="5s",
    show_default=True,
    help="How long a request may take in all.",
)
@click.option(
    *("--output", "-o"),
    type=click.Choice(FORMATS),
    envvar=_variables("OUTPUT"),
    default="text",
    show_default=True,
    help="How to print answers.",
)
@click.option(
    *("--version", "-v"), is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Print it."
)
@click.pass_context
def cli(
    ctx: click.Context,
    endpoints: str,
    discovery_srv: str | None,
    no_sync: bool,
    ca_file: str | None,
    cert_file: str | None,
    key_file: str | None,
    username: str | None,
    timeout: float,
    total_timeout: float,
    output: str,
) -> None:
    """
    Read, change and watch keys, and look after the cluster, over version 2 of etcd's API.

    Global options come before the command, and options of the command before its arguments. TXETCDCTL_ENDPOINTS and so
    on stand for options that are not given, and ETCDCTL_ENDPOINTS and so on likewise.
    """
    settings = Settings(
        endpoints_of(endpoints),
        discovery_srv,
        ca_file,
        cert_file,
        key_file,
        None if username is None else credentials_of(username),
        not no_sync,
        timeout,
        total_timeout,
    )
    for_people = output == "text" and sys.stdout.isatty()
    runner, asker = ctx.obj
    ctx.obj = Tool(settings, runner, asker, "text" if output == "simple" else output, for_people)
    ctx.color = color()


def status_of(arguments: Sequence[str], runner: Runner = run, asker: Asker = ask) -> int:
    """
    Returns the exit status of a command, which this runs.

    @param arguments: the command line.
    @param runner: what L{run} is, or a stand-in.
    @param asker: what L{ask} is, or a stand-in.
    """
    try:
        status = cli.main(list(arguments), prog_name=NAME, standalone_mode=False, obj=(runner, asker))
    except click.ClickException as error:
        error.show()
        return BAD_ARGUMENTS
    except click.Abort:
        return _INTERRUPTED
    except SignalledError as error:
        return error.status
    except Exception as error:
        report = report_of(error)
        if report is None:
            raise
        report.show()
        return report.status
    return status if isinstance(status, int) else 0


def main() -> None:
    """Run the command that the process's command line names, and exit."""
    # What a command imports stays: the garbage collector would take a tenth of a short command for nothing.
    gc.set_threshold(_NEW_OBJECTS_PER_PASS)
    atexit.register(gc.freeze)
    sys.exit(status_of(sys.argv[1:]))
