"""
What the pages of the documentation show as code, and what C{make} would do if it were typed.

Never runs what a page shows: only a test knows where that may happen.
"""

import re
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.processes.child import SOURCE, spawn


def blocks(page: Path, language: str) -> list[str]:
    """A page's code of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


async def planned(test: TestCase, command: str) -> str:
    """What C{make} would do in the source tree; the test fails when it can't."""
    child = spawn(test, ["/bin/sh", "-c", f"{command} --dry-run --no-print-directory"], SOURCE)
    test.assertEqual(await child.when_ended(), 0, f"{command}\n{child.errors}")
    return child.output
