"""
etcdctl, etcd's own command-line tool, from Debian's etcd-client.
"""

import shutil

import msgspec
from twisted.trial.unittest import TestCase

from tests.processes.child import ChildProcess, spawn
from tests.processes.cluster import Cluster, Member, until
from tests.processes.machine import Machine

ETCDCTL = shutil.which("etcdctl")

PATIENT = ("--timeout", "60s", "--total-timeout", "120s")
"""Timeouts for its requests, since its own 2 and 5 seconds are too short on a busy computer."""

REFUSED = 4
"""The tool's exit status when the server answers with an error."""


class EtcdctlTest(TestCase):
    """
    A test that runs its commands as a person would type them.

    @ivar machine: the machine that the tool asks.
    """

    timeout = 240
    machine: Machine

    if ETCDCTL is None:
        skip = "etcdctl is not installed (apt-get install etcd-client)"

    def start(self, *arguments: str) -> ChildProcess:
        """Starts a command."""
        command = [str(ETCDCTL), "--endpoints", self.machine.url, *PATIENT, *arguments]
        return spawn(self, command, self.machine.directory, {"ETCDCTL_API": "2"})

    async def run_command(self, *arguments: str) -> str:
        """Returns what a command printed, which has to succeed."""
        child = self.start(*arguments)
        self.assertEqual((await child.when_ended(), child.errors), (0, ""), arguments)
        return child.output

    async def assertRefused(self, error: str, *arguments: str) -> None:
        """Asserts that the server refuses a command, and that the tool says why."""
        child = self.start(*arguments)
        self.assertEqual((await child.when_ended(), child.errors), (REFUSED, f"Error:  {error}\n"), arguments)


