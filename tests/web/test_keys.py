"""
The key endpoint, rule by rule, against a replica that is only a key space.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.auth.state import GUEST
from etcd_twisted.errors import ErrorCode
from etcd_twisted.httpd.handler import ParsedRequest
from etcd_twisted.httpd.responses import Response, as_deferred
from etcd_twisted.keyspace import commands
from etcd_twisted.keyspace.commands import Change
from etcd_twisted.keyspace.events import Event
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.api_options import ApiOptions
from etcd_twisted.web.keys import KeyEndpoint
from etcd_twisted.web.watches import Watch

SEGMENT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1).filter(
    lambda text: text not in (".", "..")
)


class EndpointTest(SynchronousTestCase):
    """An endpoint on a fake clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000)
        self.replica = FakeReplica(self.clock)
        self.endpoint = KeyEndpoint(self.replica, self.clock)

    def start(self, method: str, path: str, query: str = "", **form: Any) -> Response | Deferred[Response]:
        body = urlencode({name: str(value) for name, value in form.items()}).encode()
        answer = self.endpoint.handle(ParsedRequest(method.encode(), path.encode(), query.encode(), None, body))
        return answer if isinstance(answer, Response) else as_deferred(answer)

    def ask(self, method: str, path: str, query: str = "", **form: Any) -> Response:
        answer = self.start(method, path, query, **form)
        return self.successResultOf(answer) if isinstance(answer, Deferred) else answer

    def json(self, response: Response) -> dict[str, Any]:
        body = response.body
        self.assertIsInstance(body, bytes)
        decoded: dict[str, Any] = json.loads(body)
        return decoded

    def put(self, path: str, query: str = "", **form: Any) -> dict[str, Any]:
        """Sends a C{PUT} that succeeds."""
        response = self.ask("PUT", path, query, **form)
        self.assertIn(response.status, (200, 201), response.body)
        return self.json(response)

    def assert_error(self, response: Response, code: int, cause: str, status: int = 400) -> None:
        answer = self.json(response)
        self.assertEqual((answer["errorCode"], answer["cause"], response.status), (code, cause, status))


