"""
The page that says which test covers which part of the API: every test on it exists, and names its part.
"""

import inspect
import re

from twisted.python.reflect import ObjectNotFound, namedAny
from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.sections import SECTIONS
from tests.docs.endpoints import endpoints
from tests.docs.test_api_page import read_from_forms
from tests.processes.child import SOURCE

PAGE = SOURCE / "docs" / "coverage.md"

_HEADING = re.compile(r"^### (.*)$", re.MULTILINE)
_ROW = re.compile(r"^\| (?P<what>.*) \| `(?P<test>tests\.[\w.]+)` \|$", re.MULTILINE)


def covered() -> dict[str, list[tuple[str, str]]]:
    """Returns the tests of each section, with what they cover."""
    _, *parts = _HEADING.split(PAGE.read_text())
    return {title: _ROW.findall(text) for title, text in zip(parts[::2], parts[1::2], strict=True)}


def says(test: str) -> str | None:
    """Returns the docstrings of a test and of its class, or C{None} for a test that does not exist."""
    try:
        documented = (namedAny(test), namedAny(test.rpartition(".")[0]))
    except (AttributeError, ModuleNotFoundError, ObjectNotFound):
        return None
    return " ".join(" ".join((inspect.getdoc(each) or "").split()) for each in documented)


class CoverageTests(SynchronousTestCase):
    """These tests compare sections and tests."""

    def test_each_section_has_tests(self) -> None:
        """Every row of its table names one."""
        sections = covered()
        self.assertGreater(len(sections), 0)
        self.assertEqual([title for title, rows in sections.items() if not rows], [])
        rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "| test |" not in line]
        self.assertEqual(len(rows), sum(map(len, sections.values())))

    def test_each_test_names_its_section(self) -> None:
        """Each test exists."""
        told = [(title, test, says(test)) for title, rows in covered().items() for _what, test in rows]
        self.assertEqual([test for _, test, text in told if text is None], [])
        self.assertEqual([(title, test) for title, test, text in told if f'"{title}"' not in (text or "")], [])
        self.assertEqual([test for _, test, _ in told if not test.rpartition(".")[2].startswith("test")], [])

    def test_each_endpoint_is_covered(self) -> None:
        """Every endpoint has a row."""
        page = PAGE.read_text()
        self.assertEqual([each for each in endpoints() if f"`{' '.join(each)}`" not in page], [])

    def test_each_parameter_is_covered(self) -> None:
        """Every parameter of a key has a row."""
        page = PAGE.read_text()
        self.assertEqual([name for name in read_from_forms() if f"`{name}" not in page], [])

    def test_each_scenario_is_covered(self) -> None:
        """The page has a section for every recorded scenario."""
        self.assertEqual(set(SECTIONS) - set(covered()), set())
