"""
A machine answers as etcd 3.4 does with its version 2 API, but where there is a ruling.

C{tests.etcd.test_conformance} plays the same scenarios against etcd itself, and L{tests.conformance.test_auth} plays
those that ask only for the pages of users and roles.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import HTTPConnectionPool

from etcd_twisted.testing.loopback import LoopbackCluster
from etcd_twisted.web.auth import passwords
from tests.conformance.cases import Etcd2Test, add_test
from tests.conformance.etcd2 import TOPICS, matches, merged, patches, recorded, right, rulings
from tests.conformance.player import Shape
from tests.conformance.test_auth import PAGES
from tests.web.auth.threads import COST


class MachineTest(Etcd2Test):
    """The server is one machine, or as many as a scenario needs."""

    def setUp(self) -> None:
        """Has hashes cost less."""
        self.patch(passwords, "DEFAULT_COST", COST)

    async def served(self) -> str:
        """Starts machines, the first one of which leads."""
        settings: dict[str, object] = {"profile": "etcd2", "peer_election_timeout": 2_000}
        if authority := self.authority():
            certificate, key = authority.certificate("machine0")
            settings |= {"cert_file": certificate, "key_file": key, "ca_file": authority.path}
        cluster = LoopbackCluster(reactor, Path(self.mktemp()), **settings)
        self.addCleanup(cluster.close)
        await cluster.start(self.scenario.get("machines", 1))
        return cluster.machines[0].url


class OrdinaryDoorTests(MachineTest):
    """Each request has its own connection, so the fast door does not answer."""


class FastDoorTests(MachineTest):
    """The connections are kept, so the fast door answers what is asked of keys."""

    def setUp(self) -> None:
        """See L{MachineTest.setUp}."""
        super().setUp()
        self.pool = HTTPConnectionPool(reactor)
        self.addCleanup(self.pool.closeCachedConnections)


for topic in ("keys", "members", "auth"):
    for name, (scenario, answers) in right(topic).items():
        described = f"The scenario {name}, as recorded from etcd."
        if name not in PAGES:
            add_test(OrdinaryDoorTests, scenario, answers, described)
        if topic == "keys" or name.startswith("auth-keys"):
            add_test(FastDoorTests, scenario, answers, described)


class RulingTests(SynchronousTestCase):
    """Every ruling says something about answers that are recorded."""

    def answers(self) -> Iterator[tuple[str, str, int, Shape]]:
        """Yields each recorded answer with its topic, scenario and step."""
        for topic in TOPICS:
            for name, (scenario, shapes) in recorded(topic).items():
                self.assertEqual(len(scenario["steps"]), len(shapes), name)
                for step, shape in enumerate(shapes):
                    if shape is not None:
                        yield topic, name, step, shape

    def test_every_ruling_changes_answers(self) -> None:
        """What is ruled is not what etcd answers."""
        stale = set()
        for ruling in rulings():
            self.assertGreater(len(ruling["reason"]), 20)
            stale |= {json.dumps(case["then"]) for case in ruling.get("cases", [])}
            for name, steps in ruling.get("answers", {}).items():
                stale |= {f"{name} {step} {json.dumps(patch)}" for step, patch in steps.items()}
        for topic, name, step, shape in self.answers():
            for ruling in rulings():
                for patch in patches(ruling, topic, name, step, shape):
                    if merged(shape, patch) != shape:
                        stale -= {json.dumps(patch), f"{name} {step} {json.dumps(patch)}"}
        self.assertEqual(stale, set())

    def test_every_scenario_has_a_name_of_its_own(self) -> None:
        names = [name for topic in TOPICS for name in recorded(topic)]
        self.assertEqual(len(names), len(set(names)))

    def test_patches_are_merged(self) -> None:
        """A patch replaces, adds and removes."""
        answer = {"status": 200, "json": {"a": 1, "b": [1, 2]}, "text": "x"}
        patch = {"status": 201, "json": {"b": [3], "c": {"d": 4}}, "text": None}
        self.assertEqual(merged(answer, patch), {"status": 201, "json": {"a": 1, "b": [3], "c": {"d": 4}}})
        self.assertTrue(matches({"json": {"b": [1, 2]}}, answer))
        self.assertFalse(matches({"json": {"b": [1]}}, answer))
        self.assertFalse(matches({"none": {}}, answer))
