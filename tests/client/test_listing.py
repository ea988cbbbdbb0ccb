"""
Listings that are read as a stream: the same nodes as when they are read whole, and nothing else is taken for one.
"""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from etcd_twisted.client import KeyNotFound, Node, UnexpectedAnswer
from etcd_twisted.client.answers import reading_of
from etcd_twisted.client.large import walk
from etcd_twisted.client.listing import ListingError, ListingParser
from etcd_twisted.client.messages import Answer
from etcd_twisted.client.results import Index
from etcd_twisted.testing.memory_machine import MemoryMachine
from tests.client.stubs import A, Reply, StubAgent
from tests.processes.child import SOURCE

RECORDED = SOURCE / "tests" / "processes" / "etcd-3.4-listing.json"

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
_expirations = st.sampled_from(["2026-11-30T07:20:00.123456789Z", "2026-11-30T07:20:00Z"])


def _node(children: st.SearchStrategy[Any] | None) -> st.SearchStrategy[dict[str, Any]]:
    """Returns nodes as servers write them, with the fields in their order."""
    kind: dict[str, Any] = {"value": _texts} if children is None else {"dir": st.just(True)}
    fields = {"key": _texts.map(lambda text: "/" + text), **kind}

    def whole(node: dict[str, Any], expiration: str | None, nodes: list[Any], index: int) -> dict[str, Any]:
        if expiration is not None:
            node |= {"expiration": expiration, "ttl": 5}
        if nodes:
            node["nodes"] = nodes
        return node | {"modifiedIndex": index, "createdIndex": index}

    nodes = st.just([]) if children is None else st.lists(children, max_size=4)
    return st.builds(whole, st.fixed_dictionaries(fields), st.none() | _expirations, nodes, st.integers(1, 2**62))


_trees = st.recursive(_node(None), _node, max_leaves=12)


def parsed(data: bytes, size: int) -> list[Node]:
    """Returns the nodes of a listing that comes in pieces."""
    nodes: list[Node] = []
    parser = ListingParser(nodes.append)
    for start in range(0, len(data), size):
        parser.feed(data[start : start + size])
    parser.close()
    assert parser.count == len(nodes)
    return nodes


def known(node: Node, is_listed: bool) -> tuple[Any, ...]:
    """Returns what a stream tells of a node: of a directory that holds something, no indexes."""
    indexes = () if is_listed else (node.created_index, node.modified_index)
    return (node.key, node.value, node.directory, node.ttl_seconds, node.expires_at, *indexes)


class ParserTests(SynchronousTestCase):
    """The JSON comes in pieces of any size."""

    @given(_trees, st.integers(1, 50), st.booleans())
    def test_same_as_read_whole(self, tree: dict[str, Any], size: int, ascii_only: bool) -> None:
        data = json.dumps({"action": "get", "node": tree}, ensure_ascii=ascii_only).encode()
        whole = list(reading_of(Answer(A, 200, Headers(), data)).node.walk())
        found = parsed(data, size)
        self.assertEqual(
            [known(node, bool(like.nodes)) for node, like in zip(found, whole, strict=True)],
            [known(node, bool(node.nodes)) for node in whole],
        )

    def test_recorded(self) -> None:
        """The root of etcd has no key."""
        nodes = parsed(RECORDED.read_bytes(), 1000)
        self.assertEqual((nodes[0].key, nodes[0].directory, len(nodes)), ("/", True, 23))

    def test_unknown_fields(self) -> None:
        """They are passed over, whatever they hold."""
        node = b'{"u":{"key":"no","nodes":[{}]},"key":"/a","z":[1,{"key":"q"}],"value":"v"}'
        data = b'{"x":{"node":{"a":1}},"y":[{"node":1}],"node":' + node + b"}"
        self.assertEqual(parsed(data, 3), [Node("/a", "v")])

    def test_what_is_no_listing(self) -> None:
        """It is refused, at the latest at its end."""
        late = b'{"node":{"key":"/a","dir":true,"nodes":[],"expiration":"2026-01-01T00:00:00Z"}}'
        for data, reason in (
            (b"", "it is cut off"),
            (b"<html>", "it is not JSON"),
            (b'{"node":{"dir":true,"nodes":[', "it is cut off"),
            (b'{"node":{"key":"/a","value":""}}x', "it is not JSON"),
            (b'{"errorCode":100}', "it has no node"),
            (b'[{"node":{"key":"/a","value":""}}]', "it has no node"),
            (b'{"node":null}', "it has no node"),
            (b'{"node":{"key":"/a"}}', "'/a' is neither a key with a value nor a directory"),
            (b'{"node":{"key":7,"value":""}}', "7 is neither"),
            (b'{"node":{"key":"/a","value":"","ttl":5}}', "'/a' has a ttl, but no expiration"),
            (b'{"node":{"key":"/a","value":"","expiration":"soon"}}', "'/a' has the expiration 'soon'"),
            (late, "the TTL of '/a' stands behind its nodes"),
        ):
            with self.assertRaises(ListingError) as caught:
                parsed(data, 8)
            self.assertIn(reason, str(caught.exception))


