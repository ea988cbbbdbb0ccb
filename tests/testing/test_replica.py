"""
The stand-in for a replica is one.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from etcd_twisted.interfaces import IReplica
from etcd_twisted.testing.replica import FakeReplica


class FakeReplicaTests(SynchronousTestCase):
    """The replica."""

    def test_interface(self) -> None:
        """It has all that doors may ask for."""
        verifyObject(IReplica, FakeReplica(Clock()))
