"""
The scenarios of etcd 2, recorded from etcd 3.4 with its version 2 API, and the player that plays them.

Each topic has its scenarios in C{etcd2/TOPIC-scenarios.json}, and what etcd answered in C{etcd2/TOPIC-answers.json},
which C{python -m tests.conformance.record} writes. The topic C{etcd04} is that of the scenarios of etcd 0.4, but for
the modules that etcd has no more. A scenario whose requests change more than keys needs a server of its own.

C{etcd2/rulings.json} lists where this project rightly answers otherwise than etcd. Each ruling has a C{reason}, and
what to merge into etcd's answers, as RFC 7386 merges JSON. Of its C{cases}, C{then} is for each answer that has what
is in C{when}, or only for those of some C{topics}; C{answers} are by scenario and number of the step.

A scenario may have C{machines}, the number of machines of the cluster that it needs. The leader is the first, and the
requests go there; C{{id 2}} and C{{peer 2}} in a path or a body are the id and the peer URL of the second machine.

In a scenario with C{tls} the clients have certificates, too, and the server requires one.

These steps know more than those of L{tests.conformance.player}:

  - C{user} is a name and a password with a colon between them, for Basic credentials;
  - C{certificate} is the common name of the client's certificate, which is C{stranger} otherwise;
  - C{json} is a body, as an object;
  - C{fields} has the answer's values, but for what is replaced anyway, replaced by the names of their types;
  - C{rebase} names a user who writes a key, so that the distances of indexes are from there on: users and roles take
    indexes in one server and not in another.

More is replaced before answers are compared:

  - a cluster id becomes C{<cluster>}, if it is that of the first answer;
  - what belongs to a machine of a scenario with C{machines} becomes C{<id 1>}, C{<name 1>}, C{<peer 1>} or
    C{<client 1>}, and members are listed in that order; other ids and URLs become C{<id A>}, C{<url A>} and so on, in
    the order in which they are first seen, but those that are part of the scenario stay;
  - a padded name of an in-order key becomes C{<padded +1>};
  - times, durations and versions become C{<time>}, C{<duration>} and C{<version>}.

An answer that never came, since the server closed the connection, is C{{"closed": true}}.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.web.client import Agent, ResponseNeverReceived, readBody
from twisted.web.iweb import IResponse

from tests.certificates import Authority
from tests.conformance.player import Player, Scenario, Shape, Step, index_of, load
from tests.processes.cluster import Credentials

TOPICS = ("etcd04", "keys", "members", "auth")

OF_KEYS = ("etcd04", "keys")
"""The topics whose scenarios have only keys of their own, so that one server serves them all."""

Recorded = dict[str, tuple[Scenario, list[Shape | None]]]
"""Scenarios and answers, by name."""

DIRECTORY = Path(__file__).parent / "etcd2"

# etcd leaves out zeros at the beginning.
_ID = re.compile(r"\b[0-9a-f]{13,16}\b")
_URL = re.compile(r"\bhttps?://[\w.\[\]:-]+")
_PADDED = re.compile(r"(?<=/)\d{20}\b")
_PLACES = {
    "uptime": (re.compile(r"([\d.]+(h|m|s|ms|µs|ns))+"), "<duration>"),
    "startTime": (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"), "<time>"),
    "etcdserver": (re.compile(r"\d+\.\d+\.\d+\S*"), "<version>"),
    "etcdcluster": (re.compile(r"\d+\.\d+\.\d+\S*"), "<version>"),
}
_TYPES = {bool: "boolean", int: "number", float: "number", str: "string"}


def scenarios(topic: str) -> list[Scenario]:
    """Returns the scenarios of a topic."""
    if topic == "etcd04":
        return [each for each, _ in load().values() if "/mod/" not in json.dumps(each)]
    loaded: list[Scenario] = json.loads((DIRECTORY / f"{topic}-scenarios.json").read_text())
    return loaded


def batches(topic: str) -> list[list[Scenario]]:
    """Returns the scenarios of a topic, those together that one server can serve."""
    return [scenarios(topic)] if topic in OF_KEYS else [[each] for each in scenarios(topic)]


def answers_file(topic: str) -> Path:
    """Returns the file that holds the recorded answers of a topic."""
    return DIRECTORY / f"{topic}-answers.json"


def recorded(topic: str) -> Recorded:
    """Returns the scenarios of a topic and what etcd answered, by name."""
    answers = json.loads(answers_file(topic).read_text())
    return {scenario["name"]: (scenario, answers[scenario["name"]]) for scenario in scenarios(topic)}


@cache
def rulings() -> list[dict[str, Any]]:
    """Returns all rulings."""
    loaded: list[dict[str, Any]] = json.loads((DIRECTORY / "rulings.json").read_text())
    return loaded


def right(topic: str) -> Recorded:
    """Returns the scenarios of a topic and the answers of this project: etcd's, but where there is a ruling."""
    found = {}
    for name, (scenario, answers) in recorded(topic).items():
        ruled = list(answers)
        for step, answer in enumerate(answers):
            for ruling in rulings() if answer is not None else []:
                for patch in patches(ruling, topic, name, step, answer):
                    ruled[step] = merged(ruled[step], patch)
        found[name] = (scenario, ruled)
    return found


