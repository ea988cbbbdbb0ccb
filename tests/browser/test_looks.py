"""
How the page looks on screens of all sizes, in light and dark colors, and how accessible it is.
"""

from unittest import skipUnless

from etcd_twisted.interfaces.cluster import MachineStatus
from etcd_twisted.testing.replica import MACHINE, OTHER
from tests.browser.served import AXE, LOOKS, NO_AXE, PageTest


class LookTests(PageTest):
    """These tests use a large screen and a phone, in light and dark colors."""

    async def test_page_fits_every_screen(self) -> None:
        """Nothing is wider than the screen, nothing to be touched is too small, and the dark colors are dark."""
        self.replica.register(OTHER)
        name = "a-name-that-goes-on-" * 10
        self.set(f"/{name}/{name}", "x" * 5_000)
        for view, part in (("#cluster", "#cluster svg"), (f"#keys/{name}/{name}", ".facts"), ("#keys/", ".facts")):
            await self.browser.open(self.page + view)
            await self.browser.find(part)
            await self.check_fits(view)

    async def test_watch_opens_in_sight(self) -> None:
        """This holds on every screen. On a large one the watch opens beside the key and the tree."""
        self.set("/d/k", "v")
        for name, width, height in LOOKS:
            await self.browser.look(width, height, "light", touch=width < 500)
            await self.open("/d/k")
            await (await self.browser.button("Watch")).click()
            await self.browser.shows("Watching", ".watched")
            tree, panel, watched = await self.browser.run(
                """
                const parts = [".tree", ".panel", ".watched"].map((each) => document.querySelector(each));
                const boxes = parts.map((part) => part.getBoundingClientRect());
                return boxes.map(({ top, left, right }) => [top, left, right]);
                """
            )
            self.assertGreaterEqual(watched[0], 0, name)
            self.assertLess(watched[0] + 100, height, name)  # its heading and more
            if name == "desktop":
                self.assertEqual({tree[0], panel[0], watched[0]}, {tree[0]})
                self.assertTrue(tree[2] < panel[1] and panel[2] < watched[1])
            await (await self.browser.button("Stop watching")).click()
            await (await self.browser.button("Close")).click()
            self.assertFalse(await self.browser.run("return document.querySelector('.watched').offsetParent"))

    @skipUnless(AXE.exists(), NO_AXE)
    async def test_page_is_accessible(self) -> None:
        """axe-core finds no fault in any view, while something is watched or wrong, and with a question open."""
        self.replica.register(OTHER)
        for machine in (MACHINE, OTHER):
            status = MachineStatus(machine.name, machine.name, machine is MACHINE, 0, 12.0, "it is down")
            self.replica.known_statuses[machine.name] = status
        self.set("/d/k", "v", seconds=500)
        await self.browser.open(f"{self.page}#cluster")
        await self.browser.find("#cluster svg")
        await self.browser.shows("Memory", "#cluster")
        await self.browser.shows("has not answered", "#health")
        await self.check_accessible("the cluster")
        await self.open("/d/k")
        await (await self.browser.button("Watch")).click()
        await self.browser.shows("Watching", ".watched")
        self.set("/d/k", "w")
        await self.browser.shows("One change so far", ".watched")
        await (await self.browser.find("input[type=search]")).type("k")
        await self.browser.shows("names are shown", ".counted")
        await self.check_accessible("a key that is watched")
        await (await self.browser.button("Delete…")).click()
        await self.check_accessible("a question")
        await (await self.browser.button("Cancel")).click()
        await self.browser.open(f"{self.page}#keys/missing")
        await self.browser.shows("There is no key /missing.")
        await (await self.browser.button("Create it…")).click()
        await self.check_accessible("a key to be created")
