"""
Compares both doors of the client port: whatever is sent, however it is cut, and whatever else the client does, they
give the same answers and have the same effects.
"""

import re
from math import ceil
from typing import Any

import attrs
from hypothesis import strategies as st

from etcd_twisted.httpd.fast.site import FastSite
from etcd_twisted.httpd.site import Site
from etcd_twisted.keyspace.commands import Set
from tests.fuzz.target import Target, mangled, pieces
from tests.httpd.fast.test_channel import requests
from tests.wires import Transport, Wire

MOST_BODY = 2_000

_DATE = re.compile(rb"Date: [^\r]*\r\n")

_PATHS = re.findall(
    r"\S+",
    """
/v2/keys/k /v2/keys /v2/keys/?recursive=true&sorted=true //v2/keys/k /v2/../v2/keys/k /v2/keys/%2e /v2/keys/\u96ea
/v2/keys/k?value=\u96ea /v2/keys/k?wait=true /v2/keys/k?wait=true&stream=true&recursive=1 /v2/keys/k?dir=1
/v2/keys/k?prevIndex=0&value=v /v2/keys/k?refresh=true&ttl=5 /v2/keys/a/b?recursive=true /v2/keys/k?wait=true&ttl=%zz
/mod/v2/lock/l?ttl=5 /mod/v2/lock/l?ttl=5&timeout=0 /mod/v2/lock/l?index=3 /mod/v2/lock/l?field=index /mod/v2/lock/
/mod/v2/lock/l?ttl=5&index=3 /mod/v2/leader/e?name=n&ttl=5 /mod/v2/leader/e?name=n /mod/v2/leader/e /mod/v2/lock/%zz
/mod/dashboard /mod/dashboard/ /mod/dashboard/app.js /mod/x /v2/members /v2/members/leader /v2/members/0123456789abcdef
/v2/machines /v2/peers /v2/leader /v2/stats/self /v2/stats/store /v2/stats/leader /version /health /nope *
http://x/v2/keys/k http://stranger.example/version
""",
)
"""C{/metrics} is left out because it counts what the process did before."""

_LINES = (
    *("Accept: application/json", "Content-Type: application/json", "Content-Type: application/x-www-form-urlencoded"),
    *("Connection: close", "Expect: 100-continue", "Origin: null", "Origin: http://localhost", "Accept-Language: de"),
    *("Authorization: Basic cm9vdDpw", "Authorization: x", "Authorization:"),
    *("Sec-Fetch-Site: none", "If-None-Match: *", "Transfer-Encoding: chunked", "Content-Length: 3"),
    "X: " + "x" * 66_000,
)
_BODIES = ("", "value=v", "value=%E9%9B%AA&ttl=5", "value=%zz", '{"peerURLs":["http://h:7001"]}', "{", "x" * 2_001)
_STANDINGS = (*["leader"] * 5, "follower", "standby", "lost")


@st.composite
def _any_page(draw: st.DrawFn) -> bytes:
    """Generates a request for any page, with any body."""
    method = draw(st.sampled_from(["GET", "GET", "PUT", "PUT", "POST", "DELETE", "HEAD", "OPTIONS"]))
    host = draw(st.sampled_from(["x", "x", "localhost:4001", "[::1]", "stranger.example"]))
    lines = draw(st.lists(st.sampled_from(_LINES), max_size=2))
    body = draw(st.sampled_from(_BODIES))
    if body or draw(st.booleans()):
        lines.append(f"Content-Length: {len(body)}")
    head = [f"{method} {draw(st.sampled_from(_PATHS))} HTTP/1.{draw(st.sampled_from('1110'))}", f"Host: {host}"]
    return "\r\n".join([*head, *lines, "", body]).encode()


@attrs.frozen
class Conversation:
    """
    What two clients do.

    @ivar steps: which of them acts, and how: bytes that it sends; seconds that pass; or C{"go"}, C{"stop reading"} or
        C{"read"}.
    @ivar slow: whether what they change is committed only after the next step.
    @ivar standing: the role of the machine: C{"leader"}, C{"follower"}, C{"standby"} or C{"lost"}.
    """

    steps: list[tuple[int, bytes | int | str]]
    slow: bool
    standing: str


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Generates conversations, including pipelined, slow, too long, and half-closed ones."""
    steps: list[tuple[int, bytes | int | str]] = []
    for client in draw(st.sampled_from([[0], [0], [0, 1], [0, 1, 0]])):
        sent = b"".join(draw(st.lists(requests() | _any_page() | _any_page(), min_size=1, max_size=4)))
        if draw(st.integers(0, 2)) == 0:
            sent = draw(mangled(sent))
        for piece in draw(pieces(sent)):
            if draw(st.integers(0, 3)) == 0:
                steps.append((client, draw(st.integers(1, 12) | st.sampled_from(["stop reading", "read"]))))
            steps.append((client, piece))
        if draw(st.booleans()):
            steps.append((draw(st.integers(0, 1)), "go"))
    return Conversation(steps, draw(st.booleans()), draw(st.sampled_from(_STANDINGS)))


class _Transport(Transport):
    """A transport that accepts the same calls as a socket's."""

    def unregisterProducer(self) -> None:
        self.producer = None


