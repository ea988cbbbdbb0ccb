"""
L{etcd_twisted.life}: machines from their first start on, with real replicas and disks, and a network in memory.
"""

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from etcd_twisted.addresses import Address
from etcd_twisted.config import Config
from etcd_twisted.consensus.members import ALIVE
from etcd_twisted.consensus.recovery import Recovered, Storage
from etcd_twisted.errors import ConfigError, ErrorCode, EtcdError, NotDoneError, StartError
from etcd_twisted.keyspace.events import Event
from etcd_twisted.life import RETRY, Life
from etcd_twisted.machines import Machine
from etcd_twisted.membership import ClusterConfig, ClusterView, JoinReply, JoinRequest
from etcd_twisted.peer.client import UnreachableError
from tests.consensus.cluster import Cluster, ClusterMachine, ClusterTestCase
from tests.consensus.network import LATENCY, MemoryPeers

SYNC = 5.0
"""How often a standby looks for a place."""


class LivingMachine(ClusterMachine):
    """
    A machine that finds its own place.

    @ivar config: may be replaced while it is down.
    @ivar seeds: the machines that it is told of.
    @ivar sought: the names for which others were looked for.
    """

    def __init__(self, cluster: Cluster, number: int, seeds: tuple["LivingMachine", ...], **settings: Any) -> None:
        self.seeds = [machine.url for machine in seeds]
        self.sought: list[str] = []
        self.storage: Storage | None = None
        self.configure(**({"name": f"machine{number}", "port": number} | settings))
        super().__init__(cluster, number)

    def configure(self, port: int, name: str | None, **settings: Any) -> None:
        """How it is called and reached from its next start on."""
        given: dict[str, Any] = {
            "name": name,
            "addr": Address("clients", 4000 + port),
            "peer_addr": Address("peers", 7000 + port),
            "sources": {"peers": "--peers"},
        }
        self.config = Config(**(given | settings))
        self.machine = Machine(name or "", self.config.client_url, self.config.peer_url)

    def _begin(self) -> None:
        self.machine = Machine(self.config.name or "", self.config.client_url, self.config.peer_url)
        super()._begin()
        self.peers = MemoryPeers(self.cluster.network, self)
        self.life = Life(self.clock, self.config, self.replica, self.peers, self.transport, self._find_seeds)

    async def _find_seeds(self, name: str) -> list[str]:
        self.sought.append(name)
        return self.seeds

    def _note_excluded(self) -> None:
        super()._note_excluded()
        self.life.excluded()

    async def _start(self) -> None:
        self.storage = Storage.open(self.path, "--data-dir", self.config.force)
        await self.life.begin(self.storage, self.disk)  # type: ignore[arg-type]

    async def _stop(self) -> None:
        self.life.stop()
        await self.replica.hand_over()
        await super()._stop()

    def close_files(self) -> None:
        """Give the directory back."""
        storage = self.life.storage or self.storage
        if storage is not None:
            storage.close()

    @property
    def is_member(self) -> bool:
        """Whether it takes part and has a vote."""
        return self.up and self.replica.serving and not self.replica.standby

    @property
    def identity(self) -> dict[str, Any]:
        """What its directory says who it is."""
        return dict(json.loads((self.path / "identity.json").read_text()))


class LifeTestCase(ClusterTestCase):
    def setUp(self) -> None:
        self.group = self.cluster(defaults=ClusterConfig(active_size=3, sync_interval=SYNC))

    def add(self, *seeds: LivingMachine, **settings: Any) -> LivingMachine:
        """A machine that is not started yet."""
        number = len(self.group.machines) + 1
        machine = LivingMachine(self.group, number, seeds, **settings)
        self.group.machines.append(machine)
        return machine

    def start(self, *seeds: LivingMachine, **settings: Any) -> LivingMachine:
        """One that is, and serves or stands by."""
        machine = self.add(*seeds, **settings)
        self.group.finish(machine.start())
        return machine

    def three(self) -> list[LivingMachine]:
        """As many as there is place for."""
        first = self.start()
        return [first, self.start(first), self.start(first)]

    def refusal(self, machine: LivingMachine) -> str:
        """Why a machine does not start."""
        with self.assertRaises(StartError) as caught:
            self.group.finish(machine.start(), 60.0)
        machine.crash()
        text = str(caught.exception)
        self.assertNotIn("\n", text)
        return text

    def members(self) -> list[str]:
        return [machine.name for machine in self.group.await_leader().replica.machines()]


