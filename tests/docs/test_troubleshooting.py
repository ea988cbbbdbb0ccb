"""
The page about troubles has every line that the program can print about one: they are looked for in its source.
"""

import ast
import re
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from tests.processes.child import SOURCE

PAGE = SOURCE / "docs" / "troubleshooting.md"
PACKAGE = SOURCE / "etcd_twisted"

_ERRORS = {"StartError", "ConfigError", "StorageError"}
_LEVELS = {"info", "warn", "error", "critical", "failure"}
_SHORTEST = 10
"""A text without so many characters that are always the same has nothing to be found by."""

_INTERNAL = {
    "has not been recovered to its end, or is closed": "a mistake in this program's own use of its log",
    "is empty, though the log was shortened": "likewise",
    "this machine is stopping": "nobody sees it: the process ends",
}
"""What no user gets to see, and why."""


def template(node: ast.expr) -> str | None:
    """A text with a mark for each part that differs; C{None} for what is no text in the source."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"\{[^}]*\}", "\0", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
    return None


def is_told(call: ast.Call) -> bool:
    """Whether a call tells people something: an error that ends a start, or a line in the log."""
    if isinstance(call.func, ast.Name):
        return call.func.id in _ERRORS
    if isinstance(call.func, ast.Attribute) and call.func.attr in _LEVELS:
        return ast.unparse(call.func.value).endswith(("_log", ".warnings"))
    return False


def line_of(call: ast.Call) -> ast.expr:
    """The argument that is the line. A log that limits its rate is given the cause of the line before it."""
    limited = isinstance(call.func, ast.Attribute) and call.func.attr != "failure" and len(call.args) > 1
    return call.args[limited]


def lines() -> Iterator[tuple[str, str]]:
    """Where each line comes from, and what in it is always the same and the longest."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and is_told(node) and node.args:
                parts = (template(line_of(node)) or "").split("\0")
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", max(parts, key=len).strip(" ;:,")


class LinesTests(SynchronousTestCase):
    """Every line, and where it is explained."""

    def test_every_line(self) -> None:
        """It is on the page."""
        page = " ".join(PAGE.read_text().split())
        told = [(place, text) for place, text in lines() if len(text) >= _SHORTEST and text not in _INTERNAL]
        self.assertGreater(len(told), 0)
        self.assertEqual([f"{place}: {text}" for place, text in told if text not in page], [])

    def test_internal(self) -> None:
        """Those that are left out exist."""
        self.assertEqual(set(_INTERNAL) - {text for _, text in lines()}, set())
