"""
Tests of clusters of real processes, through every step that their users and administrators take (api, "Clustering").
"""

import json
import re
from functools import partial

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred

from etcd_twisted.consensus.raft.limits import DEFAULT_LIMITS
from tests.processes.cluster import LONGEST_WAIT_SECONDS, Cluster, Member, SteadyWriter, together, until
from tests.processes.clustered import ClusterTest
from tests.processes.machine import SERVES, STOPPED

WRITERS, WRITES, WRITTEN = 8, 28, 100_000
"""
How many writers write how often and how much, so that no machine has all of it in the part of its log that it keeps.
"""

LATER = ("--cluster-sync-interval", "8")
"""A standby does not join before the test has seen that it stands by."""

SOON = ("--cluster-sync-interval", "1")
"""A standby checks for room as often as is allowed."""


class ThreeMachinesTests(ClusterTest):
    """One cluster from its start through the deaths of its leaders."""

    async def test_cluster_outlives_its_leaders(self) -> None:
        """Each step continues from the last one."""
        self.cluster = Cluster(self, 3)
        await self.cluster.start()
        for step in (self._one_view, self._forwards, self._writes):
            await step()
        for step in (self._leader_killed, self._leader_stopped, self._all_killed):
            await step()

    async def _one_view(self) -> None:
        """Every machine gives the same view of the cluster, at both ports."""
        leader = await self.cluster.leader()
        for machine in self.cluster.machines:
            self.assertEqual((await machine.machines())[0], leader.url)
            listed = (await machine.administer("GET", "machines")).json()
            self.assertEqual(
                sorted(listed, key=lambda each: each["name"]),
                [
                    {
                        "clientURL": each.url,
                        "name": each.name,
                        "peerURL": each.peer_url,
                        "state": "leader" if each is leader else "follower",
                    }
                    for each in self.cluster.machines
                ],
            )
            statistics = (await machine.client.request("GET", "/v2/stats/self")).json()
            self.assertEqual((statistics["name"], statistics["leaderInfo"]["leader"]), (machine.name, leader.name))
            self.assertEqual(statistics["state"], "leader" if machine is leader else "follower")
            self.assertEqual((await machine.client.request("GET", "/health")).json(), {"health": "true"})

    async def test_followers_redirect(self) -> None:
        """A follower that is told so redirects requests that need the leader, and answers all others itself."""
        self.cluster = Cluster(self, 3, "--follower-requests", "redirect")
        await self.cluster.start()
        leader = await self.cluster.leader()
        for follower in await self.cluster.followers():
            for method, path in (
                ("PUT", "/v2/keys/redirected?value=a%20b"),
                ("POST", "/v2/keys/redirected"),
                ("DELETE", "/v2/keys/redirected?recursive=true"),
                ("GET", "/v2/keys/?consistent=true"),
                ("GET", "/v2/keys/?quorum=true&recursive=true"),
            ):
                answer = await follower.client.request(method, path)
                self.assertEqual((answer.status, answer.location), (307, leader.url + path))
            self.assertEqual((await follower.client.get("/")).status, 200)
        await self._writes()

    async def _forwards(self) -> None:
        """A follower answers all requests about keys itself, and has the leader change the configuration."""
        leader = await self.cluster.leader()
        for follower in await self.cluster.followers():
            for method, path, status in (
                ("PUT", "/v2/keys/forwarded/a?value=a%20b", 201),
                ("POST", "/v2/keys/forwarded", 201),
                ("GET", "/v2/keys/forwarded?recursive=true", 200),
                ("GET", "/v2/keys/?consistent=true", 200),
                ("GET", "/v2/keys/forwarded/a?quorum=true", 200),
                ("DELETE", "/v2/keys/forwarded?recursive=true", 200),
            ):
                answer = await follower.client.request(method, path)
                self.assertEqual(answer.status, status, answer)
            self.assertEqual((await follower.client.get("/forwarded")).status, 404)
            answer = await follower.client.request("GET", "/v2/stats/leader")
            self.assertEqual(answer.status, 403)
            config = (await follower.administer("GET", "config")).body
            answer = await follower.connect(follower.peer_url).request("PUT", "/v2/admin/config", config)
            self.assertEqual((answer.status, answer.json()), (200, json.loads(config)))
        statistics = (await leader.client.request("GET", "/v2/stats/leader")).json()
        followers = {machine.name for machine in await self.cluster.followers()}
        self.assertEqual((statistics["leader"], statistics["followers"].keys()), (leader.name, followers))
        for each in statistics["followers"].values():
            self.assertEqual((each["counts"]["fail"], each["counts"]["success"] > 0), (0, True), statistics)

    async def _writes(self) -> None:
        """What is written through any machine is read from each."""
        for machine in self.cluster.machines:
            answer = await machine.user.put(f"/from/{machine.name}", value=f"by {machine.name}")
            self.assertEqual(answer.status, 201)
            for other in self.cluster.machines:
                read = await other.user.get(f"/from/{machine.name}", "?quorum=true")
                self.assertEqual(read.json()["node"], answer.json()["node"])
                waited = await other.client.get(f"/from/{machine.name}", f"?wait=true&waitIndex={answer.index}")
                self.assertEqual(waited.json(), answer.json())
                local = await other.client.get(f"/from/{machine.name}")
                self.assertEqual(local.json()["node"], answer.json()["node"])

    async def _leader_killed(self) -> None:
        """Another machine takes over with all that was acknowledged, and the dead one gets it when it is back."""
        writer = SteadyWriter(self, self.cluster, "/killed")
        await writer.reached(30)
        leader = await self.cluster.leader()
        await leader.kill()
        await writer.reached(30)
        self.assertIsNot(await self.cluster.leader(), leader)
        await leader.start()
        await writer.reached(30)
        await writer.stop()
        self.assertEqual(writer.lost(await self.cluster.converge()), [])
        await self.cluster.agree(self.cluster.machines)

    async def _leader_stopped(self) -> None:
        """A leader that is asked to end transfers the leadership first, so the others accept writes at once."""
        writer = SteadyWriter(self, self.cluster, "/stopped")
        await writer.reached(30)
        leader = await self.cluster.leader()
        self.assertEqual(await leader.terminate(), STOPPED)
        self.assert_clean_end(leader)
        await writer.reached(30)
        await writer.stop()
        self.assertEqual(writer.lost(await self.cluster.converge()), [])
        await leader.start()
        self.assertEqual(writer.lost(await self.cluster.converge()), [])

    async def _all_killed(self) -> None:
        """All machines are killed in the middle of writes, and all data is there when they are back."""
        writer = SteadyWriter(self, self.cluster, "/all")
        await writer.reached(30)
        before = await self.cluster.machines[0].keys()
        await self.cluster.kill(*self.cluster.machines)
        first, *others = self.cluster.machines
        await self._alone(first)
        await together(machine.start() for machine in others)
        await first.child.when_printed(SERVES)
        await writer.reached(10)
        await writer.stop()
        keys = await self.cluster.converge()
        self.assertEqual(writer.lost(keys), [])
        self.assertLessEqual(before.items(), keys.items())
        await self.cluster.agree(self.cluster.machines)

    async def _alone(self, machine: Member) -> None:
        """Starts a machine that finds no other: it lists at once all machines that it knew, and no leader."""
        await machine.launch_alone()
        urls = sorted(each.url for each in self.cluster.machines)
        self.assertEqual(sorted(await machine.machines()), urls)
        members = (await machine.client.request("GET", "/v2/members")).json()["members"]
        self.assertEqual(sorted(each["clientURLs"][0] for each in members), urls)
        self.assertEqual(len({each["id"] for each in members}), 3)
        listed = (await machine.administer("GET", "machines")).json()
        self.assertEqual({each["clientURL"]: each["state"] for each in listed}, dict.fromkeys(urls, "follower"))
        self.assertEqual((await machine.client.request("GET", "/health")).status, 503)


