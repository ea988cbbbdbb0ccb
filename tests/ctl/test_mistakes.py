"""
Mistakes: each is told in a line that names the thing, and mostly a second one that names a remedy.
"""

import attrs
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Site
from twisted.web.static import Data

from etcd_twisted.client import ConnectionFailed
from etcd_twisted.ctl.failures import NO_CONNECTION, report_of
from etcd_twisted.testing.ports import free_ports
from tests.certificates import Authority
from tests.ctl.real_commands import RealCommandTest
from tests.processes.machine import Machine


class RemedyTests(SynchronousTestCase):
    """Mistakes that can't be made on every computer."""

    def test_an_endpoint_without_a_port(self) -> None:
        """The remedy says which port that means."""
        for machine, is_told in (("http://h:80", True), ("https://[::1]:443", True), ("http://h:4080", False)):
            report = report_of(ConnectionFailed(f"no machine has answered: {machine}: Connection refused."))
            assert report is not None
            self.assertEqual("an endpoint without a port means 80" in report.remedy, is_told, machine)


@attrs.frozen
class Mistake:
    """
    A command line that is wrong.

    @ivar line: the command, with names of what there is in braces.
    @ivar status: the exit status.
    @ivar message: what the first line says.
    @ivar remedy: what the second line says; empty for none.
    """

    line: str
    status: int
    message: str
    remedy: str = ""


CERTIFICATE = "--endpoints https://{tls} --ca-file {ca} --cert-file {cert}"

