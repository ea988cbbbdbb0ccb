"""
Tests of the command line, by itself and under the real C{twistd}.
"""

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.scripts.twistd import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted import __version__
from etcd_twisted.config import Config
from etcd_twisted.config.command_line import MachineOptions
from etcd_twisted.config.config import OPTIONS
from etcd_twisted.config.value_types import Form
from etcd_twisted.errors import ConfigError


def configured(*arguments: str, **environment: str) -> Config:
    """Returns the configuration that a command line results in."""
    options = MachineOptions(environment)
    options.parseOptions(arguments)
    return options.config()


class ParseTests(SynchronousTestCase):
    """Tests of parsing arguments into a L{Config}."""

    def test_no_arguments_mean_the_defaults(self) -> None:
        self.assertEqual(configured(), Config())

    def test_flags_and_environment(self) -> None:
        config = configured("--name", "machine0", "--snapshot-count=5", ETCD_NAME="other", ETCD_WATCH_HISTORY="6")
        self.assertEqual(config, Config(name="machine0", snapshot_count=5, watch_history=6))

    def test_every_flag_reaches_the_table(self) -> None:
        """Each flag is accepted, and is passed on under its own name with its own value (spec, "Flags")."""
        for option in OPTIONS:
            options = MachineOptions({})
            if option.form is Form.SWITCH:
                self.assertRaises(SystemExit, options.parseOptions, [f"{option.flag}=true"])
                options.parseOptions([option.flag])
                self.assertEqual(options.given, {option.name: ("true",)})
            else:
                error = self.assertRaises(SystemExit, options.parseOptions, [option.flag, ""])
                self.assertIn(f"{option.flag} '': should ", str(error.code))

    @given(choices=st.lists(st.booleans(), min_size=1, max_size=5))
    def test_last_switch_counts(self, choices: Sequence[bool]) -> None:
        flags = ["--snapshot" if choice else "--no-snapshot" for choice in choices]
        self.assertEqual(configured(*flags, ETCD_SNAPSHOT="false").snapshot, choices[-1])

    def test_last_value_counts(self) -> None:
        self.assertEqual(configured("--name", "a", "--name", "b").name, "b")

    @given(frontends=st.lists(st.from_regex("[a-z]+(:[a-z ]+=[a-z ]+)?", fullmatch=True), max_size=4))
    def test_frontends_are_collected(self, frontends: Sequence[str]) -> None:
        flags = [argument for frontend in frontends for argument in ("--frontend", frontend)]
        self.assertEqual(configured(*flags).frontends, tuple(frontends))

    def test_config_before_parsing(self) -> None:
        self.assertEqual(MachineOptions({}).config(), Config())
        self.assertRaises(ConfigError, MachineOptions({"ETCD_NAME": "-"}).config)

    def test_environment_of_the_process(self) -> None:
        with mock.patch.dict(os.environ, ETCD_NAME="machine0"):
            self.assertEqual(MachineOptions().config().name, "machine0")


class RefusalTests(SynchronousTestCase):
    """What can't be used is refused in one line, by way of L{SystemExit}."""

    def test_bad_arguments_are_refused(self) -> None:
        for arguments, line in [
            (["--snapshot-count", "abc"], "--snapshot-count 'abc': should be a whole number from 1 to "),
            (["--bind-addr", "::1"], "--bind-addr '::1': should have its IPv6 address in brackets"),
            (["--config", "missing.toml"], "--config missing.toml: can't be read: No such file"),
            (["--snapshot-count", "abc", "--snapshot-count", "5"], "--snapshot-count 'abc': should be a whole number"),
        ]:
            error = self.assertRaises(SystemExit, MachineOptions({}).parseOptions, arguments)
            self.assertIn(f"twistd etcd: {line}", str(error.code))
            self.assertTrue(str(error.code).isprintable(), error.code)

    def test_arguments_that_are_not_options(self) -> None:
        """An argument that is no option, or is not written as one, is refused with its remedy, if there is one."""
        dashes = "; options begin with --, as in --name machine0"
        pair = "give --snapshot or --no-snapshot"
        for arguments, line in [
            (["--fly"], "option --fly not recognized"),
            (["--name"], "option --name requires argument"),
            (["--help=5"], "option --help must not have an argument"),
            (["--s", "5"], "option --s not a unique prefix"),
            (["-x"], f"option -x not recognized{dashes}"),
            (["--snapshot=false"], f"option --snapshot must not have an argument: {pair}"),
            (["--no-snapshot=5"], f"option --no-snapshot must not have an argument: {pair}"),
            (["--snapshot", "maybe"], f"'maybe' is not an option{dashes}; --snapshot takes no value: {pair}"),
            (["machine0"], f"'machine0' is not an option{dashes}"),
            (["--name", "a", "b\nc"], f"'b\\nc' is not an option{dashes}"),
        ]:
            error = self.assertRaises(SystemExit, MachineOptions({}).parseOptions, arguments)
            self.assertEqual(error.code, f"twistd etcd: {line}")
            self.assertTrue(str(error.code).isprintable(), error.code)

    def test_did_you_mean(self) -> None:
        """
        The error suggests the option that was meant: with swapped letters, underscores for hyphens, or one dash as
        programs in Go accept.
        """
        for argument, meant in [
            ("--nmae", "--name"),
            ("--nmae=machine0", "--name"),
            ("--data_dir", "--data-dir"),
            ("--datadir", "--data-dir"),
            ("--DATA-DIR=x", "--data-dir"),
            ("--snapshots", "--snapshot"),
            ("--nosnapshot", "--no-snapshot"),
            ("--peer-adr", "--peer-addr"),
            ("-data-dir", "--data-dir"),
            ("-name=machine0", "--name"),
            ("-peer-addr", "--peer-addr"),
            ("-verbosity", "--verbosity"),
        ]:
            error = self.assertRaises(SystemExit, MachineOptions({}).parseOptions, ["--addr", "-x:1", argument, "x"])
            self.assertTrue(str(error.code).endswith(f" not recognized; did you mean {meant}?"), error.code)

    def test_options_of_twistd(self) -> None:
        """The options of C{twistd} itself have to stand before the name of the service."""
        for argument in ("-n", "--nodaemon", "--pidfile=x", "--logfile", "-l"):
            options = MachineOptions({})
            options.parent = ServerOptions()
            error = self.assertRaises(SystemExit, options.parseOptions, ["--name", "a", argument])
            flag = argument.partition("=")[0]
            self.assertTrue(str(error.code).endswith(f"before etcd, as in twistd {flag} etcd"), error.code)

    def test_bad_variable_is_refused(self) -> None:
        error = self.assertRaises(SystemExit, configured, ETCD_ADDR="here")
        self.assertIn("twistd etcd: ETCD_ADDR 'here': should have a port", str(error.code))


