"""
Fuzzes the peer port: machines and strangers send boxes, Raft messages, HTTP and garbage, on several connections at
once.

Whatever comes, the port keeps working: it answers whoever asks next, and keeps nothing of those who have gone.
"""

from typing import Any

import attrs
import msgspec
from hypothesis import strategies as st
from twisted.protocols import amp

from etcd_twisted.consensus.raft.entries import Entry, EntryKind
from etcd_twisted.consensus.raft.messages import (
    Append,
    AppendReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
    decode_messages,
)
from etcd_twisted.consensus.raft.messages import encode_messages as encoded
from etcd_twisted.interfaces.cluster import PROTOCOL_VERSION, JoinRequest
from etcd_twisted.peer.commands import COMMANDS, Deliver, Describe, Hello
from etcd_twisted.peer.port import MAX_CONNECTIONS
from etcd_twisted.testing.raft_peer import CLUSTER, FIRST, SECOND, THIRD, FakeRaftPeer
from tests.fuzz.target import Target, mangled, pieces
from tests.peer.wires import HELLO, TIMEOUT, Served, Visit, question

VISITORS = 3

_NUMBERS = st.integers(0, 6) | st.sampled_from([1 << 20, (1 << 48) - 1, 1 << 48])


def _entries(first: int, term: int) -> st.SearchStrategy[tuple[Entry, ...]]:
    kinds = st.sampled_from([EntryKind.COMMAND] * 4 + list(EntryKind))
    return st.lists(st.tuples(kinds, st.binary(max_size=9)), max_size=4).map(
        lambda made: tuple(Entry(first + at, term, kind, data) for at, (kind, data) in enumerate(made))
    )


@st.composite
def _appends(draw: st.DrawFn) -> Append:
    """Generates well-formed entries, so that they are accepted; others come from mangled bytes."""
    previous, term = draw(_NUMBERS), draw(_NUMBERS)
    return Append(
        term, draw(_NUMBERS), previous, draw(st.integers(0, term)), draw(_NUMBERS), draw(_entries(previous + 1, term))
    )


MESSAGES = st.one_of(
    _appends(),
    st.builds(VoteRequest, _NUMBERS, _NUMBERS, _NUMBERS, st.booleans(), st.booleans()),
    st.builds(VoteReply, _NUMBERS, st.booleans(), st.booleans()),
    st.builds(AppendReply, _NUMBERS, _NUMBERS, _NUMBERS, _NUMBERS, st.booleans(), _NUMBERS, _NUMBERS),
    st.builds(TimeoutNow, _NUMBERS),
)
"""What machines say to each other."""

PAYLOADS = st.lists(MESSAGES, max_size=3).map(encoded)

_JOIN = msgspec.msgpack.encode(
    JoinRequest(PROTOCOL_VERSION, THIRD, "", "machine3", "http://clients:4003", "http://peers:7003")
)
_VALUES = st.one_of(
    PAYLOADS,
    st.sampled_from([b"", b"0", b"1", b"-1", b"9" * 400, b"True", b"x", b"\xff", CLUSTER.encode(), FIRST.encode()]),
    st.sampled_from([SECOND.encode(), THIRD.encode(), b"machine2", _JOIN, b"\x00\x01", b"y" * 20_000]),
    st.binary(max_size=20),
)
_KEYS = st.sampled_from([*{name for command in COMMANDS.values() for name, _ in command.arguments}, b"payload.1"])
_NAMES = st.sampled_from([*COMMANDS, b"Nothing"])


@st.composite
def _boxes(draw: st.DrawFn) -> bytes:
    """Generates a box: a good one, or one with keys and values of any kind."""
    tag = draw(st.sampled_from([b"1", b"2", None]))
    match draw(st.sampled_from(["hello", "deliver", "describe", "any", "any"])):
        case "hello":
            return question(Hello, tag, **{**HELLO, "sender": draw(st.sampled_from([SECOND, SECOND, THIRD, FIRST]))})
        case "deliver":
            more = draw(st.sampled_from([None, True, False]))
            return question(Deliver, None, payload=draw(PAYLOADS | st.binary(max_size=9)), more=more)
        case "describe":
            return question(Describe, tag)
    box = amp.AmpBox()
    box[amp.COMMAND] = draw(_NAMES)
    if tag is not None:
        box[amp.ASK] = tag
    arguments = COMMANDS[box[amp.COMMAND]].arguments if box[amp.COMMAND] in COMMANDS else []
    for name, _ in arguments:
        box[name] = draw(_VALUES)
    for name in draw(st.lists(_KEYS, max_size=2)):
        box[name] = draw(_VALUES)
    serialized: bytes = box.serialize()
    return serialized


