"""
Real machines of a static list. Machines with etcd's own settings are in L{tests.etcd}, and simulated ones in
L{tests.simulation}.
"""

import signal

from tests.processes.cluster import Cluster
from tests.processes.clustered import ClusterTest
from tests.processes.stranger import Stranger


class StaticBootTests(ClusterTest):
    async def test_machines_begin_and_come_back(self) -> None:
        """
        The first machine waits in the background, so that whoever starts them in a shell gets to the second one. Each
        comes back with the same flags.
        """
        cluster = Cluster(self, 2)
        first, second = cluster.machines
        for machine in cluster.machines:
            machine.others = []
            listed = ",".join(f"{each.name}={each.peer_url}" for each in cluster.machines)
            machine.flags = (*machine.flags, "--initial-cluster", listed)
        child = first.launch(twistd=(f"--pidfile={first.pid_file}", "--logfile=/dev/null"))
        self.assertEqual((await child.when_ended(), child.errors), (0, ""))
        waiting = Stranger(self, int(first.pid_file.read_text()))
        self.assertFalse((first.data / "identity.json").exists())
        await second.start()
        await cluster.put("/a", "1")
        waiting.signal(signal.SIGKILL)
        await waiting.ended
        await first.start()
        await cluster.agree(cluster.machines)
        self.assertEqual(list(await cluster.converge()), ["/a"])
