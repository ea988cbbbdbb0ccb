"""
The page about the benchmarks, and every other command that a page under C{docs} shows and no other test types.

A command is not run, as it would take minutes or install something: the program that it is for is asked whether it
understands it.
"""

import re
import shlex
import shutil

from twisted.trial.unittest import SynchronousTestCase, TestCase

from benchmarks import __main__ as benchmarks
from tests.docs import test_clustering
from tests.docs.pages import blocks, planned
from tests.processes.child import SOURCE

PAGES = sorted({*(SOURCE / "docs").glob("*.md")} - {test_clustering.PAGE})
PAGE = SOURCE / "docs" / "benchmarks.md"
BENCHMARKS = [".venv/bin/python", "-m", "benchmarks"]
INSTALL = ["apt-get", "install"]


def commands() -> list[list[str]]:
    """The words of each line of shell in these pages, without the comment at its end."""
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def said(default: object) -> str:
    """How the page says what an option is when it is not given."""
    if default is None:
        return "all that are present"
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


class CommandTests(TestCase):
    """What a reader is told to type."""

    timeout = 60

    if shutil.which("make") is None:
        skip = "make is not installed (apt-get install make)"

    async def test_understood(self) -> None:
        """Each one is understood, and none is of a kind that nobody looks at here."""
        installed = set(re.findall(r"[\w-]+:([\w-]+)", (SOURCE / ".ci" / "run").read_text()))
        measured = set()
        for words in commands():
            if words[0] == "make":
                await planned(self, shlex.join(words))
            elif words[:3] == BENCHMARKS:
                measured.add(benchmarks.parser().parse_args(words[3:]).work)
            else:
                self.assertEqual(words[:2], INSTALL)
                self.assertLessEqual(set(words[2:]), installed)
        self.assertEqual(measured, set(benchmarks.WORK))

    async def test_make(self) -> None:
        """C{make bench} is what the page says it is the same as."""
        self.assertIn(BENCHMARKS, commands())
        self.assertIn(["make", "bench"], commands())
        self.assertEqual((await planned(self, "make bench")).splitlines()[-1], shlex.join(BENCHMARKS))


class OptionTests(SynchronousTestCase):
    """The table of options."""

    def test_defaults(self) -> None:
        """It has all options with their defaults, and no others."""
        shown = {}
        for row in re.findall(r"^\| (`--.*) \|$", PAGE.read_text(), re.MULTILINE):
            options, _meaning, defaults = row.split(" | ")
            names = dict.fromkeys(re.findall(r"`(--[\w-]+)", options))
            shown.update(zip(names, defaults.replace("`", "").split(", "), strict=True))
        known = vars(benchmarks.parser().parse_args([]))
        del known["work"]
        self.assertEqual(shown, {f"--{name.replace('_', '-')}": said(known[name]) for name in known})