class HelpTests(SynchronousTestCase):
    """Tests of what C{--help} and C{--version} print."""

    def printed(self, argument: str) -> str:
        output = io.StringIO()
        self.patch(sys, "stdout", output)
        error = self.assertRaises(SystemExit, MachineOptions({}).parseOptions, [argument])
        self.assertEqual(error.code, 0)
        return output.getvalue()

    def test_help_has_every_option(self) -> None:
        words = " ".join(self.printed("--help").split())
        for option in OPTIONS:
            self.assertIn(f" {option.flag}", words)
            self.assertIn(f"{option.help} [{option.variable}; default: {option.defaults}]", words)
        self.assertIn("--no-snapshot", words)

    def test_help_has_the_width_of_the_terminal(self) -> None:
        for width in (60, 80, 132):
            for line in MachineOptions({}).getUsage(width).splitlines():
                self.assertTrue(len(line) <= width, line)

    def test_version_is_printed(self) -> None:
        self.assertIn(f"etcd_twisted {__version__} (Twisted ", self.printed("--version"))


class PluginTests(SynchronousTestCase):
    """C{twistd} finds the service."""

    def test_plugin_is_found(self) -> None:
        (maker,) = (maker for maker in getPlugins(IServiceMaker) if maker.tapname == "etcd")
        self.assertTrue(issubclass(maker.options, MachineOptions))


class ProcessTests(SynchronousTestCase):
    """Tests of the real C{twistd}, run from outside the source tree."""

    def twistd(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        directory = Path(self.mktemp())
        directory.mkdir(parents=True)
        twistd = Path(sys.executable).with_name("twistd")
        result = subprocess.run(
            [sys.executable, twistd, "-n", "etcd", *arguments],
            cwd=directory,
            env={"PATH": os.environ["PATH"], **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(list(directory.iterdir()), [], "files were left")
        return result

    def test_process_refuses_a_bad_value(self) -> None:
        """
        The process writes one line to standard error, nothing to standard output and nothing to the disk, and exits
        with status 1.
        """
        for arguments, environment, line in [
            (["--snapshot-count", "abc"], {}, "--snapshot-count 'abc': should be a whole number from 1 to "),
            (["--fly"], {}, "option --fly not recognized"),
            ([], {"ETCD_NAME": "two words"}, "ETCD_NAME 'two words': should be 1 to 255 letters"),
        ]:
            result = self.twistd(*arguments, **environment)
            (said,) = result.stderr.splitlines()
            self.assertIn(f"twistd etcd: {line}", said)
            self.assertEqual((result.stdout, result.returncode), ("", 1))

    def test_process_refuses_a_certificate_that_does_not_load(self) -> None:
        """
        Files that can't be used are reported when the machine starts, before it writes or opens anything (spec,
        "Flags").
        """
        for arguments, environment, line in [
            (["--cert-file", "c.pem", "--key-file", "c.key"], {}, "--cert-file c.pem: can't be read: No such file"),
            (["--peer-cert-file", "c"], {"ETCD_PEER_KEY_FILE": "k"}, "--peer-cert-file c: can't be read: No such"),
        ]:
            result = self.twistd(*arguments, **environment)
            (said,) = result.stderr.splitlines()
            self.assertIn(f"twistd etcd: {line}", said)
            self.assertEqual(result.returncode, 1)
            self.assertNotIn("starting on", result.stdout)

    def test_process_prints_help(self) -> None:
        result = self.twistd("--help")
        self.assertEqual((result.stderr, result.returncode), ("", 0))
        self.assertTrue(result.stdout.startswith("Usage: twistd [options] etcd [options]\nOptions:\n"), result.stdout)
