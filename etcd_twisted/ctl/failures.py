"""
What a command that fails says, and its exit status: that of etcdctl for version 2 of the API.

The first line of an error of the cluster is etcdctl's, since scripts read it; a second line names the remedy, if there
is one. This module must never hide an exception that nobody has expected.
"""

import re
from typing import TYPE_CHECKING

import attrs
import click

from etcd_twisted.ctl.output import color
from etcd_twisted.errors import StorageError

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

UNUSABLE_DATA = 6
"""A data directory, a backup or another file is damaged, in use, or can't be used for another reason."""

_HEALTH = "health shows whether enough machines run"

_REMEDIES = {
    100: "see what there is with ls; only set, mk, mkdir and setdir make a key",
    101: "the key has changed: read it with -o extended, and give the value or the index that it has now",
    102: "it is a directory: ls lists it, and rmdir or rm --recursive removes it",
    104: "a key with a value can't hold other keys: choose another parent, or remove it first",
    105: "it is there already: update changes it, and set overwrites a value",
    107: "the root can't be changed: name a key in it",
    108: "rm --recursive removes a directory with everything in it",
    110: "name a user with --username NAME:PASSWORD; if you did, the password is wrong, or the user lacks the right",
    300: _HEALTH,
}
"""What can be done about an error of the API, by its code."""

_ELSEWHERE = (
    "check that a machine serves clients there; name others with --endpoints, or wait for longer with --total-timeout"
)

_BY_TEXT = (
    (
        "wrong version number|packet length too long|record layer",
        "no TLS is spoken there: write http:// in --endpoints",
    ),
    ("certificate verify failed", "name the authority of the machine's certificate with --ca-file"),
    ("certificate is not for this host", "name the machine in --endpoints by a name that is in its certificate"),
    (
        "alert certificate required|alert handshake failure",
        "the machine wants a certificate: --cert-file and --key-file",
    ),
    ("alert (unknown ca|bad certificate)", "the machine does not trust the authority of --cert-file: use another one"),
    ("SRV records", "check the domain of --discovery-srv, or name the machines with --endpoints"),
    ("DNS lookup failed", "check how the host is spelt in --endpoints, or name its address"),
    ("no leader is known|no leader", "too few machines run for one to lead: health shows which do"),
    (
        "closed cleanly|Connection lost|without response|Remote end closed",
        "if TLS is spoken there, write https:// in --endpoints",
    ),
    ("^can't use the endpoint .* credentials", "pass them with --username NAME:PASSWORD"),
    ("^can't use the endpoint", "write --endpoints http://HOST:PORT, with commas between several"),
    ("^--(ca|cert|key)-file", "name PEM files that can be read, and the key that belongs to the certificate"),
    ("^no machine \\S+ is|^no machine '", "machines list shows the machines by name"),
    ("^/_etcd/forbidden", "machines forbidden shows those that are kept out"),
    ("^auth: No root user", "add the user first: txetcdctl user add root"),
    ("^auth: User .* already exists", "user passwd gives a user another password"),
    ("^auth: User .* does not exist", "user list shows the users"),
    ("^auth: Cannot create user .* with an empty password", "write user add NAME:PASSWORD, or type it when asked"),
    ("^auth: Cannot delete root user", "auth disable lets everybody do everything; then it can be removed"),
    ("^auth: (Granting|Revoking) .* role .* user", "user get shows the roles that the user has"),
    ("^auth: Role .* (does not|doesn't) exist", "role list shows the roles"),
    ("^auth: Role .* already exists|^auth: Granting .* permission", "role get shows what its users may do"),
    ("^auth: Cannot modify role root", "the role root may do everything; give it to users with user grant"),
    ("^auth: Role not updated", "the role has no such right: role get shows those that it has"),
    (
        "is in use by (another )?process",
        "backup --running reads the directory of a machine that runs; check and restore take the backup",
    ),
    ("is no data directory of a machine", "import --from-data-dir DIRECTORY --dry-run says what is in one of etcd"),
    ("^nodePath .* : Not a file", "etcd 3.5 can't change a directory: remove it, and make it again with its TTL"),
    ("^others have held", "wait for longer with --wait, or as long as it takes without it"),
    ("no answer within", f"{_HEALTH}; --timeout and --total-timeout wait for longer"),
    (
        "^no machine has answered: .*:(80|443): ",
        "machines serve clients at port 4001 or 2379, and an endpoint without a port means 80, or 443 with https://",
    ),
    ("^no machine has answered|^can't look up", _ELSEWHERE),
)
"""What can be done about a failure, by a pattern of its text: of several, the first."""


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
    if isinstance(error, StorageError):
        return Report(UNUSABLE_DATA, str(error), _remedy(str(error)))
    # Only the client library raises what follows, so this imports nothing that is not there yet.
    from etcd_twisted.client import ClientError

    if isinstance(error, ClientError):
        return _report_of_client_error(error)
    if isinstance(error, ValueError):  # an endpoint, a certificate or a parameter
        message = re.sub(r"\b(ca|cert|key)_file\b", r"--\1-file", str(error))
        return Report(BAD_ARGUMENTS, message, _remedy(message))
    return None


def _report_of_client_error(error: "ClientError") -> Report:
    from etcd_twisted.client import ApiError, ConnectionFailed, OutcomeUnknown, RequestRefused, UnexpectedAnswer

    if isinstance(error, ApiError):
        cause = f" ({error.cause})" if error.cause else ""
        message = f"{error.code}: {error.message}{cause} [{error.index}]"
        return Report(SERVER_ERROR, message, _remedy(error.cause) or _REMEDIES.get(error.code, ""))
    if isinstance(error, ConnectionFailed):
        return Report(NO_CONNECTION, str(error), _remedy(str(error)))
    if isinstance(error, OutcomeUnknown):
        remedy = "read the key to see whether the change was made, before you repeat it"
        return Report(SERVER_ERROR, str(error), f"{remedy}; {_remedy(str(error)) or _HEALTH}")
    if isinstance(error, UnexpectedAnswer) or (isinstance(error, RequestRefused) and error.message == "Not Found"):
        message = f"the server that was asked does not have this API: it answers with status {error.status}"
        if error.status < 400:
            message += ", and may have made a change"
        return Report(
            SERVER_ERROR, message, "name in --endpoints the port for clients, not a peer port or another server"
        )
    message = error.message if isinstance(error, RequestRefused) else str(error)
    return Report(SERVER_ERROR, message, _remedy(message))


def _remedy(text: str) -> str:
    return next((remedy for pattern, remedy in _BY_TEXT if re.search(pattern, text)), "")
