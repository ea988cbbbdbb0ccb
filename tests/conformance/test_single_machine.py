"""
A whole machine against the recorded answers: log, disk and expiry too.
"""

from pathlib import Path

from twisted.internet import reactor

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.service import EtcdService
from etcd_twisted.testing.ports import free_ports
from tests.conformance.cases import ConformanceTest, with_scenarios


@with_scenarios
class SingleMachineTests(ConformanceTest):
    """A cluster of one."""

    async def served(self) -> str:
        """A machine with a data directory of its own."""
        port, peer_port = free_ports(2)
        config = Config(
            name="machine0",
            data_dir=Path(self.mktemp()),
            addr=Address("127.0.0.1", port),
            peer_addr=Address("127.0.0.1", peer_port),
        )
        service = EtcdService(reactor, config, self.fail)
        self.addCleanup(service.stopService)
        service.startService()
        await service.started
        return config.addr.url()