def patches(ruling: dict[str, Any], topic: str, name: str, step: int, answer: Shape) -> Iterator[Shape]:
    """Yields what a ruling merges into an answer of etcd."""
    if topic in ruling.get("topics", TOPICS):
        yield from (case["then"] for case in ruling.get("cases", []) if matches(case["when"], answer))
    yield ruling.get("answers", {}).get(name, {}).get(str(step), {})


def matches(pattern: Any, value: Any) -> bool:
    """Tells whether a value has all that a pattern has."""
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(matches(each, value.get(name)) for name, each in pattern.items())
    return bool(pattern == value)


def merged(value: Any, patch: Any) -> Any:
    """Returns a value with a patch merged into it."""
    if not isinstance(patch, dict):
        return patch
    value = value if isinstance(value, dict) else {}
    changed = {name: merged(value.get(name), each) for name, each in patch.items() if each is not None}
    return {name: each for name, each in value.items() if name not in patch} | changed


def labels(members: list[dict[str, Any]], leader: dict[str, Any]) -> dict[str, str]:
    """Returns what tells machines apart, such as C{id 1}, by their ids, names and URLs. The first one leads."""
    others = [each for each in members if each["id"] != leader["id"]]
    found = {}
    for number, each in enumerate([leader, *sorted(others, key=lambda member: member["name"])], 1):
        found |= {each["id"]: f"id {number}", each["name"]: f"name {number}"}
        found |= {each["peerURLs"][0]: f"peer {number}", each["clientURLs"][0]: f"client {number}"}
    return found


