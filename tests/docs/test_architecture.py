"""
C{ARCHITECTURE.md}: what it names exists, its arrows are those of the linter, and requests pass through the files that
it names.
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
        "keyspace/commands.py",  # declares values; the code is not Python's
        "keyspace/events.py",  # likewise, while nobody watches and the command is a common one
    },
    "A watch": {
        "httpd/limits.py",  # declares values too
    },
    "An AppendEntries": {
        "peer/outbox.py",  # while the other side does not read, and for long payloads
        "web/admin.py",  # the other protocol of the port
        "consensus/snapshots/sending.py",  # the other way to catch up
        "consensus/snapshots/receiving.py",
        "peer/dialer.py",  # while there is no connection
        "backoff.py",
    },
}
"""The files in the sections about requests that a common request does not pass through, each with the reason."""

_BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"[\w./-]*(/|\.(py|md|cfg|toml)|\.importlinter)")
_NAME = re.compile(r"[A-Z]\w*[a-z]\w*(\.\w+)?")


def spans() -> set[str]:
    """Returns everything that the page sets as code within its sentences."""
    return set(_SPAN.findall(_BLOCK.sub("", PAGE.read_text())))


def section(title: str) -> str:
    """Returns the text below a heading."""
    _, _, text = PAGE.read_text().partition(f"\n## {title}\n")
    return text.partition("\n## ")[0]


def blocks(title: str) -> list[str]:
    """Returns the blocks of code in a section."""
    return _BLOCK.findall(section(title))


def is_there(path: str) -> bool:
    """Tells whether a file or a directory of the source tree has this path, which may begin in the package."""
    found = (SOURCE / path, PACKAGE / path)
    return any(each.is_dir() if path.endswith("/") else each.is_file() for each in found)


def tree() -> Iterator[Path]:
    """Returns the paths in the drawing of the tree."""
    parents: list[Path] = []
    for line in blocks("The tree")[0].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        parents[depth:] = [Path(*parents[depth - 1 : depth], line.split()[0])]
        yield parents[depth]


def names() -> Iterator[str]:
    """Returns every class of the package, and CLASS.NAME for all that is defined in one or set on its instances."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                yield node.name
                yield from (f"{node.name}.{each}" for each in members(node))


def members(node: ast.ClassDef) -> Iterator[str]:
    """Returns the names that a class defines, and those of its instances' fields."""
    for each in ast.walk(node):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            yield each.name
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            yield each.id
        elif isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store):
            yield each.attr


class NameTests(SynchronousTestCase):
    """These tests look for what the page names."""

    def test_named_files_exist(self) -> None:
        """Directories exist too."""
        named = {each for each in spans() if _PATH.fullmatch(each)}
        self.assertGreater(len(named), 50)
        self.assertEqual({each for each in named if not is_there(each)}, set())

    def test_named_classes_exist(self) -> None:
        """Each has the method or the field that is named with it."""
        named = {each for each in spans() if _NAME.fullmatch(each)}
        self.assertIn("Node", named)
        self.assertEqual(named - set(names()), set())

    def test_tree_is_complete(self) -> None:
        """The drawing has only what exists, and leaves out no room or loose module."""
        drawn = set(tree())
        self.assertEqual({path for path in drawn if not (SOURCE / path).exists()}, set())
        rooms = [path.parent for path in PACKAGE.rglob("__init__.py")]
        modules = [path for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
        self.assertEqual({path.relative_to(SOURCE) for path in (*rooms, *modules)} - drawn, set())

    def test_arrows_are_those_of_the_linter(self) -> None:
        contracts = configparser.ConfigParser()
        contracts.read(SOURCE / ".importlinter")
        layers = contracts["importlinter:contract:arrows"]["layers"]
        arrows = blocks("The arrows")[0].replace("\n", " ").strip().split(" → ")
        self.assertEqual(arrows, layers.strip().split("\n"))


class Trace:
    """Records which files of the package are entered, on this thread and on all threads that start from now on."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._prefix = f"{PACKAGE}/"

    def start(self) -> None:
        """Begins to record."""
        threading.setprofile(self._called)
        sys.setprofile(self._called)

    def stop(self) -> None:
        """Stops recording. Threads that run until later still record what they call."""
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
    """These tests send requests to a cluster of two machines, both of which a quorum needs."""

    timeout = 120

    async def setUp(self) -> None:
        """Starts both machines within this process."""
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
        """Returns a machine that serves."""
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
        """Asserts that a request entered the files that a section names, except those that are rarely on its way."""
        named = {each for each in _SPAN.findall(section(title)) if each.endswith(".py")}
        self.assertGreater(len(named), 5)
        self.assertLessEqual(ELSEWHERE[title], named)
        self.assertLessEqual(named - passed, ELSEWHERE[title])

    async def test_put_passes_the_named_files(self) -> None:
        """The change goes from the leader to the follower."""
        self.trace.take()
        answer = await self.client.request("PUT", "/v2/keys/a", {"value": "x"})
        self.assertEqual(answer.status, 200)
        passed = self.trace.take()
        self.assert_passed("A PUT", passed)
        self.assert_passed("An AppendEntries", passed)

    async def test_watch_passes_the_named_files(self) -> None:
        """The watch waits for a change and gets it."""
        self.trace.take()
        waiting = ensureDeferred(self.client.request("GET", "/v2/keys/a?wait=true"))
        while not self.leader.replica.statistics().watchers:
            await deferLater(reactor, 0.01, lambda: None)
        await self.client.request("PUT", "/v2/keys/a", {"value": "x"})
        answer = await waiting
        self.assertEqual(answer.json()["node"]["value"], "x")
        self.assert_passed("A watch", self.trace.take())
