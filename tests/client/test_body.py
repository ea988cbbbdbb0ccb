"""
The bodies of requests, without any reactor.
"""

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IBodyProducer
from zope.interface.verify import verifyObject

from etcd_twisted.client.body import BytesBody


class BodyTests(SynchronousTestCase):
    """L{BytesBody}"""

    def test_interface(self) -> None:
        verifyObject(IBodyProducer, BytesBody(b""))

    def test_all_at_once(self) -> None:
        """All of it is written as soon as it is wanted, however much that is and whoever pauses it."""
        body = BytesBody(b"x" * 1_000_000)
        consumer = StringTransport()
        self.assertEqual(body.length, 1_000_000)
        consumer.registerProducer(body, True)
        written = body.startProducing(consumer)
        body.pauseProducing()
        body.resumeProducing()
        body.stopProducing()
        self.successResultOf(written)
        self.assertEqual(consumer.value(), b"x" * 1_000_000)
