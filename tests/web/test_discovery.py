"""
The discovery service: tokens, and the registrations below them.
"""

import json
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.httpd.fast.site import FastSite
from etcd_twisted.httpd.targets import unescape
from etcd_twisted.keyspace.paths import clean, is_below
from etcd_twisted.web.discovery import REGISTRY, registry_target
from tests.wires import Answer, Transport, Wire, read_answers

NEW = "/discovery/new"
PIECES = st.sampled_from(["/", "..", ".", "%2e", "%2F", "%2f..", "a", "new", "_config", "%61", "?", "=", "%c3%a4"])


class DiscoveryTest(SynchronousTestCase):
    """The service, through the fast door, which hands such requests over to the ordinary one."""

    def setUp(self) -> None:
        self.wire = Wire(kind=FastSite)
        self.replica = self.wire.replica
        self.addCleanup(self.wire.stop)

    def begin(self, target: str, method: str = "GET", body: str = "", fields: str = "") -> Transport:
        channel, transport = self.wire.connect()
        head = f"{method} {target} HTTP/1.1\r\nHost: etcd.example:4001\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
        channel.dataReceived((head + body).encode())
        self.wire.clock.advance(0)
        return transport

    def ask(self, target: str, method: str = "GET", body: str = "", fields: str = "") -> Answer:
        (answer,) = read_answers(self.begin(target, method, body, fields).value(), method)
        return answer

    def new(self, query: str = "", fields: str = "") -> str:
        """Returns the path of a new token."""
        answer = self.ask(NEW + query, fields=fields)
        self.assertEqual(answer.status, 200, answer.body)
        return urlsplit(answer.body.decode()).path


class TokenTests(DiscoveryTest):
    """These tests ask for tokens."""

    def test_token_has_a_size(self) -> None:
        """
        The answer is a URL alone, by which the client has come. A cluster has three machines if nobody says (spec,
        "Later additions").
        """
        for query, size in (("", "3"), ("?size=", "3"), ("?size=5", "5"), ("?size=1000", "1000")):
            answer = self.ask(NEW + query)
            self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "text/plain; charset=utf-8"))
            self.assertEqual(answer.headers["Cache-Control"], "no-store")
            self.assertRegex(answer.body.decode(), r"\Ahttp://etcd\.example:4001/discovery/[0-9a-f]{32}\Z")
            path = urlsplit(answer.body.decode()).path
            self.assertEqual(json.loads(self.ask(f"{path}/_config/size").body)["node"]["value"], size)

    def test_tokens_differ(self) -> None:
        self.assertEqual(len({self.new() for _ in range(10)}), 10)

    def test_other_methods_make_tokens_too(self) -> None:
        for method in ("POST", "PUT"):
            self.assertEqual(self.ask(NEW, method).status, 200)

    def test_question_about_the_page_makes_no_token(self) -> None:
        answer = self.ask(NEW, "HEAD")
        self.assertEqual((answer.status, answer.headers["Allow"]), (405, "GET, POST, PUT, OPTIONS"))
        self.assertEqual(self.ask(NEW, "DELETE").status, 405)
        self.assertEqual(self.replica.proposed, [])

    def test_bad_sizes_are_refused(self) -> None:
        """The error says what a size is."""
        for text in ("0", "-1", "3.0", "three", "1001", "%2B3", "99999999999999999999999"):
            answer = self.ask(f"{NEW}?size={text}")
            self.assertEqual((answer.status, answer.headers["Content-Type"]), (400, "application/json"))
            self.assertIn("size should be a whole number from 1 to 1000", json.loads(answer.body)["message"])
        for query, part in (("?sise=3", "'sise'"), ("?size=%zz", "%zz")):
            answer = self.ask(NEW + query)
            self.assertEqual(answer.status, 400)
            self.assertIn(part, json.loads(answer.body)["message"])
        self.assertEqual(self.replica.proposed, [])

    def test_proxy_says_how_clients_come(self) -> None:
        """TLS may end there. Anything but a scheme is ignored, and so is a host that could not be in a URL."""
        self.assertIn("https://etcd", self.ask(NEW, fields="X-Forwarded-Proto: https\r\n").body.decode())
        self.assertIn("http://etcd", self.ask(NEW, fields="X-Forwarded-Proto: ftp\r\n").body.decode())
        channel, transport = self.wire.connect()
        channel.dataReceived(f"GET {NEW} HTTP/1.1\r\nHost: a b\r\n\r\n".encode())
        (answer,) = read_answers(transport.value(), "GET")
        self.assertEqual(answer.status, 400)
        self.assertIn("Host", json.loads(answer.body)["message"])

    def test_pages_of_other_origins_make_no_tokens(self) -> None:
        """A person who types the address does."""
        for fields in ("Sec-Fetch-Site: cross-site\r\n", "User-Agent: Mozilla/5.0\r\n", "Accept-Language: en\r\n"):
            self.assertEqual(self.ask(NEW, fields=fields).status, 403)
        self.assertEqual(self.replica.proposed, [])

    def test_leader_makes_tokens(self) -> None:
        """A machine that does not lead sends the client to the leader."""
        self.replica.follow()
        answer = self.ask(f"{NEW}?size=5")
        self.assertEqual((answer.status, answer.headers["Location"]), (307, f"http://127.0.0.1:4002{NEW}?size=5"))

    def test_error_of_the_write_is_the_answer(self) -> None:
        """Without a leader there is none in time."""
        self.replica.lose_leader()
        transport = self.begin(NEW)
        self.wire.pass_time(2)
        (answer,) = read_answers(transport.value(), "GET")
        self.assertEqual((answer.status, json.loads(answer.body)["errorCode"]), (500, 300))


