"""
Programs that other people wrote, in the environment of their own that C{make} installs them into: they want other
versions of what this project uses.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import TestCase

from tests.processes.child import SOURCE, spawn

BIN = SOURCE / ".venv-foreign" / "bin"

_SCRIPTS = Path(__file__).parent / "scripts"


MISSING = None if (BIN / "python").exists() else "the programs are not installed (make .venv-foreign/installed)"
"""Why these tests are skipped, if they are."""


async def run(
    test: TestCase, program: str, *arguments: str | Path, environment: Mapping[str, str] | None = None
) -> str:
    """Returns what a program prints, which has to succeed. The test's own timeout bounds the wait."""
    directory = Path(test.mktemp())
    directory.mkdir()
    variables = {"PYTHONPATH": "", "HOME": str(directory.resolve())} | dict(environment or {})
    child = spawn(test, [BIN / program, *arguments], directory, variables)
    test.assertEqual(await child.when_ended(), 0, f"{child.output}\n{child.errors}")
    return child.output


async def run_script(test: TestCase, name: str, *arguments: str | Path) -> Any:
    """Returns the JSON that a script prints, which has to succeed."""
    return msgspec.json.decode(await run(test, "python", _SCRIPTS / name, *arguments))
