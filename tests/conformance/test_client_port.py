"""
The client port answers as recorded, with only a key space behind it.
"""

from twisted.internet import reactor
from twisted.web.client import HTTPConnectionPool

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.frontend import HttpFrontend
from tests.conformance.cases import ConformanceTest, with_scenarios


@with_scenarios
class ClientPortTests(ConformanceTest):
    """
    The server consists of HTTP, the commands and the key space. Each request has its own connection, so the fast door
    does not answer.
    """

    async def served(self) -> str:
        """Starts a client port on a port of its own."""
        replica = FakeReplica(reactor)
        self.addCleanup(replica.stop)
        service = HttpFrontend().service(reactor, Config(bind_addr=Address("127.0.0.1", 0)), {}, replica)
        self.addCleanup(service.stopService)
        await service.startService()
        return f"http://127.0.0.1:{service.getHost().port}"


class FastDoorTests(ClientPortTests):
    """The connections are kept, so the fast door answers."""

    def setUp(self) -> None:
        self.pool = HTTPConnectionPool(reactor)
        self.addCleanup(self.pool.closeCachedConnections)
