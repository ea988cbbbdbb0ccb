"""
The page of a real cluster, from its start through the death of its leader to a standby.
"""

import re

from twisted.trial.unittest import TestCase

from etcd_twisted.client import Client
from tests.browser.chromium import SKIP, Browser
from tests.processes.cluster import Cluster, Member, SteadyWriter, together, until

PAGE = "/mod/dashboard/"


class ClusterTests(TestCase):
    """Each test has one cluster and one window."""

    timeout = 480
    skip = SKIP

    async def test_life_of_a_cluster(self) -> None:
        """Each step goes on from the last one."""
        self.cluster = Cluster(self, 3, "--cluster-active-size", "3")
        await self.cluster.start()
        self.browser = Browser(self)
        await self.browser.start()
        for step in (self._leader, self._follower, self._leader_killed, self._back):
            await step()
        for step in (self._majority_killed, self._standby):
            await step()

    async def test_members_with_ids(self) -> None:
        """The page shows names also where the statistics have the ids of etcd 2, with its states."""
        self.cluster = Cluster(self, 3, "--member-ids", "hex")
        await self.cluster.start()
        self.browser = Browser(self)
        await self.browser.start()
        await self._leader()
        await self._follower()
        await self._awaited()

    async def _open(self, machine: Member, view: str = "#cluster") -> None:
        await self.browser.open("about:blank")  # otherwise only the view would change
        await self.browser.open(machine.url + PAGE + view)

    async def _card(self, machine: Member) -> str:
        """Returns what the page says of a machine."""
        script = """
            const cards = [...document.querySelectorAll(".machine")];
            return cards.find((card) => card.querySelector("h3").firstChild.data === arguments[0])?.innerText ?? "";
        """
        return str(await self.browser.run(script, machine.name))

    async def _until_card(self, machine: Member, *words: str) -> None:
        """Returns when a machine's card has all of these words in it."""

        async def said() -> bool | None:
            card = await self._card(machine)
            return True if all(each in card for each in words) else None

        await self.browser.until(said, f"{words} of {machine.name}")

    async def _count(self, operation: str) -> int:
        """Returns how often the page says that something was done."""
        script = """
            const rows = [...document.querySelectorAll(".counts tbody tr")];
            return rows.find((row) => row.cells[0].innerText === arguments[0])?.cells[1].innerText ?? "-1";
        """
        return int((await self.browser.run(script, operation)).replace(",", ""))

    async def _leader(self) -> None:
        """The leader's page shows the machines, how the others follow, and the load."""
        leader = await self.cluster.leader()
        writer = SteadyWriter(self, self.cluster, "/steady")
        await self._open(leader)
        await self.browser.shows(f"3 machines; {leader.name} has led for", ".lead")
        await self._until_card(leader, "leader", "this machine", leader.url, leader.peer_url, "Messages", "/s")
        for follower in await self.cluster.followers():
            await self._until_card(follower, "follower", follower.url, "on average", "Latency", "Failures")
        drawn = "return document.querySelectorAll('.machine .line:not([d=\"\"])').length"

        async def drawn_all() -> bool | None:
            return True if await self.browser.run(drawn) == 6 else None

        await self.browser.until(drawn_all, "every graph of the machines has a line")

        async def writing() -> bool | None:
            label = await (await self.browser.find(".charts [role=img]")).label()
            return True if "writes" in label and "writes unknown" not in label and "writes 0 /s" not in label else None

        await self.browser.until(writing, "writes are counted")

        async def known() -> bool | None:
            text = await self.browser.text("#cluster")
            figures = (r"\nLog\n[\d.]*[1-9][\d.]* [kM]?B\n", r"\nCommits\n[\d.,]*[1-9][\d.,]* /s\n")
            return True if "unknown" not in text and all(re.search(each, text) for each in figures) else None

        await self.browser.until(known, "there is no figure that the machine does not tell")
        await writer.stop()

        async def counted() -> bool | None:
            statistics = (await leader.client.request("GET", "/v2/stats/store")).json()
            return True if await self._count("Set") == statistics["setsSuccess"] > 0 else None

        await self.browser.until(counted, "the page has the count of the machine")

    async def _follower(self) -> None:
        """A follower's page shows what the follower knows, and changes keys, which the leader does for it."""
        leader = await self.cluster.leader()
        follower, other = await self.cluster.followers()
        await self._open(follower)
        await self._until_card(leader, "leader")
        await self._until_card(follower, "follower", "this machine", "Messages")
        await self._until_card(other, "follower", "Applied index", "Uptime", "Clock\nagrees", "Round trip", " ms")
        self.assertTrue(await (await self.browser.find("#health")).property("hidden"))
        await leader.user.put("/a%20key", value="old")
        await self.cluster.converge()
        await self._open(follower, "#keys/a%20key")
        field = await self.browser.find(".panel textarea:read-write")
        await self.browser.shows("Type", ".facts")
        await field.clear()
        await field.type("new")
        await (await self.browser.button("Save")).click()
        await self.browser.shows("Saved", ".said")
        read = await leader.user.get("/a%20key", "?quorum=true")
        self.assertEqual(read.json()["node"]["value"], "new")

    async def _awaited(self) -> None:
        """A machine that was added and has not come yet is named, and neither counted nor shown as a follower."""
        leader = await self.cluster.leader()
        client = Client(leader.url)
        await client.admin.add_member("http://127.0.0.1:1")
        await client.close()
        await self._open(leader)
        await self.browser.shows("Awaited: http://127.0.0.1:1.", ".lead")
        await self.browser.shows("3 machines;", ".lead")
        self.assertEqual(await self.browser.run("return document.querySelectorAll('.machine').length"), 3)

    async def _leader_killed(self) -> None:
        """
        The dead leader's page says that it does not answer any more. All others say that it is missing, in their
        titles too.
        """
        self.killed = await self.cluster.leader()
        await self._open(self.killed)
        await self.browser.shows("has led for", ".lead")
        await self.cluster.kill(self.killed)
        await self.browser.shows("The machine did not answer. This page shows what was so at", "#trouble")
        leader = await self.cluster.leader()
        await self._open(leader)
        await self.browser.shows(f"{leader.name} has led for", ".lead")
        for machine in (*await self.cluster.followers(), leader):
            await self._open(machine)
            await self._until_card(self.killed, "not answering", "Has not answered for")
            await self.browser.shows(f"{self.killed.name} has not answered for", "#health")
            await self.browser.shows("If another machine fails, writes are refused.", "#health")
            title = await self.browser.run("return document.title")
            self.assertEqual(title, f"⚠ {self.killed.name} does not answer · Cluster · etcd_twisted")

    async def _back(self) -> None:
        """Once the machine is back, its page goes on by itself, and the leader's page says so."""
        await self.killed.start()
        await self._until_card(self.killed, "follower", "on average")
        await self._open(self.killed)
        await self.browser.shows("this machine", ".machines")
        await self.cluster.kill(self.killed)
        await self.browser.shows("The machine did not answer.", "#trouble")
        await self.killed.start()

        async def quiet() -> bool | None:
            return True if await (await self.browser.find("#trouble")).property("hidden") else None

        await self.browser.until(quiet, "nothing is wrong any more")

    async def _majority_killed(self) -> None:
        """The machine that is left says so and what that means, until the others are back."""
        left, other = await self.cluster.followers()
        killed = (await self.cluster.leader(), other)
        await self._open(left)
        await self.cluster.kill(*killed)
        await self.browser.shows("There is no majority: 1 of 3 machines answers; 2 are needed. Writes are ", "#health")
        for machine in killed:
            await self._until_card(machine, "not answering", "Has not answered for")
        self.assertEqual(await self.browser.run("return document.title"), "⚠ No majority · Cluster · etcd_twisted")
        await together(machine.start() for machine in killed)

        async def well() -> bool | None:
            return True if await (await self.browser.find("#health")).property("hidden") else None

        await self.browser.until(well, "nothing is wrong any more")

    async def _standby(self) -> None:
        """A standby has no page of its own: a browser gets the leader's."""
        standby = self.cluster.add()
        await standby.start()

        async def stands_by() -> bool | None:
            answer = await standby.client.request("GET", PAGE)
            return True if answer.status == 307 else None

        await until(stands_by, f"{standby.name} is a standby")
        leader = await self.cluster.leader()
        await self._open(standby, "")
        await self.browser.shows(f"{leader.name} has led for", ".lead")
        self.assertEqual(await self.browser.url(), leader.url + PAGE)
