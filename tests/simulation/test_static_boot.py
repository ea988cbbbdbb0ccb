"""
Clusters of a static list that boot while machines crash, come late, are cut off or lose their disks: whatever happens,
there is one cluster, what has to be true of Raft is true after every step, and in the end all machines are in it.
"""

from collections.abc import Mapping
from typing import Any
from unittest import mock

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.cluster.bootstrap import Bootstrap
from etcd_twisted.interfaces.cluster import ClusterView
from etcd_twisted.testing.simulation.cluster import SimulatedMachines
from etcd_twisted.testing.simulation.disks import Disks
from etcd_twisted.testing.simulation.machine import SimulatedMachine
from etcd_twisted.testing.simulation.network import Weather
from etcd_twisted.testing.simulation.schedule import Process, Schedule
from etcd_twisted.testing.simulation.settings import Settings
from tests import examples
from tests.simulation.cluster import Cluster, listed_config
from tests.simulation.invariants import Invariants, Violation, member_of
from tests.simulation.reference import Reference

BOOT_SECONDS = 4.0
"""Within this time machines come and things go wrong."""

RECOVERY_SECONDS = 60.0
"""Within this time all machines are in the cluster, once nothing goes wrong any more."""

BAD = Weather(loss=0.05, doubling=0.05, late=0.05)

MOMENTS = st.floats(0.0, BOOT_SECONDS)


class ListedMachine(SimulatedMachine):
    """A machine of a list, which asks the others of the list when it is to join them."""

    async def find(self, name: str) -> list[str]:
        """See L{etcd_twisted.cluster.known_machines.SeedSource}."""
        return await self.find_again(name)


class Boot(SimulatedMachines[ListedMachine]):
    """The boot of one list, with a check after every step."""

    def __init__(self, seed: int, size: int, weather: Weather | None = None, supervised: bool = True) -> None:
        schedule = Schedule(seed)
        super().__init__(schedule, Disks(schedule.random), Settings(supervised=supervised), weather)
        self.invariants = Invariants(Reference(), leases_hold=True)
        self.cluster_ids: set[str] = set()
        for number in range(size):
            self.include(ListedMachine(self, number, config=listed_config(number, size))).wanted = False

    @property
    def listed(self) -> list[ListedMachine]:
        """All machines, in the order of the list."""
        return list(self.machines.values())

    def sent(self, sender: str, receiver: str, payload: bytes) -> None:
        """See L{etcd_twisted.testing.simulation.machine.World}."""
        try:
            self.invariants.check_sent(sender, receiver, payload)
        except Violation as violation:
            self.broken(violation)

    def ended(self, process: Process) -> None:
        """See L{etcd_twisted.testing.simulation.machine.World}."""
        self.invariants.forget(process)

    def _after_step(self, process: Process | None) -> None:
        replica = None if process is None or not process.alive else self.machines[process.name].replica
        if process is not None and replica is not None:
            self.invariants.check(process, replica)
            if replica.peer.cluster_id:
                self.cluster_ids.add(replica.peer.cluster_id)
                if len(self.cluster_ids) > 1:
                    raise Violation(f"there are several clusters: {self.cluster_ids}")
        super()._after_step(process)

    # What happens

    def at(self, moment: float, call: Any, *args: Any) -> None:
        """Have something happen at a moment."""
        self.schedule.at(moment, None, "plan", call, *args)

    def cut_off(self, machine: ListedMachine, seconds: float) -> None:
        """Cut a machine off from all others for a while."""
        self.isolate(machine)
        self.schedule.after(seconds, None, "plan", self.heal)

    def crash_at(self, machine: ListedMachine, changes: int) -> None:
        """Have a machine crash at one of the next changes of its disk."""
        machine.disk.changes_until_crash = changes

    def erase(self, machine: ListedMachine) -> None:
        """Have a machine lose its disk, if it has one yet."""
        machine.crash()
        if machine.disk.path.exists():
            machine.erase()

    # What is to be

    @staticmethod
    def is_leader(machine: ListedMachine) -> bool:
        """Returns whether a machine leads, even if it does not serve yet."""
        member = None if machine.replica is None else member_of(machine.replica)
        return member is not None and member.raft.leads

    def is_up(self, machine: ListedMachine) -> bool:
        """Returns whether a machine serves as a member, with everything, and all know where."""
        replica, config = machine.replica, machine.config
        member = None if replica is None else member_of(replica)
        if replica is None or member is None or not replica.serving:
            return False
        own = replica.members().get(member.machine_id)
        if own is None or (own.client_url, own.peer_url) != (config.client_url, config.peer_url):
            return False
        return member.state_machine.applied_index == self.invariants.reference.length

    def finish(self, machines: list[ListedMachine]) -> None:
        """Have nothing go wrong any more, and wait until these machines are up, with the same indexes."""
        self.heal()
        self.network.weather = Weather()
        for machine in machines:
            machine.disk.changes_until_crash = None
            machine.start()
        self.advance_until(lambda: all(self.is_up(each) for each in machines), RECOVERY_SECONDS)
        copies = [(each.replica.index, each.replica.keyspace.root) for each in machines if each.replica is not None]
        assert all(copy == copies[0] for copy in copies), copies

    def describe(self) -> str:
        """See L{etcd_twisted.testing.simulated_time.SimulatedTime}."""
        states = {each.name: None if each.replica is None else each.replica.serving for each in self.listed}
        return f"{super().describe()}; serving: {states}"