class RegistrationTests(DiscoveryTest):
    """These tests use the path of a token as machines of etcd do."""

    def test_path_of_a_token_is_a_directory_of_keys(self) -> None:
        """The keys in answers are those in the key space, as the public service had them (spec, "Later additions")."""
        path = self.new()
        key = path.replace("/discovery", REGISTRY)
        made = self.ask(f"{path}/1a2b?prevExist=false", "PUT", "value=m0=http://127.0.0.1:7001")
        self.assertEqual((made.status, json.loads(made.body)["node"]["key"]), (201, f"{key}/1a2b"))
        again = self.ask(f"{path}/1a2b?prevExist=false", "PUT", "value=other")
        self.assertEqual((again.status, json.loads(again.body)["errorCode"]), (412, 105))
        listing = self.ask(path)
        self.assertEqual([each["key"] for each in json.loads(listing.body)["node"]["nodes"]], [f"{key}/1a2b"])
        self.assertEqual(listing.body, self.ask(f"/v2/keys{key}").body)
        self.assertIn("X-Etcd-Index", listing.headers)
        self.assertEqual(self.ask(f"{path}/1a2b", "DELETE").status, 200)
        self.assertEqual(self.ask(f"{path}?recursive=true", "DELETE").status, 200)
        self.assertEqual(self.ask(path).status, 404)

    def test_machines_wait_for_the_others(self) -> None:
        path = self.new()
        index = int(self.ask(path).headers["X-Etcd-Index"])
        transport = self.begin(f"{path}?wait=true&recursive=true&waitIndex={index + 1}")
        self.ask(f"{path}/1a2b?prevExist=false", "PUT", "value=m0=http://127.0.0.1:7001")
        self.wire.clock.advance(0)
        (answer,) = read_answers(transport.value(), "GET")
        self.assertEqual(json.loads(answer.body)["node"]["value"], "m0=http://127.0.0.1:7001")

    def test_reads_are_the_leaders(self) -> None:
        """A machine that is behind does not know every token. A client that says that it may be so is obeyed."""
        path = self.new()
        self.replica.follow()
        answer = self.ask(path)
        key = path.replace("/discovery", REGISTRY)
        location = f"http://127.0.0.1:4002/v2/keys{key}?quorum=true"
        self.assertEqual((answer.status, answer.headers["Location"]), (307, location))
        self.assertEqual(self.ask(f"{path}?quorum=false").status, 200)

    def test_only_tokens_are_served(self) -> None:
        for target in ("/discovery", "/discovery/", "/discovery/..", "/discovery/new/x"):
            self.assertEqual(self.ask(target).status, 404, target)
        self.assertEqual(self.ask("/discovery/%zz").status, 400)

    @given(st.lists(PIECES, max_size=12).map("".join))
    def test_no_target_leads_out_of_the_registry(self, rest: str) -> None:
        """However it is spelled."""
        target = registry_target(f"/discovery/{rest}".encode())
        if target is not None:
            key = clean(unescape(target.partition(b"?")[0]))
            self.assertTrue(is_below(key, REGISTRY), key)
