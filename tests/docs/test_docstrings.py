"""
The docstrings of functions: those of functions that compute something begin with "Returns" or "Yields", all others
with an imperative ("Send ...").
"""

import ast
import re

from twisted.trial.unittest import SynchronousTestCase

from tests.processes.child import SOURCE

_THIRD_PERSON = re.compile(r"(?!(?:Returns|Yields|As|Its|This)\b)[A-Z][a-z]*[^\Ws]s\b")
"""Matches the first word of a docstring that should be an imperative, or "Returns" or "Yields"."""


def third_person(source: str) -> list[str]:
    """Returns the names of the functions whose docstrings begin in the third person."""
    functions = [
        each for each in ast.walk(ast.parse(source)) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return [each.name for each in functions if _THIRD_PERSON.match(ast.get_docstring(each) or "")]


class DocstringTests(SynchronousTestCase):
    """These tests are about the package's own functions."""

    def test_functions_have_imperative_docstrings(self) -> None:
        """Nothing begins with "Sends", "Closes" or the like."""
        paths = sorted((SOURCE / "etcd_twisted").rglob("*.py"))
        self.assertGreater(len(paths), 100)
        found = {str(path.relative_to(SOURCE)): third_person(path.read_text()) for path in paths}
        self.assertEqual({path: names for path, names in found.items() if names}, {})

    def test_third_person_is_recognized(self) -> None:
        """Only the first word counts, in all kinds of functions."""
        source = '''
class A:
    """Sends."""

    async def sends(self):
        """Sends it."""

    def returns(self):
        """Returns what it sends."""

    def closes(self):
        """
        Closes, and waits.
        """

    def passes(self):
        """Pass what it yields."""

    def nothing(self):
        pass
'''
        self.assertEqual(third_person(source), ["sends", "closes"])
