"""
Tests of how strangers' requests are checked.
"""

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.peer.dialer import PeerUrlError, read_peer_url
from etcd_twisted.peer.responder import check_join
from etcd_twisted.testing.raft_peer import CLUSTER
from tests.peer.test_commands import REQUEST


class JoinTests(SynchronousTestCase):
    def test_good_join_requests_pass(self) -> None:
        """The requests that machines send are accepted."""
        for changes in (
            {},
            {"cluster_id": CLUSTER},
            {"name": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"},
            {"client_url": "https://[::1]:4001", "peer_url": "https://machine1.example.com:7001"},
        ):
            check_join(msgspec.structs.replace(REQUEST, **changes))

    def test_bad_join_requests_are_refused(self) -> None:
        """A request that no machine would make is refused, with what is wrong."""
        for field, value in (
            ("machine_id", ""),
            ("machine_id", "../../../../etc/"),
            ("cluster_id", "x"),
            ("name", ""),
            ("name", "../machine1"),
            ("name", "a\nb"),
            ("name", "x" * 256),
            ("client_url", ""),
            ("client_url", "http://127.0.0.1:4001/path"),
            ("peer_url", "127.0.0.1:7001"),
            ("peer_url", "http://127.0.0.1:7001?a=b"),
            ("peer_url", "http://user@127.0.0.1:7001"),
            ("peer_url", "http://" + "x" * 10_000 + ":7001"),
        ):
            with self.assertRaises(EtcdError) as caught:
                check_join(msgspec.structs.replace(REQUEST, **{field: value}))
            self.assertEqual(caught.exception.code, ErrorCode.INVALID_FIELD, field)
            self.assertLess(len(caught.exception.cause), 1_000)
            self.assertTrue(caught.exception.cause.isprintable())


class UrlTests(SynchronousTestCase):
    def test_peer_urls_are_read(self) -> None:
        """A URL may be with TLS or without."""
        secure, address = read_peer_url("http://127.0.0.1:7001")
        self.assertEqual((secure, str(address)), (False, "127.0.0.1:7001"))
        secure, address = read_peer_url("https://[::1]:7001/")
        self.assertEqual((secure, str(address)), (True, "[::1]:7001"))

    def test_bad_peer_urls_are_refused(self) -> None:
        for url in ("", "http://", "http://127.0.0.1", "http://[::1:7001", "ftp://127.0.0.1:21", "http://a:b:c"):
            with self.assertRaises(PeerUrlError):
                read_peer_url(url)