_PAGES = ("/v2/admin/machines", "/v2/admin/machines/machine0", "/v2/admin/machines/no%20one", "/v2/admin/config", "/x")
_SETTINGS = ("", '{"activeSize":3}', '{"removeDelay":1,"color":"red"}', '{"syncInterval":1e999}', "[", "z" * 1_001)


@st.composite
def _requests(draw: st.DrawFn) -> bytes:
    """Generates what administrators ask, and what web pages of strangers ask."""
    method, page = draw(st.sampled_from(["GET", "PUT", "DELETE", "POST", "HEAD"])), draw(st.sampled_from(_PAGES))
    body = draw(st.sampled_from(_SETTINGS))
    line = draw(st.sampled_from(["Accept: */*", "Origin: null", "Accept-Language: de", "Connection: close", "bad"]))
    return f"{method} {page} HTTP/1.1\r\nHost: x\r\n{line}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@attrs.frozen
class Step:
    """
    Something that a visitor does.

    @ivar what: bytes that it sends; seconds that pass; or C{"come"}, C{"go"}, C{"stop reading"} or C{"read"}.
    """

    visitor: int
    what: bytes | int | str


@st.composite
def visits(draw: st.DrawFn) -> list[Step]:
    """Generates what several visitors do, one after the other and interleaved."""
    steps: list[Step] = []
    for _ in range(draw(st.integers(1, 5))):
        visitor = draw(st.integers(0, VISITORS - 1))
        parts = draw(st.lists(_boxes(), min_size=1, max_size=4) | st.lists(_requests(), min_size=1, max_size=2))
        data = b"".join(parts)
        if draw(st.integers(0, 2)) == 0:
            data = draw(mangled(data))
        steps += [Step(visitor, piece) for piece in draw(pieces(data))]
        others = st.sampled_from(["come", "go", "stop reading", "read"]) | st.integers(1, int(TIMEOUT) + 2)
        steps += [Step(visitor, other) for other in draw(st.lists(others, max_size=2))]
    return steps


class _Raft(FakeRaftPeer):
    """A Raft member that decodes messages as the real one does."""

    def received(self, sender: str, payload: bytes) -> None:
        decode_messages(payload)
        super().received(sender, b"" if payload.startswith(b"wrong") else payload)


def _check(steps: list[Step]) -> None:
    served = Served(_Raft())
    visitors: dict[int, Visit] = {}
    visits = []
    for step in steps:
        if isinstance(step.what, int):
            served.pass_time(step.what)
            continue
        if step.what == "come" or step.visitor not in visitors:
            visits.append(served.visit())
            visitors[step.visitor] = visits[-1]
        _take(visitors[step.visitor], step.what)
        assert len(served.port.connections) <= MAX_CONNECTIONS
    visits.append(served.visit())
    assert b"view" in visits[-1].ask(Describe), "nobody is answered any more"
    for payload in (payload for _, payload in served.raft.payloads):
        decode_messages(payload)
    for visit in visits:
        if not visit.lost:
            visit.transport.client_goes()
    served.pass_time(int(TIMEOUT) + 2)
    assert (len(served.port.connections), len(served.port.site.channels)) == (0, 0), "a connection outlives its end"
    assert len(served.connected) == 0, "a machine that has gone is still a visitor"
    served.port.stop(1.0)
    served.pass_time(2)
    assert served.clock.getDelayedCalls() == [], "something is still planned"
    served.stop()


def _take(visit: Visit, what: bytes | str) -> None:
    if visit.transport.disconnecting:
        return
    transport: Any = visit.transport
    if isinstance(what, bytes):
        if not transport.writes_closed:
            visit.send(what)
    elif what == "go":
        transport.client_goes()
    elif what == "stop reading":
        transport.room = 0
    elif what == "read":
        transport.room = None
        transport.client_reads()


PEERS = Target("peers", visits(), _check)
