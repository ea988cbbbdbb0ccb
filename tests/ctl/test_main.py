"""
The global options and their variables, and errors.
"""

import subprocess
import sys

from etcd_twisted import __version__
from etcd_twisted.client import Client, ConnectionFailed, OutcomeUnknown
from etcd_twisted.ctl.commands import SECTIONS
from etcd_twisted.ctl.failures import Report, report_of
from etcd_twisted.ctl.mirror import run as mirror_run
from etcd_twisted.ctl.mirror.run import Options
from etcd_twisted.ctl.settings import DEFAULT_ENDPOINTS, Settings
from tests.ctl.commands import CommandTest


class OptionTests(CommandTest):
    """Global options make settings."""

    def set_by(self, *options: str, stdin: bytes = b"", **environment: str) -> Settings:
        """Returns the settings of a command with these global options."""
        self.machine.result_of(self.machine.client().set("/key", "x"))
        outcome = self.type(*options, "get", "/key", stdin=stdin, environment=environment)
        self.assertEqual((outcome.status, outcome.output), (0, "x\n"), outcome.errors)
        assert self.settings is not None
        return self.settings

    def test_defaults(self) -> None:
        self.assertEqual(self.set_by(), Settings())
        self.assertEqual(DEFAULT_ENDPOINTS, ("http://127.0.0.1:2379", "http://127.0.0.1:4001"))

    def test_endpoints(self) -> None:
        """They have etcdctl's names."""
        for option in ("--endpoints", "--endpoint", "--peers", "-C"):
            self.assertEqual(self.set_by(option, "a:1, b:2").endpoints, ("a:1", "b:2"))
        self.assertFails(1, "it names no machine", "--endpoints", ",", "get", "/key")

    def test_files_and_domain(self) -> None:
        options = ("--ca-file", "a", "--cert-file", "b", "--key-file", "c", "--discovery-srv", "d", "--no-sync")
        wanted = Settings(ca_file="a", cert_file="b", key_file="c", discovery_srv="d", sync=False)
        self.assertEqual(self.set_by(*options), wanted)
        self.assertEqual(self.set_by("-D", "d").discovery_srv, "d")

    def test_variables(self) -> None:
        """An option goes before C{TXETCDCTL_}, and that goes before C{ETCDCTL_}."""
        theirs = {
            "ETCDCTL_ENDPOINTS": "a:1",
            "ETCDCTL_CA_FILE": "a",
            "ETCDCTL_CERT_FILE": "b",
            "ETCDCTL_KEY_FILE": "c",
        }
        wanted = Settings(("a:1",), ca_file="a", cert_file="b", key_file="c")
        self.assertEqual(self.set_by(**theirs), wanted)
        self.assertEqual(self.set_by(**theirs, TXETCDCTL_ENDPOINTS="b:1").endpoints, ("b:1",))
        self.assertEqual(self.set_by("-C", "c:1", **theirs, TXETCDCTL_ENDPOINTS="b:1").endpoints, ("c:1",))
        self.assertEqual(self.set_by(ETCDCTL_PEERS="d:1").endpoints, ("d:1",))
        self.assertEqual(self.set_by(ETCDCTL_DISCOVERY_SRV="e").discovery_srv, "e")
        self.assertEqual(self.set_by(TXETCDCTL_USERNAME="me:secret").credentials, ("me", "secret"))
        times = self.set_by(TXETCDCTL_TIMEOUT="3", TXETCDCTL_TOTAL_TIMEOUT="4")
        self.assertEqual((times.attempt_seconds, times.total_seconds), (3.0, 4.0))
        shown = self.type("get", "/key", environment={"TXETCDCTL_OUTPUT": "json"}).output
        self.assertEqual(shown[:15], '{"action":"get"')

    def test_users(self) -> None:
        """A password may have colons; one that is missing is read from a standard input that is no terminal."""
        self.assertEqual(self.set_by("--username", "me:a:b").credentials, ("me", "a:b"))
        self.assertEqual(self.set_by("-u", "me", stdin=b"secret\n").credentials, ("me", "secret"))
        self.assertFails(1, "':x' has no name", "-u", ":x", "get", "/key")

    def test_users_of_two_clusters(self) -> None:
        """Of a C{mirror}: each password is a line, and neither is in the arguments, which others can read."""
        seen: list[Options] = []

        async def run(_client: Client, options: Options) -> None:
            seen.append(options)

        self.patch(mirror_run, "run", run)
        arguments = ("-u", "me", "mirror", "--to", "http://a:1")
        self.assertEqual(self.type(*arguments, "--to-username", "ann", stdin=b"one\ntwo\n").errors, "")
        assert self.settings is not None
        self.assertEqual((self.settings.credentials, seen[-1].target.credentials), (("me", "one"), ("ann", "two")))
        self.type(*arguments, stdin=b"one\n", environment={"TXETCDCTL_TO_USERNAME": "ann:three"})
        self.assertEqual(seen[-1].target.credentials, ("ann", "three"))

    def test_durations(self) -> None:
        """They are etcdctl's, or seconds."""
        for text, seconds in (("500ms", 0.5), ("5s", 5.0), ("1m30s", 90.0), ("1h", 3600.0), ("2.5", 2.5)):
            self.assertEqual(self.set_by("--total-timeout", text).total_seconds, seconds)
            self.assertEqual(self.set_by("--timeout", text).attempt_seconds, seconds)
        for text in ("soon", "5 s", "s", "0", "-1s", ""):
            self.assertFails(1, "is no duration; write for example 5s", "--timeout", text, "get", "/key")

    def test_version(self) -> None:
        self.assertEqual(self.printed("--version"), f"txetcdctl {__version__}\n")

    def test_help(self) -> None:
        """Each command has some, in its section, and without arguments the tool prints its help too."""
        shown = self.printed("--help")
        for title, section in SECTIONS.items():
            listed = shown.partition(f"\n{title}:\n")[2].partition("\n\n")[0].splitlines()
            self.assertEqual([line.split()[0] for line in listed], list(section))
            for name in section:
                self.assertIn(f"Usage: txetcdctl {name} [OPTIONS]", self.printed(name, "-h"))
        self.assertEqual(self.type().status, 1)


