"""
Tests of L{etcd_twisted.cluster.bootstrap}: machines of a list that begin a cluster together, with real replicas and
disks, and a network in memory.
"""

from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.cluster.bootstrap import Bootstrap
from etcd_twisted.cluster.initial_group import InitialGroup
from etcd_twisted.config.initial_cluster import InitialCluster
from etcd_twisted.consensus.machines import members_of
from etcd_twisted.errors import ErrorCode, EtcdError, StartError
from etcd_twisted.interfaces.cluster import ClusterView, Machine, fingerprinted
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.peer.client import UnreachableError
from tests.cluster.machines import LifecycleMachine, LifecycleTestCase
from tests.consensus.directories import listing
from tests.logs.lines import Log


def listed(*numbers: int) -> str:
    """Returns the list of machines with these numbers."""
    return ",".join(f"machine{number}=http://peers:{7000 + number}" for number in numbers)


class StaticTestCase(LifecycleTestCase):
    def setUp(self) -> None:
        self.group = self.cluster(defaults=ClusterConfig(active_size=5))
        self.log = Log(self)

    def listed(self, count: int, **settings: Any) -> list[LifecycleMachine]:
        """Returns the machines of a list, which are not started yet."""
        text = listed(*range(1, count + 1))
        return [self.add(**({"initial_cluster": text} | settings)) for _ in range(count)]

    def up(self, machines: list[LifecycleMachine]) -> bool:
        """Returns whether all these machines serve, at their own addresses, and are in the same cluster."""
        if not all(each.is_member for each in machines):
            return False
        return all(each.machine in machines[0].replica.machines() for each in machines)

    def boot(self, machines: list[LifecycleMachine]) -> None:
        for machine in machines:
            machine.launch()
        self.group.advance_until(lambda: self.up(machines))


