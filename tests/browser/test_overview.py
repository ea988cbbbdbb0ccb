"""
The view of the cluster, on a machine whose status the test sets.
"""

from typing import Any

from etcd_twisted import __version__
from etcd_twisted.interfaces.cluster import Machine, MachineStatus
from etcd_twisted.interfaces.statistics import FollowerTraffic
from etcd_twisted.testing.replica import MACHINE, OTHER
from tests.browser.served import PageTest

THIRD = Machine("machine2", "http://127.0.0.1:4003", "http://127.0.0.1:7003")


class OverviewTests(PageTest):
    """These tests are about figures and graphs."""

    async def _figures(self) -> list[list[str]]:
        """Returns the label of each row of figures."""
        rows: list[list[str]] = await self.browser.run(
            """
            const named = (row) => [...row.querySelectorAll("dt")].map((name) => name.textContent);
            return [...document.querySelectorAll(".figures")].map(named);
            """
        )
        return rows

    async def test_figures_are_in_order(self) -> None:
        """
        The machine's role comes first, then its addresses. The page shows no figure that the machine does not send.
        """
        await self.browser.open(f"{self.page}#cluster")
        await self.browser.shows(f"Version\n{__version__}", ".figures.first")
        first, more = await self._figures()
        self.assertEqual(first, ["Version", "Keys", "Uptime", "Memory"])
        self.assertEqual(more[:3], ["Term", "Key space index", "Raft index"])
        self.assertNotIn("undefined", await self.browser.text("#cluster"))

    async def test_problems_are_shown_above_every_view(self) -> None:
        """They are also in the window's title, as long as they last."""
        self.replica.register(OTHER, THIRD)
        statuses = [
            MachineStatus(each.name, each.name, each is MACHINE, 0, 12.0, "" if each is MACHINE else "it is down")
            for each in (MACHINE, OTHER, THIRD)
        ]
        self.replica.known_statuses = {each.machine_id: each for each in statuses}
        self.replica.lose_leader()
        await self.browser.open(f"{self.page}#cluster")
        await self.browser.shows("There is no majority: 1 of 3 machines answers; 2 are needed.", "#health")
        self.assertEqual(await self.browser.run("return document.title"), "⚠ No majority · Cluster · etcd_twisted")
        await self.browser.shows("Has not answered for 12 s: it is down.", ".machines")
        await (await self.browser.find("#to-keys")).click()
        await self.browser.shows("machine1 has not answered for 12 s: it is down.", "#health")
        await self.browser.shows("Type", ".facts")
        self.assertEqual(await self.browser.run("return document.title"), "⚠ No majority · / · etcd_twisted")
        self.replica.known_statuses = {}
        self.replica.lead()

        async def well() -> bool | None:
            hidden = await (await self.browser.find("#health")).property("hidden")
            return True if hidden and await self.browser.run("return document.title") == "/ · etcd_twisted" else None

        await self.browser.until(well, "nothing is wrong any more")
        self.replica.stand_by()
        await self.browser.shows("This machine is a standby and holds no keys.", "#health")
        self.replica.lose_leader()
        await self.browser.open("about:blank")
        await self.browser.open(f"{self.page}#cluster")
        await self.browser.shows("It finds no machine that leads the cluster.", "#health")
        await self.browser.shows("Only members of the cluster have figures to show.", ".lead")
        for refused in ("#trouble", "#cluster > div"):
            self.assertTrue(await (await self.browser.find(refused)).property("hidden"), refused)
        await self.service.stopService()
        await self.browser.shows("The machine did not answer.", "#trouble")
        self.assertEqual(await self.browser.run("return document.title"), "⚠ No answer · Cluster · etcd_twisted")

    async def test_graphs_of_a_kind_have_equal_scales(self) -> None:
        """A slow follower looks slower than a fast one."""
        self.replica.register(OTHER, THIRD)
        for machine, latency in ((OTHER, 3.0), (THIRD, 90.0)):
            self.replica.traffic.followers[machine.name] = FollowerTraffic()
            self.replica.traffic.followers[machine.name].succeeded(latency)
        await self.browser.open(f"{self.page}#cluster")

        async def scales() -> Any:
            found = await self.browser.run(
                """
                const charts = [...document.querySelectorAll(".machine .chart")];
                const latencies = charts.filter((chart) => chart.querySelector(".title").textContent === "Latency");
                return latencies.map((chart) => chart.querySelector(".highest").textContent);
                """
            )
            return found if len(found) == 2 and all(found) else None

        self.assertEqual(await self.browser.until(scales, "both graphs of latency"), ["100 ms", "100 ms"])
