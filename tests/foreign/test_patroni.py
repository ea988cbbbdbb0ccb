"""Patroni keeps a primary and a replica of PostgreSQL, with machines of this project as its store."""

from collections.abc import Callable
from typing import cast
from unittest import skipIf

import msgspec
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import TestCase

from etcd_twisted.client import Client, Event, Watch
from tests.foreign.patroni import KEYS, MISSING, Node
from tests.processes.cluster import Cluster, until

SETTINGS = {"ttl": 20, "loop_wait": 1, "retry_timeout": 3}
"""With the least that Patroni takes, what it does comes sooner than with the page's."""


class Story:
    """
    What happens to Patroni's keys.

    @ivar events: all events until now.
    """

    def __init__(self, watch: Watch) -> None:
        self.events: list[Event] = []
        self._watch = watch

    async def until(self, wanted: Callable[[], bool]) -> None:
        """Returns when the events are as wanted. The test's own timeout bounds the wait."""
        while not wanted():
            event = await self._watch.next()
            if not isinstance(event, Event):
                raise AssertionError(f"the watch has missed events: {event}")
            self.events.append(event)

    async def until_renewed(self, *keys: str) -> None:
        """Returns when each of these keys has been written three times more."""
        wanted = {key: len(self.of(key)) + 3 for key in keys}
        await self.until(lambda: all(len(self.of(key)) >= least for key, least in wanted.items()))

    def of(self, key: str) -> list[Event]:
        """Returns the events of one key."""
        return [event for event in self.events if event.node.key == f"{KEYS}/{key}"]

    def removals(self) -> list[Event]:
        """Returns the events that have removed a key."""
        return [event for event in self.events if event.is_removal]

    def leaders(self) -> list[str | None]:
        """Returns the values that Patroni's leader key has been given."""
        return [event.node.value for event in self.of("leader") if not event.is_removal]


class PatroniTest(TestCase):
    """
    Two nodes and three machines.

    @ivar profile: the machines' profile.
    @ivar user: the user of the machines that Patroni is, if they have users, and his password.
    @ivar primary: the node that is the primary, C{node1} at first.
    @ivar replica: the other one.
    """

    timeout = 300
    profile: str
    user: tuple[str, str] | None = None

    async def setUp(self) -> None:
        """Starts the machines and bootstraps the nodes."""
        self.cluster = Cluster(self, 3, "--profile", self.profile)
        await self.cluster.start()
        if self.user is not None:
            await self.enable_users(*self.user)
        self.client = self.connect(self.user)
        ports = [each.port for each in self.cluster.machines]
        self.primary, self.replica = (Node(self, name, ports, self.user) for name in ("node1", "node2"))
        self.primary.start()
        await self.primary.becomes("primary")
        await self.primary.ask("PATCH", "/config", SETTINGS)
        self.replica.start()
        await self.replica.becomes("replica")
        await self.primary.sql("CREATE TABLE notes (note text)")

    def connect(self, credentials: tuple[str, str] | None = None) -> Client:
        """Returns a client of all machines."""
        urls = [machine.url for machine in self.cluster.machines]
        client = Client(urls, reactor=cast(IReactorTime, reactor), credentials=credentials)
        self.addCleanup(client.close)
        return client

    async def enable_users(self, name: str, password: str) -> None:
        """Has the machines let nobody in but root, and a user who may do what the page says."""
        await self.connect().auth.add_user("root", "secret-of-root")
        await self.connect().auth.enable()
        auth = self.connect(("root", "secret-of-root")).auth
        await auth.remove_role("guest")
        await auth.add_role("patroni", read=["/service/*"], write=["/service/*"])
        await auth.add_user(name, password, ["patroni"])

    async def follow(self) -> Story:
        """Returns the story of Patroni's keys from now on."""
        index = (await self.client.get(KEYS, quorum=True)).index.etcd_index
        watch = self.client.watch(KEYS, recursive=True, after_index=index)
        self.addCleanup(watch.close)
        return Story(watch)

    async def keep(self, note: str) -> None:
        """Writes something at the primary, and waits until the replica has it."""
        await self.primary.sql(f"INSERT INTO notes VALUES ('{note}')")

        async def copied() -> bool:
            self.assertIn(note, await self.notes(self.replica))
            return True

        await until(copied, f"the replica has {note!r}")

    async def notes(self, node: Node) -> list[str]:
        """Returns what a node has of that."""
        return (await node.sql("SELECT note FROM notes ORDER BY note")).splitlines()

    async def pause(self, wanted: bool) -> None:
        """Pauses Patroni or has it go on, and waits until both nodes know of it."""
        await self.primary.ask("PATCH", "/config", {"pause": wanted})

        async def known() -> bool:
            for node in (self.primary, self.replica):
                state = (await node.api.request("GET", "/patroni")).json()
                self.assertEqual(state.get("pause", False), wanted)
            return True

        await until(known, f"both nodes have pause={wanted}")

    async def settle(self) -> None:
        """Waits until one node is the primary and the other one its replica, and notes which is which."""

        async def elected() -> bool | None:
            for node, other in ((self.primary, self.replica), (self.replica, self.primary)):
                if (await node.api.request("GET", "/primary")).status == 200:
                    self.primary, self.replica = node, other
                    return True
            return None

        await until(elected, "there is a primary")
        await self.primary.becomes("primary")
        await self.replica.becomes("replica")

    async def assert_history(self, *primaries: str) -> None:
        """Waits until both nodes, and the store, know these primaries, one for each timeline but the first."""

        async def recorded() -> bool:
            for node in (self.primary, self.replica):
                history = await node.ask("GET", "/history")
                # At first, a promotion has neither its time nor its leader there.
                told = [(timeline, *time_and_leader[1:]) for timeline, _lsn, _reason, *time_and_leader in history]
                self.assertEqual(told, list(enumerate(primaries, 1)))
            stored = (await self.client.get(f"{KEYS}/history", quorum=True)).value
            self.assertEqual(msgspec.json.decode(stored or ""), history)
            return True

        await until(recorded, f"the history is {primaries}")


