"""
The stand-ins are what they stand for.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from etcd_twisted.interfaces import IReplica
from tests.fakes import FakeReplica


class FakeReplicaTests(SynchronousTestCase):
    """The replica."""

    def test_interface(self) -> None:
        """It has all that doors may ask for."""
        verifyObject(IReplica, FakeReplica(Clock()))
