"""
A watch through a proxy that breaks its connections at random, whatever server there is.
"""

from typing import cast
from urllib.parse import urlsplit

from twisted.internet import reactor
from twisted.internet.defer import DeferredSemaphore, ensureDeferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import TestCase

from etcd_twisted.client import Client, Event, HistoryLost
from tests.client.cutting_proxy import CuttingProxy
from tests.client.follower import CHANGES, Follower, written

DIRECTORY = "/watched"

AHEAD = 200
"""How many changes the watch may be behind before no more are made: fewer than every server keeps."""


async def follow_through_cuts(test: TestCase, machine_url: str, seed: int) -> None:
    """
    Make changes, and check that a watch through the proxy sees each of them once and in order.

    @param machine_url: where to make the changes.
    """
    clock = cast(IReactorTime, reactor)
    proxy = CuttingProxy(urlsplit(machine_url).port or 0, seed)
    test.addCleanup(proxy.close)
    writer = Client(machine_url, reactor=clock)
    test.addCleanup(writer.close)
    # A list of the machines would lead past the proxy.
    client = Client(proxy.url, reactor=clock, refresh_seconds=None)
    test.addCleanup(client.close)
    start_index = (await writer.make_directory(DIRECTORY)).index.etcd_index
    follower = Follower("the watch", DIRECTORY)
    ahead = DeferredSemaphore(AHEAD)
    watch = client.watch(DIRECTORY, recursive=True, after_index=start_index)

    def take(item: Event | HistoryLost) -> None:
        follower.take(item)
        ahead.release()
        if len(follower.seen) == CHANGES:
            watch.close()

    async def write() -> None:
        for number in range(CHANGES):
            await ahead.acquire()
            await writer.create(f"{DIRECTORY}/{number}", str(number))

    await gatherResults([watch.for_each(take), ensureDeferred(write())])
    test.assertEqual(follower.seen, written(await writer.list(DIRECTORY)))
    test.assertEqual(follower.lost, 0)
    test.assertGreater(proxy.cuts, CHANGES / 100)