class ChangeTests(ClusterTest):
    """Tests of machines that were away, have moved, or are removed."""

    async def test_machines_go_away_move_and_are_removed(self) -> None:
        """Each step continues from the last one."""
        self.cluster = Cluster(self, 3, "--snapshot-count", "50", *LATER)
        await self.cluster.start()
        for step in (self._away, self._moved, self._removed, self._begun_anew):
            await step()

    async def _away(self) -> None:
        """A machine that comes back when the others have compacted their logs gets a snapshot."""
        away, _ = await self.cluster.followers()
        await away.kill()

        async def write(writer: int) -> None:
            for number in range(WRITES):
                value = f"{writer} {number} ".ljust(WRITTEN, "x")
                await self.cluster.put(f"/away/{writer}/{number % 4}", value)

        async def compacted() -> bool | None:
            """
            Waits until more is older than the leader's last snapshot, which long writes make due, than is kept beside
            one.
            """
            await self.cluster.put("/compacted", "x" * WRITTEN)
            leader = await self.cluster.leader()
            taken = re.findall(r"Took a snapshot at log index (\d+)", leader.child.output)
            return True if taken and int(taken[-1]) * WRITTEN > 1.1 * DEFAULT_LIMITS.trailing_bytes else None

        await together(write(writer) for writer in range(WRITERS))
        await until(compacted, "the leader's log begins behind what the machine has")
        await away.start()
        await away.child.when_printed("Continued from the leader's snapshot").addTimeout(LONGEST_WAIT_SECONDS, reactor)
        keys = await self.cluster.converge()
        found = {key: value.rstrip("x") for key, (value, _) in keys.items() if key.startswith("/away")}
        last = range(WRITES - 4, WRITES)
        wanted = {f"/away/{each}/{number % 4}": f"{each} {number} " for each in range(WRITERS) for number in last}
        self.assertEqual(found, wanted)
        written = await away.user.put("/away/back", value="here")
        waited = await away.client.get("/away/back", f"?wait=true&waitIndex={written.index}")
        self.assertEqual(waited.json(), written.json())

    async def _moved(self) -> None:
        """A machine that comes back with other addresses announces them to all others."""
        moving, _ = await self.cluster.followers()
        before = moving.url, moving.peer_url
        self.assertEqual(await moving.terminate(), STOPPED)
        moving.move()
        await moving.start()
        await self.cluster.agree(self.cluster.machines)
        for machine in self.cluster.machines:
            described = (await machine.administer("GET", f"machines/{moving.name}")).json()
            self.assertEqual((described["clientURL"], described["peerURL"]), (moving.url, moving.peer_url))
            self.assertNotIn(before, [(described["clientURL"], described["peerURL"])])
        await moving.user.put("/moved", value="here")
        self.assertEqual((await self.cluster.converge())["/moved"][0], "here")

    async def _removed(self) -> None:
        """
        An administrator removes a machine by a request to a follower; the machine becomes a standby, and joins again.
        """
        removed, asked = await self.cluster.followers()
        answer = await asked.administer("DELETE", f"machines/{removed.name}")
        self.assertEqual(answer.status, 200, answer)
        await self.assert_standby(removed, self.cluster)
        staying = [machine for machine in self.cluster.machines if machine is not removed]
        await self.cluster.agree(staying)
        self.assertEqual((await asked.administer("GET", f"machines/{removed.name}")).status, 404)
        self.assertEqual((await asked.administer("DELETE", f"machines/{removed.name}")).status, 404)
        self.assertEqual((await removed.user.put("/removed", value="by a standby")).status, 201)
        await self.cluster.agree(self.cluster.machines)
        self.assertEqual((await self.cluster.converge())["/removed"][0], "by a standby")

    async def _begun_anew(self) -> None:
        """
        A machine drops its data and is back so soon that the others still believe that it is alive; then it gets all
        data again.
        """
        anew, _ = await self.cluster.followers()
        before = json.loads((anew.data / "identity.json").read_text())
        await anew.kill()
        await anew.start("--force")
        await self.cluster.agree(self.cluster.machines)
        self.assertEqual((await self.cluster.converge())["/removed"][0], "by a standby")
        after = json.loads((anew.data / "identity.json").read_text())
        self.assertEqual(after["cluster_id"], before["cluster_id"])
        self.assertNotEqual(after["machine_id"], before["machine_id"])


