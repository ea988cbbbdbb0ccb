"""
Tests of L{etcd_twisted.cluster.seeds}: which seeds a machine has.
"""

from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IResolver
from twisted.names import error
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import ConnectionFailed
from etcd_twisted.cluster.discovery import REFRESH_SECONDS, RETRY_SECONDS, Discovery
from etcd_twisted.cluster.seeds import ConfiguredSeeds
from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.errors import ConfigError, StartError
from etcd_twisted.interfaces.cluster import ClusterView
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.peer.client import UnreachableError
from tests.client.test_srv import Names
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
        self.names: Names | None = None

    def resolver(self) -> IResolver:
        if self.names is None:
            raise ConnectionFailed("/etc/resolv.conf names no name server")
        return cast(IResolver, self.names)

    async def describe(self, peer_url: str) -> ClusterView:
        self.described.append(peer_url)
        if peer_url not in self.views:
            raise UnreachableError(peer_url)
        return self.views[peer_url]

    def seeds(self, discovery: FakeDiscovery | None = None, **settings: Any) -> ConfiguredSeeds:
        return ConfiguredSeeds(
            Config(peer_addr=OWN, **settings), cast(Discovery | None, discovery), self, self.resolver
        )

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

    def refusal(self, seeds: ConfiguredSeeds) -> str:
        text = self.failureResultOf(ensureDeferred(seeds.find("machine0")), StartError).getErrorMessage()
        self.assertTrue(text.isprintable(), text)
        return text

    def test_others_of_a_static_list(self) -> None:
        """A machine that joins, or comes back and finds nobody, asks the others of the list, at all their URLs."""
        text = f"a={OWN.url()},b=http://b:1,b=https://b:1,c=http://c:1"
        seeds = self.seeds(initial_cluster=text, initial_cluster_state="existing")
        others = ["http://b:1", "https://b:1", "http://c:1"]
        self.assertEqual((self.find(seeds), self.find_again(seeds)), (others, others))
        self.assertEqual(str(self.successResultOf(ensureDeferred(seeds.initial_cluster()))), text)

    def test_nobody_to_join(self) -> None:
        """A machine that is to join a cluster never begins one."""
        for settings in ({}, {"initial_cluster": f"a={OWN.url()}"}):
            seeds = self.seeds(initial_cluster_state="existing", **settings)
            self.assertEqual(
                self.refusal(seeds),
                "--initial-cluster-state existing: no other machine is named; list the cluster in --initial-cluster",
            )
        self.assertEqual(self.find(self.seeds(initial_cluster_state="existing", peers=(PEER,))), [PEER.url()])

    def test_static_list_of_a_domain(self) -> None:
        """The records tell no names, and the list is the same for all machines, whatever the records' order."""
        records = [(0, 0, "B.example.com", 7001), (0, 0, "a.example.com", 7001), (1, 1, "b.example.com", 7001)]
        listed = "a.example.com-7001=http://a.example.com:7001,b.example.com-7001=http://b.example.com:7001"
        for found in (records, records[::-1]):
            self.names = Names({"_etcd-server._tcp": found})
            seeds = self.seeds(discovery_srv="example.com")
            self.assertEqual(str(self.successResultOf(ensureDeferred(seeds.initial_cluster()))), listed)
            self.assertEqual(self.find_again(seeds), ["http://a.example.com:7001", "http://b.example.com:7001"])
        self.names = Names({"_etcd-server-ssl._tcp": records[:2], "_etcd-server._tcp": [(0, 0, "c.example.com", 1)]})
        found_urls = self.find(self.seeds(discovery_srv="example.com", initial_cluster_state="existing"))
        self.assertEqual(
            found_urls, ["https://a.example.com:7001", "https://b.example.com:7001", "http://c.example.com:1"]
        )

    def test_domain_without_records(self) -> None:
        self.names = Names({})
        text = "--discovery-srv example.com: has no SRV records of machines; make some of _etcd-server-ssl._tcp and"
        self.assertIn(text, self.refusal(self.seeds(discovery_srv="example.com")))

    def test_name_server_that_fails(self) -> None:
        """It may know a record, so no other name is tried. A machine that comes back is only warned."""
        self.names = Names(
            {"_etcd-server._tcp": [(0, 0, "a", 1)]}, {"_etcd-server-ssl._tcp": error.DNSServerError("no luck")}
        )
        problem = "can't look up the SRV records of _etcd-server-ssl._tcp.example.com: no luck"
        seeds = self.seeds(discovery_srv="example.com")
        expected = f"--discovery-srv example.com: {problem}; see that the name servers answer"
        self.assertEqual(self.refusal(seeds), expected)
        self.assertEqual((self.find_again(seeds), self.log.warnings), ([], [expected]))
        self.names = None
        self.assertIn("names no name server", self.refusal(seeds))

    def test_record_that_can_not_be_used(self) -> None:
        self.names = Names({"_etcd-server._tcp": [(0, 0, "a b", 1)]})
        self.assertIn("an SRV record can't be used: ", self.refusal(self.seeds(discovery_srv="example.com")))
