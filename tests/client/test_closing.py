"""What is closed out of a call that the client itself has made."""

import gc

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from etcd_twisted.client import Client
from tests.client.store import Store


@implementer(IAgent)
class _SlowAgent:
    """Passes on each response some time after it has begun, as an agent does that looks at it first."""

    def __init__(self, clock: Clock, agent: IAgent) -> None:
        self._clock = clock
        self._agent = agent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> "Deferred[IResponse]":
        """See L{IAgent}."""
        response = self._agent.request(method, uri, headers, bodyProducer)
        return response.addCallback(lambda response: deferLater(self._clock, 0.1, lambda: response))


class ClosingTests(SynchronousTestCase):
    def test_a_watch_that_is_closed_by_its_first_event(self) -> None:
        """The event comes while the request that began the watch has not ended yet, and nothing is logged."""
        store = Store(self)
        agent = _SlowAgent(store.clock, Agent.usingEndpointFactory(store.clock, store))
        client = Client("http://127.0.0.1:4001", reactor=store.clock, agent=agent, refresh_seconds=None)
        store.replica.put("/key", "1")

        async def first() -> None:
            watch = client.watch("/key", after_index=1)
            async for _ in watch:
                watch.close()

        watching = Deferred.fromCoroutine(first())
        store.advance(1)
        self.successResultOf(watching)
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])
        client.close()
        store.stop()
        self.assertEqual(store.clock.getDelayedCalls(), [])
