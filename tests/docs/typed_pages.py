"""
Tests that type the commands of a page, and look at the answers that the page shows.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.docs.terminal import Terminal
from tests.docs.transcript import steps_of
from tests.processes.child import SOURCE

PAGES = [*sorted(SOURCE.glob("*.md")), *sorted((SOURCE / "docs").glob("**/*.md"))]
README = SOURCE / "README.md"
ELSEWHERE = {
    "docs/systemd.md": "tests.docs.test_systemd_page",
    "docs/examples/README.md": "tests.pages.test_examples",
    "docs/examples/dns/README.md": "tests.pages.test_dns_example",
}
"""Pages with commands that would change the system, each with the tests that type them elsewhere."""


class TypedPageTestCase(TestCase):
    """L{typing} makes its tests."""

    timeout = 360

    if missing := [tool for tool in ("curl", "make", "openssl") if shutil.which(tool) is None]:
        skip = f"not installed: {' '.join(missing)} (apt-get install {' '.join(missing)})"


def typing(page: Path) -> Callable[..., Any]:
    """Returns a test that types the commands of a page."""

    async def test(self: TypedPageTestCase) -> None:
        steps = steps_of(page)
        terminal = Terminal(self, steps)
        for step in steps:
            await terminal.take(step)

    test.__doc__ = f"Every command of {page.name} has the output that the page shows."
    return test