class CommandTests(EndpointTest):
    """These tests show which command a request means, and what the response looks like."""

    def assert_proposes(self, expected: Change, method: str, path: str, query: str = "", **form: Any) -> None:
        self.ask(method, path, query, **form)
        self.assertEqual(self.replica.proposed[-1], expected)

    def test_changes_are_the_guests_while_there_are_no_users(self) -> None:
        """Were they the machine's own, they would be made although authentication has been enabled meanwhile."""
        self.ask("PUT", "/k", value="plain")
        self.ask("PUT", "/k", value="not plain")
        self.ask("POST", "/d", value="v")
        self.ask("DELETE", "/k")
        self.assertEqual(self.replica.submitted_for, [GUEST] * 4)

    def test_put_parameters_have_an_order_of_precedence(self) -> None:
        """The order is the specification's (spec, "PUT")."""
        now = self.replica.now()
        later = now + 5_000_000
        cases: list[tuple[Change, str, dict[str, str]]] = [
            (commands.Set("/k", now, "v"), "", {"value": "v"}),
            (commands.Set("/k", now), "", {}),
            (commands.Set("/k", now, "v", False, later), "", {"value": "v", "ttl": "5"}),
            (commands.Set("/k", now, "", True), "", {"value": "ignored", "dir": "true"}),
            (commands.Create("/k", now, "v"), "prevExist=false&prevValue=&prevIndex=x", {"value": "v"}),
            (commands.Update("/k", now, "v"), "prevExist=true", {"value": "v"}),
            (commands.Update("/k", now, "", False, later), "prevExist=true", {"ttl": "5"}),
            (commands.Update("/k", now, "v", True), "prevExist=true", {"dir": "true", "value": "v"}),
            (commands.Update("/k", now, "", True), "prevExist=true", {"dir": "true"}),
            (commands.Create("/k", now, "", True), "prevExist=false", {"dir": "true", "value": "ignored"}),
            (commands.Update("/k", now, ""), "prevExist=true", {"value": ""}),
            (commands.CompareAndSwap("/k", now, "v", None, "w", 0), "prevExist=true&prevValue=w", {"value": "v"}),
            (commands.CompareAndSwap("/k", now, "v", None, "w", 7), "prevValue=w&prevIndex=7", {"value": "v"}),
            (commands.SetOrSwap("/k", now, "", False, later), "prevIndex=0", {"ttl": "5"}),
            (commands.SetOrSwap("/k", now, "v", True), "prevIndex=0", {"value": "v", "dir": "true"}),
            (commands.CompareAndSwap("/k", now, "v", None, None, 0), "prevIndex=0&prevExist=true", {"value": "v"}),
            (commands.CompareAndSwap("/k", now, "v", None, "w", 0), "prevIndex=0&prevValue=w", {"value": "v"}),
            (commands.Create("/k", now, "v"), "prevIndex=0&prevExist=false", {"value": "v"}),
            (commands.Refresh("/k", now, later), "refresh=true&prevExist=true", {"ttl": "5"}),
            (commands.SetTtl("/k", now, later), "refresh=true", {"ttl": "5", "value": ""}),
            (commands.Create("/k", now, "", False, later), "refresh=true&prevExist=false", {"ttl": "5"}),
            (commands.CompareAndSwap("/k", now, None, later, None, 0), "refresh=true&prevIndex=0", {"ttl": "5"}),
            (commands.CompareAndSwap("/k", now, None, later, "w", 0), "refresh=true&prevValue=w", {"ttl": "5"}),
            (commands.Set("/k", now, "v"), "refresh=false", {"value": "v"}),
        ]
        for expected, query, form in cases:
            self.assert_proposes(expected, "PUT", "/k", query, **form)

    def test_zero_index_can_be_ignored(self) -> None:
        """As for etcd 2, C{prevIndex=0} is then as if it were not given, in the query or in the body."""
        self.endpoint = KeyEndpoint(self.replica, self.clock, options=ApiOptions(ignores_zero_index=True))
        now = self.replica.now()
        later = now + 5_000_000
        cases: list[tuple[Change, str, dict[str, str]]] = [
            (commands.Set("/k", now, "v"), "prevIndex=0", {"value": "v"}),
            (commands.Set("/k", now, "v"), "", {"value": "v", "prevIndex": "00"}),
            (commands.Set("/k", now, "", True, later), "prevIndex=0&dir=true", {"ttl": "5"}),
            (commands.Update("/k", now, "v"), "prevIndex=0&prevExist=true", {"value": "v"}),
            (commands.Create("/k", now, "v"), "prevIndex=0&prevExist=false", {"value": "v"}),
            (commands.SetTtl("/k", now, later), "refresh=true&prevIndex=0", {"ttl": "5"}),
            (commands.CompareAndSwap("/k", now, "v", None, "w", 0), "prevIndex=0&prevValue=w", {"value": "v"}),
            (commands.CompareAndSwap("/k", now, "v", None, None, 7), "prevIndex=7", {"value": "v"}),
        ]
        for expected, query, form in cases:
            self.assert_proposes(expected, "PUT", "/k", query, **form)
        self.assert_proposes(commands.Delete("/k", now, True), "DELETE", "/k", "prevIndex=0&dir=true")
        self.assert_proposes(commands.CompareAndDelete("/k", now, "w", 0), "DELETE", "/k", "prevIndex=0&prevValue=w")
        for text in ("", "x", "-1", "0.0"):
            self.assert_error(self.ask("PUT", "/k", prevIndex=text, value="v"), 203, "CompareAndSwap")
            self.assert_error(self.ask("DELETE", "/k", f"prevIndex={text}"), 203, "CompareAndDelete")

    def test_post_creates_an_in_order_key(self) -> None:
        """No parameter changes that."""
        now = self.replica.now()
        self.assert_proposes(commands.CreateInOrder("/q", now, "v", False, now), "POST", "/q", value="v", ttl=0)
        self.assert_proposes(commands.CreateInOrder("/q", now, "", True), "POST", "/q", "dir=true", value="ignored")

    def test_delete_takes_parameters_from_body_and_query(self) -> None:
        now = self.replica.now()
        self.assert_proposes(commands.Delete("/k", now), "DELETE", "/k")
        self.assert_proposes(commands.Delete("/k", now, True, False), "DELETE", "/k", "dir=true")
        self.assert_proposes(commands.Delete("/k", now, False, True), "DELETE", "/k", recursive="true")
        self.assert_proposes(commands.CompareAndDelete("/k", now, "v", 0), "DELETE", "/k", "prevValue=v&dir=true")
        self.assert_proposes(commands.CompareAndDelete("/k", now, None, 3), "DELETE", "/k", "prevIndex=3")

    def test_status_of_a_new_node_is_201(self) -> None:
        """Any other success is 200 (spec, "PUT")."""
        self.assertEqual(self.ask("PUT", "/k", value="1").status, 201)
        self.assertEqual(self.ask("PUT", "/k", value="1").status, 200)
        self.assertEqual(self.ask("PUT", "/c", "prevExist=false").status, 201)
        self.assertEqual(self.ask("PUT", "/k", "prevExist=true", value="1").status, 200)
        self.assertEqual(self.ask("POST", "/q").status, 201)
        self.assertEqual(self.ask("DELETE", "/k").status, 200)

    def test_previous_index_zero_always_matches(self) -> None:
        """It matches even a missing node, as clients of later servers expect (spec, "PUT")."""
        for status, action, created in ((201, "set", 2), (200, "compareAndSwap", 2)):
            response = self.ask("PUT", "/k", value="1", prevIndex="0")
            answer = self.json(response)
            self.assertEqual((response.status, answer["action"]), (status, action))
            self.assertEqual(answer["node"]["createdIndex"], created)

    def test_delete_of_the_root_is_refused(self) -> None:
        """A condition is about files (spec, "DELETE")."""
        self.assert_error(self.ask("DELETE", "/", "prevIndex=1"), 102, "/", 403)
        self.assert_error(self.ask("DELETE", "/", "recursive=true"), 107, "/")

    def test_headers_of_success(self) -> None:
        """All three indexes are there; a write's are its own (api, "Response Headers")."""
        self.replica.term = 7
        self.replica.holding = True
        first = self.start("PUT", "/k", value="1")
        second = self.start("PUT", "/k", value="2")
        self.replica.release()
        for answer, index in ((first, 2), (second, 3)):
            lines = self.successResultOf(answer).fields.split(b"\r\n")
            self.assertEqual(
                lines[:2] + lines[3:],
                [b"Content-Type: application/json", b"X-Etcd-Index: %d" % index, b"X-Raft-Term: 7", b""],
            )
            self.assertRegex(lines[2], rb"X-Raft-Index: \d+")

    def test_headers_of_errors(self) -> None:
        """Only one index is there, and the body ends with a newline (api, "Response Headers")."""
        for response in (self.ask("GET", "/nope"), self.ask("PUT", "/k", ttl="x"), self.ask("PUT", "/")):
            self.assertEqual(response.fields, b"Content-Type: application/json\r\nX-Etcd-Index: 1\r\n")
            self.assertTrue(response.body.endswith(b',"index":1}\n'), response.body)

    def test_event_has_no_line_end(self) -> None:
        """The body is compact JSON with the fields in the order of etcd 0.4 (spec, "Answers")."""
        self.assertEqual(
            self.ask("PUT", "/k", value="1").body,
            b'{"action":"set","node":{"key":"/k","value":"1","modifiedIndex":2,"createdIndex":2}}',
        )

    def test_no_value_on_success(self) -> None:
        """
        The body has only the action; status and headers are unchanged. C{DELETE} ignores the parameter, as in etcd 3.4
        (spec, "Later additions").
        """
        response = self.ask("PUT", "/k", "noValueOnSuccess=true", value="1")
        self.assertEqual((response.body, response.status), (b'{"action":"set"}', 201))
        self.assertIn(b"X-Etcd-Index: 2\r\n", response.fields)
        self.assertEqual(self.ask("POST", "/q", noValueOnSuccess="true").body, b'{"action":"create"}')
        self.assertIn("node", self.json(self.ask("DELETE", "/k", noValueOnSuccess="true")))
        self.assert_error(self.ask("PUT", "/", noValueOnSuccess="true"), 107, "/")

    def test_refused_parameters_propose_nothing(self) -> None:
        """Each refusal has its own code and cause, and nothing is proposed (spec, "Later additions")."""
        cases = [
            ("PUT", "prevExist=true", 204, "Update"),
            ("PUT", "prevExist=yes", 209, "prevExist"),
            ("PUT", "recursive=yes", 209, "recursive"),
            ("PUT", "ttl=x", 202, "Update"),
            ("PUT", "ttl=-1", 202, "Update"),
            ("POST", "ttl=x", 202, "Create"),
            ("PUT", "prevValue=", 201, "CompareAndSwap"),
            ("PUT", "prevIndex=x", 203, "CompareAndSwap"),
            ("DELETE", "prevValue=", 201, "CompareAndDelete"),
            ("DELETE", "prevIndex=", 203, "CompareAndDelete"),
            ("PUT", "refresh=true&value=v&ttl=5", 211, "A value was provided on a refresh"),
            ("PUT", "refresh=true&prevExist=true", 212, "No TTL value set"),
            ("PUT", "refresh=true&ttl=", 212, "No TTL value set"),
            ("PUT", "refresh=true&prevExist=false", 212, "No TTL value set"),
            ("PUT", "value=%zz", 210, 'the query string has the bad escape "%zz" in value'),
        ]
        for method, query, code, cause in cases:
            self.assert_error(self.ask(method, "/k", query), code, cause)
        self.assertEqual(self.replica.proposed, [])

    def test_refresh_wakes_nobody(self) -> None:
        """
        The TTL changes and the value stays. Watchers see only the change after it. With C{prevExist=true} the command
        is an update, without it a set (spec, "Later additions").
        """
        self.put("/k", value="v")
        seen: list[bytes] = []
        watch = self.ask("GET", "/k", "wait=true").body
        watch.begin(seen.append, lambda: None)
        for query, action, created in (("refresh=true&prevExist=true", "update", 2), ("refresh=true", "set", 4)):
            answer = self.put("/k", query, ttl=50)
            self.assertEqual((answer["action"], answer["node"]["value"], answer["node"]["ttl"]), (action, "v", 50))
            self.assertEqual(answer["node"]["createdIndex"], created)
        self.put("/k", value="w")
        self.clock.advance(0)
        self.assertEqual([json.loads(event)["node"]["value"] for event in seen], ["w"])

    def test_refresh_of_a_missing_key_is_refused(self) -> None:
        """
        The error is 100. With C{prevExist=false} the request creates the key, unless it exists (spec, "Later
        additions").
        """
        self.assert_error(self.ask("PUT", "/k", "refresh=true", ttl=5), 100, "/k", 404)
        self.assert_error(self.ask("PUT", "/k", "refresh=true&prevExist=true", ttl=5), 100, "/k", 404)
        self.assertEqual(self.ask("PUT", "/k", "refresh=true&prevExist=false", ttl=5).status, 201)
        self.assert_error(self.ask("PUT", "/k", "refresh=true&prevExist=false", ttl=5), 105, "/k", 412)
        self.assert_error(self.ask("PUT", "/", "refresh=true", ttl=5), 107, "/")

    def test_ttl_counts_from_the_replicas_time(self) -> None:
        node = self.put("/k", value="v", ttl=5)["node"]
        self.assertEqual((node["expiration"], node["ttl"]), ("1970-01-01T00:16:45.000000Z", 5))
        self.clock.advance(2.5)
        self.assertEqual(self.json(self.ask("GET", "/k"))["node"]["ttl"], 3)

    def test_other_content_type_is_refused(self) -> None:
        """A JSON body is not read as an empty form."""
        request = ParsedRequest(b"PUT", b"/k", b"", b"application/json", b'{"value":"v"}')
        cause = "the body is application/json: it should be application/x-www-form-urlencoded"
        self.assert_error(self.endpoint.handle(request), 210, cause)


