"""
Commands of C{txetcdctl} that ask a machine in memory, within the process of the test.
"""

import io
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO
from unittest import mock

import attrs
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.ctl.command import Asker, Runner
from etcd_twisted.ctl.main import status_of
from etcd_twisted.ctl.session import Action
from etcd_twisted.ctl.settings import Settings
from etcd_twisted.testing.memory_machine import MemoryMachine


@attrs.frozen
class Outcome:
    """What a command did."""

    status: int
    output: str
    errors: str


def captured(
    test: SynchronousTestCase,
    arguments: Sequence[str],
    stdin: bytes,
    environment: dict[str, str],
    runner: Runner,
    asker: Asker,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> Outcome:
    """
    Returns what a command did that this runs.

    @param stdout: where it prints, if not to what is returned.
    @param stderr: where it prints errors, if not to what is returned.
    """
    written = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    patches = [
        test.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")),
        test.patch(sys, "stdout", stdout or written[0]),
        test.patch(sys, "stderr", stderr or written[1]),
    ]
    try:
        # The object stays: rich keeps the one that it finds when it is imported.
        with mock.patch.dict(os.environ, environment, clear=True):
            status = status_of(arguments, runner, asker)
    finally:
        for patch in patches:
            patch.restore()
    output, errors = [each.buffer.getvalue().decode() for each in written]  # type: ignore[attr-defined]
    return Outcome(status, output, errors)


class CommandTest(SynchronousTestCase):
    """
    A test that types commands.

    @ivar machine: the machine that they ask.
    @ivar settings: the global options of the last command that has asked it.
    """

    def setUp(self) -> None:
        self.machine = MemoryMachine()
        self.addCleanup(self.machine.__exit__, None, None, None)
        self.settings: Settings | None = None

    def run_action(self, settings: Settings, action: Action[Any]) -> Any:
        """Returns what an action returns, as L{etcd_twisted.ctl.session.run} does."""
        self.settings = settings
        client = self.machine.client(credentials=settings.credentials)
        return self.machine.result_of(ensureDeferred(action(client)))  # type: ignore[arg-type]

    def type(self, *arguments: str, stdin: bytes = b"", environment: dict[str, str] | None = None) -> Outcome:
        """Returns what a command did."""
        return captured(self, arguments, stdin, environment or {}, self.run_action, lambda *_: (None, 0.0))

    def printed(self, *arguments: str, stdin: bytes = b"") -> str:
        """Returns what a command printed, which has to succeed."""
        outcome = self.type(*arguments, stdin=stdin)
        self.assertEqual((outcome.status, outcome.errors), (0, ""), arguments)
        return outcome.output

    def assertFails(self, status: int, message: str, *arguments: str, stdin: bytes = b"") -> None:
        """Asserts that a command fails, prints nothing but errors, and that one of these holds a text."""
        outcome = self.type(*arguments, stdin=stdin)
        self.assertEqual((outcome.status, outcome.output), (status, ""), outcome.errors)
        self.assertIn(message, outcome.errors)
