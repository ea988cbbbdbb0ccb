"""
C{ARCHITECTURE.md}: what it names exists, its arrows are the linter's, and requests pass the files that it says.
"""

import ast
import configparser
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.service import EtcdService
from etcd_twisted.testing.ports import free_ports
from tests.processes.child import SOURCE
from tests.processes.client import Client

PAGE = SOURCE / "ARCHITECTURE.md"
PACKAGE = SOURCE / "etcd_twisted"

ELSEWHERE = {
    "A PUT": {
        "httpd/ordinary/channel.py",  # the ordinary door
        "httpd/turns.py",  # when a turn has no time left
        "consensus/reads.py",  # a GET that is confirmed
        "web/writes.py",  # with more than a value
        "web/redirects.py",  # on a machine that does not lead
        "keyspace/watchers.py",  # while somebody watches
        "keyspace/commands.py",  # declares values, whose code is not Python's
    },
    "A watch": {
        "httpd/limits.py",  # declares values too
    },
    "An AppendEntries": {
        "web/admin.py",  # the other protocol of the port
        "consensus/snapshots/sending.py",  # the other way to catch up
        "consensus/snapshots/receiving.py",
        "peer/dialer.py",  # while there is no connection
        "net/backoff.py",
    },
}
"""The files in the sections about requests that a common request does not pass, and why."""

_BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"[\w./-]*(/|\.(py|md|cfg|toml)|\.importlinter)")
_NAME = re.compile(r"[A-Z]\w*[a-z]\w*(\.\w+)?")


def spans() -> set[str]:
    """All that the page sets as code within its sentences."""
    return set(_SPAN.findall(_BLOCK.sub("", PAGE.read_text())))


def section(title: str) -> str:
    """The text below a heading."""
    _, _, text = PAGE.read_text().partition(f"\n## {title}\n")
    return text.partition("\n## ")[0]


def blocks(title: str) -> list[str]:
    """The blocks of code in a section."""
    return _BLOCK.findall(section(title))


def is_there(path: str) -> bool:
    """Whether a file or a directory of the source tree has this path, which may begin in the package."""
    found = (SOURCE / path, PACKAGE / path)
    return any(each.is_dir() if path.endswith("/") else each.is_file() for each in found)


def tree() -> Iterator[Path]:
    """What the drawing of the tree has."""
    parents: list[Path] = []
    for line in blocks("The tree")[0].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        parents[depth:] = [Path(*parents[depth - 1 : depth], line.split()[0])]
        yield parents[depth]


def names() -> Iterator[str]:
    """Every class of the package, and CLASS.NAME for all that is defined in one or set on its instances."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                yield node.name
                yield from (f"{node.name}.{each}" for each in members(node))


def members(node: ast.ClassDef) -> Iterator[str]:
    """The names that a class defines, and those of its instances' fields."""
    for each in ast.walk(node):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            yield each.name
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            yield each.id
        elif isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store):
            yield each.attr


class NameTests(SynchronousTestCase):
    """What the page names."""

    def test_files(self) -> None:
        """Every file and directory is there."""
        named = {each for each in spans() if _PATH.fullmatch(each)}
        self.assertGreater(len(named), 50)
        self.assertEqual({each for each in named if not is_there(each)}, set())

    def test_classes(self) -> None:
        """Every class is defined, and has the method or the field that is named with it."""
        named = {each for each in spans() if _NAME.fullmatch(each)}
        self.assertIn("Node", named)
        self.assertEqual(named - set(names()), set())

    def test_tree(self) -> None:
        """The drawing of the tree has only what exists, and no room or loose module is left out."""
        drawn = set(tree())
        self.assertEqual({path for path in drawn if not (SOURCE / path).exists()}, set())
        rooms = [path.parent for path in PACKAGE.glob("*/__init__.py")]
        rooms += [path.parent for path in (PACKAGE / "consensus").glob("*/__init__.py")]
        modules = [path for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
        self.assertEqual({path.relative_to(SOURCE) for path in (*rooms, *modules)} - drawn, set())

    def test_arrows(self) -> None:
        """They are those that the linter holds."""
        contracts = configparser.ConfigParser()
        contracts.read(SOURCE / ".importlinter")
        layers = contracts["importlinter:contract:arrows"]["layers"]
        self.assertEqual(blocks("The arrows")[0].split("\n"), [*layers.strip().split("\n"), ""])


class Trace:
    """Which files of the package are entered, on all threads that are started from now on and on this one."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._prefix = f"{PACKAGE}/"

    def start(self) -> None:
        """Begin to look."""
        threading.setprofile(self._called)
        sys.setprofile(self._called)

    def stop(self) -> None:
        """Look no more; threads that go on until later still tell what they call."""
        threading.setprofile(None)
        sys.setprofile(None)

    def _called(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            self._files.add(frame.f_code.co_filename)

    def take(self) -> set[str]:
        """Returns the files that were entered since the last call, relative to the package."""
        files, self._files = self._files, set()
        return {path.removeprefix(self._prefix) for path in files if path.startswith(self._prefix)}


class RequestTests(TestCase):
    """What a request passes in a cluster of two machines, both of which are needed for a quorum."""

    timeout = 120

    async def setUp(self) -> None:
        """Start both of them within this process."""
        self.trace = Trace()
        self.trace.start()
        self.addCleanup(self.trace.stop)
        ports = free_ports(4)
        services = [await self.started(number, ports) for number in range(2)]
        (self.leader,) = [each for each in services if each.replica.is_leader]
        (base,) = [each.client_url for each in self.leader.replica.machines() if each.name == self.leader.replica.name]
        self.client = Client(base)
        self.addCleanup(self.client.close)
        await self.client.request("PUT", "/v2/keys/a", {"value": "before"})

    async def started(self, number: int, ports: list[int]) -> EtcdService:
        """A machine that serves."""
        config = Config(
            peer_election_timeout=2_000,  # both wait for one processor
            name=f"machine{number}",
            data_dir=Path(self.mktemp()),
            addr=Address("127.0.0.1", ports[2 * number]),
            peer_addr=Address("127.0.0.1", ports[2 * number + 1]),
            peers=(Address("127.0.0.1", ports[1]),) if number else (),
        )
        service = EtcdService(reactor, config, self.fail)
        self.addCleanup(service.stopService)
        service.startService()
        await service.started
        return service

    def assert_passed(self, title: str, passed: set[str]) -> None:
        """The files that a section names are those that were passed, but for those that are rarely on the way."""
        named = {each for each in _SPAN.findall(section(title)) if each.endswith(".py")}
        self.assertGreater(len(named), 5)
        self.assertLessEqual(ELSEWHERE[title], named)
        self.assertLessEqual(named - passed, ELSEWHERE[title])

    async def test_put(self) -> None:
        """A change, on the leader and as it gets to the follower."""
        self.trace.take()
        answer = await self.client.request("PUT", "/v2/keys/a", {"value": "x"})
        self.assertEqual(answer.status, 200)
        passed = self.trace.take()
        self.assert_passed("A PUT", passed)
        self.assert_passed("An AppendEntries", passed)

    async def test_watch(self) -> None:
        """A wait for a change, and the change."""
        self.trace.take()
        waiting = ensureDeferred(self.client.request("GET", "/v2/keys/a?wait=true"))
        while not self.leader.replica.statistics().watchers:
            await deferLater(reactor, 0.01, lambda: None)
        await self.client.request("PUT", "/v2/keys/a", {"value": "x"})
        answer = await waiting
        self.assertEqual(answer.json()["node"]["value"], "x")
        self.assert_passed("A watch", self.trace.take())