@attrs.define
class Etcd2Player(Player):
    """
    Plays one scenario of etcd 2.

    @ivar authority: what issued the server's certificate and issues those of clients; C{None} without TLS.
    """

    authority: Authority | None = None
    _agents: dict[str, Agent] = attrs.field(init=False, factory=dict)
    _own: str = attrs.field(init=False, default="")
    _cluster: str = attrs.field(init=False, default="")
    _known: dict[str, str] = attrs.field(init=False, factory=dict)
    _unknown: dict[str, list[str]] = attrs.field(init=False, factory=lambda: {"id": [], "url": []})

    async def play(self, scenario: Scenario) -> list[Shape | None]:
        """See L{Player.play}."""
        self._own = json.dumps(scenario)
        if "machines" in scenario:
            await self._learn_machines()
        return await super().play(scenario)

    async def _learn_machines(self) -> None:
        members, leader = [await self._json(path) for path in ("/v2/members", "/v2/members/leader")]
        self._known = labels(members["members"], leader)
        self.base = leader["clientURLs"][0]

    async def _json(self, path: str) -> Any:
        return json.loads(await readBody(await self._send({"do": "GET", "path": path})))

    def _filled(self, text: str) -> str:
        for value, name in self._known.items():
            text = text.replace("{" + name + "}", value)
        return super()._filled(text)

    async def _take(self, step: Step) -> Shape | None:
        if "rebase" in step:
            filler = await self._send({"do": "PUT", "path": "/v2/keys/{p}-filler", "user": step["rebase"]})
            await readBody(filler)
            self._first = self._seen = index_of(filler)
            return None
        try:
            return await super()._take(step)
        except ResponseNeverReceived:
            return {"closed": True}

    def _request(self, step: Step, url: str) -> "Deferred[IResponse]":
        headers = dict(step.get("headers", {}))
        more: Step = {"headers": headers}
        if "json" in step:
            headers["Content-Type"] = "application/json"
            more["body"] = self._filled(json.dumps(step["json"]))
        if "user" in step:
            headers["Authorization"] = "Basic " + b64encode(step["user"].encode()).decode()
        return super()._request({**step, **more}, url)

    def _agent(self, step: Step) -> Agent:
        if self.authority is None:
            return super()._agent(step)
        name = step.get("certificate", "stranger")
        if name not in self._agents:
            credentials = Credentials(self.authority, self.authority.certificate(name))
            self._agents[name] = Agent(self.reactor, credentials)
        return self._agents[name]

    # How answers become comparable.

    def _shape(self, response: IResponse, body: bytes, step: Step) -> Shape:
        shape = super()._shape(response, body, step)
        if "fields" in step:
            shape["json"] = _types(shape["json"])
        if body:
            shape["newline"] = body.endswith(b"\n")
        identity = response.headers.getRawHeaders("X-Etcd-Cluster-ID")
        if identity is not None:
            shape["x-etcd-cluster-id"] = self._cluster_of(identity)
        if response.headers.hasHeader("Allow"):
            allowed: Iterable[str] = ",".join(response.headers.getRawHeaders("Allow")).split(",")
            shape["allow"] = sorted(each.strip() for each in allowed)
        if response.headers.hasHeader("WWW-Authenticate"):
            shape["www-authenticate"] = response.headers.getRawHeaders("WWW-Authenticate")[0]
        return shape

    def _cluster_of(self, identity: list[str]) -> str:
        self._cluster = self._cluster or identity[0]
        return "<cluster>" if identity == [self._cluster] and _ID.fullmatch(self._cluster) else ",".join(identity)

    def _tidy(self, value: Any, step: Step, name: str = "") -> Any:
        if name in _PLACES and isinstance(value, str):
            pattern, place = _PLACES[name]
            return place if pattern.fullmatch(value) else value
        if name == "followers" and isinstance(value, dict):
            return {self._anonymous(key): self._tidy(each, step, "follower") for key, each in value.items()}
        if name == "name" and value in self._known:
            return f"<{self._known[value]}>"
        tidied = super()._tidy(value, step, name)
        if name == "members" and isinstance(tidied, list):
            tidied.sort(key=lambda member: member["id"])
        return tidied

    def _anonymous(self, text: str) -> str:
        text = _PADDED.sub(lambda found: f"<padded {self._distance(int(found[0]))}>", super()._anonymous(text))
        text = _ID.sub(lambda found: self._named(found[0], "id"), text)
        return _URL.sub(lambda found: self._named(found[0], "url"), text)

    def _named(self, text: str, kind: str) -> str:
        if text in self._known:
            return f"<{self._known[text]}>"
        if text in self._own:
            return text
        unknown = self._unknown[kind]
        if text not in unknown:
            unknown.append(text)
        return f"<{kind} {ascii_uppercase[unknown.index(text)]}>"


def _types(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _types(each) for name, each in value.items()}
    return value if isinstance(value, str) and value.startswith("<") else _TYPES[type(value)]