class KeysTests(EtcdctlTest):
    """These commands are about keys."""

    async def setUp(self) -> None:
        """Starts one machine."""
        self.machine = Machine(self)
        await self.machine.embed()

    async def test_set_get_mk_update_and_rm(self) -> None:
        """The commands C{set}, C{get}, C{mk}, C{update} and C{rm} do what they say."""
        self.assertEqual(await self.run_command("set", "/message", "Hello world"), "Hello world\n")
        self.assertEqual(await self.run_command("get", "/message"), "Hello world\n")
        self.assertEqual(await self.run_command("get", "--quorum", "/message"), "Hello world\n")
        self.assertEqual(await self.run_command("mk", "/other", "new"), "new\n")
        await self.assertRefused("105: Key already exists (/other) [3]", "mk", "/other", "newer")
        self.assertEqual(await self.run_command("update", "/message", "Hello etcd"), "Hello etcd\n")
        await self.assertRefused("100: Key not found (/none) [4]", "update", "/none", "x")
        self.assertEqual(await self.run_command("rm", "/message"), "PrevNode.Value: Hello etcd\n")
        await self.assertRefused("100: Key not found (/message) [5]", "get", "/message")

    async def test_output_formats_show_indexes(self) -> None:
        await self.run_command("set", "/message", "Hello world")
        shown = msgspec.json.decode(await self.run_command("-o", "json", "get", "/message"))
        self.assertEqual(shown["action"], "get")
        self.assertEqual((shown["node"]["createdIndex"], shown["node"]["modifiedIndex"]), (2, 2))
        extended = await self.run_command("-o", "extended", "get", "/message")
        self.assertIn("Modified-Index: 2\n", extended)
        self.assertIn("Index: 2\n", extended)

    async def test_in_order_keys(self) -> None:
        """The command is C{mk --in-order}."""
        for value in ("a", "b"):
            self.assertEqual(await self.run_command("mk", "--in-order", "/queue", value), f"{value}\n")
        self.assertEqual(await self.run_command("ls", "--sort", "/queue"), "/queue/2\n/queue/3\n")

    async def test_etcdctl_takes_conditions(self) -> None:
        """C{set} and C{rm} take conditions."""
        await self.run_command("set", "/key", "one")
        self.assertEqual(await self.run_command("set", "--swap-with-value", "one", "/key", "two"), "two\n")
        self.assertEqual(await self.run_command("set", "--swap-with-index", "3", "/key", "three"), "three\n")
        mismatch = "101: Compare failed ([one != three]) [4]"
        await self.assertRefused(mismatch, "set", "--swap-with-value", "one", "/key", "four")
        await self.assertRefused(mismatch, "rm", "--with-value", "one", "/key")
        await self.run_command("rm", "--with-index", "4", "/key")
        self.assertEqual(await self.run_command("ls"), "")

    async def test_etcdctl_handles_directories(self) -> None:
        """The commands are C{mkdir}, C{setdir}, C{updatedir}, C{ls}, C{rmdir}, and C{rm} of a directory."""
        await self.run_command("mkdir", "/dir")
        await self.assertRefused("105: Key already exists (/dir) [2]", "mkdir", "/dir")
        await self.run_command("setdir", "/dir/empty")
        await self.run_command("set", "/dir/key", "x")
        await self.run_command("set", "/key", "x")
        self.assertEqual(await self.run_command("ls", "--sort", "-p"), "/dir/\n/key\n")
        self.assertEqual(
            await self.run_command("ls", "--recursive", "--sort", "-p", "/"), "/dir/\n/dir/empty/\n/dir/key\n/key\n"
        )
        await self.run_command("updatedir", "--ttl", "100", "/dir")
        self.assertIn((await self.machine.client.get("/dir")).json()["node"]["ttl"], range(1, 101))
        await self.assertRefused("102: Not a file (/dir) [6]", "rm", "/dir")
        await self.assertRefused("108: Directory not empty (/dir) [6]", "rmdir", "/dir")
        await self.run_command("rmdir", "/dir/empty")
        await self.run_command("rm", "--recursive", "/dir")
        self.assertEqual(await self.run_command("ls"), "/key\n")

    async def test_etcdctl_sets_a_ttl(self) -> None:
        """The command is C{set --ttl}, and the key goes when its time is over."""
        await self.run_command("set", "--ttl", "1", "/key", "x")
        expired = await self.run_command("-o", "json", "watch", "--after-index", "2", "/key")
        self.assertEqual(msgspec.json.decode(expired)["action"], "expire")

    async def test_etcdctl_watches_a_key(self) -> None:
        """C{watch} ends with the first event, a future or a past one, or goes on for ever."""
        watching = self.start("watch", "--recursive", "/dir")
        await self.machine.when_watched(1)
        await self.run_command("set", "/dir/key", "Hello world")
        self.assertEqual((await watching.when_ended(), watching.output), (0, "[set] /dir/key\nHello world\n"))
        self.assertEqual(await self.run_command("watch", "--after-index", "1", "/dir/key"), "Hello world\n")
        forever = self.start("watch", "--forever", "--after-index", "1", "/dir/key")
        await forever.when_printed("Hello world\n")
        await self.run_command("set", "/dir/key", "Hello etcd")
        await forever.when_printed("Hello world\nHello etcd\n")

    async def test_etcdctl_runs_a_command_for_every_event(self) -> None:
        """C{exec-watch} runs a command for every event."""
        watching = self.start(
            *("exec-watch", "--recursive", "/dir", "--"),
            *("sh", "-c", "echo $ETCD_WATCH_ACTION $ETCD_WATCH_KEY $ETCD_WATCH_MODIFIED_INDEX $ETCD_WATCH_VALUE."),
        )
        await self.machine.when_watched(1)
        await self.run_command("set", "/dir/key", "one")
        await watching.when_printed("set /dir/key 2 one.\n")
        await self.machine.when_watched(1)
        await self.run_command("rm", "/dir/key")
        await watching.when_printed("delete /dir/key 3 .\n")