class WalkTests(SynchronousTestCase):
    """A machine in memory is asked."""

    def setUp(self) -> None:
        self.machine = MemoryMachine()
        self.addCleanup(self.machine.__exit__, None, None, None)
        self.begun: list[Index] = []
        self.nodes: list[Node] = []

    def begin(self, index: Index) -> Any:
        """Takes the nodes from the first one on."""
        self.begun.append(index)
        self.nodes.clear()
        return self.nodes.append

    def test_walk(self) -> None:
        """Everything below a directory comes, as it was at one index; hidden nodes do not."""
        for number in range(2_000):
            self.machine.replica.put(f"/dir/{number % 7}/{number}", "x" * 50)
        self.machine.replica.put("/dir/_hidden", "x")
        index = self.machine.result_of(walk(self.machine.client(), "/dir", self.begin))
        self.assertEqual((self.begun, index.etcd_index), ([index], 2_002))
        self.assertEqual((self.nodes[0].key, len(self.nodes)), ("/dir", 2_008))
        (request,) = self.machine.requests
        self.assertEqual(request, ("GET", "/v2/keys/dir?recursive=true&quorum=true"))

    def test_errors(self) -> None:
        """They are those of any read."""
        client = self.machine.client()
        with self.assertRaises(KeyNotFound):
            self.machine.result_of(walk(client, "/none", self.begin))
        self.assertEqual(self.begun, [])

    def test_broken_connection(self) -> None:
        """The walk begins again with another machine, from the first node on."""
        data = b'{"node":{"dir":true,"nodes":[{"key":"/a","value":"x"},{"key":"/b","value":"y"}]}}'
        cut = Reply(200, data[:60], {"X-Etcd-Index": "4"}, ConnectionLost())
        agent = StubAgent(a=cut, b=Reply(200, data, {"X-Etcd-Index": "5"}))
        index = self.successResultOf(walk(agent.client(), "/", self.begin))
        self.assertEqual([each.etcd_index for each in self.begun], [4, 5])
        self.assertEqual((index.etcd_index, [node.key for node in self.nodes]), (5, ["/", "/a", "/b"]))

    def test_error_of_what_takes_nodes(self) -> None:
        """The walk fails with it."""
        self.machine.replica.put("/dir/a", "x")

        def take(_: Node) -> None:
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            self.machine.result_of(walk(self.machine.client(), "/dir", lambda _: take))

    def test_no_listing(self) -> None:
        """An answer that is none is an error that says so."""
        client = StubAgent(a=Reply(200, b'{"node":7}')).client()
        failure = self.failureResultOf(walk(client, "/", self.begin), UnexpectedAnswer)
        self.assertIn("it has no node", str(failure.value))