class PathTests(EndpointTest):
    """These tests turn raw paths into keys."""

    def key(self, path: str) -> str:
        return str(self.put(path, value="v")["node"]["key"])

    def test_paths_are_cleaned(self) -> None:
        """The server cleans slashes and dots itself and does not redirect."""
        self.assertEqual(self.key("//a///b/"), "/a/b")
        self.assertEqual(self.key("/a/./c/../d"), "/a/d")
        self.assertEqual(self.key("/../../e"), "/e")
        self.assertEqual(self.key("/x%2Fy"), "/x/y")
        self.assertEqual(self.key("/x/%2e%2e/z"), "/z")

    def test_paths_are_decoded_once(self) -> None:
        """Text that is escaped twice stays escaped once, and a plus is a plus (spec, "Keys")."""
        self.assertEqual(self.key("/a%2525+b"), "/a%25+b")

    def test_root_is_read_only(self) -> None:
        """Its path may have a slash or not."""
        for path in ("", "/", "//", "/.."):
            self.assertEqual(self.json(self.ask("GET", path))["node"]["key"], "/")
            self.assert_error(self.ask("PUT", path, value="x"), 107, "/")

    def test_undecodable_paths_are_refused(self) -> None:
        """The error shows the path, and its headers reveal nothing of the key space."""
        self.assertEqual(self.ask("PUT", "/%zz").fields, b"Content-Type: application/json\r\n")
        self.assert_error(self.ask("GET", "/a/%zz"), 210, 'the path has the bad escape "%zz" in /a/%zz')
        self.assert_error(self.ask("PUT", "/%ff"), 210, "the path has bytes that are not UTF-8 (\\xff) in /%ff")

    def test_no_key_is_created_too_deep_or_too_long(self) -> None:
        """A request that would create such a key is refused, but a read of it is answered."""
        deep, long = "/a" * 257, "/" + "a" * 16_384
        refused = [("the key has 257 segments; at most 256 are allowed", deep)]
        refused += [("the key is 16385 bytes long; at most 16384 are allowed", long)]
        for cause, key in refused:
            for query in ("", "prevExist=false", "dir=true", "ttl=5"):
                self.assert_error(self.ask("PUT", key, query, value="x"), 209, cause)
        deeper = "the key that this makes has {} segments; at most 256 are allowed"
        self.assert_error(self.ask("POST", deep, value="x"), 209, deeper.format(258))
        longer = "the key that this makes is 16406 bytes long; at most 16384 are allowed"
        self.assert_error(self.ask("POST", long, value="x"), 209, longer)
        self.assert_error(self.ask("POST", deep[2:]), 209, deeper.format(257))
        self.assertEqual(self.replica.proposed, [])
        for method in ("GET", "DELETE"):
            self.assert_error(self.ask(method, deep), 100, "/a", 404)
        self.assertEqual(self.key(deep[2:]), deep[2:])

    def test_paths_are_cleaned_before_they_are_measured(self) -> None:
        """A path may have more segments than its key."""
        self.assertEqual(self.key("/a/.." * 300 + "/." * 300 + "/" * 300 + "b"), "/b")

    @given(st.lists(SEGMENT, min_size=1))
    def test_any_key_is_read_back(self, segments: list[str]) -> None:
        """A key may be any UTF-8."""
        self.setUp()
        path = "".join("/" + quote(segment, safe="") for segment in segments)
        key = "/" + "/".join(segments)
        self.assertEqual(self.key(path), key)
        self.assertEqual(self.json(self.ask("GET", path))["node"]["key"], key)


