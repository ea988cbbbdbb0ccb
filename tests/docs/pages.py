"""
The code that pages of the documentation show, and what C{make} would do if it were typed.

Must never run what a page shows: only a test knows where that is safe.
"""

import re
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.processes.child import SOURCE, spawn


def blocks(page: Path, language: str) -> list[str]:
    """Returns the blocks of code in one language on a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


async def planned(test: TestCase, command: str) -> str:
    """Returns what C{make} would do in the source tree. The test fails if it cannot do that."""
    child = spawn(test, ["/bin/sh", "-c", f"{command} --dry-run --no-print-directory"], SOURCE)
    test.assertEqual(await child.when_ended(), 0, f"{command}\n{child.errors}")
    return child.output
