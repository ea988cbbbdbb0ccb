"""
Tests of how and where the log is written.
"""

import io
import json
import os
import signal
import sys
import syslog
from pathlib import Path
from typing import Any

from twisted.application.service import Application
from twisted.logger import ILogObserver, Logger, LogLevel
from twisted.python.failure import Failure
from twisted.python.syslog import SyslogObserver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from etcd_twisted.logs.observers import FORMATS, REQUESTS, is_standard_output, masked, observer
from etcd_twisted.tap import Options, makeService

SECRET = "http://user:se:c@ret@host:1/path"
TO_A_TERMINAL = {"nodaemon": True}


class LogsTest(SynchronousTestCase):
    """A test case whose observers write to a stream that the test reads."""

    def setUp(self) -> None:
        self.output = io.StringIO()
        self.patch(sys, "stdout", self.output)

    def logger(self, namespace: str, verbosity: int = 0, kind: str = "text", **twistd: Any) -> Logger:
        return Logger(namespace, observer=observer(verbosity, kind, TO_A_TERMINAL | twistd))

    def lines(self) -> list[str]:
        return self.output.getvalue().splitlines()


class TextTests(LogsTest):
    """Tests of the log as lines of text."""

    def test_an_event_is_a_line_of_text(self) -> None:
        """The line has the time, the logger, the level and the message, as Twisted writes it."""
        self.logger("etcd_twisted.some").info("{name} leads", name="machine0")
        (line,) = self.lines()
        self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[etcd_twisted\.some#info\] machine0 leads$")

    def test_a_failure_has_its_traceback(self) -> None:
        try:
            raise ValueError(f"no answer from {SECRET}")
        except ValueError:
            self.logger("etcd_twisted.some").failure("It failed")
        text = self.output.getvalue()
        self.assertIn("#critical] It failed\n", text)
        self.assertIn("Traceback", text)
        self.assertIn("no answer from http://user:***@host:1/path", text)


class JsonTests(LogsTest):
    """Tests of the log as JSON objects."""

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]

    def test_an_event_is_a_json_object(self) -> None:
        self.logger("etcd_twisted.some", kind="json").warn(
            "{name}: {count}\n{url}", name="machine0", count=3, url=SECRET, other=None
        )
        (line,) = self.read()
        self.assertRegex(line.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$")
        self.assertEqual(
            line,
            {
                "level": "warn",
                "logger": "etcd_twisted.some",
                "message": "machine0: 3\nhttp://user:***@host:1/path",
                "fields": {"name": "machine0", "count": 3, "url": "http://user:***@host:1/path", "other": "None"},
            },
        )

    def test_a_failure_has_its_traceback(self) -> None:
        self.logger("etcd_twisted.some", kind="json").failure("It failed", Failure(ValueError(SECRET)))
        (line,) = self.read()
        self.assertEqual((line["message"], line["level"]), ("It failed", "critical"))
        self.assertIn("ValueError: http://user:***@host:1/path", line["traceback"])
        self.assertNotIn("fields", line)

    def test_events_of_old_parts_of_twisted_are_written(self) -> None:
        written = observer(0, "json", TO_A_TERMINAL)
        written(
            {
                "log_time": 0.0,
                "log_level": LogLevel.info,
                "log_namespace": "log_legacy",
                "log_format": "{log_text}",
                "log_text": "Site starting on 4001",
                "message": ("Site starting on 4001",),
                "system": "-",
                "isError": 0,
                "time": 0.0,
            }
        )
        (line,) = self.read()
        self.assertEqual((line["message"], "fields" in line), ("Site starting on 4001", False))

    def test_any_value_can_be_written(self) -> None:
        """A value may be text that is not Unicode, or a number of any size."""
        self.logger("etcd_twisted.some", kind="json").info("{path} {number}", path="/tmp/\udcff", number=2**100)
        (line,) = self.read()
        self.assertEqual(line["fields"], {"path": "/tmp/\udcff", "number": 2**100})

    def test_an_empty_event_is_not_written(self) -> None:
        for kind in FORMATS:
            self.logger("etcd_twisted.some", kind=kind).info("")
        self.assertEqual(self.lines(), [])


class VerbosityTests(LogsTest):
    """Tests of which events are written."""

    def test_verbosity_decides_what_is_written(self) -> None:
        """More is written of this package than of others, and requests appear only at the highest verbosity."""
        for verbosity, written in ((0, "iIW"), (1, "diIW"), (2, "dirDIhW")):
            self.output.truncate(0)
            self.output.seek(0)
            ours = self.logger("etcd_twisted.consensus.x", verbosity)
            ours.debug("d")
            ours.info("i")
            self.logger(REQUESTS, verbosity).debug("r")
            others = self.logger("twisted.web", verbosity)
            others.debug("D")
            others.info("I")
            client = self.logger("twisted.web.client._HTTP11ClientFactory", verbosity)
            client.info("h")  # each connection
            client.warn("W")
            self.assertEqual("".join(line[-1] for line in self.lines()), written)


class MaskTests(SynchronousTestCase):
    """Tests of the masking of passwords."""

    def test_passwords_in_urls_are_masked(self) -> None:
        for text, shown in (
            ("http://a:b@c/d", "http://a:***@c/d"),
            ("https://:b@c", "https://:***@c"),
            ("'http://a:b@c' and ftp://d:e@f/g@h", "'http://a:***@c' and ftp://d:***@f/g@h"),
            (SECRET, "http://user:***@host:1/path"),
            ("http://a@c http://c:1/x@y me@home 1:2@3", "http://a@c http://c:1/x@y me@home 1:2@3"),
        ):
            self.assertEqual(masked(text), shown)


class DestinationTests(LogsTest):
    """Tests of where the log goes, under the options of C{twistd}."""

    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp()).resolve()
        self.path.mkdir(parents=True)
        before = signal.getsignal(signal.SIGUSR1)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)

    def test_the_log_goes_to_a_file(self) -> None:
        """The log goes to the file in the foreground and in the background."""
        for number, nodaemon in enumerate((True, False)):
            file = self.path / f"{number}.log"
            self.logger("etcd_twisted.some", kind="json", logfile=str(file), nodaemon=nodaemon).info("hello")
            self.assertEqual(json.loads(file.read_text())["message"], "hello")
        self.assertEqual(self.lines(), [])

    def test_a_daemon_has_a_default_file(self) -> None:
        before = Path.cwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.path)
        self.logger("etcd_twisted.some", nodaemon=False, logfile=None).info("hello")
        self.assertIn("hello", (self.path / "twistd.log").read_text())

    def test_the_log_goes_to_standard_output(self) -> None:
        self.logger("etcd_twisted.some", logfile="-").info("hello")
        self.assertEqual(len(self.lines()), 1)
        error = self.assertRaises(SystemExit, observer, 0, "text", {"logfile": "-", "nodaemon": False})
        self.assertIn("--logfile -: a daemon has no standard output", str(error.code))

    def test_a_file_that_can_not_be_written_is_reported(self) -> None:
        error = self.assertRaises(SystemExit, observer, 0, "text", {"logfile": str(self.path / "no" / "log")})
        self.assertIn(f"--logfile {self.path}/no/log: can't be written: No such file", str(error.code))

    def test_the_log_goes_to_syslog(self) -> None:
        """Each line has its priority, and a JSON event is one line."""
        sent: list[tuple[int, str]] = []
        opened: list[str] = []
        self.patch(SyslogObserver, "openlog", lambda _self, prefix, *_: opened.append(prefix))
        self.patch(SyslogObserver, "syslog", lambda _self, priority, text: sent.append((priority, text)))
        for kind in FORMATS:
            logger = self.logger("etcd_twisted.some", kind=kind, syslog=True, prefix="etcd", logfile="ignored")
            logger.info("at {url}", url=SECRET)
            logger.critical("two\nlines")
            logger.debug("nothing")
        self.assertEqual(opened, ["etcd", "etcd"])
        self.assertEqual(
            sent[:3],
            [
                (syslog.LOG_INFO, "[etcd_twisted.some] at http://user:***@host:1/path"),
                (syslog.LOG_CRIT, "[etcd_twisted.some] two"),
                (syslog.LOG_CRIT, "[etcd_twisted.some] \tlines"),
            ],
        )
        self.assertEqual([priority for priority, _ in sent[3:]], [syslog.LOG_INFO, syslog.LOG_CRIT])
        said = [json.loads(text.removeprefix("[etcd_twisted.some] "))["message"] for _, text in sent[3:]]
        self.assertEqual(said, ["at http://user:***@host:1/path", "two\nlines"])
        self.assertEqual(self.lines(), [])

    def test_logging_to_standard_output_is_recognized(self) -> None:
        """Standard output is the default in the foreground."""
        for twistd, expected in (
            ({"nodaemon": True}, True),
            ({"nodaemon": True, "logfile": "-", "syslog": 0, "logger": None}, True),
            ({"nodaemon": True, "logfile": "a.log"}, False),
            ({"nodaemon": True, "syslog": 1}, False),
            ({"nodaemon": True, "logger": print}, False),
            ({"nodaemon": False}, False),
        ):
            self.assertIs(is_standard_output(twistd), expected, twistd)


