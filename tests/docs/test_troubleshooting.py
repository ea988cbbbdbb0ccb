"""
Every line that the server can print about trouble is on the page about trouble, and every line that the client library
logs is on the library's page. The test finds these lines in the source.
"""

import ast
import re
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from tests.processes.child import SOURCE

PACKAGE = SOURCE / "etcd_twisted"
_PAGE = "docs/troubleshooting.md"
_PAGES_BY_ROOM = {
    "etcd_twisted/client/": "docs/client.md",
    "etcd_twisted/datadir/etcd/": "docs/migration.md",
    "etcd_twisted/datadir/": "docs/backup.md",
}
"""The pages of the rooms whose lines somebody else than the server's operator reads."""

_ERRORS = {"StartError", "ConfigError", "StorageError"}
_LEVELS = {"info", "warn", "error", "critical", "failure"}
_SHORTEST = 10
"""How many constant characters a text needs at least, since a shorter one could be found anywhere."""

_INTERNAL = {
    "has not been recovered to its end, or is closed": "a mistake in this program's own use of its log",
    "is empty, though the log was shortened": "likewise",
    "this machine is stopping": "nobody sees it: the process ends",
}
"""The texts that no user sees, with the reason."""


def template(node: ast.expr) -> str | None:
    """Returns a text with a mark for each part that varies, or C{None} for an expression that is not a text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"\{[^}]*\}", "\0", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
    return None


def is_told(call: ast.Call) -> bool:
    """Tells whether a call informs people: an error that ends the start, or a line in the log."""
    if isinstance(call.func, ast.Name):
        return call.func.id in _ERRORS
    if isinstance(call.func, ast.Attribute) and call.func.attr in _LEVELS:
        return ast.unparse(call.func.value).endswith(("_log", ".warnings"))
    return False


def line_of(call: ast.Call) -> ast.expr:
    """
    Returns the argument that has the line. For a log that limits its rate, an argument with the cause comes first.
    """
    limited = isinstance(call.func, ast.Attribute) and call.func.attr != "failure" and len(call.args) > 1
    return call.args[limited]


def page_of(place: str) -> str:
    """Returns the page that explains the lines from a place in the source."""
    return next((page for room, page in _PAGES_BY_ROOM.items() if place.startswith(room)), _PAGE)


def lines() -> Iterator[tuple[str, str]]:
    """Yields where each line comes from, and its longest constant part."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and is_told(node) and node.args:
                parts = (template(line_of(node)) or "").split("\0")
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", max(parts, key=len).strip(" ;:,")


class LinesTests(SynchronousTestCase):
    """These tests look for each line on its page."""

    def test_pages_have_every_line(self) -> None:
        texts = {page: " ".join((SOURCE / page).read_text().split()) for page in (_PAGE, *_PAGES_BY_ROOM.values())}
        told = [(place, text) for place, text in lines() if len(text) >= _SHORTEST and text not in _INTERNAL]
        self.assertEqual({page_of(place) for place, _ in told}, set(texts))
        missing = [(place, text) for place, text in told if text not in texts[page_of(place)]]
        self.assertEqual([f"{page_of(place)} lacks the line of {place}: {text}" for place, text in missing], [])

    def test_internal_lines_exist(self) -> None:
        """A line that a page may leave out is still in the source."""
        self.assertEqual(set(_INTERNAL) - {text for _, text in lines()}, set())
