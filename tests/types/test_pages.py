"""
The programs that pages of the client library and of embedding show are clean for C{mypy --strict}: users copy them.

What Twisted itself has no types for is left out, as a user has to. C{make lint} checks the packages in
C{docs/examples} without that exception.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.transcript import File, steps_of
from tests.processes.child import SOURCE

PAGES = ("client.md", "embedding.md")

CONFIGURATION = """
[mypy]
strict = true
allow_untyped_calls = true
plugins = mypy_zope:plugin
"""


class TypeTests(SynchronousTestCase):
    """These tests check the programs of a page together."""

    if importlib.util.find_spec("mypy_zope") is None:
        skip = "mypy-zope is not installed (make .venv/installed-lint)"

    def test_programs_of_pages(self) -> None:
        for page in PAGES:
            directory = Path(self.mktemp())
            directory.mkdir()
            (directory / "mypy.ini").write_text(CONFIGURATION)
            files = [each for each in steps_of(SOURCE / "docs" / page) if isinstance(each, File)]
            programs = [each for each in files if each.name.endswith(".py")]
            self.assertNotEqual(programs, [], page)
            for each in programs:
                (directory / each.name).write_text(each.content)
            command = [sys.executable, "-m", "mypy", "--cache-dir", "../mypy", *[each.name for each in programs]]
            environment = {"MYPYPATH": str(SOURCE)}
            done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""), f"{page}\n{done.stdout}")
