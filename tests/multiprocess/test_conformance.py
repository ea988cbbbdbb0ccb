"""
A machine with workers answers as recorded.
"""

import json
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.client import readBody
from twisted.web.iweb import IResponse

from tests.conformance.player import Player, Step, differences, index_of, load
from tests.processes.machine import Machine

_CONNECTIONS = 8
"""With so many connections in a row that are up to date, each worker is."""


class WorkersPlayer(Player):
    """A player that lets all workers catch up before each request: it may go to any of them."""

    async def _send(self, step: Step) -> IResponse:
        up_to_date = 0
        while up_to_date < _CONNECTIONS:
            response = await super()._send({"do": "GET", "path": "/v2/keys/"})
            await readBody(response)
            if index_of(response) >= self._seen:
                up_to_date += 1
            else:
                up_to_date = 0
                await deferLater(reactor, 0.01, lambda: None)
        return await super()._send(step)


class WorkersTests(TestCase):
    """The server is a machine with two workers."""

    timeout = 480

    async def test_workers_answer_as_recorded(self) -> None:
        """All recorded answers are the same."""
        machine = Machine(self)
        await machine.start("--workers", "2")
        found: list[str] = []
        compared = 0
        for name, (scenario, transcript) in load().items():
            answers: list[Any] = await WorkersPlayer(reactor, machine.url).play(scenario)
            for step, wanted, got in zip(scenario["steps"], transcript, answers, strict=True):
                if wanted is not None:
                    compared += 1
                    found += [f"{name}: {json.dumps(step)}: {line}" for line in differences(wanted, got)]
        self.assertEqual(found, [])
        self.assertEqual(compared, 326)