class ErrorTests(CommandTest):
    """What goes wrong is told in lines, with a status."""

    def test_wrong_command_lines(self) -> None:
        for message, arguments in (
            ("No such command 'bogus'", ["bogus"]),
            ("No such option", ["get", "--bogus", "/a"]),
            ("Missing argument 'KEY'", ["get"]),
            ("Missing argument '-- COMMAND [ARGUMENT]...'", ["exec-watch", "/a"]),
            ("key and command to exec required", ["exec-watch", "/a", "--"]),
            ("there is no such program on the PATH", ["exec-watch", "/a", "--", "no-such-program"]),
            ("'yaml' is not one of", ["-o", "yaml", "get", "/a"]),
        ):
            self.assertFails(1, message, *arguments)

    def test_no_machine(self) -> None:
        """The status says that nothing was changed, and the line names the machine."""
        self.machine.cut()
        self.assertFails(2, f"Error:  no machine has answered: {self.machine.url}: ", "set", "/a", "x")
        self.assertIn("Remedy: check that a machine serves", self.type("get", "/a").errors)

    def test_writes_without_an_outcome(self) -> None:
        """A write that was not made can be repeated. Of others, nobody knows. Both may need more machines."""
        leaderless = "no machine has answered: http://a:1: Raft Internal Error (no leader is known; try again)"
        refused = report_of(ConnectionFailed(leaderless))
        self.assertEqual(refused, Report(2, leaderless, "too few machines run for one to lead: health shows which do"))
        for reason in (
            "Raft Internal Error (this machine no longer leads; whether the write was done is unknown)",
            "Raft Internal Error (etcdserver: request timed out)",
            "no answer within 5 seconds",
        ):
            report = report_of(OutcomeUnknown(f"http://a:1 has not answered: {reason}"))
            assert report is not None
            self.assertEqual((report.status, report.message), (4, f"http://a:1 has not answered: {reason}"))
            self.assertTrue(
                report.remedy.startswith(
                    "read the key to see whether the change was made, before you repeat it;"
                    " health shows whether enough machines run"
                ),
                report,
            )

    def test_unexpected_exceptions_are_not_hidden(self) -> None:
        def fail(*_: object) -> None:
            raise ZeroDivisionError

        self.patch(self, "run_action", fail)
        self.assertRaises(ZeroDivisionError, self.type, "get", "/a")


class ImportTests(CommandTest):
    """The tool starts quickly."""

    def test_help_imports_neither_twisted_nor_rich(self) -> None:
        program = (
            "import sys; from etcd_twisted.ctl.main import status_of; status_of(['--help']);"
            "print([each for each in ('twisted', 'treq', 'rich', 'msgspec') if each in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.splitlines()[-1], "[]")