class ApplicationTests(LogsTest):
    """Tests of the observer that C{twistd} gets."""

    def application(self, *arguments: str) -> Any:
        options = Options({})
        options.parseOptions(arguments)
        application: Any = Application("etcd")
        makeService(options).setServiceParent(application)
        return application

    def test_the_application_has_the_configured_observer(self) -> None:
        """The observer is there before anything is started."""
        found = self.application("-v", "--log-format", "json").getComponent(ILogObserver)
        self.assertTrue(verifyObject(ILogObserver, found))
        Logger("etcd_twisted.some", observer=found).debug("hello")
        self.assertEqual(json.loads(self.output.getvalue())["message"], "hello")

    def test_an_application_keeps_its_own_observer(self) -> None:
        application: Any = Application("etcd")
        application.setComponent(ILogObserver, "mine")
        makeService(Options({})).setServiceParent(application)
        self.assertEqual(application.getComponent(ILogObserver), "mine")

    def test_each_v_raises_the_verbosity(self) -> None:
        """Only the first two C{-v} count."""
        for arguments, verbosity in (
            ((), 0),
            (("-v",), 1),
            (("-vv",), 2),
            (("-v", "-v"), 2),
            (("--verbosity", "2"), 2),
            (("-vv", "--verbosity", "0"), 0),
        ):
            options = Options({})
            options.parseOptions(arguments)
            self.assertEqual(options.config().verbosity, verbosity)
        error = self.assertRaises(SystemExit, Options({}).parseOptions, ["-vvv"])
        self.assertIn("--verbosity '3': should be a whole number from 0 to 2", str(error.code))