class FirstTests(LifeTestCase):
    def test_the_first_machine_of_a_new_cluster(self) -> None:
        first = self.start()
        self.assertTrue(first.leads)
        self.assertEqual(self.members(), ["machine1"])
        self.assertEqual(first.identity["name"], "machine1")
        self.assertEqual((first.sought, first.peers.asked), (["machine1"], []))

    def test_it_comes_back(self) -> None:
        first = self.start()
        identity = first.identity
        self.group.finish(first.set("/a", "1"))
        first.stop()
        self.assertEqual(first.clock.getDelayedCalls(), [])
        self.group.finish(first.restart())
        self.assertEqual((first.value("/a"), first.identity), ("1", identity))
        self.assertEqual(first.sought, ["machine1"])  # what is in the directory comes first

    def test_it_comes_back_though_it_is_told_of_others_now(self) -> None:
        first = self.start()
        first.stop()
        first.seeds = ["http://peers:9"]
        self.group.finish(first.restart())
        self.assertTrue(first.leads)

    def test_without_a_name_it_makes_one_up_and_keeps_it(self) -> None:
        first = self.start(name=None)
        name = first.replica.name
        self.assertRegex(name, "^[0-9a-f-]{36}$")
        first.stop()
        self.group.finish(first.restart())
        self.assertEqual((first.replica.name, first.sought), (name, [name]))

    def test_another_name_in_the_same_directory(self) -> None:
        first = self.start()
        first.stop()
        first.configure(1, "other")
        with self.assertRaises(ConfigError):
            self.group.finish(first.restart())
        first.crash()

    def test_with_force_it_begins_anew(self) -> None:
        first = self.start()
        self.group.finish(first.set("/a", "1"))
        identity = first.identity
        first.stop()
        first.configure(1, "other", force=True)
        self.group.finish(first.restart())
        self.assertRaises(EtcdError, first.replica.get, "/a")
        self.assertNotEqual(first.identity["machine_id"], identity["machine_id"])
        self.assertEqual(self.members(), ["other"])

    def test_it_comes_back_with_another_address(self) -> None:
        """Alone, it has nobody to tell but itself."""
        first = self.start()
        first.stop()
        first.configure(9, "machine1")
        self.group.finish(first.restart())
        self.group.run(0.2)
        self.assertEqual(first.replica.machines(), [first.machine])
        self.assertEqual(first.peers.asked, [])


