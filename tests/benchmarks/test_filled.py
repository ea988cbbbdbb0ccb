"""
Tests of L{benchmarks.filled}: a real server takes the data directory for its own.
"""

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import filled, servers
from benchmarks.growth import Shape
from etcd_twisted.errors import ConfigError


class FilledTests(SynchronousTestCase):
    """A directory is made without a server."""

    def setUp(self) -> None:
        self.server = servers.EtcdTwisted(Path(self.mktemp()).resolve())
        self.ports = self.server.port, self.server.peer_port

    def test_a_server_has_all_keys_and_goes_on(self) -> None:
        """The keys of the snapshot are there, and those that the log has written again are as new as they are."""
        filled.make(self.server.data, self.server.machine, self.ports, Shape(keys=25, children=10, value=3), 7)
        with self.server as server:
            server.start(ready="/v2/keys/grow/d2/k4")
            listing = json.loads(server.get("/v2/keys/grow?recursive=true&sorted=true").body)["node"]["nodes"]
        nodes = [(node["key"], node["value"], node["createdIndex"]) for each in listing for node in each["nodes"]]
        registered = 1
        expected = [
            (key, "xxx", registered + number + (25 if number <= 7 else 0))
            for number, key in enumerate(filled.names(Shape(keys=25, children=10)), 1)
        ]
        self.assertEqual(nodes, expected)

    def test_the_data_of_a_machine_is_left_alone(self) -> None:
        """A directory that a machine may need is refused, and is as it was."""
        filled.make(self.server.data, self.server.machine, self.ports, Shape(keys=1))
        before = {path.name: path.stat() for path in self.server.data.rglob("*.*")}
        with self.assertRaises(ConfigError):
            filled.make(self.server.data, self.server.machine, self.ports, Shape(keys=2))
        after = {path.name: path.stat() for path in self.server.data.rglob("*.*")}
        self.assertEqual(
            [(name, each.st_mtime_ns) for name, each in before.items()],
            [(name, each.st_mtime_ns) for name, each in after.items()],
        )
