"""
Plays the recorded scenarios against a server, and reports where its answers differ from the recorded ones.

C{scenarios.json} has the requests, and C{transcripts.json} the answers of the reference server, or the right answers
where the reference has a fault. The steps of a scenario share one key prefix of their own, C{{p}} in a path:

  - C{do}: one request, whose answer is compared; with C{start}, one that is left waiting;
  - C{finish}: the answer of the request that was left waiting;
  - C{sleep}: a number of seconds in which a key expires or a request that was left waiting arrives. The step ends as
    soon as something happens to the scenario's keys or its lock.

The player replaces what has to differ from run to run before it compares:

  - every index becomes its distance from the index before the scenario (C{+0}, C{+1}, ...), as do numbers in keys and
    causes that look like one; a text that is a number becomes C{<number>};
  - an expiration becomes C{<time>}, and a possible remainder of the step's C{ttl}, or of one of several, becomes
    C{<ttl>};
  - a directory's nodes are in the order of their keys, unless C{sorted=true} was asked for;
  - C{*} in a transcript equals anything, and also nothing.
"""

import json
import re
import uuid
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import attrs
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, PartialDownloadError, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

Scenario = dict[str, Any]
Step = dict[str, Any]
Shape = dict[str, Any]

_HERE = Path(__file__).parent
_INDEXES = ("createdIndex", "modifiedIndex", "index")
_NUMBER = re.compile(r"(?<![\w.{+])(\d{1,12})(?![\w.])")
_FARTHEST = 60
_LARGEST_IN_KEYS = 10


def load() -> dict[str, tuple[Scenario, list[Shape | None]]]:
    """Returns the scenarios and their transcripts, by name."""
    transcripts = json.loads((_HERE / "transcripts.json").read_text())
    scenarios = json.loads((_HERE / "scenarios.json").read_text())
    return {scenario["name"]: (scenario, transcripts[scenario["name"]]) for scenario in scenarios}


@attrs.frozen
class _Left:
    """A request that was left waiting."""

    step: Step
    answer: "Deferred[tuple[IResponse, bytes]]"


