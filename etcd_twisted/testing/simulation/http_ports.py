"""
The HTTP ports of a simulated process, on the simulated network.

This module must never know what is served there.
"""

from etcd_twisted.config import Config
from etcd_twisted.interfaces import IReplica
from etcd_twisted.testing.memory_ports import MemoryPorts
from etcd_twisted.testing.simulation.schedule import Process
from etcd_twisted.testing.simulation.streams import Streams


class HttpPorts(MemoryPorts):
    """
    The client port and the peer port of a process; see L{etcd_twisted.testing.simulation.streams.Listener}.

    @ivar process: the process.
    @ivar host: the name of its machine.
    """

    def __init__(self, streams: Streams, process: Process, config: Config, replica: IReplica) -> None:
        super().__init__(process.clock, config, replica)
        self.process = process
        self.host = process.name
        for address in (config.addr, config.peer_addr):
            streams.listen(address, self)
