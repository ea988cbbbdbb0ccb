"""
Each machine of a cluster answers as recorded, whether followers ask the leader or the client follows their redirects.
"""

import json
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.client import readBody
from twisted.web.iweb import IResponse

from etcd_twisted.testing.loopback import LoopbackCluster, LoopbackMachine
from tests.conformance.player import Player, Step, differences, index_of, load

_MOST_REDIRECTS = 5


class ClusterPlayer(Player):
    """A player that follows redirects, and lets a machine catch up before asking it."""

    async def _send(self, step: Step) -> IResponse:
        await self._until_caught_up()
        response = await super()._send(step)
        for _ in range(_MOST_REDIRECTS):
            if response.code != 307:
                break
            await readBody(response)
            (location,) = response.headers.getRawHeaders("Location")
            response = await self._request(step, location)
        return response

    async def _until_caught_up(self) -> None:
        for _ in range(6_000):
            response = await super()._send({"do": "GET", "path": "/v2/keys/"})
            await readBody(response)
            if index_of(response) >= self._seen:
                return
            await deferLater(self.reactor, 0.01, lambda: None)
        raise AssertionError(f"{self.base} has not come to index {self._seen}")


class ClusterTests(TestCase):
    """The server is a cluster of three machines in one process."""

    timeout = 480
    follower_requests = "forward"

    async def setUp(self) -> None:
        # All of them wait for one processor.
        self.cluster = LoopbackCluster(
            reactor, Path(self.mktemp()), peer_election_timeout=2_000, follower_requests=self.follower_requests
        )
        self.addCleanup(self.cluster.close)
        await self.cluster.start(3)

    async def _conforms(self, machine: LoopbackMachine, player: type[Player]) -> None:
        found = []
        for name, (scenario, transcript) in load().items():
            answers = await player(reactor, machine.url).play(scenario)
            for step, wanted, got in zip(scenario["steps"], transcript, answers, strict=True):
                if wanted is not None:
                    found += [f"{name}: {json.dumps(step)}: {line}" for line in differences(wanted, got)]
        self.assertEqual(found, [])

    async def test_leader_answers_as_recorded(self) -> None:
        (leader,) = [each for each in self.cluster.machines if each.is_leader]
        await self._conforms(leader, Player)

    async def test_follower_answers_as_recorded(self) -> None:
        """It asks the leader, redirects nobody, and has in its own copy what it has answered (spec, "Redirects")."""
        follower = next(each for each in self.cluster.machines if not each.is_leader)
        await self._conforms(follower, Player)


class RedirectingClusterTests(ClusterTests):
    """Followers redirect requests that are the leader's."""

    follower_requests = "redirect"

    async def test_follower_answers_as_recorded(self) -> None:
        """It redirects what it cannot do itself."""
        follower = next(each for each in self.cluster.machines if not each.is_leader)
        await self._conforms(follower, ClusterPlayer)
