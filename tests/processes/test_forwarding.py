"""
Tests of writes through followers while their leader is killed.
"""

import itertools

from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.trial.unittest import TestCase

from tests.processes.cluster import Cluster, Member, until

WRITERS = 16
UNKNOWN = "whether the write was done is unknown"


class FollowerWriter:
    """
    Puts values into a queue through one machine, each once.

    @ivar done: the values whose writes were acknowledged.
    @ivar refused: the values whose writes were refused, and so must not be there.
    @ivar unknown: the values of which the machine says that it does not know.
    """

    _numbers = itertools.count()

    def __init__(self, machine: Member) -> None:
        self.done: list[str] = []
        self.refused: list[str] = []
        self.unknown: list[str] = []
        self.stopping = False
        self._machine = machine

    async def run(self) -> None:
        """Writes until it is told to stop."""
        while not self.stopping:
            value = f"v{next(self._numbers)}"
            answer = await self._machine.client.post("/queue", value=value)
            if answer.status == 201:
                self.done.append(value)
            elif answer.status == 500 and answer.json()["errorCode"] == 300:
                (self.unknown if UNKNOWN in answer.json()["cause"] else self.refused).append(value)
            else:
                raise AssertionError(answer)


class ForwardedWritesTests(TestCase):
    """Three machines."""

    timeout = 240

    async def test_leader_is_killed_under_forwarded_writes(self) -> None:
        """
        Each write is made once if it was acknowledged, not at all if refused, and at most once if the outcome is
        unknown. The followers answer all of them, and go on with the next leader.
        """
        cluster = Cluster(self, 3)
        await cluster.start()
        leader = await cluster.leader()
        followers = await cluster.followers()
        writers = [FollowerWriter(followers[number % 2]) for number in range(WRITERS)]
        running = gatherResults([ensureDeferred(writer.run()) for writer in writers], consumeErrors=True)
        await self._progress(writers, 5)
        await leader.kill()
        await self._progress(writers, 5)
        for writer in writers:
            writer.stopping = True
        await running
        await leader.start()
        answer = await followers[0].client.request("GET", "/v2/keys/queue?quorum=true")
        found = sorted(node["value"] for node in answer.json()["node"]["nodes"])
        self.assertEqual(len(found), len(set(found)))
        self.assertEqual({value for writer in writers for value in writer.done} - set(found), set())
        self.assertEqual({value for writer in writers for value in writer.refused} & set(found), set())
        known = {value for writer in writers for value in (*writer.done, *writer.unknown)}
        self.assertEqual(set(found) - known, set())

    async def _progress(self, writers: list[FollowerWriter], more: int) -> None:
        wanted = [len(writer.done) + more for writer in writers]

        async def reached() -> bool | None:
            enough = all(len(each.done) >= least for each, least in zip(writers, wanted, strict=True))
            return True if enough else None

        await until(reached, f"each writer has {more} more writes acknowledged")


class RemovedThroughItselfTests(TestCase):
    """Three machines."""

    timeout = 240

    async def test_follower_answers_its_own_removal(self) -> None:
        """It neither sends the client on, who would be told that there is no such member, nor leaves it in doubt."""
        cluster = Cluster(self, 3, "--cluster-sync-interval", "3600")
        await cluster.start()
        for follower in await cluster.followers():
            answer = await follower.client.request("DELETE", f"/v2/members/{follower.name}")
            self.assertEqual(answer.status, 204, answer)