@st.composite
def troubles(draw: st.DrawFn, size: int) -> Mapping[str, Any]:
    """What goes wrong while so many machines boot."""
    numbers = st.integers(0, size - 1)
    return {
        "starts": draw(st.lists(MOMENTS, min_size=size, max_size=size)),
        "crashes": draw(st.lists(st.tuples(MOMENTS, numbers), max_size=6)),
        "writes": draw(st.lists(st.tuples(MOMENTS, numbers, st.integers(0, 30)), max_size=6)),
        "cuts": draw(st.lists(st.tuples(MOMENTS, numbers, st.floats(0.1, 3.0)), max_size=4)),
    }


class StaticBootTests(SynchronousTestCase):
    def tearDown(self) -> None:
        """Machines that end in the middle of something log that."""
        self.flushLoggedErrors()

    @settings(max_examples=examples(24))
    @given(st.integers(1, 5).flatmap(lambda size: st.tuples(st.just(size), troubles(size))), st.integers(0, 2**16))
    def test_one_cluster_whatever_happens(self, plan: tuple[int, Mapping[str, Any]], seed: int) -> None:
        size, trouble = plan
        with Boot(seed, size, BAD) as boot:
            machines = boot.listed
            for machine, moment in zip(machines, trouble["starts"], strict=True):
                boot.at(moment, machine.start)
            for moment, number in trouble["crashes"]:
                boot.at(moment, machines[number].crash)
            for moment, number, changes in trouble["writes"]:
                boot.at(moment, boot.crash_at, machines[number], changes)
            for moment, number, seconds in trouble["cuts"]:
                boot.at(moment, boot.cut_off, machines[number], seconds)
            boot.advance(BOOT_SECONDS + 1.0)
            boot.finish(machines)
            self.assertEqual(len(boot.cluster_ids), 1)

    def lose_disk(self, registered: bool) -> bool:
        """
        Has two of three machines begin, one of them lose its disk and start again, and the other one crash before it
        can tell what they did; then the third one comes. Returns whether the second one began again.

        @param registered: whether it loses its disk after its addresses are known, or before.
        """
        with Boot(0, 3, supervised=False) as boot:
            first, second, third = boot.listed
            first.start()
            second.start()
            boot.advance_until(lambda: boot.is_leader(first) or boot.is_leader(second), 10.0)
            leader, lost = (first, second) if boot.is_leader(first) else (second, first)
            if registered:
                boot.advance_until(lambda: boot.is_up(first) and boot.is_up(second), 10.0)
            boot.erase(lost)
            lost.start()
            boot.advance_until(lambda: lost.run is None or bool(lost.run.replica.peer.cluster_id), 10.0)
            begins = lost.run is not None
            leader.crash()
            third.start()
            boot.advance(10.0)
        return begins

    def test_machine_without_its_disk_is_told(self) -> None:
        for registered in (False, True):
            self.assertFalse(self.lose_disk(registered))

    @settings(max_examples=examples(24))
    @given(st.floats(0.0, 0.1), st.floats(0.0, 0.1), st.integers(0, 2**16))
    def test_machine_without_its_disk_is_told_by_one_that_comes_back(self, own: float, its: float, seed: int) -> None:
        """What is on the other one's disk is enough, however soon that one is asked."""
        with Boot(seed, 3, supervised=False) as boot:
            first, lost, third = boot.listed
            first.start()
            lost.start()
            boot.advance_until(lambda: boot.is_up(first) and boot.is_up(lost), 10.0)
            first.crash()
            boot.erase(lost)
            boot.at(boot.schedule.now + own, first.start)
            boot.at(boot.schedule.now + its, lost.start)
            boot.advance(0.2)
            boot.advance_until(lambda: lost.run is None, 10.0)
            boot.finish([first, third])

    def test_machine_that_is_not_told_does_harm(self) -> None:
        """The checks notice what happens if such a machine begins again."""

        def believe_anything(bootstrap: Bootstrap, _name: str, view: ClusterView) -> bool:
            return bootstrap.group.own_fingerprint in view.members()

        with mock.patch.object(Bootstrap, "_agrees", believe_anything):
            for registered in (False, True):
                with self.assertRaisesRegex(Violation, "both lead in term 2|votes for"):
                    self.lose_disk(registered)

    @settings(max_examples=examples(24))
    @given(st.integers(3, 5), st.data(), st.integers(0, 2**16))
    def test_machine_that_loses_its_disk_does_not_vote_again(self, size: int, data: st.DataObject, seed: int) -> None:
        """
        It is told so by the others. They go on without it, and take it in again as another machine.
        """
        starts = data.draw(st.lists(st.floats(0.0, 1.5), min_size=size, max_size=size), label="starts")
        losses = data.draw(st.lists(MOMENTS, min_size=1, max_size=3), label="losses")
        lost = data.draw(st.integers(0, size - 1), label="lost")
        with Boot(seed, size) as boot:
            machines = boot.listed
            for machine, moment in zip(machines, starts, strict=True):
                boot.at(moment, machine.start)
            for moment in losses:
                boot.at(moment, boot.erase, machines[lost])
            boot.advance(BOOT_SECONDS + 1.0)
            boot.finish([each for each in machines if each is not machines[lost]])
            machine = machines[lost]
            if not boot.is_up(machine):
                boot.erase(machine)
                machine.config = attrs.evolve(machine.config, initial_cluster_state="existing")
            boot.finish(machines)
            self.assertEqual(len(boot.cluster_ids), 1)

    def test_promises_are_kept_after_a_static_boot(self) -> None:
        """Clients find what they should in the cluster that has begun so, whatever the faults are then."""
        for seed in range(3_000, 3_002):
            report = Cluster(seed, listed=True, forms_first=True).run()
            self.assertGreater(report.done, 0)

    def test_halves_never_make_two_clusters(self) -> None:
        for size, served in ((4, 0), (5, 3)):
            with Boot(size, size) as boot:
                machines = boot.listed
                boot.partition(machines[:2], machines[2:])
                for machine in machines:
                    machine.start()
                boot.advance(20.0)
                self.assertEqual(sum(boot.is_up(each) for each in machines), served)
                self.assertEqual(len(boot.cluster_ids), min(served, 1))
                boot.finish(machines)
                self.assertEqual(len(boot.cluster_ids), 1)

    def test_machines_begin_in_any_order_and_at_once(self) -> None:
        """Nothing goes wrong, and it takes no longer than a few elections."""
        for seed in range(3):
            with Boot(seed, 3) as boot:
                for machine in boot.schedule.random.sample(boot.listed, 3):
                    machine.start()
                boot.advance_until(lambda: all(map(boot.is_up, boot.listed)), 5.0)  # it is called here