class JoiningTests(LifeTestCase):
    def test_it_joins_those_that_it_is_told_of(self) -> None:
        first, second, third = self.three()
        self.assertEqual(self.members(), ["machine1", "machine2", "machine3"])
        for machine in (second, third):
            self.assertTrue(machine.is_member)
            self.assertEqual(machine.identity["cluster_id"], first.identity["cluster_id"])
        self.assertEqual(len({machine.identity["machine_id"] for machine in (first, second, third)}), 3)

    def test_through_a_follower(self) -> None:
        first = self.start()
        second = self.start(first)
        third = self.start(second)
        self.assertTrue(third.is_member)
        self.assertEqual(third.peers.asked, [second.url, first.url])

    def test_though_some_of_them_do_not_answer(self) -> None:
        first = self.start()
        nobody = self.add()
        machine = self.start(nobody, first)
        self.assertTrue(machine.is_member)

    def test_though_there_is_no_leader_just_now(self) -> None:
        first = self.start()
        second = self.start(first)
        first.crash()
        self.group.run(1.0)
        third = self.add(second)
        joining = third.start()
        self.group.run(RETRY / 2)
        first.restart()
        self.group.finish(joining)
        self.assertTrue(third.is_member)

    def test_nobody_answers(self) -> None:
        nobody = self.add()
        machine = self.add(nobody)
        before = self.group.clock.seconds()
        text = self.refusal(machine)
        self.assertIn(f"--peers: no cluster takes this machine in; tried {nobody.url}", text)
        self.assertIn("does not answer", text)
        self.assertEqual(machine.peers.asked, [nobody.url] * 3)
        self.assertLess(self.group.clock.seconds() - before, 2 * RETRY + 0.1)
        self.assertFalse((machine.path / "identity.json").exists())

    def test_as_often_as_is_configured(self) -> None:
        nobody = self.add()
        machine = self.add(nobody, max_retry_attempts=5)
        self.refusal(machine)
        self.assertEqual(len(machine.peers.asked), 5)

    def test_another_machine_has_its_name(self) -> None:
        first = self.start()
        text = self.refusal(self.add(first, name="machine1", port=5))
        self.assertIn("--name machine1: a machine named machine1 is alive; choose another name", text)
        self.assertEqual(self.members(), ["machine1"])

    def test_another_machine_has_its_address(self) -> None:
        first = self.start()
        taken = self.add(first, name="other", port=1)
        text = self.refusal(taken)
        self.assertIn("--peer-addr peers:7001: http://peers:7001 is the address of machine1", text)

    def test_another_machine_has_its_client_address(self) -> None:
        first = self.start()
        text = self.refusal(self.add(first, addr=Address("clients", 4001)))
        self.assertIn("--addr clients:4001: http://clients:4001 is the address of machine1", text)

    def test_how_they_were_named_is_told(self) -> None:
        nobody = self.add()
        for option, given in (("discovery", "ETCD_DISCOVERY"), ("peers-file", "machine0.toml: peers-file")):
            self.assertIn(f"{given}: no cluster", self.refusal(self.add(nobody, sources={option: given})))

    def test_one_that_lost_its_data_begins_anew(self) -> None:
        first, second, third = self.three()
        before = second.identity["machine_id"]
        second.crash()
        self.group.run(ALIVE + 0.1)
        second.path = second.path.with_name("empty")
        second.seeds = [first.url]
        self.group.finish(second.restart())
        self.assertTrue(second.is_member)
        self.assertNotEqual(second.identity["machine_id"], before)
        self.assertEqual(self.members(), ["machine1", "machine2", "machine3"])
        self.assertEqual(len(third.driver.core.configuration.voters), 3)

    def test_it_stops_after_it_was_taken_in_and_before_it_knows_by_whom(self) -> None:
        first = self.start()
        second = self.add(first)
        starting = second.start()
        starting.addErrback(lambda failure: failure.trap(EtcdError, CancelledError))
        self.group.run_until((second.path / "identity.json").exists)
        second.crash()
        self.group.finish(second.restart())
        self.assertTrue(second.is_member)
        self.assertEqual(self.members(), ["machine1", "machine2"])

    def test_the_answer_is_lost(self) -> None:
        """It asks again, and is in already."""
        first = self.start()
        second = self.add(first)
        lost: list[int] = []

        async def join(peer_url: str, request: JoinRequest) -> JoinReply:
            reply = await MemoryPeers.join(second.peers, peer_url, request)
            if not lost:
                lost.append(1)
                raise UnreachableError("lost")
            return reply

        self.patch(second.peers, "join", join)
        self.group.finish(second.start())
        self.assertEqual((lost, self.members()), ([1], ["machine1", "machine2"]))

    def test_it_is_stopped_while_it_asks(self) -> None:
        machine = self.add(self.add())
        starting = machine.start()
        self.group.run(RETRY / 2)
        starting.cancel()
        self.failureResultOf(starting, CancelledError)
        machine.stop()
        self.assertEqual(machine.clock.getDelayedCalls(), [])


class ComingBackTests(LifeTestCase):
    def test_all_come_back(self) -> None:
        machines = self.three()
        self.group.finish(self.group.leader.set("/a", "1"))
        for machine in machines:
            machine.crash()
        started = [machine.restart() for machine in machines]
        for each in started:
            self.group.finish(each)
        self.group.settle()
        self.assertEqual([machine.value("/a") for machine in machines], ["1"] * 3)
        self.assertEqual(self.members(), ["machine1", "machine2", "machine3"])

    def test_one_has_another_address(self) -> None:
        """It tells the leader, so that others find it."""
        first, second, third = self.three()
        second.stop()
        second.configure(9, "machine2")
        second.seeds = []
        self.group.finish(second.restart())
        self.group.run_until(lambda: second.machine in first.replica.machines())
        self.group.settle()
        for machine in (first, second, third):
            self.assertIn(second.machine, machine.replica.machines())
            self.assertEqual(machine.value("/_etcd/machines/machine2"), second.machine.value)
        self.assertIsNone(second.life._task)

    def test_the_leader_has_another_address(self) -> None:
        first, second, third = self.three()
        leader = self.group.leader
        leader.stop()
        assert isinstance(leader, LivingMachine)
        leader.configure(9, leader.config.name)
        self.group.finish(leader.restart())
        self.group.run_until(lambda: all(leader.machine in each.replica.machines() for each in (first, second, third)))

    def test_nobody_answers_when_it_tells_of_its_address(self) -> None:
        """It goes on to tell, until it is stopped."""
        machines = self.three()
        for machine in machines:
            machine.stop()
        machines[1].configure(9, "machine2")
        machines[1].restart().addErrback(lambda failure: failure.trap(EtcdError, CancelledError))
        self.group.run(3.5 * RETRY)
        asked = len(machines[1].peers.asked)
        self.assertGreaterEqual(asked, 6)
        machines[1].stop()
        self.assertEqual(machines[1].clock.getDelayedCalls(), [])