class BootTests(StaticTestCase):
    def test_machines_begin_a_cluster_together(self) -> None:
        machines = self.listed(3)
        self.boot(machines)
        self.assertEqual(self.members(), ["machine1", "machine2", "machine3"])
        self.assertEqual(len({each.identity["cluster_id"] for each in machines}), 1)
        self.assertEqual(len({each.identity["machine_id"] for each in machines}), 3)
        self.group.result_of(self.group.leader.set("/a", "1"))
        self.group.settle()
        self.assertEqual(len({each.replica.index for each in machines}), 1)
        self.assertEqual(len({each.dumped() for each in machines}), 1)
        self.assertEqual(machines[2].get("/_etcd/machines/machine1"), machines[0].machine.value)

    def test_a_majority_is_enough(self) -> None:
        """The others come later, in the same way, and are voters of the same cluster from the beginning."""
        machines = self.listed(5)
        self.boot(machines[2:])
        self.group.result_of(self.group.leader.set("/a", "1"))
        self.assertEqual(len(self.group.leader.raft.configuration.voters), 5)
        for late in machines[:2]:
            self.group.result_of(late.launch())
            self.assertEqual(late.get("/a"), "1")
        self.group.advance_until(lambda: self.up(machines))
        self.assertEqual(len({each.identity["cluster_id"] for each in machines}), 1)

    def test_machine_that_has_not_come_yet_is_waited_for(self) -> None:
        """It is not removed for its silence, and comes as if at once. One that came and went is removed."""
        delay_seconds = 2.0
        self.group.change(defaults=ClusterConfig(active_size=5, remove_delay_seconds=delay_seconds))
        machines = self.listed(5)
        self.boot(machines[:4])
        machines[0].crash()
        self.group.advance(10 * delay_seconds)
        self.assertEqual(self.members(), ["machine2", "machine3", "machine4", "machine5"])
        self.group.result_of(machines[4].launch())
        self.group.advance_until(lambda: self.up(machines[1:]))

    def test_fewer_than_a_majority_wait_and_write_nothing(self) -> None:
        machines = self.listed(5)
        starting = [each.launch() for each in machines[:2]]
        self.group.advance(10.0)
        for machine, each in zip(machines, starting, strict=False):
            self.assertNoResult(each)
            self.assertEqual([path.name for path in machine.path.iterdir()], ["lock"])
        majority = "a majority of the machines of --initial-cluster begins the cluster"
        self.assertEqual(
            set(self.log.lines),
            {
                f"Waits for 2 of machine2, machine3, machine4, machine5: {majority}",
                f"Waits for 1 of machine3, machine4, machine5: {majority}",
            },
        )
        machines[4].launch()
        self.group.advance_until(lambda: self.up([machines[0], machines[1], machines[4]]))

    def test_one_machine_begins_at_once(self) -> None:
        (machine,) = self.listed(1)
        self.group.result_of(machine.launch())
        self.assertEqual(self.members(), ["machine1"])
        self.assertEqual(machine.peers.asked, [])

    def test_name_may_come_from_the_list(self) -> None:
        machine = self.start(name=None, initial_cluster=listed(1))
        self.assertEqual(machine.replica.name, "machine1")

    def test_ids_follow_from_the_list_and_the_token(self) -> None:
        clusters = []
        for text, token in ((listed(1, 2), "a"), (listed(2, 1), "a"), (listed(1, 2), "b"), (listed(1, 2, 3), "a")):
            machines = InitialCluster.parse(text)
            clusters.append([InitialGroup.of(machines, token, own) for own in machines.machines])
        (one, two), (also_one, also_two), (other, _), (more, *_) = clusters
        self.assertEqual((one, two), (also_one, also_two))
        self.assertEqual((one.cluster_id, one.configuration), (two.cluster_id, two.configuration))
        self.assertNotEqual(one.own_id, two.own_id)
        self.assertEqual(len({each.cluster_id for each in (one, other, more)}), 3)
        self.assertEqual(len({each.own_id for each in (one, two, other, more)}), 4)

    def test_several_urls_of_one_machine(self) -> None:
        """A machine is found at any of its URLs, and says then at which it is."""
        text = "machine1=http://peers:7001,machine2=http://peers:7002,machine2=http://nowhere:1"
        machines = [self.add(initial_cluster=text) for _ in range(2)]
        group = InitialGroup.of(InitialCluster.parse(text), "", InitialCluster.parse(text).machines[0])
        self.assertEqual(group.configuration.members[group.configuration.voters[1]].peer_url, "http://nowhere:1")
        machines[0].launch()
        machines[1].launch()
        self.group.advance_until(lambda: self.up(machines))

    def test_machines_with_certificates(self) -> None:
        """The scheme in the list is that of the peer ports."""
        text = listed(1, 2).replace("http:", "https:")
        files = {"peer_cert_file": "certificate.pem", "peer_key_file": "key.pem"}
        machines = [self.add(initial_cluster=text, **files) for _ in range(2)]
        self.boot(machines)
        self.assertEqual(machines[0].url, "https://peers:7001")
        plain = self.add(name="machine1", port=1, initial_cluster=text)
        self.assertIn("machine1 is at --peer-addr http://peers:7001 and not where the list has", self.refusal(plain))

    def test_machine_that_stops_while_it_waits_leaves_nothing(self) -> None:
        machine = self.listed(3)[0]
        starting = machine.launch()
        self.group.advance(3.0)
        machine.stop()
        self.failureResultOf(starting)
        self.assertFalse((machine.path / "identity.json").exists())

    def test_force_forgets_once_the_machine_begins(self) -> None:
        first = self.start()
        identity = first.identity
        first.stop()
        first.configure(1, "machine1", force=True, initial_cluster=listed(1, 2))
        second = self.add(initial_cluster=listed(1, 2))
        first.launch()
        self.group.advance(2.0)
        self.assertEqual(first.identity, identity)
        second.launch()
        self.group.advance_until(lambda: self.up([first, second]))
        self.assertNotEqual(first.identity["cluster_id"], identity["cluster_id"])


class OfDomain(LifecycleMachine):
    """A machine that finds its list in the SRV records of a domain."""

    async def initial_cluster(self) -> InitialCluster:
        return InitialCluster.parse(",".join(f"peers-{7000 + each}=http://peers:{7000 + each}" for each in (1, 2, 3)))