class MembersTests(EtcdctlTest):
    """These commands are about machines, and are sent to a follower."""

    async def setUp(self) -> None:
        """Starts a cluster of three."""
        self.cluster = Cluster(self, 3, "--cluster-sync-interval", "3600", "--member-ids", self.member_ids)
        await self.cluster.start()
        self.machine, self.other = await self.cluster.followers()

    member_ids = "name"
    note = "Found a member named "
    """The tool looks for names too, and notes that the id is one."""

    async def members(self) -> dict[str, str]:
        """Returns the ids of the machines by their names, as the tool lists them, each at its addresses."""
        leader = await self.cluster.leader()
        ids = {}
        for line in (await self.run_command("member", "list")).splitlines():
            machine_id, _, rest = line.partition(": ")
            (machine,) = [each for each in self.cluster.machines if f"name={each.name} " in rest]
            leads = "true" if machine is leader else "false"
            self.assertEqual(rest, f"name={machine.name} {self.urls(machine)} isLeader={leads}")
            ids[machine.name] = machine_id
        return ids

    def urls(self, machine: Member) -> str:
        return f"peerURLs={machine.peer_url} clientURLs={machine.url}"

    async def assertNotDone(self, error: str, *arguments: str) -> None:
        """Asserts that a change of the members was not made, and that the tool says why."""
        child = self.start("member", *arguments)
        self.assertEqual((await child.when_ended(), child.errors), (1, error + "\n"), arguments)

    async def test_etcdctl_changes_members(self) -> None:
        """The commands are C{member list}, C{add}, C{update} and C{remove}."""
        ids = await self.members()
        self.assertEqual(set(ids), {machine.name for machine in self.cluster.machines})
        leader = await self.cluster.leader()
        added = await self.run_command("member", "add", "new", "http://127.0.0.1:9")
        self.assertIn("Added member named new with ID ", added)
        new_id = added.partition(" with ID ")[2].split()[0]
        unstarted = f"{new_id}[unstarted]: peerURLs=http://127.0.0.1:9\n"
        self.assertIn(unstarted, await self.run_command("member", "list"))
        await self.assertNotDone("membership: peerURL exists", "add", "newer", "http://127.0.0.1:9")
        updated = await self.run_command("member", "update", new_id, "http://127.0.0.1:10")
        self.assertEqual(updated, f"Updated member with ID {new_id} in cluster\n")
        removed = await self.run_command("member", "remove", new_id)
        self.assertEqual(removed, f"Removed member {new_id} from cluster\n")
        self.assertNotIn(new_id, await self.run_command("member", "list"))
        await self.assertNotDone("membership: peerURL exists", "add", "new", self.other.peer_url)
        away = f"{leader.name} leads and is at {leader.peer_url}: start it with another --peer-addr to move it"
        await self.assertNotDone(away, "update", ids[leader.name], "http://127.0.0.1:9")
        await self.assertNotDone("Couldn't find a member in the cluster with an ID of 12.", "remove", "12")
        updated = await self.run_command("member", "update", ids[self.other.name], self.other.peer_url)
        self.assertEqual(updated, f"Updated member with ID {ids[self.other.name]} in cluster\n")
        child = self.start("member", "remove", ids[self.other.name])
        removed = f"Removed member {ids[self.other.name]} from cluster\n"
        self.assertEqual((await child.when_ended(), child.output), (0, removed), child.errors)
        self.assertTrue(child.errors.startswith(self.note) if self.note else not child.errors, child.errors)
        del ids[self.other.name]

        async def without() -> bool:
            self.assertEqual(await self.members(), ids)
            return True

        await until(without, "the machine that was asked knows of that")

    async def test_member_that_is_moved_registers_its_own_addresses(self) -> None:
        """The other machines look for it elsewhere, and it registers its own addresses when it is back."""
        await self.other.kill()
        old = self.other.peer_url
        self.other.move()
        (line,) = [line for line in (await self.run_command("member", "list")).splitlines() if old in line]
        await self.run_command("member", "update", line.partition(":")[0], self.other.peer_url)

        async def looked_for_elsewhere() -> bool:
            listed = await self.run_command("member", "list")
            self.assertIn(f" peerURLs={self.other.peer_url} ", listed)
            self.assertNotIn(old, listed)
            return True

        await until(looked_for_elsewhere, "the machine that was asked knows of that")
        await self.other.start()
        await self.cluster.agree(self.cluster.machines)
        await self.members()

    async def test_etcdctl_reports_the_health_of_a_cluster(self) -> None:
        """C{cluster-health} reports all machines, too few, and none."""
        ids = await self.members()
        healthy = "".join(
            f"member {ids[machine.name]} is healthy: got healthy result from {machine.url}\n"
            for machine in sorted(self.cluster.machines, key=lambda each: ids[each.name])
        )
        self.assertEqual(await self.run_command("cluster-health"), f"{healthy}cluster is healthy\n")
        await self.other.kill()
        child = self.start("cluster-health")
        await child.when_ended()
        self.assertIn(f"failed to check the health of member {ids[self.other.name]} on {self.other.url}", child.output)
        self.assertIn("cluster is degraded\n", child.output)


class HexMembersTests(MembersTests):
    """The ids are 16 hex digits."""

    member_ids = "hex"
    note = ""

    async def test_etcdctl_adds_a_machine_that_then_starts(self) -> None:
        """It has the id that C{member add} printed, and one that was removed stays out until it is added again."""
        new = self.cluster.add()
        added = await self.run_command("member", "add", new.name, new.peer_url)
        new_id = added.partition(" with ID ")[2].split()[0]
        await new.start()
        await self.cluster.agree(self.cluster.machines)
        self.assertEqual((await self.members())[new.name], new_id)
        await self.run_command("member", "remove", new_id)
        child = self.start("member", "remove", new_id)
        self.assertNotEqual(await child.when_ended(), 0)