class ReadTests(EndpointTest):
    """These tests are about C{GET}, C{HEAD} and other methods."""

    def test_read_of_a_file(self) -> None:
        """The response has the current index."""
        self.put("/k", value="v")
        self.put("/other", value="w")
        response = self.ask("GET", "/k")
        self.assertEqual(
            response.body, b'{"action":"get","node":{"key":"/k","value":"v","modifiedIndex":2,"createdIndex":2}}'
        )
        self.assertIn(b"X-Etcd-Index: 3\r\n", response.fields)

    def test_listing_is_one_body(self) -> None:
        """This holds for a small directory, sorted or not."""
        for name in ("b", "10", "9"):
            self.put(f"/d/{name}", value=name)
        node = self.json(self.ask("GET", "/d", "sorted=true"))["node"]
        self.assertEqual([each["key"] for each in node["nodes"]], ["/d/9", "/d/10", "/d/b"])
        self.assertEqual(len(self.json(self.ask("GET", "/d"))["node"]["nodes"]), 3)
        self.assertEqual(self.json(self.ask("GET", ""))["node"]["nodes"][0]["key"], "/d")
        nested = self.json(self.ask("GET", "", "recursive=true"))["node"]["nodes"][0]
        self.assertEqual(len(nested["nodes"]), 3)

    def test_long_listing_comes_in_pieces(self) -> None:
        """The listing is of the moment of the request, whatever changes while it is sent."""
        for number in range(2_000):
            self.put(f"/d/{number}", value="v")
        pieces = self.ask("GET", "/d", "sorted=true").body
        self.assertIsInstance(pieces, Iterator)
        begun = next(pieces) + next(pieces)
        self.ask("DELETE", "/d", "recursive=true")
        listing = json.loads(begun + b"".join(pieces))
        self.assertEqual(listing["action"], "get")
        self.assertEqual([each["key"] for each in listing["node"]["nodes"]], [f"/d/{n}" for n in range(2_000)])

    def test_other_methods_are_refused(self) -> None:
        """The response lists the methods that are allowed."""
        response = self.ask("PATCH", "/k")
        self.assertEqual((response.status, response.body), (405, b'{"message":"Method Not Allowed"}\n'))
        self.assertIn(b"Allow: GET, HEAD, PUT, POST, DELETE, OPTIONS\r\n", response.fields)
        response = self.ask("OPTIONS", "/k")
        self.assertEqual((response.status, response.body), (200, b""))
        self.assertEqual(response.fields, b"Allow: GET, HEAD, PUT, POST, DELETE, OPTIONS\r\n")

    def test_quorum_read_is_confirmed_first(self) -> None:
        """Nothing is read before a quorum has confirmed the read (api, "Read Linearization")."""
        self.put("/k", value="old")
        self.replica.holding = True
        answer = self.start("GET", "/k", "quorum=true")
        self.assertNoResult(answer)
        self.replica.keyspace.apply(commands.Set("/k", self.replica.now(), "new"))
        self.replica.release()
        self.assertEqual(self.json(self.successResultOf(answer))["node"]["value"], "new")

    def test_quorum_read_of_a_missing_key(self) -> None:
        """An error after the confirmation is a response like any other."""
        self.assert_error(self.ask("GET", "/nope", "quorum=true"), 100, "/nope", 404)

    def test_bad_booleans_are_named(self) -> None:
        """The cause is the parameter's name (spec, "Parameters")."""
        for name in ("recursive", "sorted", "wait", "stream", "quorum", "consistent"):
            self.assert_error(self.ask("GET", "/k", f"{name}=yes"), 209, name)


