"""
The view of the cluster, of a machine that says what a test has it say.
"""

from typing import Any

from etcd_twisted import __version__
from etcd_twisted.machines import Machine
from etcd_twisted.traffic import FollowerTraffic
from tests.browser.served import PageTest
from tests.fakes import OTHER

THIRD = Machine("machine2", "http://127.0.0.1:4003", "http://127.0.0.1:7003")


class OverviewTests(PageTest):
    """Figures and graphs."""

    async def _figures(self) -> list[list[str]]:
        """What each row of figures is about."""
        rows: list[list[str]] = await self.browser.run(
            """
            const named = (row) => [...row.querySelectorAll("dt")].map((name) => name.textContent);
            return [...document.querySelectorAll(".figures")].map(named);
            """
        )
        return rows

    async def test_figures(self) -> None:
        """What the machine is comes first, then where it is; nothing is shown that it does not tell."""
        await self.browser.open(f"{self.page}#cluster")
        await self.browser.shows(f"Version\n{__version__}", ".figures.first")
        first, more = await self._figures()
        self.assertEqual([name for name in first if name != "Keys"], ["Version", "Uptime", "Memory"])
        self.assertEqual(more[:3], ["Term", "Key space index", "Raft index"])
        self.assertNotIn("undefined", await self.browser.text("#cluster"))

    async def test_equal_scales(self) -> None:
        """What is of the same kind is drawn to the same scale: a slow follower looks slower than a fast one."""
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
