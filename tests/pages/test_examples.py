"""
The examples in C{docs/examples} but for that of DNS, which has tests of its own.
"""

import shutil

from twisted.trial.unittest import TestCase

from tests.docs.terminal import Terminal
from tests.docs.transcript import steps_of
from tests.processes.child import SOURCE
from tests.processes.machine import SERVES

EXAMPLES = SOURCE / "docs" / "examples"
PAGE = EXAMPLES / "README.md"


class PageTests(TestCase):
    timeout = 240

    if shutil.which("curl") is None:
        skip = "curl is not installed (apt-get install curl)"

    async def test_page_is_right(self) -> None:
        """Every command of the page has the output that the page shows."""
        steps = steps_of(PAGE)
        terminal = Terminal(self, steps, started=(SERVES, "haproxy.cfg is written and loaded"))
        copied = terminal.directory / "docs" / "examples"
        shutil.copytree(EXAMPLES, copied, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
        for program in [*copied.rglob("*.py"), *copied.rglob("*.tac")]:
            program.write_text(terminal.translated(program.read_text()))  # with the ports of this test
        for step in steps:
            await terminal.take(step)
