"""
The page about the benchmarks. L{tests.pages.test_pages} shows that its commands are understood. Nothing runs them,
since they would take minutes.
"""

import re
import shlex
import shutil

from twisted.trial.unittest import SynchronousTestCase, TestCase

from benchmarks import __main__ as benchmarks
from benchmarks import load
from tests.docs.pages import planned
from tests.docs.transcript import Step, steps_of
from tests.processes.child import SOURCE

PAGE = SOURCE / "docs" / "benchmarks.md"
PERFORMANCE = SOURCE / "docs" / "performance.md"
BENCHMARKS = [".venv/bin/python", "-m", "benchmarks"]


def commands() -> list[list[str]]:
    """Returns the words of each command on the page."""
    return [shlex.split(step.command) for step in steps_of(PAGE) if isinstance(step, Step)]


WITHOUT = {"only": "all that are present", "markdown": "none"}
"""How the page writes that an option is not given, by its name."""


def said(name: str, default: object) -> str:
    """Returns how the page writes the default of an option."""
    if default is None:
        return WITHOUT[name]
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


class CommandTests(TestCase):
    """These tests read the page's commands."""

    timeout = 240

    if shutil.which("make") is None:
        skip = "make is not installed (apt-get install make)"

    def test_every_benchmark_is_shown(self) -> None:
        """The page shows no other."""
        measured = [benchmarks.parser().parse_args(words[3:]).work for words in commands() if words[:3] == BENCHMARKS]
        self.assertEqual(set(measured), set(benchmarks.WORK))

    async def test_make_bench_is_the_command_on_the_page(self) -> None:
        self.assertIn(BENCHMARKS, commands())
        self.assertIn(["make", "bench"], commands())
        self.assertEqual((await planned(self, "make bench")).splitlines()[-1], shlex.join(BENCHMARKS))


class PerformanceTests(SynchronousTestCase):
    """These tests read the first table of the page about performance, which C{make bench} measures."""

    def test_each_line_is_measured(self) -> None:
        """The table has no line of another name. It may have less lines, and less columns."""
        self.patch(load, "executable", lambda: "wrk")
        options = benchmarks.parser().parse_args(["--keys", "100000", "1000000"])
        measured = {line.work for part in benchmarks.comparison_parts(options) for line in part.lines}
        table = re.search(r"^\| work \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PERFORMANCE.read_text(), re.MULTILINE)
        assert table is not None
        shown = [row.split(" | ")[0].removeprefix("| ") for row in table[1].splitlines()]
        self.assertGreater(len(shown), 10)
        self.assertEqual(set(shown) - measured, set())


class OptionTests(SynchronousTestCase):
    """These tests read the table of options."""

    def test_every_option_is_listed(self) -> None:
        """Each has its default, and the table has no other option."""
        shown = {}
        for row in re.findall(r"^\| (`--.*) \|$", PAGE.read_text(), re.MULTILINE):
            options, _meaning, defaults = row.split(" | ")
            names = dict.fromkeys(re.findall(r"`(--[\w-]+)", options))
            shown.update(zip(names, defaults.replace("`", "").split(", "), strict=True))
        known = vars(benchmarks.parser().parse_args([]))
        del known["work"]
        self.assertEqual(shown, {f"--{name.replace('_', '-')}": said(name, known[name]) for name in known})
