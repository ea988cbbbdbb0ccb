"""
The commands of every page of the documentation, typed in their order, have the answers that the page shows.

L{tests.docs.test_readme} types those of the README every day.
"""

from pathlib import Path

from tests.docs.typed_pages import ELSEWHERE, PAGES, README, TypedPageTestCase, typing
from tests.processes.child import SOURCE


class PageTests(TypedPageTestCase):
    """There is a test for each page."""


def _name(page: Path) -> str:
    """Returns the path of a page as a part of a test's name."""
    return "_".join(page.relative_to(SOURCE).with_suffix("").parts).lower().replace("-", "_")


for each in (page for page in PAGES if page != README and str(page.relative_to(SOURCE)) not in ELSEWHERE):
    setattr(PageTests, f"test_{_name(each)}", typing(each))
