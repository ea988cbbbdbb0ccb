"""
One request, spelled in many ways: however it is written, the answer is the recorded one.

Clients differ in what they escape, where they put a parameter, and how they write a boolean, a header or a base URL.
The test plays each recorded scenario with spellings chosen at random, through either door.
"""

import re
from collections.abc import Iterator
from random import Random
from typing import Any
from urllib.parse import quote

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from etcd_twisted.httpd.fast.site import FastSite
from etcd_twisted.httpd.site import Site
from tests import examples
from tests.conformance.player import Player, Scenario, Shape, Step, differences, index_of, load
from tests.wires import Answer, Transport, Wire, read_answers

SCENARIOS = load()
BOOLEANS = (
    "consistent", "dir", "noValueOnSuccess", "prevExist", "quorum",
    "recursive", "refresh", "sorted", "stream", "wait",
)  # fmt: skip
SPELLED = {"true": ("true", "TRUE", "True", "1", "t", "T"), "false": ("false", "FALSE", "False", "0", "f", "F")}
BEFORE = ("", "", "/", "/.", "/v2/..", "//./nothing/..", "http://x", "http://x:4001/")
TYPES = (
    "application/x-www-form-urlencoded",
    "Application/X-WWW-Form-Urlencoded",
    "application/x-www-form-urlencoded; charset=UTF-8",
    "APPLICATION/X-WWW-FORM-URLENCODED ;charset=utf-8",
)
_PART = re.compile(r"%[0-9A-Fa-f]{2}|.", re.DOTALL)


@attrs.frozen
class _Response:
    """The part of a response that L{Player} looks at."""

    code: int
    headers: Headers