class DomainTests(StaticTestCase):
    def of_domain(self, number: int, **settings: Any) -> OfDomain:
        machine = OfDomain(self.group, number, (), discovery_srv="example.com", **settings)
        self.group.include(machine)
        return machine

    def test_machines_say_their_own_names(self) -> None:
        """Until then, and as long as they have none, they are called after their addresses."""
        machines = [self.of_domain(1), self.of_domain(2, name=None)]
        for machine in machines:
            machine.launch()
        self.group.advance_until(lambda: all(each.is_member for each in machines))
        self.group.advance(2.0)
        self.assertEqual(self.members(), ["machine1", "peers-7002", "peers-7003"])
        late = self.of_domain(3)
        self.group.result_of(late.launch())
        self.group.advance_until(lambda: self.up([machines[0], late]))
        self.assertEqual(self.members(), ["machine1", "machine3", "peers-7002"])
        self.assertSame(self.group)

    def test_machine_at_another_address(self) -> None:
        text = self.refusal(self.of_domain(4))
        self.assertIn("--discovery-srv peers-7001=http://peers:7001,", text)
        self.assertIn("no machine of the list is at --peer-addr http://peers:7004", text)


class ComingBackTests(StaticTestCase):
    def test_data_directory_comes_first(self) -> None:
        """A machine that comes back goes by its data directory, whatever its flags say now."""
        machines = self.listed(3)
        self.boot(machines)
        self.group.result_of(self.group.leader.set("/a", "1"))
        identity = machines[1].identity
        for text, state in ((listed(1, 2, 3), "new"), (listed(1, 2, 3), "existing"), (listed(7, 8), "new")):
            machines[1].stop()
            machines[1].configure(2, "machine2", initial_cluster=text, initial_cluster_state=state)
            self.group.result_of(machines[1].launch())
            self.assertEqual((machines[1].identity, machines[1].get("/a")), (identity, "1"))

    def test_all_machines_come_back(self) -> None:
        machines = self.listed(3)
        self.boot(machines)
        self.group.result_of(self.group.leader.set("/a", "1"))
        self.group.settle()
        for machine in machines:
            machine.crash()
        self.boot(machines)
        self.assertEqual([each.get("/a") for each in machines], ["1"] * 3)


class ExistingTests(StaticTestCase):
    def test_machine_joins_a_cluster_that_exists(self) -> None:
        machines = self.listed(2)
        self.boot(machines)
        third = self.add(*machines, initial_cluster=listed(1, 2, 3), initial_cluster_state="existing")
        self.group.result_of(third.launch())
        self.assertEqual(self.members(), ["machine1", "machine2", "machine3"])
        self.assertEqual(third.identity["cluster_id"], machines[0].identity["cluster_id"])

    def test_machine_that_lost_its_data_joins_as_a_new_one(self) -> None:
        machines = self.listed(3)
        self.boot(machines)
        before = machines[2].identity["machine_id"]
        machines[2].crash()
        machines[2].disk = self.group.disks.disk("empty")
        machines[2].configure(3, "machine3", initial_cluster=listed(1, 2, 3), initial_cluster_state="existing")
        machines[2].seeds = [machines[0].url, machines[1].url]
        self.group.result_of(machines[2].launch())
        self.assertEqual(self.members(), ["machine1", "machine2", "machine3"])
        self.assertNotEqual(machines[2].identity["machine_id"], before)