class StandbyTests(LifeTestCase):
    def full(self) -> LivingMachine:
        """A fourth one, for which there is no place."""
        self.first, self.second, self.third = self.three()
        return self.start(self.first)

    def test_there_is_no_place(self) -> None:
        standby = self.full()
        replica = standby.replica
        self.assertTrue(replica.standby)
        self.assertFalse(replica.serving)
        self.assertEqual(replica.name, "machine4")
        self.assertEqual(replica.leader(), self.group.leader.machine)
        self.assertEqual(len(replica.machines()), 3)
        self.failureResultOf(standby.set("/a"), NotDoneError)
        self.assertEqual(self.members(), ["machine1", "machine2", "machine3"])
        self.assertFalse((standby.path / "identity.json").exists())

    def test_it_refreshes_its_view(self) -> None:
        standby = self.full()
        leader = self.group.leader
        self.group.finish(ensureDeferred(leader.replica.hand_over()))
        self.group.run(SYNC + 0.1)
        self.assertEqual(standby.replica.leader(), self.group.leader.machine)
        self.assertIsNot(self.group.leader, leader)

    def test_it_joins_when_a_place_is_free(self) -> None:
        standby = self.full()
        self.group.finish(self.group.leader.set("/a", "1"))
        self.group.finish(self.group.leader.replica.configure(ClusterConfig(4, sync_interval=SYNC)))
        self.group.run_until(lambda: standby.is_member)
        self.assertEqual(standby.value("/a"), "1")
        self.assertEqual(self.members(), ["machine1", "machine2", "machine3", "machine4"])
        self.assertEqual(standby.identity["cluster_id"], self.first.identity["cluster_id"])
        self.group.run(2 * SYNC)
        self.assertIsNone(standby.life._task)
        standby.stop()
        self.group.finish(standby.restart())
        self.assertTrue(standby.is_member)

    def test_it_takes_the_place_of_one_that_was_silent_for_too_long(self) -> None:
        standby = self.full()
        config = ClusterConfig(3, remove_delay=4.0, sync_interval=2.0)
        self.group.finish(self.group.leader.replica.configure(config))
        self.third.crash()
        self.group.run_until(lambda: standby.is_member, 20.0)
        self.assertEqual(self.members(), ["machine1", "machine2", "machine4"])
        self.group.finish(self.third.restart(), 30.0)  # and that one stands by
        self.assertTrue(self.third.replica.standby)

    def test_two_of_them_and_one_place(self) -> None:
        one = self.full()
        two = self.start(self.second)
        self.group.finish(self.group.leader.replica.configure(ClusterConfig(4, sync_interval=1.0)))
        self.group.run(2 * SYNC)
        self.assertEqual(sorted([one.replica.standby, two.replica.standby]), [False, True])

    def test_nobody_answers_it_for_a_while(self) -> None:
        standby = self.full()
        for machine in (self.first, self.second, self.third):
            machine.crash()
        self.group.run(3 * SYNC)
        for machine in (self.first, self.second, self.third):
            machine.restart()
        self.group.finish(self.group.await_leader().replica.configure(ClusterConfig(4, sync_interval=SYNC)))
        self.group.run_until(lambda: standby.is_member, 30.0)

    def test_it_is_not_wanted(self) -> None:
        """A machine of its name has come in meanwhile: it goes on to stand by, and reads nothing in vain."""
        standby = self.full()
        recovered: list[int] = []
        recover = standby.life._recover

        async def recover_and_note(storage: Storage) -> Recovered:
            recovered.append(1)
            return await recover(storage)

        self.patch(standby.life, "_recover", recover_and_note)
        other = self.add(self.first, name="machine4", port=6)
        self.group.finish(self.group.leader.replica.configure(ClusterConfig(5, sync_interval=SYNC)))
        self.group.finish(other.start())
        self.group.run(3 * SYNC)
        self.assertTrue(standby.replica.standby)
        self.assertEqual(recovered, [])
        self.group.finish(self.group.leader.replica.remove("machine4"))
        other.crash()
        self.group.run_until(lambda: standby.is_member, 30.0)

    def test_it_is_stopped(self) -> None:
        standby = self.full()
        standby.stop()
        self.assertEqual(standby.clock.getDelayedCalls(), [])
        self.group.finish(standby.restart())
        self.assertTrue(standby.replica.standby)

    def test_it_is_stopped_while_it_joins(self) -> None:
        for moment in range(1, 12):
            self.group = self.cluster(defaults=ClusterConfig(active_size=3, sync_interval=SYNC))
            standby = self.full()
            self.group.finish(self.group.leader.replica.configure(ClusterConfig(4, sync_interval=SYNC)))
            asked = len(standby.peers.asked)
            self.group.run_until(lambda standby=standby, asked=asked: len(standby.peers.asked) > asked)
            self.group.run(moment * LATENCY)
            standby.stop()
            self.assertEqual(standby.clock.getDelayedCalls(), [])
            self.group.run(2.0)
            self.group.finish(standby.restart(), 30.0)
            self.group.run_until(lambda standby=standby: standby.is_member, 30.0)
            for machine in self.group.up:
                machine.crash()


