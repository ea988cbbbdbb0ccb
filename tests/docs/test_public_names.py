"""
What the pages and the example import: only public names, as C{docs/frontends.md} lists them.
"""

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.processes.child import SOURCE

PAGE = SOURCE / "docs" / "frontends.md"
PAGES = (SOURCE / "README.md", *sorted((SOURCE / "docs").rglob("*.md")), *sorted((SOURCE / "docs").rglob("*.py")))
IMPORT = re.compile(r"^ *(?:from|import) (etcd_twisted(?:\.[\w.]+)?)\b", re.MULTILINE)


class PublicNameTests(SynchronousTestCase):
    """No page shows how to import a name that may change."""

    def test_imports_are_public(self) -> None:
        """They come from the packages that the page lists."""
        _, _, text = PAGE.read_text().partition("## What it may import\n")
        public = set(re.findall(r"`(etcd_twisted\.[\w.]+)`", text.partition("\n## ")[0]))
        self.assertIn("etcd_twisted.interfaces", public)
        imported = {name: page for page in PAGES for name in IMPORT.findall(page.read_text())}
        self.assertLessEqual({"etcd_twisted.config", "etcd_twisted.frontends", "etcd_twisted.keyspace"}, set(imported))
        self.assertEqual({name: page for name, page in imported.items() if name not in public}, {})
