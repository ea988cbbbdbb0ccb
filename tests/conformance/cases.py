"""
A test for each recorded scenario, whatever the server is.
"""

import json

from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from twisted.web.client import HTTPConnectionPool

from tests.conformance.player import Player, Scenario, Shape, differences, load
from tests.conformance.sections import sections_of


class ConformanceTest(TestCase):
    """
    L{with_scenarios} makes the tests.

    @ivar player: the class of what plays the scenarios.
    @ivar pool: see L{Player}.
    @ivar scenario: the one that is played.
    """

    timeout = 240
    player = Player
    pool: HTTPConnectionPool | None = None
    scenario: Scenario

    async def served(self) -> str:
        """Starts a server, and returns its URL."""
        raise NotImplementedError

    async def _conforms(self, scenario: Scenario, transcript: list[Shape | None]) -> None:
        self.scenario = scenario
        answers = await self.player(reactor, await self.served(), self.pool).play(scenario)
        found = []
        for step, wanted, got in zip(scenario["steps"], transcript, answers, strict=True):
            if wanted is not None:
                found += [f"{json.dumps(step)}: {line}" for line in differences(wanted, got)]
        self.assertEqual(found, [])


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
