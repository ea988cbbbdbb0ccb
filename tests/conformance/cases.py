"""
A test for each recorded scenario, whatever the server is.
"""

import json
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from twisted.web.client import HTTPConnectionPool

from tests.conformance.player import Player, Scenario, Shape, differences, load
from tests.conformance.sections import sections_of


class ConformanceTest(TestCase):
    """
    L{with_scenarios} makes the tests.

    @ivar pool: see L{Player}.
    """

    timeout = 240
    pool: HTTPConnectionPool | None = None

    async def served(self) -> str:
        """Starts a server, and returns its URL."""
        raise NotImplementedError

    async def _conforms(self, scenario: Scenario, transcript: list[Shape | None]) -> None:
        answers = await Player(reactor, await self.served(), self.pool).play(scenario)
        found = []
        for step, wanted, got in zip(scenario["steps"], transcript, answers, strict=True):
            if wanted is not None:
                found += [f"{json.dumps(step)}: {line}" for line in differences(wanted, got)]
        self.assertEqual(found, [])


def with_scenarios(cls: type[ConformanceTest]) -> type[ConformanceTest]:
    """Gives a class its tests."""
    for name, (scenario, transcript) in load().items():
        setattr(cls, "test_" + name.replace("-", "_"), _test(scenario, transcript))
    return cls


def _test(scenario: Scenario, transcript: list[Shape | None]) -> Callable[..., Any]:
    async def test(self: ConformanceTest) -> None:
        await self._conforms(scenario, transcript)

    titles = ", ".join(f'"{title}"' for title in sections_of(scenario["name"]))
    test.__doc__ = f"The scenario {scenario['name']} (specification, {titles})."
    return test