class RefusalTests(StaticTestCase):
    def refused(self, machine: LifecycleMachine) -> str:
        """Returns why a machine does not start, which has changed nothing on its disk."""
        before = {path: each[:3] for path, each in listing(machine.path).items() if not path.endswith("lock")}
        text = self.refusal(machine)
        after = {path: each[:3] for path, each in listing(machine.path).items() if not path.endswith("lock")}
        self.assertEqual(after, before)
        return text

    def test_list_without_this_machine(self) -> None:
        for settings, problem in (
            ({"name": "other"}, "other is not in the list"),
            ({"port": 9}, "machine1 is at --peer-addr http://peers:7009 and not where the list has it"),
            ({"name": None, "port": 9}, "no machine of the list is at --peer-addr http://peers:7009"),
        ):
            for state in ("new", "existing"):
                machine = self.add(
                    **({"port": 1, "name": "machine1"} | settings),
                    initial_cluster=listed(1, 2),
                    initial_cluster_state=state,
                )
                text = self.refused(machine)
                self.assertIn(f"--initial-cluster {listed(1, 2)}: {problem}; give all machines the same list", text)

    def test_two_ways_to_name_the_others(self) -> None:
        for other, value in (("peers", "peers:7002"), ("discovery", "http://h:1/v2/keys/d"), ("discovery_srv", "a.b")):
            machine = self.add(port=1, name="machine1", initial_cluster=listed(1, 2), **{other: value})
            option = f"--{other.replace('_', '-')}"
            text = self.refused(machine)
            self.assertIn("both say where the machines of the cluster are; give one of them", text)
            self.assertIn(option, text)

    def test_another_token(self) -> None:
        """The machine that disagrees with all others does not start; these are not held up."""
        machines = self.listed(3)
        machines[0].configure(1, "machine1", initial_cluster=listed(1, 2, 3), initial_cluster_token="other")
        wrong = machines[0].launch()
        self.group.advance(1.0)
        self.assertNoResult(wrong)
        self.boot(machines[1:])
        text = self.failureResultOf(wrong).getErrorMessage()
        self.assertIn("--initial-cluster: machine2 is in the cluster ", text)
        self.assertNotIn("\n", text)
        self.assertIn("--initial-cluster: machine2 is in the cluster ", self.refused(machines[0]))
        self.assertEqual(
            {line for line in self.log.warnings if "would begin another cluster" in line},
            {
                "--initial-cluster: machine1 would begin another cluster: give all machines the same list and the same"
                " --initial-cluster-token"
            },
        )

    def test_no_majority_has_the_same_list(self) -> None:
        """Machines of which no majority can agree say so, and none begins."""
        machines = self.listed(3)
        starting = []
        for number, machine in enumerate(machines, 1):
            settings = {"initial_cluster": listed(1, 2, 3), "initial_cluster_token": f"t{number}"}
            machine.configure(number, machine.name, **settings)
            starting.append(machine.launch())
        self.group.advance_until(lambda: machines[2].process is None)
        text = self.failureResultOf(starting[2]).getErrorMessage()
        self.assertIn(
            "--initial-cluster: machine1, machine2 would begin another cluster: give all machines the same list", text
        )
        for machine in machines:
            self.assertFalse((machine.path / "identity.json").exists())

    def test_machine_that_has_voted_and_lost_its_data(self) -> None:
        """It would vote again. The others go on without it, and tell it."""
        machines = self.listed(3)
        self.boot(machines)
        self.group.result_of(self.group.leader.set("/a", "1"))
        lost = self.group.followers[0]
        lost.crash()
        lost.disk = self.group.disks.disk("empty")
        lost.renew()
        text = self.refused(lost)
        self.assertIn("says that this machine has begun the cluster before; to join it with an empty data dir", text)
        self.assertIn("--initial-cluster-state existing", text)
        lost.configure(lost.number, lost.name, initial_cluster=listed(1, 2, 3), force=True)
        self.assertIn("has begun the cluster before", self.refused(lost))

    def test_lost_before_it_had_said_its_addresses(self) -> None:
        """The others remember that they have heard from it."""
        machines = self.listed(3)
        for machine in machines[:2]:
            machine.launch()
        self.group.advance_until(lambda: any(each.process and each.replica.term > 1 for each in machines[:2]))
        self.group.advance_until(lambda: any(each.replica.peer.describe().heard for each in machines[:2]))
        heard_by = next(each for each in machines[:2] if each.replica.peer.describe().heard)
        (lost,) = (each for each in machines[:2] if each is not heard_by)
        self.assertEqual({each.client_url for each in heard_by.raft.configuration.members.values()}, {""})
        lost.crash()
        lost.disk = self.group.disks.disk("empty")
        lost.renew()
        self.assertIn(f"{heard_by.name} says that this machine has begun the cluster before", self.refused(lost))

    def test_removed_machine(self) -> None:
        machines = self.listed(3)
        self.boot(machines)
        lost = self.group.followers[0]
        lost.crash()
        self.group.advance(2.0)
        self.group.result_of(self.group.leader.replica.remove(lost.name))
        lost.disk = self.group.disks.disk("empty")
        lost.renew()
        self.assertIn("says that this machine is no longer in the cluster", self.refused(lost))

    def test_machines_of_another_cluster(self) -> None:
        """A cluster that runs at an address of the list is not joined, nor is another one begun."""
        self.start()
        machine = self.add(initial_cluster=listed(1, 2))
        self.assertRegex(self.refused(machine), "machine1 is in the cluster [0-9a-f]{16}, but the list and")

    def test_list_is_not_joined_before_it_exists(self) -> None:
        alone = self.add(initial_cluster=listed(1), initial_cluster_state="existing", max_retry_attempts=1)
        alone.seeds = ["http://peers:7009"]
        self.assertIn("no cluster admits this machine", self.refused(alone))

    def test_clients_are_told_nothing_empty(self) -> None:
        """Machines that have not come yet are members, and have no client URL."""
        machines = self.listed(3)
        self.boot(machines[:2])
        waiting = next(each for each in machines[0].replica.machines() if each.name == "machine3")
        self.assertEqual((waiting.client_url, waiting.peer_url), ("", machines[2].url))
        with self.assertRaises(EtcdError) as caught:
            machines[0].get("/a")
        self.assertEqual(caught.exception.code, ErrorCode.KEY_NOT_FOUND)


