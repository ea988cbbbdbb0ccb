"""
What is recorded from etcd is what it answers. So do machines of this project, where one is asked that follows, and to
the scenarios of etcd 0.4; L{tests.conformance.test_etcd2} has what takes less time.
"""

import json
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from etcd_twisted.testing.loopback import LoopbackCluster
from etcd_twisted.web.auth import passwords
from tests.conformance.cases import Etcd2Test, add_test
from tests.conformance.etcd2 import OF_KEYS, TOPICS, Etcd2Player, Recorded, recorded, right
from tests.conformance.player import differences
from tests.etcd.machine import MISSING, start_cluster
from tests.processes.cluster import until
from tests.web.auth.threads import COST


class RecordedTests(Etcd2Test):
    skip = MISSING

    async def served(self) -> str:
        return (await start_cluster(self, self.scenario.get("machines", 1), self.authority()))[0].url


for topic in TOPICS:
    if topic not in OF_KEYS:
        for name, (scenario, answers) in recorded(topic).items():
            add_test(RecordedTests, scenario, answers, f"The scenario {name}.")


class FollowerTests(Etcd2Test):
    """The server is a machine of this project that follows."""

    def setUp(self) -> None:
        """Has hashes cost less."""
        self.patch(passwords, "DEFAULT_COST", COST)

    async def served(self) -> str:
        cluster = LoopbackCluster(reactor, Path(self.mktemp()), profile="etcd2", peer_election_timeout=2_000)
        self.addCleanup(cluster.close)
        await cluster.start(3)

        async def reported() -> bool | None:
            # Until then the leader takes them for machines of an earlier version, which know no refresh that sets.
            statuses = cluster.leader.service.replica.statuses().values() if cluster.leader else ()
            return (len(statuses) == 3 and all(each.report for each in statuses)) or None

        await until(reported, "the leader knows the versions of the others")
        return next(machine.url for machine in cluster.machines if not machine.is_leader)


for topic in ("keys", "auth"):
    for name, (scenario, answers) in right(topic).items():
        if not scenario.keys() & {"machines", "tls"}:
            add_test(FollowerTests, scenario, answers, f"The scenario {name}.")


class KeyTests(TestCase):
    """All scenarios with only keys of their own are played with one server."""

    timeout = 240

    async def assertConforms(self, url: str, scenarios: Recorded) -> None:
        """Asserts that a server answers as recorded."""
        found = []
        for name, (scenario, answers) in scenarios.items():
            for step, wanted, got in zip(
                scenario["steps"], answers, await Etcd2Player(reactor, url).play(scenario), strict=True
            ):
                if wanted is not None:
                    found += [f"{name}: {json.dumps(step)}: {line}" for line in differences(wanted, got)]
        self.assertEqual(found, [])

    async def test_etcd(self) -> None:
        (machine,) = await start_cluster(self, 1)
        for topic in OF_KEYS:
            await self.assertConforms(machine.url, recorded(topic))

    test_etcd.skip = MISSING  # type: ignore[attr-defined]

    async def test_machine_of_this_project(self) -> None:
        """It answers the scenarios of etcd 0.4 as etcd 3.4 does, but where there is a ruling."""
        cluster = LoopbackCluster(reactor, Path(self.mktemp()), profile="etcd2")
        self.addCleanup(cluster.close)
        await cluster.start()
        await self.assertConforms(cluster.machines[0].url, right("etcd04"))
