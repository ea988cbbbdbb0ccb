"""
The references of pages lead to something that is there.
"""

import re
from pathlib import Path

from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

from tests.docs.typed_pages import ELSEWHERE, PAGES
from tests.processes.child import SOURCE

INDEX = SOURCE / "docs" / "README.md"

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SOURCE_PATH = re.compile(r"`((?:etcd_twisted|docs|tests|benchmarks|deploy|systemd|twisted)/[\w./-]*)`")
_METRIC = re.compile(r"`((?:etcd|process)_\w+_\w+)`")
_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Returns the targets that links can have within a page."""
    headings = _HEADING.findall(_BLOCK.sub("", page.read_text()))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


class LinkTests(SynchronousTestCase):
    """These tests follow the references of pages."""

    def test_links_have_targets(self) -> None:
        """Every file and heading in this tree exists."""
        found = 0
        for page in PAGES:
            for link in _LINK.findall(page.read_text()):
                if re.match(r"\w+:", link):
                    continue
                path, _, anchor = link.partition("#")
                target = page if not path else page.parent / path
                self.assertTrue(target.exists(), f"{page.name}: {link}")
                if anchor:
                    self.assertIn(anchor, anchors(target), f"{page.name}: {link}")
                found += 1
        self.assertGreater(found, 0)

    def test_named_files_exist(self) -> None:
        """This holds for every file of this tree that a page names without a link."""
        named = [(page.name, path) for page in PAGES for path in _SOURCE_PATH.findall(page.read_text())]
        self.assertIn("README.md", {page for page, _ in named})
        self.assertEqual([(page, path) for page, path in named if not (SOURCE / path).exists()], [])

    def test_named_metrics_are_explained(self) -> None:
        """The explanation is on the page about metrics."""
        explained = set(_METRIC.findall((SOURCE / "docs" / "metrics.md").read_text()))
        named = {name for page in PAGES for name in _METRIC.findall(page.read_text())}
        self.assertIn("etcd_twisted_machine_up", named)
        self.assertEqual(named - explained, set())

    def test_pages_that_are_typed_elsewhere_have_tests(self) -> None:
        for page, test in ELSEWHERE.items():
            self.assertIn(SOURCE / page, PAGES)
            self.assertEqual(namedAny(test).PAGE, SOURCE / page)

    def test_index_has_every_page_once(self) -> None:
        named = [link for link in _LINK.findall(INDEX.read_text()) if link.endswith(".md") and "/" not in link]
        self.assertEqual(sorted(named), sorted(page.name for page in INDEX.parent.glob("*.md") if page != INDEX))