class AnswerTests(SynchronousTestCase):
    """Tests of what each answer of another machine means."""

    def setUp(self) -> None:
        machines = InitialCluster.parse(listed(1, 2, 3))
        self.group = InitialGroup.of(machines, "", machines.machines[0])
        members = fingerprinted(self.group.cluster_id, members_of(self.group.configuration))
        ids = {machine.name: each for each, machine in members.items()}
        self.waiting = ClusterView("", list(members.values()), "", ClusterConfig(), 0, (), ids, (), True)
        self.begun = replace(self.waiting, cluster_id=self.group.cluster_id, configuration_index=1, waits=False)
        self.views: list[ClusterView | None] = []

    async def describe(self, _peer_url: str) -> ClusterView:
        view = self.views.pop(0)
        if view is None:
            raise UnreachableError("nobody is there")
        return view

    def _ask(self, *views: ClusterView | None) -> "Deferred[bool]":
        self.views = list(views)
        return ensureDeferred(Bootstrap(Clock(), self, self.group, "--initial-cluster").is_ready())

    def asked(self, *views: ClusterView | None) -> bool:
        """Returns whether a machine begins if the two others say this."""
        return self.successResultOf(self._ask(*views))

    def refused(self, *views: ClusterView | None) -> str:
        """Returns why a machine must not begin if the two others say this."""
        return self.failureResultOf(self._ask(*views), StartError).getErrorMessage()

    def test_one_of_two_is_enough(self) -> None:
        for view in (self.waiting, self.begun):
            self.assertTrue(self.asked(view, None))
            self.assertTrue(self.asked(None, view))
        self.assertFalse(self.asked(None, None))

    def test_machine_that_reads_its_disk_agrees_to_nothing(self) -> None:
        """What it has found so far may be older than what it knew; but what it has found is so."""
        reading = replace(self.waiting, waits=False)
        self.assertFalse(self.asked(reading, reading))
        known = [Machine(each.name, "http://c:1", each.peer_url) for each in reading.machines]
        text = self.refused(reading, replace(reading, machines=known))
        self.assertIn("machine3 says that this machine has begun the cluster before", text)

    def test_machine_that_is_on_its_way_into_another_cluster(self) -> None:
        """It is not of this list, and says nothing about it."""
        self.assertFalse(self.asked(replace(self.waiting, ids={}, waits=False), None))

    def test_machine_that_was_heard(self) -> None:
        text = self.refused(replace(self.begun, heard=(self.group.own_fingerprint,)), None)
        self.assertIn("machine2 says that this machine has begun the cluster before", text)
        self.assertTrue(self.asked(replace(self.begun, heard=("f" * 16,)), None))
