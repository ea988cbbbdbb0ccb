"""
Tests of how many connections the limit of open files leaves room for.
"""

import resource

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.process import file_descriptors


class DescriptorsTests(SynchronousTestCase):
    def limit(self, soft: int, hard: int = resource.RLIM_INFINITY) -> None:
        """Makes the process seem to have these limits of open files."""

        def getrlimit(which: int) -> tuple[int, int]:
            self.assertEqual(which, resource.RLIMIT_NOFILE)
            return soft, hard

        self.patch(resource, "getrlimit", getrlimit)

    def test_an_ordinary_limit_leaves_a_reserve(self) -> None:
        """The reserve is for the log, the snapshots, the reactor and the peer port."""
        self.limit(1_024)
        self.assertEqual(file_descriptors.client_connections(), 1_024 - 96 - 192)

    def test_no_limit_is_a_large_one(self) -> None:
        """The system represents the absence of a limit as -1."""
        self.limit(resource.RLIM_INFINITY)
        self.assertGreater(file_descriptors.client_connections(), 1_000_000)

    def test_a_small_limit_leaves_a_few_connections(self) -> None:
        for soft in (0, 64, 288, 303):
            self.limit(soft)
            self.assertEqual(file_descriptors.client_connections(), 16)

    @given(st.integers(304, 1 << 30))
    def test_the_reserve_does_not_depend_on_the_limit(self, soft: int) -> None:
        """Connections to both ports leave the same number of files for everything else."""
        self.limit(soft)
        both_ports = file_descriptors.client_connections() + file_descriptors.PEER_CONNECTIONS
        self.assertEqual(soft - both_ports, file_descriptors.RESERVED_FILES)

    def test_the_limit_is_raised(self) -> None:
        """The hard limit stays as it is."""
        self.limit(1_024, 4_096)
        asked: list[tuple[int, tuple[int, int]]] = []
        self.patch(resource, "setrlimit", lambda which, limits: asked.append((which, limits)))
        file_descriptors.raise_limit()
        self.assertEqual(asked, [(resource.RLIMIT_NOFILE, (4_096, 4_096))])