MISTAKES = (
    # Where the machines are
    Mistake(
        "--endpoints {nothing} get /key", 2, "no machine has answered: {nothing}: ", "a machine serves clients there"
    ),
    Mistake("--endpoints {peer} get /key", 4, "does not have this API: it answers with status 404", "not a peer port"),
    Mistake("--endpoints {other} get /key", 4, "does not have this API: it answers with status 404", "another server"),
    Mistake(
        "--endpoints http://none.invalid:4001 get /key", 2, "none.invalid", "how the host is spelt in --endpoints"
    ),
    Mistake(
        "--endpoints http://127.0.0.1:4001/v2 get /key", 1, "it should have no path", "--endpoints http://HOST:PORT"
    ),
    Mistake("--endpoints ftp://127.0.0.1:21 get /key", 1, "'ftp://127.0.0.1:21'", "--endpoints http://HOST:PORT"),
    Mistake(
        "--endpoints http://127.0.0.1:port get /key", 1, "'http://127.0.0.1:port'", "--endpoints http://HOST:PORT"
    ),
    Mistake("--endpoints http://me:pw@127.0.0.1:1 get /key", 1, "can't use the endpoint", "--username NAME:PASSWORD"),
    Mistake("--endpoints , get /key", 1, "it names no machine"),
    Mistake("--discovery-srv none.invalid get /key", 2, "none.invalid", "check the domain of --discovery-srv"),
    Mistake("mirror --to {nothing} /dir", 2, "no machine has answered: {nothing}: ", "name others with --to"),
    # TLS
    # What comes after "TLS:" depends on the version of OpenSSL.
    Mistake("--endpoints https://{host} get /key", 2, "{host}: TLS: ", "write http:// in --endpoints"),
    Mistake("--endpoints http://{tls} get /key", 2, "{tls}", "write https:// in --endpoints"),
    Mistake("--endpoints http://{tls} set /key x", 4, "{tls} has not answered", "write https:// in --endpoints"),
    Mistake("--endpoints https://{tls} get /key", 2, "{tls}: TLS: certificate verify failed", "--ca-file"),
    Mistake(
        "--endpoints https://{tls} --ca-file {strange} get /key", 2, "TLS: certificate verify failed", "--ca-file"
    ),
    Mistake(
        "--endpoints https://{tls} --ca-file {ca} get /key", 2, "certificate required", "--cert-file and --key-file"
    ),
    Mistake(
        "--endpoints https://{tls} --ca-file {ca} --cert-file {foreign} --key-file {foreign_key} get /key",
        *(2, "TLS: tlsv1 alert unknown ca", "does not trust the authority of --cert-file"),
    ),
    Mistake(
        "--endpoints https://{named} --ca-file {ca} --cert-file {cert} --key-file {key} get /key",
        *(2, "certificate is not for this host", "by a name that is in its certificate"),
    ),
    Mistake("--endpoints https://{tls} --ca-file /none get /key", 1, "--ca-file /none: No such file", "PEM files"),
    Mistake("--endpoints https://{tls} --ca-file {key} get /key", 1, "--ca-file {key}: there is no PEM", "PEM files"),
    Mistake("--endpoints https://{tls} --key-file {key} get /key", 1, "--key-file {key}: it needs a", "PEM files"),
    Mistake(
        f"{CERTIFICATE} --key-file {{foreign_key}} get /key", 1, "--key-file {foreign_key}: it is not", "the key that"
    ),
    # Keys
    Mistake("get /none", 4, "100: Key not found (/none) [", "see what there is with ls"),
    Mistake("get /dir", 1, "/dir: is a directory; ls lists it"),
    Mistake("set /dir x", 4, "102: Not a file (/dir) [", "ls lists it, and rmdir or rm --recursive removes it"),
    Mistake("set /key/below x", 4, "104: Not a directory (/key) [", "choose another parent, or remove it first"),
    Mistake("updatedir /key", 4, "104: Not a directory (/key) [", "which stays as it is: update changes it"),
    Mistake("setdir /key", 4, "104: Not a directory (/key) [", "which stays as it is: update changes it"),
    Mistake("mk /key x", 4, "105: Key already exists (/key) [", "update changes it, and set overwrites a value"),
    Mistake(
        "set --swap-with-value other /key x", 4, "101: Compare failed ([other != x]) [", "read it with -o extended"
    ),
    Mistake("rmdir /dir", 4, "108: Directory not empty (/dir) [", "rm --recursive removes a directory"),
    Mistake("rm --recursive /", 4, "107: Root is read only (/) [", "name a key in it"),
    Mistake("lock --wait 0 /taken true", 4, "others have held /taken", "wait for longer with --wait"),
    # Machines
    Mistake("member remove nobody", 4, "the id or the name 'nobody'", "member list shows all of them"),
    Mistake("member update machine0 nonsense", 4, "'nonsense': should have a host name or an IP address, as in"),
    Mistake("machines show nobody", 4, "no machine 'nobody' is registered", "machines list shows the machines"),
    Mistake("machines remove nobody", 4, "no machine nobody is in the cluster", "machines list shows the machines"),
    Mistake("machines remove machine0", 4, "too few machines are alive to go on without that one", "health shows"),
    Mistake("machines allow machine0", 4, "100: Key not found", "machines forbidden shows those that are kept out"),
    # Users and roles
    Mistake("user get nobody", 4, "auth: User nobody does not exist.", "user list shows the users"),
    Mistake("user add ann:other", 4, "auth: User ann already exists.", "user passwd gives a user another password"),
    Mistake(
        "role grant nobody --path /key --read", 4, "auth: Role nobody does not exist.", "role list shows the roles"
    ),
    Mistake("role grant reader --path /key", 1, "exactly one of --read, --write or --readwrite"),
    Mistake("role grant reader --path key/* --read", 1, "'key/*' is not the path of a key; write /key/*"),
    Mistake("role grant reader --path /a/../b --read", 1, "'/a/../b' is not the path of a key; write /b"),
    Mistake("role add reader", 4, "auth: Role reader already exists.", "role get shows what its users may do"),
    Mistake("role remove nobody", 4, "auth: Role nobody doesn't exist.", "role list shows the roles"),
    Mistake(
        "role grant root --path /key --read", 4, "auth: Cannot modify role root", "give it to users with user grant"
    ),
    Mistake("role revoke reader --path /key --read", 4, "auth: Role not updated", "role get shows those that it has"),
    # A server may have let another program grant this.
    Mistake("role revoke reader --path key/* --read", 4, "auth: Role not updated", "role get shows those that it has"),
    Mistake("user revoke ann --roles reader", 4, "Revoking ungranted role reader", "user get shows the roles"),
    Mistake("user grant ann --roles ,", 1, "'--roles': it names no role; write for example reader,writer"),
    Mistake("user add ben:", 4, "auth: Cannot create user ben with an empty password", "write user add NAME:PASSWORD"),
    Mistake("auth disable", 4, "auth: already disabled"),
    Mistake("auth enable", 4, "auth: No root user available", "txetcdctl user add root"),
    # The command line
    Mistake("", 1, "Usage: txetcdctl"),
    Mistake("gte /key", 1, "No such command 'gte'. Did you mean get?"),
    Mistake("get --ttl 5 /key", 1, "No such option"),
    Mistake("get", 1, "Missing argument 'KEY'"),
    Mistake("set /key", 1, "value required: write it behind the key"),
    Mistake("set /key two words", 1, "a key has one value, but here are 2: 'two' 'words'"),
    Mistake("set --ttl soon /key x", 1, "Invalid value for '--ttl': 'soon' is not a valid integer"),
    Mistake("--timeout soon get /key", 1, "'--timeout': 'soon' is no duration; write for example 5s, 500ms or 1m30s"),
    Mistake("-o yaml get /key", 1, "'yaml' is not one of 'text', 'simple', 'json', 'extended'"),
    Mistake("--username :x get /key", 1, "':x' has no name; write NAME or NAME:PASSWORD"),
    Mistake("exec-watch /key -- none.invalid", 1, "can't run none.invalid: there is no such program on the PATH"),
    Mistake("lock --wait soon /lock", 1, "'--wait': 'soon' is no duration"),
    Mistake("elect /election", 1, "give VALUE to stand for election, or --listen to see who leads"),
    Mistake("config set", 1, "name at least one of --active-size, --remove-delay and --sync-interval"),
)