class ExcludedTests(LifeTestCase):
    def test_one_that_is_taken_out_stands_by_and_comes_in_again(self) -> None:
        """With the same directory, when there is a place: at the next look."""
        _, second, third = self.three()
        self.group.finish(self.group.leader.set("/a", "1"))
        self.group.settle()
        gone = third if not third.leads else second
        identity = gone.identity
        ended: list[int] = []
        told: list[Event] = []
        gone.replica.watch("/a", False, True, None, told.append, lambda: ended.append(1))
        self.group.finish(self.group.leader.replica.remove(gone.machine.name))
        self.group.run_until(lambda: gone.replica.standby)
        self.assertEqual((ended, told), ([1], []))
        self.group.finish(self.group.leader.set("/b", "2"))
        self.group.run_until(lambda: gone.is_member, 2 * SYNC)
        self.assertEqual((gone.value("/a"), gone.value("/b")), ("1", "2"))
        self.assertEqual(gone.identity, identity)
        self.assertEqual(len(self.group.leader.driver.core.configuration.voters), 3)

    def test_the_leader_that_takes_itself_out(self) -> None:
        self.three()
        gone = self.group.leader
        self.group.finish(gone.replica.remove(gone.machine.name))
        self.group.run_until(lambda: gone.replica.standby)
        self.assertEqual(len(self.members()), 2)
        self.assertEqual(gone.replica.leader(), self.group.leader.machine)
        assert isinstance(gone, LivingMachine)
        self.group.run_until(lambda: gone.is_member, 2 * SYNC)

    def test_one_that_was_taken_out_while_it_was_down(self) -> None:
        _, second, third = self.three()
        self.group.finish(self.group.leader.replica.configure(ClusterConfig(3, sync_interval=1000.0)))
        gone = next(machine for machine in (second, third) if not machine.leads)
        gone.stop()
        self.group.run(ALIVE + 0.1)
        self.group.finish(self.group.leader.replica.remove(gone.machine.name))
        self.group.finish(gone.restart(), 30.0)
        self.assertTrue(gone.replica.standby)
        self.assertEqual(len(self.members()), 2)

    def test_it_is_told_by_mistake(self) -> None:
        """A machine that does not know of it yet refuses it: the leader knows better."""
        first, second, third = self.three()
        for machine in (first, second, third):
            machine.life.excluded()
        self.group.run(2.0)
        self.assertEqual([machine.is_member for machine in (first, second, third)], [True] * 3)
        self.assertEqual([machine.life._task for machine in (first, second, third)], [None] * 3)

    def test_it_is_told_while_it_tells_of_its_address(self) -> None:
        _, second, third = self.three()
        gone = third if not third.leads else second
        gone.stop()
        gone.configure(9, gone.config.name)
        self.group.finish(self.group.leader.replica.configure(ClusterConfig(3, sync_interval=1000.0)))
        starting = gone.restart()
        self.group.run_until(lambda: gone.life._task is not None)
        gone.life.excluded()
        removed = self.group.leader.replica.remove(gone.machine.name)
        self.group.finish(removed)
        self.group.run(30.0)
        self.successResultOf(starting)
        self.assertNotEqual(gone.is_member, gone.replica.standby)

    def test_it_is_told_while_it_is_about_something_else(self) -> None:
        """Nobody may say it again: it looks when that is done."""
        self.three()
        gone = self.group.leader
        assert isinstance(gone, LivingMachine)
        self.group.finish(gone.replica.configure(ClusterConfig(3, sync_interval=1000.0)))
        done: Deferred[None] = Deferred()

        async def something_else() -> None:
            await done

        gone.life._do(something_else())
        self.group.finish(gone.replica.remove(gone.machine.name))
        self.group.run(1.0)
        self.assertFalse(gone.replica.standby)
        done.callback(None)
        self.group.run_until(lambda: gone.replica.standby)

    def test_there_is_no_leader_to_ask_just_then(self) -> None:
        self.three()
        gone, leader = self.group.followers[0], self.group.leader
        assert isinstance(gone, LivingMachine)
        self.group.finish(leader.replica.configure(ClusterConfig(3, sync_interval=1000.0)))
        self.group.finish(leader.replica.remove(gone.machine.name))
        leader.crash()
        self.group.run(3.0)
        self.assertFalse(gone.replica.standby)
        leader.restart()
        self.group.run_until(lambda: gone.replica.standby)

    def test_it_is_stopped_while_it_leaves(self) -> None:
        for moment in range(1, 8):
            self.group = self.cluster(defaults=ClusterConfig(active_size=3, sync_interval=SYNC))
            self.three()
            gone = self.group.leader
            gone.set("/a").addErrback(lambda failure: failure.trap(EtcdError))
            self.group.finish(gone.replica.remove(gone.machine.name))
            self.group.run(moment * LATENCY)
            gone.stop()
            self.assertEqual(gone.clock.getDelayedCalls(), [])
            self.group.run(3.0)
            for machine in self.group.up:
                machine.crash()

    def test_another_cluster_is_there_now(self) -> None:
        """What others say does not count then."""
        first, _, _ = self.three()
        gone = self.group.followers[0]
        assert isinstance(gone, LivingMachine)
        view = first.replica.peer.describe()

        async def describe(_: str) -> ClusterView:
            return ClusterView("e" * 16, view.machines[:1], "machine1", view.config)

        self.patch(gone.peers, "describe", describe)
        gone.life.excluded()
        self.group.run(5.0)
        self.assertTrue(gone.is_member)


