"""
The stand-ins for a replica and for its part in the group provide what they stand in for.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from etcd_twisted.auth.state import DISABLED, AuthState
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces import IRaftPeer, IReplica, ISnapshotFile
from etcd_twisted.testing import FakeReplica
from etcd_twisted.testing.raft_peer import FakeRaftPeer, FakeSnapshotFile


class FakeReplicaTests(SynchronousTestCase):
    """These tests are about the replica."""

    def test_replica_implements_its_interface(self) -> None:
        """It has everything that doors may ask for."""
        verifyObject(IReplica, FakeReplica(Clock()))

    def test_a_standby_has_no_copy(self) -> None:
        """A standby ends all watches and still lists the machines. It gets a copy again when it serves."""
        replica = FakeReplica(Clock())
        replica.put("/key", "value")
        machines, ended = replica.machines(), []
        replica.watch("/key", False, True, None, self.fail, lambda: ended.append(True))
        replica.clock.advance(0)
        replica.stand_by()
        self.assertEqual((ended, replica.serving, replica.standby), ([True], False, True))
        self.assertEqual(replica.machines(), machines)
        self.assertEqual(self.assertRaises(EtcdError, replica.get, "/key").code, ErrorCode.KEY_NOT_FOUND)
        waiting = replica.when_serving()
        self.assertEqual((replica.waiting_to_be_served, self.assertNoResult(waiting)), (1, None))
        replica.serve()
        self.successResultOf(waiting)
        self.assertEqual((replica.serving, replica.standby), (True, False))

    def test_users_and_roles_are_those_of_the_copy(self) -> None:
        """A standby has no copy, and no users."""
        replica, state = FakeReplica(Clock()), AuthState(True)
        self.assertIs(replica.auth, DISABLED)
        replica.set_auth(state)
        self.assertEqual(replica.auth, state)
        replica.stand_by()
        self.assertIs(replica.auth, DISABLED)

    def test_a_snapshot_replaces_the_copy(self) -> None:
        """Its keys expire here too."""
        replica, other = FakeReplica(Clock()), FakeReplica(Clock())
        other.put("/key", "value", ttl_seconds=5)
        replica.receive_snapshot_of(other)
        self.assertEqual(replica.get("/key"), other.get("/key"))
        replica.clock.advance(6)
        self.assertRaises(EtcdError, replica.get, "/key")
        replica.put("/dir/key", "value")
        replica.delete("/dir")
        self.assertRaises(EtcdError, replica.get, "/dir/key")
        for each in (replica, other):
            each.clock.advance(0)
            each.stop()
            self.assertEqual(each.clock.getDelayedCalls(), [])


class FakeRaftPeerTests(SynchronousTestCase):
    def test_fakes_implement_their_interfaces(self) -> None:
        verifyObject(IRaftPeer, FakeRaftPeer())
        verifyObject(ISnapshotFile, FakeSnapshotFile(b"content"))
