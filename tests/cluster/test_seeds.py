"""
Tests of L{etcd_twisted.cluster.seeds}: which seeds a machine has.
"""

from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.cluster.discovery import REFRESH_SECONDS, RETRY_SECONDS, Discovery
from etcd_twisted.cluster.seeds import ConfiguredSeeds
from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.errors import ConfigError, StartError
from etcd_twisted.interfaces.cluster import ClusterView
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.peer.client import UnreachableError
from tests.logs.lines import Log

OWN = Address("127.0.0.1", 7001)
PEER = Address("127.0.0.1", 7002)


class FakeDiscovery:
    """A directory in which C{found} are registered; C{problem} is what is wrong with it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.problem: str | None = None
        self.found = ["http://discovered:7001"]

    async def find(self, name: str, peer_url: str) -> list[str]:
        return self._answer("find", name, peer_url)

    async def find_again(self, name: str, peer_url: str) -> list[str]:
        return self._answer("find again", name, peer_url)

    def _answer(self, question: str, name: str, peer_url: str) -> list[str]:
        self.asked.append((question, name, peer_url))
        if self.problem is not None:
            raise StartError(self.problem)
        return self.found


class ConfiguredSeedsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.log = Log(self)
        self.discovery = FakeDiscovery()
        self.described: list[str] = []
        self.views: dict[str, ClusterView] = {}

    async def describe(self, peer_url: str) -> ClusterView:
        self.described.append(peer_url)
        if peer_url not in self.views:
            raise UnreachableError(peer_url)
        return self.views[peer_url]

    def seeds(self, discovery: FakeDiscovery | None = None, **settings: Any) -> ConfiguredSeeds:
        return ConfiguredSeeds(Config(peer_addr=OWN, **settings), cast(Discovery | None, discovery), self)

    def find(self, seeds: ConfiguredSeeds) -> list[str]:
        return self.successResultOf(ensureDeferred(seeds.find("machine0")))

    def find_again(self, seeds: ConfiguredSeeds) -> list[str]:
        return self.successResultOf(ensureDeferred(seeds.find_again("machine0")))

    def test_no_seeds_for_the_first_machine(self) -> None:
        """The first machine asks nobody."""
        seeds = self.seeds()
        self.assertEqual((self.find(seeds), self.find_again(seeds), self.described), ([], [], []))

    def test_discovery_comes_first(self) -> None:
        """The seeds that are configured follow those that discovery finds (spec, "Joining")."""
        seeds = self.seeds(self.discovery, peers=(PEER,))
        self.assertEqual(self.find(seeds), ["http://discovered:7001", PEER.url()])
        self.assertEqual(self.discovery.asked, [("find", "machine0", OWN.url())])
        self.assertEqual(seeds.registration_due_seconds, REFRESH_SECONDS)
        self.assertEqual((self.described, self.log.warnings), ([], []))

    def test_failing_discovery_is_a_warning_or_the_end(self) -> None:
        """The problem is logged as a warning if other seeds are configured, and prevents the start otherwise."""
        self.discovery.problem = "broken"
        seeds = self.seeds(self.discovery, peers=(PEER,))
        self.assertEqual(self.find(seeds), [PEER.url()])
        self.assertEqual(self.find_again(seeds), [PEER.url()])
        self.assertEqual((seeds.registration_due_seconds, self.log.warnings), (RETRY_SECONDS, ["broken"]))
        for alone in ({}, {"peers": (OWN,)}):
            seeds = self.seeds(self.discovery, **alone)
            error = self.failureResultOf(ensureDeferred(seeds.find("machine0")), StartError)
            self.assertEqual(error.getErrorMessage(), "broken")
        self.assertEqual(self.log.warnings, ["broken"])

    def test_first_in_the_directory_joins_a_named_cluster(self) -> None:
        """
        The machine begins a cluster although seeds are configured that wait for it, unless one of them has a cluster
        already.
        """
        self.discovery.found = []
        other = Address("127.0.0.1", 7003)
        seeds = self.seeds(self.discovery, peers=(PEER, other))
        self.assertEqual(self.find(seeds), [])
        self.views[other.url()] = ClusterView("", [], "", ClusterConfig())
        self.assertEqual(self.find(seeds), [])
        self.views[other.url()] = ClusterView("c" * 16, [], "", ClusterConfig())
        self.assertEqual(self.find(seeds), [PEER.url(), other.url()])
        self.assertEqual(set(self.described), {PEER.url(), other.url()})

    def test_own_address_alone_may_be_another_machine(self) -> None:
        """A machine of another cluster may be at this machine's own address."""
        seeds = self.seeds(peers=(OWN,))
        self.assertEqual(self.find(seeds), [])
        self.views[OWN.url()] = ClusterView("", [], "", ClusterConfig())
        self.assertEqual(self.find(seeds), [])
        self.views[OWN.url()] = ClusterView("c" * 16, [], "", ClusterConfig())
        self.assertEqual(self.find(seeds), [OWN.url()])

    def test_find_again_uses_all_sources(self) -> None:
        """A machine that was a member of a cluster uses all sources, and registers nothing."""
        seeds = self.seeds(self.discovery, peers=(PEER, OWN))
        self.assertEqual(self.find_again(seeds), ["http://discovered:7001", PEER.url()])
        self.assertEqual(self.discovery.asked, [("find again", "machine0", OWN.url())])
        self.assertEqual((seeds.registration_due_seconds, self.described), (0.0, []))

    def test_find_again_logs_a_problem_once(self) -> None:
        """A problem with the directory is logged once, and the other sources are used all the same."""
        seeds = self.seeds(self.discovery, peers=(PEER,))
        for problem in ("the directory is broken", "it is broken otherwise"):
            self.discovery.problem = problem
            for _ in range(3):
                self.assertEqual(self.find_again(seeds), [PEER.url()])
            self.discovery.problem = None
            self.assertEqual(len(self.find_again(seeds)), 2)
        self.assertEqual(self.log.warnings, ["the directory is broken", "it is broken otherwise"])

    def test_unusable_peers_file_is_refused_at_once(self) -> None:
        """The file is refused before anything is asked."""
        self.assertRaises(ConfigError, self.seeds, peers_file=Path(self.mktemp()))
