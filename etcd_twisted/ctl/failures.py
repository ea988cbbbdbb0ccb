"""
What a command that fails says, and its exit status: that of etcdctl for version 2 of the API.

The first line of an error of the cluster is etcdctl's, since scripts read it; a second line names the remedy, if there
is one. This module must never hide an exception that nobody has expected.
"""

from typing import TYPE_CHECKING

import attrs
import click

from etcd_twisted.ctl.output import color

if TYPE_CHECKING:
    from etcd_twisted.client import ClientError

BAD_ARGUMENTS = 1
"""The command line is wrong, or the key is a directory that C{get} can't print."""

NO_CONNECTION = 2
"""No machine has answered. Nothing was changed."""

SERVER_ERROR = 4
"""The cluster has answered with an error, or it is not known whether a change was made."""

NOT_HEALTHY = 5
"""C{health}: some machine is not healthy."""

_REMEDIES = {
    100: "see what there is with: txetcdctl ls; only set, mk, mkdir and setdir make a key",
    101: "the key has changed: read it with -o extended, and give the value or the index that it has now",
    102: "it is a directory: ls lists it, and rmdir or rm --recursive removes it",
    104: "a key with a value can't hold other keys: choose another parent, or remove it first",
    105: "it is there already: update changes it, and set overwrites a value",
    107: "the root can't be changed: name a key in it",
    108: "rm --recursive removes a directory with everything in it",
    110: "name a user that may do this with --username NAME, or NAME:PASSWORD",
}


class CommandFailedError(Exception):
    """
    The command can't do what it should, for a reason that it knows. The text says why.

    @ivar status: the exit status.
    @ivar remedy: what can be done, or an empty text.
    """

    def __init__(self, message: str, status: int, remedy: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.remedy = remedy


@attrs.frozen
class Report:
    """
    What to tell the user.

    @ivar status: the exit status.
    @ivar message: what went wrong.
    @ivar remedy: what can be done, or an empty text.
    """

    status: int
    message: str
    remedy: str = ""

    def show(self) -> None:
        """Print it as errors are printed."""
        click.echo(f"{click.style('Error:', fg='red', bold=True)}  {self.message}", err=True, color=color())
        if self.remedy:
            click.echo(f"{click.style('Remedy:', bold=True)} {self.remedy}", err=True, color=color())


def report_of(error: Exception) -> Report | None:
    """Returns what to tell of an exception, or C{None} for one that is a fault of this program."""
    if isinstance(error, CommandFailedError):
        return Report(error.status, str(error), error.remedy)
    # Only the client library raises what follows, so this imports nothing that is not there yet.
    from etcd_twisted.client import ClientError

    if isinstance(error, ClientError):
        return _report_of_client_error(error)
    if isinstance(error, ValueError):  # an endpoint, a certificate or a parameter
        return Report(BAD_ARGUMENTS, str(error))
    return None


def _report_of_client_error(error: "ClientError") -> Report:
    from etcd_twisted.client import ApiError, ConnectionFailed, NoMachinesFound, OutcomeUnknown

    if isinstance(error, ApiError):
        cause = f" ({error.cause})" if error.cause else ""
        message = f"{error.code}: {error.message}{cause} [{error.index}]"
        return Report(SERVER_ERROR, message, _REMEDIES.get(error.code, ""))
    if isinstance(error, NoMachinesFound):
        return Report(NO_CONNECTION, str(error), "name the machines with --endpoints")
    if isinstance(error, ConnectionFailed):
        remedy = (
            "check that a machine serves clients there; name others with --endpoints, or wait with --total-timeout"
        )
        return Report(NO_CONNECTION, str(error), remedy)
    if isinstance(error, OutcomeUnknown):
        return Report(
            SERVER_ERROR, str(error), "read the key to see whether the change was made, before you repeat it"
        )
    return Report(SERVER_ERROR, str(error))
