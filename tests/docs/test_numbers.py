"""
Numbers in the sentences of pages are those of the program.
"""

import re

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted import __version__
from etcd_twisted.cluster.discovery import TTL_SECONDS
from etcd_twisted.config import Config
from etcd_twisted.consensus.raft.limits import DEFAULT_LIMITS
from etcd_twisted.consensus.snapshots.taking import (
    ENTRY_BYTES_PER_SNAPSHOT_BYTE,
    FREE_BYTES,
    MOST_ENTRIES,
    SNAPSHOT_BYTES,
)
from etcd_twisted.consensus.storage.framing import FORMAT_VERSION
from etcd_twisted.interfaces.cluster import PROTOCOL_VERSION
from etcd_twisted.keyspace.sizes import EVENT_BYTES
from etcd_twisted.process.file_descriptors import PEER_CONNECTIONS, RESERVED_FILES
from tests.processes.child import SOURCE


class NumberTests(SynchronousTestCase):
    """These tests go page by page."""

    def assert_says(self, page: str, *sentences: str) -> None:
        text = " ".join((SOURCE / "docs" / page).read_text().split())
        for sentence in sentences:
            self.assertIn(sentence, text, page)

    def test_numbers_of_the_page_about_upgrading(self) -> None:
        """They are the versions of the formats and of the package."""
        self.assert_says(
            "upgrading.md",
            f"[format version](storage.md#version), now {FORMAT_VERSION}.",
            f"the protocol has a version, now {PROTOCOL_VERSION}.",
            f"etcd_twisted {__version__}",
        )

    def test_numbers_of_the_page_about_tuning(self) -> None:
        """They are defaults and reserved resources."""
        config, limits = Config(), DEFAULT_LIMITS
        self.assert_says(
            "tuning.md",
            f"`--peer-heartbeat-interval` ({config.peer_heartbeat_interval} ms)",
            f"`--peer-election-timeout` ({config.peer_election_timeout} ms,",
            f"After `--snapshot-count` log entries ({config.snapshot_count:,})",
            f"larger than {FREE_BYTES >> 20} MiB",
            f"until the entries hold {({0.75: 'three quarters'})[ENTRY_BYTES_PER_SNAPSHOT_BYTE]} as many bytes",
            f"when the entries hold {SNAPSHOT_BYTES >> 20} MiB, or when there are {MOST_ENTRIES:,}",
            f"{limits.trailing_entries:,} entries ({limits.trailing_bytes >> 20} MiB) are kept beside a snapshot",
            f"the last `--watch-history` events ({config.watch_history:,})",
            f"at most `--watch-history-bytes` ({config.watch_history_bytes >> 20} MiB)",
            f"with values of 1 MiB the last {config.watch_history_bytes // ((2 << 20) + EVENT_BYTES)} are kept",
            f"{RESERVED_FILES + PEER_CONNECTIONS} files are set aside",
        )

    def test_numbers_of_the_page_about_discovery(self) -> None:
        """A registration lasts a week."""
        self.assertEqual(TTL_SECONDS, 7 * 24 * 3_600)
        self.assert_says("discovery.md", "under its name, for a week,")

    def test_versions_of_programs(self) -> None:
        """They are those that the tests install."""
        requirements = (SOURCE / "tests" / "foreign" / "requirements.txt").read_text()
        versions = dict(line.split("==") for line in requirements.splitlines() if "==" in line)
        names = {"Patroni": "patroni", "Salt": "salt", "Ansible": "ansible"}
        names |= {name: name for name in ("python-etcd", "aio_etcd", "tooz")}
        self.assert_says("etcd2.md", *(f"| {shown} {versions[name]}" for shown, name in names.items()))
        self.assert_says("patroni.md", f"Patroni {versions['patroni']}")

    def test_log_lines_of_the_page_about_standbys(self) -> None:
        """The program has the lines that the page quotes."""
        modules = (SOURCE / "etcd_twisted" / "cluster").glob("*.py")
        source = "".join(module.read_text() for module in modules)
        for line in ("is a standby: members of the cluster answer its clients", "is a member now"):
            self.assertTrue(re.search(re.escape(line), source), line)
            self.assert_says("standby.md", line)