class _Client:
    """One connection."""

    def __init__(self, site: Site) -> None:
        self.channel: Any = site.buildProtocol(None)
        self.transport = _Transport(self.channel)
        self.channel.makeConnection(self.transport)

    @property
    def can_send(self) -> bool:
        """Returns whether the other side would receive what is sent."""
        return not self.transport.disconnecting and not self.transport.writes_closed

    def read(self) -> None:
        """Reads all that was sent."""
        self.transport.room = None
        if not self.transport.disconnecting:
            self.transport.client_reads()

    @property
    def seen(self) -> tuple[bytes, str | None, bool]:
        """What it was sent, and how the connection ended."""
        return _DATE.sub(b"", self.transport.value()), self.transport.how_lost, self.transport.writes_closed


class _Door:
    """One server, and two connections to it."""

    def __init__(self, kind: type[Site], standing: str) -> None:
        self.wire = Wire(kind=kind, most_body=MOST_BODY)
        self.replica = self.wire.replica
        self.replica.keyspace.apply(Set("/k", 0, "w" * 500))
        match standing:
            case "follower":
                self.replica.follow()
            case "standby":
                self.replica.stand_by()
            case "lost":
                self.replica.lose_leader()
        self.clients = [_Client(self.wire.site) for _ in range(2)]

    def hold(self, conversation: Conversation) -> dict[str, Any]:
        """Runs the whole conversation, and returns what can be seen from outside."""
        for step in conversation.steps:
            self._settle(*step)
            self.replica.holding = conversation.slow
            self._take(*step)
            if conversation.slow:
                self.replica.release()
        for client in self.clients:
            client.read()
        self.wire.clock.advance(0)
        self.replica.release()
        # One door refuses a head at its first bad line, and the other when the whole head is there. From then on the
        # connection has this many seconds.
        self.wire.pass_time(ceil(self.wire.site.limits.refused_timeout_seconds) + 1)
        answered = len(self.wire.site.channels)
        self.wire.site.stop(1.0)
        self.wire.pass_time(40)
        seen = {
            "answers": [client.seen for client in self.clients],
            "connections after the answers": answered,
            "what was changed": self.replica.proposed,
            "who was moved": (self.replica.removed, self.replica.moved),
            "who still waits": self.replica.keyspace.hub.count,
            "connections left": len(self.wire.site.channels),
        }
        self.wire.stop()
        return seen

    def _settle(self, number: int, what: bytes | int | str) -> None:
        """
        Lets the clients read everything and has their requests answered, except those of a client that goes on
        sending.

        A client that reads nothing may be cut off at any point, and each door lets others go first then: one makes the
        changes that were sent, and the other waits with them until the client reads.
        """
        for each in self.clients:
            if each is not self.clients[number] or not isinstance(what, bytes):
                each.read()
        self.wire.clock.advance(0)

    def _take(self, number: int, what: bytes | int | str) -> None:
        client = self.clients[number]
        if isinstance(what, int):
            self.wire.pass_time(what)
        elif isinstance(what, bytes) and client.can_send:
            client.channel.dataReceived(what)
            self.wire.clock.advance(0)
        elif what == "go" and client.can_send:
            client.transport.client_goes()
        elif what == "stop reading":
            client.transport.room = 0


def _check(conversation: Conversation) -> None:
    ordinary, fast = (_Door(kind, conversation.standing).hold(conversation) for kind in (Site, FastSite))
    for what, seen in ordinary.items():
        assert fast[what] == seen, f"{what}: the ordinary door: {seen!r}; the fast one: {fast[what]!r}"
    answers = b"".join(sent for sent, _, _ in ordinary["answers"])
    for each in (b"Traceback", b"<html>", b"<html lang=en>"):  # The pages of Twisted and Werkzeug
        assert each not in answers, answers
    servers, marks = (answers.count(line) for line in (b"\nServer: etcd_twisted\r\n", b"\nX-Content-Type-Options: "))
    assert servers == marks, answers
    assert ordinary["who still waits"] == 0, "a watcher waits for nobody"
    assert ordinary["connections left"] == 0, "a connection outlives its port"


DOORS = Target("doors", conversations(), _check)
