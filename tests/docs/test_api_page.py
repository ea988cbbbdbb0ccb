"""
The page about the API has every error and every parameter.
"""

import ast
import inspect
import re

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import MESSAGES, http_status
from etcd_twisted.web import forms, keys, writes
from tests.docs.endpoints import endpoints
from tests.processes.child import SOURCE

PAGE = SOURCE / "docs" / "api.md"


def read_from_forms() -> set[str]:
    """Returns the parameters that the key endpoint's modules read from a form."""
    names: set[str] = set()
    for module in (forms, keys, writes):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            names |= set(_asked_for(node))
    return names


def _asked_for(node: ast.AST) -> list[str]:
    """Finds C{flag(form, "x")}, C{index(form, "x", ...)}, C{form.get("x")} and C{"x" in form}."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) in {"flag", "index", "form.get"}:
        texts = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        return texts[:1]
    if isinstance(node, ast.Compare) and isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
        return [node.left.value] if ast.unparse(node.comparators[0]) == "form" else []
    return []


class TableTests(SynchronousTestCase):
    """These tests read the page's tables."""

    def test_every_error_is_listed(self) -> None:
        """Each code has its status and its message."""
        shown = re.findall(r"^\| (\d+) \| (\d+) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
        known = [(str(int(code)), str(http_status(code)), message) for code, message in MESSAGES.items()]
        self.assertEqual(sorted(shown), sorted(known))

    def test_every_endpoint_is_listed(self) -> None:
        """Each path is on this page or on the page about modules."""
        pages = "".join((SOURCE / "docs" / name).read_text() for name in ("api.md", "modules.md"))
        self.assertEqual([path for _method, path in endpoints() if f"`{path}" not in pages], [])

    def test_every_parameter_is_listed(self) -> None:
        """The table has no other parameter."""
        shown = re.findall(r"^\| `(\w+)` \| (?:PUT|POST|DELETE|GET)[A-Z, ]* \|", PAGE.read_text(), re.MULTILINE)
        self.assertEqual(sorted(shown), sorted(read_from_forms()))
