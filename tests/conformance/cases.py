"""
A test for each recorded scenario, whatever the server is.
"""

import json
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from twisted.web.client import HTTPConnectionPool

from tests.certificates import Authority
from tests.conformance.etcd2 import Etcd2Player
from tests.conformance.player import Player, Scenario, Shape, differences, load
from tests.conformance.sections import sections_of


class ConformanceTest(TestCase):
    """
    L{with_scenarios} makes the tests.

    @ivar pool: see L{Player}.
    @ivar scenario: the one that is played.
    """

    timeout = 240
    pool: HTTPConnectionPool | None = None
    scenario: Scenario

    async def served(self) -> str:
        """Starts a server, and returns its URL."""
        raise NotImplementedError

    def playing(self, url: str) -> Player:
        """Returns what plays the scenario."""
        return Player(reactor, url, self.pool)

    async def _conforms(self, scenario: Scenario, transcript: list[Shape | None]) -> None:
        self.scenario = scenario
        answers = await self.playing(await self.served()).play(scenario)
        found = []
        for step, wanted, got in zip(scenario["steps"], transcript, answers, strict=True):
            if wanted is not None:
                found += [f"{json.dumps(step)}: {line}" for line in differences(wanted, got)]
        self.assertEqual(found, [])


class Etcd2Test(ConformanceTest):
    """L{add_test} makes the tests, of scenarios of etcd 2."""

    def authority(self) -> Authority | None:
        """Returns what issues the certificates of this test, if it needs any."""
        if "tls" in self.scenario and self._authority is None:
            self._authority = Authority(Path(self.mktemp()).resolve())
        return self._authority

    _authority: Authority | None = None

    def playing(self, url: str) -> Player:
        """See L{ConformanceTest.playing}."""
        return Etcd2Player(reactor, url, self.pool, self.authority())


def with_scenarios(cls: type[ConformanceTest]) -> type[ConformanceTest]:
    """Gives a class a test for each scenario of etcd 0.4."""
    for name, (scenario, transcript) in load().items():
        titles = ", ".join(f'"{title}"' for title in sections_of(name))
        add_test(cls, scenario, transcript, f"The scenario {name} (specification, {titles}).")
    return cls


def add_test(cls: type[ConformanceTest], scenario: Scenario, transcript: list[Shape | None], described: str) -> None:
    """Gives a class the test of a scenario."""

    async def test(self: ConformanceTest) -> None:
        await self._conforms(scenario, transcript)

    test.__doc__ = described
    setattr(cls, "test_" + scenario["name"].replace("-", "_"), test)