class _Body(Protocol):
    """The body of a response of which only the end matters."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self.ended.callback(None)

    def give_up(self) -> None:
        if not self.ended.called:
            self.transport.loseConnection()


@attrs.define
class Player:
    """
    Plays one scenario.

    @ivar base: the server's URL, without a slash at its end.
    @ivar pool: the connections that are kept; C{None} for a new one with each request.
    """

    reactor: Any
    base: str
    pool: HTTPConnectionPool | None = None
    _prefix: str = attrs.field(init=False, factory=lambda: "t" + uuid.uuid4().hex[:12])
    _began: float = attrs.field(init=False, default=0.0)
    _first: int = attrs.field(init=False, default=0)
    _seen: int = attrs.field(init=False, default=0)
    _waiting: dict[str, _Left] = attrs.field(init=False, factory=dict)

    async def play(self, scenario: Scenario) -> list[Shape | None]:
        """Returns the answers in the shape of a transcript; C{None} for a step that has none to compare."""
        while self._first <= _LARGEST_IN_KEYS:
            # On a fresh server an index could be confused with a number that is part of a key.
            filler = await self._send({"do": "PUT", "path": "/v2/keys/{p}-filler"})
            await readBody(filler)
            self._first = self._seen = index_of(filler)
        self._began = self.reactor.seconds()
        return [await self._take(step) for step in scenario["steps"]]

    async def _take(self, step: Step) -> Shape | None:
        if "sleep" in step:
            await self._until_something_happens(step["sleep"])
            return None
        if "finish" in step:
            left = self._waiting.pop(step["finish"])
            return self._shape(*await left.answer, {**left.step, **step})
        if "start" in step:
            self._waiting[step["start"]] = await self._leave(step)
            return None
        response = await self._send(step)
        self._seen = max(self._seen, index_of(response))
        return self._shape(response, await body_of(response), step)

    async def _leave(self, step: Step) -> _Left:
        if "wait" not in step.get("query", {}):
            return _Left(step, ensureDeferred(self._answer(step)))
        response = await self._send(step)  # the head says that the server waits; the body is yet to come
        return _Left(step, readBody(response).addCallback(lambda body: (response, body)))

    async def _answer(self, step: Step) -> tuple[IResponse, bytes]:
        response = await self._send(step)
        return response, await readBody(response)

    async def _until_something_happens(self, seconds: float) -> None:
        bodies = [await self._watched("/v2/keys/{p}"), await self._watched("/v2/keys/_etcd/mod/lock/{p}")]
        too_late = self.reactor.callLater(seconds, bodies[0].give_up)
        await DeferredList([each.ended for each in bodies], fireOnOneCallback=True)
        if too_late.active():
            too_late.cancel()
        for each in bodies:
            each.give_up()
        await DeferredList([each.ended for each in bodies])

    async def _watched(self, path: str) -> _Body:
        query = {"wait": "true", "recursive": "true", "waitIndex": str(self._seen + 1)}
        body = _Body()
        (await self._send({"do": "GET", "path": path, "query": query})).deliverBody(body)
        return body

    async def _send(self, step: Step) -> IResponse:
        path = self._filled(step["path"])
        if step.get("query"):
            path += "?" + self._encoded(step["query"])
        return await self._request(step, self.base + path)

    def _request(self, step: Step, url: str) -> "Deferred[IResponse]":
        """Sends a step's request."""
        headers = Headers()
        for name, value in step.get("headers", {}).items():
            headers.addRawHeader(name, value)
        body = None
        if "form" in step:
            headers.addRawHeader("Content-Type", "application/x-www-form-urlencoded")
            body = FileBodyProducer(BytesIO(self._encoded(step["form"]).encode()))
        elif "body" in step:
            body = FileBodyProducer(BytesIO(step["body"].encode()))
        sent: Deferred[IResponse] = self._agent(step).request(step["do"].encode(), url.encode(), headers, body)
        return sent

    def _agent(self, step: Step) -> Agent:  # noqa: ARG002
        """Returns what sends a step's request."""
        return Agent(self.reactor, pool=self.pool)

    def _encoded(self, parameters: dict[str, object]) -> str:
        return urlencode({name: self._filled(str(value)) for name, value in parameters.items()})

    def _filled(self, text: str) -> str:
        text = text.replace("{p}", self._prefix)
        return re.sub(r"\{\+(\d+)\}", lambda found: str(self._first + int(found[1])), text)

    # How answers become comparable.

    def _shape(self, response: IResponse, body: bytes, step: Step) -> Shape:
        headers = response.headers
        kind = (headers.getRawHeaders("Content-Type") or [""])[0]
        shape: Shape = {"status": response.code, "type": kind.partition(";")[0]}
        text = body.decode("utf-8", "replace")
        if text[:1] in ("{", "["):
            shape["json"] = self._tidy(json.loads(text), step)
        else:
            shape["text"] = re.sub(r"^\d+$", "<number>", self._anonymous(text.strip()))
        if headers.hasHeader("X-Etcd-Index"):
            shape["x-etcd-index"] = self._distance(index_of(response))
        for name in ("x-raft-index", "x-raft-term"):
            shape[name] = "present" if headers.hasHeader(name) else "absent"
        if headers.hasHeader("Location"):
            shape["location"] = self._anonymous(headers.getRawHeaders("Location")[0])
        for name in step.get("headers_seen", []):
            shape[name.lower()] = (headers.getRawHeaders(name) or ["absent"])[0]
        return shape

    def _tidy(self, value: Any, step: Step, name: str = "") -> Any:
        if isinstance(value, dict):
            tidied = {key: self._tidy(each, step, key) for key, each in value.items()}
            if "nodes" in tidied and step.get("query", {}).get("sorted") != "true":
                tidied["nodes"].sort(key=lambda node: node["key"])
            return tidied
        if isinstance(value, list):
            return [self._tidy(each, step, name) for each in value]
        if name in _INDEXES:
            return self._distance(value)
        if name == "expiration":
            return "<time>"
        if name == "ttl":
            given = step.get("ttl", [])
            ttls = given if isinstance(given, list) else [given]
            return "<ttl>" if any(left_of(each, value, self._elapsed()) for each in ttls) else value
        if isinstance(value, str):
            value = self._anonymous(value)
            return _NUMBER.sub(self._numbered, value) if name in ("key", "cause") else value
        return value

    def _elapsed(self) -> float:
        seconds: float = self.reactor.seconds() - self._began
        return seconds

    def _numbered(self, found: re.Match[str]) -> str:
        number = int(found[1])
        return self._distance(number) if self._first <= number <= self._first + _FARTHEST else found[1]

    def _distance(self, index: int) -> str:
        return f"+{index - self._first}" if index >= self._first else str(index)

    def _anonymous(self, text: str) -> str:
        return text.replace(self._prefix, "{p}")


async def body_of(response: IResponse) -> bytes:
    """Returns the body of an answer, whose end may also be that of the connection."""
    try:
        body: bytes = await readBody(response)
    except PartialDownloadError as error:
        return error.response or b""
    return body


def index_of(response: IResponse) -> int:
    """Returns the key space's index in an answer, or 0 if it has none."""
    return int((response.headers.getRawHeaders("X-Etcd-Index") or ["0"])[0])


def left_of(ttl: int, value: int, elapsed: float) -> bool:
    """
    Tells whether a TTL may be the remainder of one that was given, however long the machine took.

    @param ttl: the TTL that was given, in seconds.
    @param value: the TTL in the answer, in seconds.
    @param elapsed: for how long it can have run, in seconds.
    """
    return ttl - elapsed <= value <= ttl


def differences(wanted: Any, got: Any, where: str = "") -> Iterator[str]:
    """Yields the differences of an answer from its transcript, one a line."""
    if wanted == "*":
        return
    if isinstance(wanted, dict) and isinstance(got, dict):
        for key in sorted(wanted.keys() | got.keys()):
            yield from differences(wanted.get(key, "(absent)"), got.get(key, "(absent)"), f"{where}.{key}")
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for position, (one, other) in enumerate(zip(wanted, got, strict=True)):
            yield from differences(one, other, f"{where}[{position}]")
    elif wanted != got:
        yield f"{where or 'answer'}: expected {wanted!r}, got {got!r}"
