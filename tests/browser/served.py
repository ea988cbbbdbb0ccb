"""
The page of a machine that has only a key space, so that a test can change keys without the page.
"""

from typing import ClassVar
from urllib.parse import unquote

from etcd_twisted.keyspace.commands import Set
from tests.browser.chromium import SKIP, Browser
from tests.wires import ServedTest


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