class StandbyTests(ClusterTest):
    """A cluster has as many machines as C{activeSize} says."""

    async def test_cluster_has_its_active_size(self) -> None:
        """
        A cluster with a machine too many or too few gets the right number; each step continues from the last one (api,
        "Set Cluster Config").
        """
        self.cluster = cluster = Cluster(self, 3, *SOON)
        await cluster.start()
        *_, follower = await cluster.followers()
        await self.configure(follower, activeSize=3)
        await until(self._three_wanted, "all know how many machines there should be")
        self.standby = cluster.add()
        await self.standby.start()
        await self.assert_standby(self.standby, cluster)
        for step in (self._more, self._fewer, self._silent, self._leader_removed):
            await step()

    async def _three_wanted(self) -> bool:
        for machine in self.cluster.machines:
            self.assertEqual((await machine.administer("GET", "config")).json()["activeSize"], 3)
        return True

    async def _more(self) -> None:
        """The standby fills the free place, and has all data."""
        await self.standby.user.put("/more", value="written before")
        await self.configure(await self.cluster.leader(), activeSize=4)
        await self.cluster.agree(self.cluster.machines)
        self.assertEqual((await self.cluster.converge())["/more"][0], "written before")

    async def _fewer(self) -> None:
        """If there is one machine too many, a follower becomes a standby."""
        leader = await self.cluster.leader()
        await self.configure(leader, activeSize=3)
        members = await self._three()
        self.assertIn(leader, members)
        (self.standby,) = [machine for machine in self.cluster.machines if machine not in members]
        await self.assert_standby(self.standby, self.cluster)

    async def _three(self) -> list[Member]:
        """Returns the members when there are three."""

        async def three() -> list[Member] | None:
            answer = await self.cluster.running[0].user.request("GET", "/v2/machines")
            urls = answer.body.decode().split(", ")
            return [machine for machine in self.cluster.machines if machine.url in urls] if len(urls) == 3 else None

        members = await until(three, "three machines are in the cluster")
        await self.cluster.agree(members)
        return members

    async def _silent(self) -> None:
        """
        A dead machine is removed after a while, the standby joins in its place, and there is no room for the dead one
        later.
        """
        leader = await self.cluster.leader()
        dead, *_ = [each for each in self.cluster.machines if each is not leader and each is not self.standby]
        await self.configure(leader, activeSize=3, removeDelay=2)
        await dead.kill()
        await self.cluster.agree(self.cluster.running)
        await self.cluster.converge()
        await dead.start()
        self.standby = dead
        await self.assert_standby(dead, self.cluster)

    async def _leader_removed(self) -> None:
        """
        An administrator removes the leader. Another machine leads, and answers the clients of the old one, so that
        none waits for nothing. The standby that checks first joins.
        """
        leader = await self.cluster.leader()
        removing = ensureDeferred(leader.administer("DELETE", f"machines/{leader.name}"))
        while not removing.called:
            answer = await leader.client.put("/leader/removed", value="x")
            self.assertIn(answer.status, {200, 201}, answer)
        answer = await removing
        self.assertEqual(answer.status, 200, answer)
        answer = await leader.client.put("/leader/removed", value="y")
        self.assertEqual(answer.status, 200, answer)
        members = await self._three()
        self.assertIsNot(await self.cluster.leader(), leader)
        (standby,) = [machine for machine in self.cluster.machines if machine not in members]
        await self.assert_standby(standby, self.cluster)
        await self.cluster.converge(*members)