class WatchTests(EndpointTest):
    """These tests are about C{wait=true}."""

    def watch(self, path: str, query: str = "") -> tuple[Response, list[dict[str, Any]]]:
        response = self.ask("GET", path, "wait=true&" + query)
        self.assertIsInstance(response.body, Watch)
        events: list[dict[str, Any]] = []
        response.body.begin(lambda event: events.append(json.loads(event)), lambda: None)
        return response, events

    def test_watch_gets_one_event(self) -> None:
        """The event is the first one, and the headers are of the moment of the request."""
        response, events = self.watch("/k")
        self.assertIn(b"X-Etcd-Index: 1\r\n", response.fields)
        self.put("/other", value="0")
        self.put("/k", value="1")
        self.put("/k", value="2")
        self.clock.advance(0)
        self.assertEqual([event["node"]["value"] for event in events], ["1"])
        self.assertEqual(self.replica.keyspace.hub.count, 0)

    def test_stream_gets_every_event(self) -> None:
        """It goes on until it is cancelled (spec, "Watch")."""
        response, events = self.watch("/d", "recursive=true&stream=true")
        self.put("/d/a", value="1")
        self.put("/d/b", value="2")
        self.clock.advance(0)
        self.put("/d/c", value="3")
        response.body.cancel()
        self.clock.advance(0)
        self.assertEqual([event["node"]["value"] for event in events], ["1", "2"])
        self.assertEqual(self.replica.keyspace.hub.count, 0)

    def test_watch_from_an_index(self) -> None:
        """The index may be in the past or in the future, and 0 means none."""
        self.put("/k", value="1")
        _, past = self.watch("/k", "waitIndex=2")
        _, future = self.watch("/k", "waitIndex=4")
        _, next_one = self.watch("/k", "waitIndex=0")
        self.put("/k", value="2")
        self.put("/k", value="3")
        self.clock.advance(0)
        self.assertEqual([events[0]["node"]["value"] for events in (past, future, next_one)], ["1", "3", "2"])

    def test_bad_watch_index_is_refused(self) -> None:
        """The error is 203, with the cause of etcd 0.4."""
        for bad in ("x", "-1", ""):
            self.assert_error(self.ask("GET", "/k", f"wait=true&waitIndex={bad}"), 203, "Watch From Index")

    def test_watch_from_a_cleared_index_is_refused(self) -> None:
        """Error 401 comes before any header (spec, "Watch")."""
        self.replica = FakeReplica(self.clock, history_capacity=2)
        self.endpoint = KeyEndpoint(self.replica, self.clock)
        for number in range(4):
            self.put("/k", value=number)
        response = self.ask("GET", "/k", "wait=true&waitIndex=2")
        self.assert_error(response, 401, "the requested history has been cleared [4/2]")

    def test_head_does_not_wait(self) -> None:
        """The headers are those of a C{GET}, and no watcher is left behind."""
        response = self.ask("HEAD", "/k", "wait=true")
        self.assertEqual(response.status, 200)
        self.assertNotIsInstance(response.body, Watch)
        self.assertEqual(self.replica.keyspace.hub.count, 0)

    def test_quorum_watch_is_confirmed_first(self) -> None:
        """The watch begins after the confirmation."""
        self.replica.holding = True
        answer = self.start("GET", "/k", "wait=true&quorum=true")
        self.assertEqual(self.replica.keyspace.hub.count, 0)
        self.replica.release()
        self.assertIsInstance(self.successResultOf(answer).body, Watch)

    def test_no_watch_begins_for_a_client_that_went_before_the_confirmation(self) -> None:
        self.replica.holding = True
        answer = self.start("GET", "/k", "wait=true&quorum=true")
        assert isinstance(answer, Deferred)
        answer.cancel()
        self.assertNotIsInstance(self.successResultOf(answer).body, Watch)
        self.replica.release()
        self.assertEqual(self.replica.keyspace.hub.count, 0)


class BrokenTests(EndpointTest):
    """These tests are about unexpected errors."""

    def test_unexpected_error_is_logged_and_answered(self) -> None:
        """The log has the reason, and the client gets a plain error."""

        def broken(_key: str) -> Any:
            raise ZeroDivisionError("secret")

        self.patch(self.replica, "get", broken)
        response = self.ask("GET", "/k")
        self.assert_error(response, 300, "an error in the server; its log says more", 500)
        self.assertNotIn(b"secret", response.body)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_unexpected_error_of_a_proposal_is_logged_and_answered(self) -> None:
        """The error may come later."""

        def broken(_command: Change) -> "Deferred[Event]":
            return fail(ZeroDivisionError("secret"))

        self.patch(self.replica, "propose", broken)
        response = self.ask("PUT", "/k")
        self.assertEqual(self.json(response)["errorCode"], ErrorCode.RAFT_INTERNAL)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