class FilesTests(LifeTestCase):
    """A directory is given back, whatever became of its machine."""

    def test_by_a_standby_and_one_that_was_promoted(self) -> None:
        first = self.start()
        self.group.finish(first.replica.configure(ClusterConfig(3, sync_interval=1.0)))
        machines = [self.start(first) for _ in range(3)]
        standby = machines[-1]
        self.assertTrue(standby.replica.standby)
        standby.stop()
        Storage.open(standby.path, "--data-dir").close()
        self.group.finish(standby.restart())
        self.group.finish(self.group.leader.replica.configure(ClusterConfig(4, sync_interval=1.0)))
        self.group.run_until(lambda: standby.is_member)
        standby.stop()
        Storage.open(standby.path, "--data-dir").close()

    def test_of_one_that_fails_to_join(self) -> None:
        machine = self.add(self.add())
        self.refusal(machine)
        Storage.open(Path(machine.path), "--data-dir").close()


class RefusalTests(LifeTestCase):
    def test_whatever_the_cluster_says_is_told(self) -> None:
        first = self.start()
        machine = self.add(first)

        def join(_url: str, _request: JoinRequest) -> "Deferred[JoinReply]":
            failed: Deferred[JoinReply] = Deferred()
            failed.errback(EtcdError(ErrorCode.INVALID_FIELD, "name: 'x'"))
            return failed

        self.patch(machine.peers, "join", join)
        self.assertIn("--peers: the cluster refused this machine: 209", self.refusal(machine))