class LargeValueTests(ClusterTest):
    """Tests of values that take long to send."""

    async def test_largest_values_reach_all_machines(self) -> None:
        """A value of the maximum length reaches all machines, over and over."""
        cluster = Cluster(self, 3, "--max-request-bytes", str(16 << 20))
        await cluster.start()
        value = "x" * ((16 << 20) - len("value="))

        async def written(machine: Member) -> bool:
            answer = await machine.user.put("/large", value=value)
            self.assertIn(answer.status, (200, 201), answer.body[:200])
            return True

        for machine in cluster.machines:
            await until(partial(written, machine), f"{machine.name} takes it")
        for machine in cluster.machines:
            answer = await machine.user.get("/large?quorum=true")
            self.assertTrue(answer.json()["node"]["value"] == value)


class FiveMachinesTests(ClusterTest):
    """Two of five machines may die."""

    async def test_two_of_five_may_die(self) -> None:
        """
        The leader and another machine die at the same moment; when a third one dies, nothing is acknowledged any more.
        """
        cluster = Cluster(self, 5)
        await cluster.start()
        writer = SteadyWriter(self, cluster, "/five")
        await writer.reached(20)
        leader, (follower, *_) = await cluster.leader(), await cluster.followers()
        await cluster.kill(leader, follower)
        await writer.reached(20)
        await writer.stop()
        self.assertEqual(writer.lost(await cluster.converge()), [])
        third, *others = cluster.running
        await third.kill()
        await together(self._no_leader(machine) for machine in others)
        await third.start()
        self.assertEqual((await third.user.put("/five/again", value="x")).status, 201)
        self.assertEqual(writer.lost(await cluster.converge()), [])

    async def _no_leader(self, machine: Member) -> None:
        """Asserts that a machine redirects nobody to a leader that is not there, and acknowledges nothing."""
        acknowledged = []

        async def refused() -> bool:
            answer = await machine.user.put("/five/none", value="x")
            if answer.status != 500:
                acknowledged.append(answer)
            self.assertEqual((answer.status, answer.json().get("errorCode")), (500, 300))
            return True

        await until(refused, f"{machine.name} refuses to write")
        self.assertEqual(acknowledged, [])
        self.assertEqual((await machine.client.get("/five/1")).status, 200)


