"""
The page of a machine that has only a key space, so that a test can change keys without the page.
"""

import re
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

from etcd_twisted.keyspace.commands import Set
from tests.browser.chromium import SKIP, Browser
from tests.wires import ServedTest

LOOKS = (("desktop", 1280, 800), ("tablet", 900, 1024), ("phone", 360, 740))
"""The screens that show the page, each with a name, a width and a height."""

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
"""The tool that finds barriers for people with disabilities: L{https://github.com/dequelabs/axe-core}."""

NO_AXE = "axe-core is not installed: make test-large installs it where npm is"


class PageTest(ServedTest):
    """
    A test with the page in a browser.

    @ivar browser: its window.
    @cvar flags: further flags of the browser.
    """

    flags: ClassVar[tuple[str, ...]] = ()

    timeout = 360
    skip = SKIP

    async def setUp(self) -> None:
        await super().setUp()
        self.browser = Browser(self)
        await self.browser.start(*self.flags)

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.port}/mod/dashboard/"

    async def open(self, key: str) -> None:
        """Shows a key."""
        await self.browser.open(f"{self.page}#keys{key}")
        way = "\n".join(["/", *filter(None, unquote(key).split("/"))])

        async def shown() -> bool | None:
            return True if await self.browser.text(".path") == way else None

        await self.browser.until(shown, f"{key} is what is shown")
        await self.browser.shows("Type", ".facts")

    def set(self, key: str, value: str = "", seconds: float | None = None) -> None:
        """Sets a key as another client would."""
        now = self.replica.now()
        self.replica.apply(Set(key, now, value, expires=None if seconds is None else now + int(seconds * 1e6)))

    def value(self, key: str) -> str:
        """Returns the value of a key."""
        value: str = self.replica.get(key).value
        return value

    async def rows(self) -> list[str]:
        """Returns the names in the tree that can be seen, from top to bottom."""
        names: list[str] = await self.browser.run(
            "return [...document.querySelectorAll('[role=treeitem] .name')].map((name) => name.textContent)"
        )
        return names

    async def until_rows(self, *names: str) -> None:
        """Returns when these are the rows of the tree."""

        async def same() -> bool | None:
            return True if await self.rows() == list(names) else None

        await self.browser.until(same, f"the rows are {names}")

    async def check_fits(self, what: str) -> None:
        """
        Checks that nothing shown is wider than the screen, that nothing to be touched is too small, and that the dark
        colors are dark.
        """
        for width, height in ((1280, 800), (768, 1024), (360, 740)):
            await self._look(what, width, height)

    async def _look(self, what: str, width: int, height: int) -> None:
        script = """
            const small = [...document.querySelectorAll("button, .row, nav[aria-label=Views] a")].filter(
                (each) => each.offsetParent && each.offsetHeight < 40);
            const ground = getComputedStyle(document.body).backgroundColor;
            return [document.documentElement.scrollWidth, ground, small.map((each) => each.outerHTML)];
        """
        grounds = []
        for scheme in ("light", "dark"):
            await self.browser.look(width, height, scheme, touch=width < 500)
            wide, ground, small = await self.browser.run(script)
            self.assertLessEqual(wide, width, what)
            if width < 500:
                self.assertEqual(small, [], what)
            grounds.append(sum(map(int, re.findall(r"\d+", ground))))
        self.assertGreater(grounds[0], 600, what)
        self.assertLess(grounds[1], 150, what)

    async def check_accessible(self, what: str) -> None:
        """Checks that axe-core finds no fault in what is shown, on any screen."""
        await self.browser.run(AXE.read_text())
        for name, width, height in LOOKS:
            for scheme in ("light", "dark"):
                await self.browser.look(width, height, scheme, touch=width < 500)
                faults = await self.browser.run(
                    """
                    const { violations } = await axe.run({ rules: { "target-size": { enabled: true } } });
                    return violations.flatMap(({ id, nodes }) =>
                        nodes.map(({ html, failureSummary }) => [id, html, failureSummary]));
                    """
                )
                self.assertEqual(faults, [], f"{what}, {name}, {scheme}")
