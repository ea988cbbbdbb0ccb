"""
C{X-Etcd-Cluster-ID}, by which clients notice that another cluster has taken the place of theirs.
"""

from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.httpd.fast.site import FastSite
from etcd_twisted.httpd.site import Site
from etcd_twisted.testing.fake_membership import CLUSTER_ID
from etcd_twisted.testing.replica import FakeReplica
from tests.wires import STREAM, WATCH, Wire, ask, put, read_answers

FIELD = "X-Etcd-Cluster-Id"

REQUESTS = (
    ("PUT", "/v2/keys/k?value=v", 201),
    ("GET", "/v2/keys/k", 200),
    ("HEAD", "/v2/keys/k", 200),
    ("GET", "/v2/keys/?recursive=true&sorted=true", 200),
    ("OPTIONS", "/v2/keys/k", 200),
    ("GET", "/v2/keys/none", 404),
    ("HEAD", "/v2/keys/none", 404),
    ("PUT", "/v2/keys/k?prevValue=x&value=y", 412),
    ("GET", "/v2/keys/%zz", 400),
    ("PATCH", "/v2/keys/k", 405),
    ("GET", "/v2/members", 200),
    ("HEAD", "/v2/members", 200),
    ("GET", "/v2/members/leader", 200),
    ("DELETE", "/v2/members/12", 404),
    ("POST", "/v2/members", 415),
    ("PATCH", "/v2/members", 405),
    ("GET", "/v2/members/1/2", 404),
    ("GET", "/version", 200),
)


class ClusterIdTests(SynchronousTestCase):
    """Each answer through the ordinary door names the cluster, once."""

    kind: ClassVar[type[Site]] = Site

    def setUp(self) -> None:
        self.wire = Wire(kind=self.kind)
        self.replica = self.wire.replica
        self.addCleanup(self.wire.stop)

    def ids(self, path: str, method: str = "GET") -> list[str] | None:
        found: list[str] | None = ask(self.wire.site, path, method).headers.get_all(FIELD)
        return found

    def test_each_answer_names_the_cluster(self) -> None:
        """So does an error (api, "Response Headers")."""
        for method, path, status in REQUESTS:
            answer = ask(self.wire.site, path, method)
            self.assertEqual((answer.status, answer.headers.get_all(FIELD)), (status, [CLUSTER_ID]), (method, path))

    def test_watches_name_it_before_their_events(self) -> None:
        for request in (WATCH, STREAM):
            channel, transport = self.wire.connect()
            channel.dataReceived(request)
            self.assertIn(f"\r\n{FIELD}: {CLUSTER_ID}\r\n".lower().encode(), transport.value().lower())
            transport.client_goes()

    def test_refusal_of_the_door_names_it(self) -> None:
        channel, transport = self.wire.connect()
        channel.dataReceived(put("x" * 2_000))
        (answer,) = read_answers(transport.value(), "PUT")
        self.assertEqual((answer.status, answer.headers.get_all(FIELD)), (413, [CLUSTER_ID]))

    def test_redirect_names_it(self) -> None:
        self.replica.follow()
        answer = ask(self.wire.site, "/v2/keys/k?value=v", "PUT")
        self.assertEqual((answer.status, answer.headers.get_all(FIELD)), (307, [CLUSTER_ID]))

    def test_machine_of_no_cluster_yet_names_none(self) -> None:
        """It names the cluster as soon as that is known, and another one as soon as it is in that."""
        self.replica.enter_cluster("")
        self.assertIsNone(self.ids("/v2/keys/"))
        for cluster_id in ("d" * 16, "e" * 16):
            self.replica.enter_cluster(cluster_id)
            self.assertEqual(self.ids("/v2/keys/"), [cluster_id])
            self.assertEqual(self.ids("/v2/members"), [cluster_id])


class FastClusterIdTests(ClusterIdTests):
    """So does each answer through the fast door."""

    kind = FastSite


class EarlyClusterIdTests(SynchronousTestCase):
    def test_port_that_opens_before_the_cluster_is_known_names_it_then(self) -> None:
        replica = FakeReplica()
        self.addCleanup(replica.stop)
        replica.enter_cluster("")
        wire = Wire(replica, kind=FastSite)
        replica.enter_cluster("d" * 16)
        wire.pass_time(2)
        self.assertEqual(ask(wire.site, "/v2/keys/").headers.get_all(FIELD), ["d" * 16])
