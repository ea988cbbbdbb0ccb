"""
The body of a request, as Twisted's agents take it.

This module must never need a reactor: treq's own bodies are sent in turns of Twisted's global one, whichever reactor
the agent has.
"""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer


@implementer(IBodyProducer)
class BytesBody:
    """
    A body that is written as a whole, as soon as it is wanted: C{HTTPClient(agent, data_to_body_producer=BytesBody)}.

    @ivar length: how many bytes it has.
    """

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: IConsumer) -> "Deferred[None]":
        """See L{IBodyProducer}."""
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing, as all of it is written."""

    def resumeProducing(self) -> None:
        """Do nothing, as all of it is written."""

    def stopProducing(self) -> None:
        """Do nothing, as all of it is written."""
