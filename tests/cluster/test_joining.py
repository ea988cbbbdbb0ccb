"""
Tests of which machines are sent the new address of a machine that has moved.
"""

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.cluster.joining import Joining
from etcd_twisted.config import Config
from etcd_twisted.consensus.storage.data_directory import Identity
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces import Machine
from etcd_twisted.interfaces.cluster import ClusterView, JoinReply, JoinRequest
from etcd_twisted.interfaces.cluster_config import ClusterConfig

OWN = Machine("own", "http://own:4001", "http://own:7101")
OTHERS = [Machine(name, f"http://{name}:4001", f"http://{name}:7001") for name in ("one", "two")]
IDENTITY = Identity("own", "0" * 16, "c" * 16)


class StubClient:
    """
    Machines that all name the same leader, or none.

    @ivar asked: the peer URLs that received a machine's request, in order.
    """

    def __init__(self, leader: str, leads: str) -> None:
        """@param leads: the peer URL of the machine that leads, whether or not the others know it."""
        self.asked: list[str] = []
        self._leader = leader
        self._leads = leads

    async def describe(self, _peer_url: str) -> ClusterView:
        return ClusterView("c" * 16, OTHERS, self._leader, ClusterConfig(), 1, (), {})

    async def join(self, peer_url: str, request: JoinRequest) -> JoinReply:
        assert request.peer_url == OWN.peer_url
        self.asked.append(peer_url)
        if peer_url != self._leads:
            raise EtcdError(ErrorCode.RAFT_INTERNAL, "this machine does not lead")
        return JoinReply("c" * 16)


class AnnounceTests(SynchronousTestCase):
    def announce(self, client: StubClient) -> bool:
        local: Any = SimpleNamespace(identity=IDENTITY, machine=OWN, remember=lambda *_: None)
        urls = [machine.peer_url for machine in OTHERS]
        known: Any = SimpleNamespace(urls=urls, described=str)
        joining = Joining(Clock(), Config(), client, local, known)  # type: ignore[arg-type]
        announced: bool = self.successResultOf(ensureDeferred(joining.announce()))
        return announced

    def test_leader_gets_the_announcement(self) -> None:
        client = StubClient("two", "http://two:7001")
        self.assertTrue(self.announce(client))
        self.assertEqual(client.asked, ["http://two:7001"])

    def test_all_get_the_announcement_while_none_names_a_leader(self) -> None:
        """One of them may lead, and may have to reach this machine before it can say so."""
        client = StubClient("", "http://two:7001")
        self.assertTrue(self.announce(client))
        self.assertEqual(client.asked, ["http://one:7001", "http://two:7001"])

    def test_announcing_fails_while_nobody_leads(self) -> None:
        client = StubClient("", "")
        self.assertFalse(self.announce(client))