@attrs.define
class Speller:
    """Writes requests as bytes."""

    random: Random

    def request(self, step: Step, path: str, query: dict[str, str], form: dict[str, str] | None) -> bytes:
        """
        Returns a step's request as bytes.

        @param path: percent-encoded.
        @param form: C{None} where the step has no form.
        """
        choose = self.random.choice
        waits = "start" in step
        if form is not None:
            query, form = self._moved(query, form)
        target = self._path(path) + self._query(query)
        lines = [f"{step['do']} {target} {choose(('HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0')) if not waits else 'HTTP/1.1'}"]
        headers = {"Host": "x", **step.get("headers", {})}
        body = step.get("body", "").encode()
        if form is not None:
            body = "&".join(self._pairs(form)).encode("utf-8", "surrogateescape")
            if kind := choose((None, *TYPES)):
                headers["Content-Type"] = kind
        if body or form is not None:
            if choose((True, False)) and "HTTP/1.1" in lines[0]:
                headers["Transfer-Encoding"] = choose(("chunked", "Chunked"))
                body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
            else:
                headers["Content-Length"] = str(len(body))
        case = choose((str, str.lower, str.upper))
        lines += [f"{case(name)}:{choose((' ', '', '  '))}{value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body

    def _moved(self, query: dict[str, str], form: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Moves parameters between the query and the body, unless one is in both."""
        both = query.keys() & form.keys()
        moved: tuple[dict[str, str], dict[str, str]] = ({}, {})
        for at, parameters in enumerate((query, form)):
            for name, value in parameters.items():
                moved[at if name in both else self.random.choice((0, 1))][name] = value
        return moved

    def _path(self, path: str) -> str:
        before = self.random.choice(BEFORE)
        if "%zz" in path:
            return before + path
        known = next((each for each in ("/v2/keys", "/mod/v2", "/v2") if path.startswith(each)), "")
        prefix = self.random.choice((known, known, known.replace("/v2", "/%762"), known.replace("/", "//")))
        return before + prefix + "".join(map(self._part, _PART.findall(path[len(known) :])))

    def _part(self, part: str) -> str:
        """Writes a character of a path, or its escape."""
        if len(part) == 3:
            byte = int(part[1:], 16)
            return self.random.choice((part, part.lower(), chr(0xDC00 + byte) if byte > 0x7F else part))
        if part.isascii() and part.isalnum():
            return f"%{ord(part):02x}" if self.random.random() < 0.1 else part
        return part

    def _query(self, query: dict[str, str]) -> str:
        if not query:
            return self.random.choice(("", "", "?", "?&"))
        return self.random.choice(("?", "?", "?&")) + self.random.choice(("&", "&&")).join(self._pairs(query))

    def _pairs(self, parameters: dict[str, str]) -> Iterator[str]:
        for name, value in parameters.items():
            text = value
            if name in BOOLEANS and value.lower() in SPELLED:
                text = self.random.choice(SPELLED[value.lower()])
            yield f"{quote(name)}={self._text(text)}"

    def _text(self, text: str) -> str:
        """Writes a value with at least the escapes that it needs."""
        escaped = quote(text, safe=self.random.choice(("", "/:~!*'();,")))
        if self.random.random() < 0.5:
            escaped = escaped.replace("%20", "+")
        if self.random.random() < 0.5:
            escaped = re.sub(r"%([89A-F][0-9A-F])", lambda found: chr(0xDC00 + int(found[1], 16)), escaped)
        return escaped


@attrs.define
class SpellingPlayer(Player):
    """
    Plays a scenario without sockets, on a fake clock.

    @ivar wire: the server.
    """

    wire: Any = None
    speller: Any = None
    _kept: Any = attrs.field(init=False, default=None)
    _left: dict[str, tuple[Step, Transport]] = attrs.field(init=False, factory=dict)

    def play_at_once(self, scenario: Scenario) -> list[Shape | None]:
        """See L{play}."""
        self._prefix = "t0a1b2c3d4e5f"
        while self._first <= 10:
            self._first = index_of(self._response(self._ask({"do": "PUT", "path": "/v2/keys/{p}-filler"})))
        self._began = self.reactor.seconds()
        return [self._play(step) for step in scenario["steps"]]

    def _play(self, step: Step) -> Shape | None:
        if "sleep" in step:
            self.wire.clock.pump([0.05] * round(step["sleep"] * 20))
            return None
        if "start" in step:
            channel, transport = self.wire.connect()
            channel.dataReceived(self._spelled(step))
            self._left[step["start"]] = step, transport
            self.wire.clock.pump([0.01] * 5)
            return None
        if "finish" in step:
            started, transport = self._left.pop(step["finish"])
            self.wire.clock.pump([0.05] * 40)
            (answer,) = read_answers(transport.value(), started["do"])
            step = {**started, **step}
        else:
            answer = self._ask(step)
        return self._shape(self._response(answer), answer.body, step)

    def _ask(self, step: Step) -> Answer:
        """Sends a request on the connection that was used last or on a new one."""
        if self._kept is None or self.speller.random.random() < 0.3:
            self._kept = self.wire.connect()
        channel, transport = self._kept
        transport.clear()
        channel.dataReceived(self._spelled(step))
        while not transport.value() and not transport.disconnecting:
            self.wire.clock.advance(0.01)  # a client that waits for a lock has a timeout
        self.wire.clock.pump([0.0] * 3)
        (answer,) = read_answers(transport.value(), step["do"])
        if transport.disconnecting or transport.writes_closed:
            self._kept = None
        return answer

    def _spelled(self, step: Step) -> bytes:
        query, form = (self._parameters(step.get(part, {})) for part in ("query", "form"))
        return self.speller.request(step, self._filled(step["path"]), query, form if "form" in step else None)

    def _parameters(self, given: dict[str, object]) -> dict[str, str]:
        return {name: self._filled(str(value)) for name, value in given.items()}

    @staticmethod
    def _response(answer: Answer) -> Any:
        headers = Headers()
        for name, value in answer.headers.items():
            headers.addRawHeader(name, value)
        return _Response(answer.status, headers)


class SpellingTests(SynchronousTestCase):
    """These tests play every scenario in any spelling."""

    @settings(max_examples=examples(200))
    @given(st.sampled_from(sorted(SCENARIOS)), st.sampled_from((Site, FastSite)), st.integers(0, 2**32))
    def test_spelling_does_not_change_the_answer(self, name: str, kind: type[Site], seed: int) -> None:
        """The answers are the recorded ones (spec, "Parameters")."""
        scenario, transcript = SCENARIOS[name]
        wire = Wire(kind=kind)
        try:
            player = SpellingPlayer(wire.clock, "", None, wire, Speller(Random(seed)))
            for step, wanted, got in zip(scenario["steps"], transcript, player.play_at_once(scenario), strict=True):
                if wanted is not None:
                    self.assertEqual(list(differences(wanted, got)), [], (name, step))
        finally:
            wire.stop()