class DiscoveryTests(ClusterTest):
    """Tests of machines that use a discovery directory of another cluster."""

    async def test_three_machines_find_each_other_at_once(self) -> None:
        """
        One of them is the first, although two are given the others too; the directory is not needed once they are a
        cluster (spec, "Discovery"), nor by a machine that comes later and is given others (spec, "Joining").
        """
        service = Member(self, "discovery")
        await service.start()
        directory = f"{service.url}/v2/keys/discovery/token"
        cluster = Cluster(self, 3, "--discovery", directory)
        first, second, third = cluster.machines
        first.others, second.others, third.others = [second, third], [first, third], []
        await together(machine.start() for machine in cluster.machines)
        await cluster.agree(cluster.machines)
        listed = (await service.client.get("/discovery/token")).json()["node"]["nodes"]
        self.assertEqual({node["key"].rpartition("/")[2]: node["value"] for node in listed},
                         {machine.name: machine.peer_url for machine in cluster.machines})  # fmt: skip
        self.assertTrue(all(604_000 < node["ttl"] <= 604_800 for node in listed), listed)
        *_, follower = await cluster.followers()
        self.assertEqual(await service.terminate(), STOPPED)
        self.assertEqual(await follower.terminate(), STOPPED)
        await follower.start()
        await follower.user.put("/discovered", value="x")
        await cluster.agree(cluster.machines)
        later = cluster.add()
        await later.start()
        await cluster.agree(cluster.machines)
        self.assertEqual(later.child.output.count(f"--discovery {directory} can't be used"), 1)