@skipIf(MISSING is not None, MISSING or "")
class AdministrationTests(PatroniTest):
    profile = "etcd2"
    user = ("postgres", "secret-of-the-store")

    async def test_planned_changes(self) -> None:
        """
        Both nodes take a setting from the store. While Patroni is paused, nobody takes the place of a primary that has
        died; afterwards somebody does. The primary changes on request.
        """
        await self.primary.ask("PATCH", "/config", {"postgresql": {"parameters": {"work_mem": "7MB"}}})

        async def configured() -> bool:
            for node in (self.primary, self.replica):
                self.assertEqual(await node.sql("SHOW work_mem"), "7MB")
            return True

        await until(configured, "both nodes have the setting")
        await self.pause(True)
        story = await self.follow()
        self.primary.kill_postgresql()
        await story.until(lambda: story.removals() != [])
        await story.until_renewed("members/node1", "members/node2")
        self.assertEqual([event.node.key for event in story.removals()], [f"{KEYS}/leader"])
        self.assertLessEqual(set(story.leaders()), {"node1"})
        await self.pause(False)
        await self.settle()
        await self.assert_history(self.primary.name)  # only the primary itself can say who it was
        await self.keep("before the switchover")
        candidate = self.replica.name
        await self.primary.ask("POST", "/switchover", {"leader": self.primary.name, "candidate": candidate})
        await self.settle()
        self.assertEqual(self.primary.name, candidate)
        await self.keep("after the switchover")
        self.assertEqual(await self.notes(self.replica), ["after the switchover", "before the switchover"])
        await self.assert_history(self.replica.name, candidate)


@skipIf(MISSING is not None, MISSING or "")
class FaultTests(PatroniTest):
    profile = "etcd04"

    async def test_faults(self) -> None:
        """
        The death of any machine of the store, its leader among them, removes no node from Patroni's list, also while
        the dead machine is missing. After the death of the primary, the replica goes on, and the old primary comes
        back as a replica.
        """
        await self.keep("one")
        story = await self.follow()
        for follower in await self.cluster.followers():
            await follower.kill()
            await story.until_renewed("leader", "members/node1", "members/node2")
            await follower.start()
            await self.cluster.agree(self.cluster.machines)
        leader = await self.cluster.leader()
        await leader.kill()
        await story.until_renewed("leader", "members/node1", "members/node2")
        self.assertEqual(story.removals(), [])
        self.assertEqual(set(story.leaders()), {"node1"})
        await self.keep("two")
        await self.primary.kill()
        self.primary, self.replica = self.replica, self.primary
        await self.primary.becomes("primary")
        self.assertEqual(await self.notes(self.primary), ["one", "two"])
        await self.primary.sql("INSERT INTO notes VALUES ('three')")
        await leader.start()
        self.replica.start()
        await self.replica.becomes("replica")
        await self.keep("four")
        self.assertEqual(await self.notes(self.replica), ["four", "one", "three", "two"])
        await self.assert_history("node2")
        await story.until(lambda: "node2" in story.leaders())
        self.assertEqual([event.action for event in story.removals() if event in story.of("leader")], ["expire"])
        for node in (self.primary, self.replica):
            self.assertNotIn("Cluster ID changed", node.output)
