"""
The page about the benchmarks. That its commands are understood is tested with those of all other pages; they are not
run, as they would take minutes.
"""

import re
import shlex
import shutil

from twisted.trial.unittest import SynchronousTestCase, TestCase

from benchmarks import __main__ as benchmarks
from tests.docs.pages import planned
from tests.docs.transcript import Step, steps_of
from tests.processes.child import SOURCE

PAGE = SOURCE / "docs" / "benchmarks.md"
BENCHMARKS = [".venv/bin/python", "-m", "benchmarks"]


def commands() -> list[list[str]]:
    """The words of each command on the page."""
    return [shlex.split(step.command) for step in steps_of(PAGE) if isinstance(step, Step)]


def said(default: object) -> str:
    """How the page says what an option is when it is not given."""
    if default is None:
        return "all that are present"
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


class CommandTests(TestCase):
    """What a reader is told to type."""

    timeout = 240

    if shutil.which("make") is None:
        skip = "make is not installed (apt-get install make)"

    def test_every_work(self) -> None:
        """Whatever can be measured is shown, and nothing else."""
        measured = [benchmarks.parser().parse_args(words[3:]).work for words in commands() if words[:3] == BENCHMARKS]
        self.assertEqual(set(measured), set(benchmarks.WORK))

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