WITH_USERS = (
    Mistake("user list", 4, "110: The request requires user authentication", "name a user with --username"),
    Mistake("--username root:wrong user list", 4, "110: The request requires", "the password is wrong"),
    Mistake("--username ann:pw user list", 4, "110: The request requires", "the user lacks the right"),
    Mistake("--username root:pw auth enable", 4, "auth: already enabled"),
    Mistake("--username root:pw user remove root", 4, "auth: Cannot delete root user", "auth disable lets everybody"),
)
"""Mistakes while users are enabled."""


class MistakeTests(RealCommandTest):
    """There is a machine with a few keys and users, one with TLS, and another HTTP server."""

    timeout = 120

    async def setUp(self) -> None:
        """Starts all of them."""
        machine, secure = Machine(self), Machine(self)
        authority, strange = Authority(self.mktemp()), Authority(self.mktemp(), "strange")
        certificate, key = authority.certificate("machine0")
        foreign, foreign_key = strange.certificate("client")
        other = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(Site(Data(b"<html>", "text/html")))
        self.addCleanup(other.stopListening)
        await machine.embed()
        await secure.embed(cert_file=str(certificate), key_file=str(key), ca_file=str(authority.path))
        self.endpoints = machine.url
        for line in ("set /key x", "set /dir/key x", "mk /taken/1 x", "user add ann:pw", "role add reader"):
            await self.printed(*line.split())
        self.names: dict[str, object] = {
            "nothing": f"http://127.0.0.1:{free_ports(1)[0]}",
            "peer": f"http://127.0.0.1:{machine.peer_port}",
            "other": f"http://127.0.0.1:{other.getHost().port}",
            "host": f"127.0.0.1:{machine.port}",
            "tls": f"127.0.0.1:{secure.port}",
            "named": f"localhost:{secure.port}",
            "ca": authority.path,
            "strange": strange.path,
            "cert": certificate,
            "key": key,
            "foreign": foreign,
            "foreign_key": foreign_key,
        }

    async def assertTold(self, mistakes: tuple[Mistake, ...]) -> None:
        """Asserts that mistakes are told as their table says."""
        for mistake in mistakes:
            line, message = mistake.line.format(**self.names), mistake.message.format(**self.names)
            # Only what no machine answers takes all of this time.
            seconds = "2s" if mistake.status == NO_CONNECTION else "60s"
            outcome = await self.type("--timeout", seconds, "--total-timeout", seconds, *line.split())
            told, _, remedy = outcome.errors.partition("\nRemedy: ")
            shown = f"{line} ends with {outcome.status}:\n{outcome.errors}"
            self.assertEqual((outcome.status, outcome.output), (mistake.status, ""), shown)
            self.assertIn(message, told, shown)
            self.assertEqual(bool(remedy), bool(mistake.remedy), shown)
            self.assertIn(mistake.remedy, remedy, shown)
            if "Usage: " not in told:
                self.assertRegex(outcome.errors, r"\AError:  [^\n]+\n(Remedy: [^\n]+\n)?\Z", shown)

    async def test_mistakes(self) -> None:
        """There are more than twenty."""
        self.assertGreater(len(MISTAKES), 20)
        await self.assertTold(MISTAKES)

    async def test_mistakes_of_users(self) -> None:
        """A password is never told."""
        await self.printed("user", "add", "root:pw")
        await self.printed("auth", "enable")
        await self.assertTold(WITH_USERS)
