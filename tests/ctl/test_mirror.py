"""
What C{mirror} is made of: whatever happens to the source, to the target and to the mirror, the copy is the same at the
end.
"""

import base64
import json
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import ConnectionFailed, KeyNotFound, Tls
from etcd_twisted.ctl.failures import SERVER_ERROR, CommandFailedError
from etcd_twisted.ctl.mirror.copies import name_of
from etcd_twisted.ctl.mirror.engine import Mirror
from etcd_twisted.ctl.mirror.leases import LOOK_SECONDS, Leases
from etcd_twisted.ctl.mirror.metrics import Metrics
from etcd_twisted.ctl.mirror.run import Options, _observed
from etcd_twisted.ctl.mirror.v2_copy import V2Copy
from etcd_twisted.ctl.mirror.v3_copy import BYTES_AT_ONCE, OPERATIONS_AT_ONCE, V3Copy
from etcd_twisted.ctl.mirror.v3_gateway import Gateway, decoded, encoded, end_of
from etcd_twisted.ctl.settings import Settings
from etcd_twisted.ctl.subtree import Move
from etcd_twisted.testing.memory_machine import MemoryMachine
from etcd_twisted.testing.replica import FakeReplica
from tests import examples

Tree = dict[str, tuple[str | None, bool]]
"""The value of each key, C{None} for a directory, and whether it expires."""

_NAMES = ("a", "b", "d", "d/a", "d/b", "d/e/f")
_keys = st.sampled_from([f"/app/{name}" for name in _NAMES])
_steps = st.one_of(
    st.tuples(st.just("set"), _keys, st.sampled_from(["1", "2"]), st.sampled_from([None, None, 2, 30])),
    st.tuples(st.just("mkdir"), _keys, st.just(""), st.sampled_from([None, 3])),
    st.tuples(st.just("remove"), st.one_of(_keys, st.just("/app"))),
    st.tuples(st.just("refresh"), _keys),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.3, 2.5, 8.0])),
    st.tuples(st.just("flood")),
    st.tuples(st.just("lose"), st.sampled_from(["source", "target"])),
    st.tuples(st.just("restart")),
)


class MirrorTest(SynchronousTestCase):
    """Two machines in memory have one clock. The source keeps few events, so that some are lost."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.source, self.target = (
            MemoryMachine(FakeReplica(self.clock, history_capacity=capacity)) for capacity in (5, 1_000)
        )
        for machine in (self.source, self.target):
            self.addCleanup(machine.__exit__, None, None, None)
        self.said: list[str] = []
        self.mirror: Mirror
        self.running: Deferred[None] | None = None
        self.addCleanup(self.stop)

    def start(self, overwrite: bool = False, resync: bool = False, once: bool = False) -> "Deferred[None]":
        """Starts the mirror."""
        copy = V2Copy(self.target.client(), "/copy")
        self.mirror = Mirror(self.source.client(), copy, Move("/app", "/copy"), self.said.append)
        self.running = Deferred.fromCoroutine(self.mirror.run(overwrite, resync, once))
        return self.running

    def stop(self) -> None:
        """Ends the mirror, as a signal does."""
        if self.running is not None:
            self.running.addErrback(lambda _: None)
            self.running.cancel()
            self.running = None

    def tree(self, machine: MemoryMachine, directory: str) -> Tree:
        """Returns what there is in a directory."""
        reachable, machine.reachable = machine.reachable, True
        try:
            reading = machine.result_of(machine.client().list(directory, recursive=True))
        except KeyNotFound:
            return {}
        finally:
            machine.reachable = reachable
        nodes = [node for node in reading.node.walk() if node.key != directory]
        return {node.key.removeprefix(directory): (node.value, node.expires_at is not None) for node in nodes}

    def put(self, key: str, value: str, **parameters: Any) -> None:
        """Has somebody change the source."""
        self.source.result_of(self.source.client().set(key, value, **parameters))

    def assertSame(self) -> None:
        """Asserts that the copy becomes the same as the source."""
        for machine in (self.source, self.target):
            machine.heal()
        if self.running is not None and self.running.called:  # it began while the source did not answer
            self.failureResultOf(self.running, ConnectionFailed)
            self.start()
        self.source.advance(10.0)
        self.assertEqual(self.tree(self.target, "/copy"), self.tree(self.source, "/app"), self.said)


class CopyTests(MirrorTest):
    """The source is C{/app}, and the copy C{/copy}."""

    def test_copy(self) -> None:
        """What is there is copied, and then what happens, in order."""
        self.put("/app/a", "1")
        self.put("/app/d/b", "2", ttl_seconds=100)
        self.put("/else", "x")
        self.start()
        self.source.advance(1.0)
        self.assertEqual(
            self.tree(self.target, "/copy"), {"/a": ("1", False), "/d": (None, False), "/d/b": ("2", True)}
        )
        watch = self.target.client().watch("/copy", recursive=True)
        self.target.result_of(watch.connected())
        for value in "234":
            self.put("/app/a", value)
        self.source.result_of(self.source.client().delete("/app/d/b"))
        self.put("/app/z", "last")
        changes = [self.target.result_of(watch.next()) for _ in range(5)]
        seen = [(each.action, each.node.key, each.node.value) for each in changes]  # type: ignore[union-attr]
        self.assertEqual(
            seen,
            [("set", "/copy/a", value) for value in "234"]
            + [("delete", "/copy/d/b", None), ("set", "/copy/z", "last")],
        )
        self.assertSame()
        self.assertEqual((self.mirror.lag.resyncs, sum(self.mirror.lag.changes.values())), (1, 5))

    def test_restart(self) -> None:
        """It goes on where it was, without a comparison."""
        self.put("/app/a", "1")
        self.start()
        self.source.advance(2.0)
        self.stop()
        for value in "234":
            self.put("/app/a", value)
        watch = self.target.client().watch("/copy", recursive=True)
        self.target.result_of(watch.connected())
        self.start()
        self.assertEqual([self.target.result_of(watch.next()).node.value for _ in range(3)], ["2", "3", "4"])  # type: ignore[union-attr]
        self.assertEqual(self.mirror.lag.resyncs, 0)
        self.assertIn("Going on after index 2", self.said)

    def test_lost_history(self) -> None:
        """Then the copy is compared."""
        self.put("/app/a", "1")
        self.put("/app/b", "1")
        self.start()
        self.source.advance(2.0)
        self.stop()
        self.source.result_of(self.source.client().delete("/app/b"))
        for number in range(10):
            self.put(f"/app/n{number}", "x")
        self.start()
        self.assertSame()
        self.assertEqual(self.mirror.lag.resyncs, 1)
        self.assertIn("The source does not keep the changes since then any more", self.said)

    def test_once(self) -> None:
        """It ends when the copy is the same, and is no reason not to begin again."""
        self.put("/app/a", "1")
        self.source.result_of(self.start(once=True))
        self.put("/app/b", "2")
        self.source.result_of(self.start(once=True))
        self.running = None
        self.assertSame()

    def test_refused(self) -> None:
        """It does not begin where there is something, nor go on with another source."""
        self.put("/app/a", "1")
        self.target.result_of(self.target.client().set("/copy/mine", "x"))
        with self.assertRaisesRegex(
            CommandFailedError, r"/copy of the target has keys already, such as /copy.*--overwrite"
        ):
            self.source.result_of(self.start())
        self.assertEqual(self.tree(self.target, "/copy"), {"/mine": ("x", False)})
        self.source.result_of(self.start(overwrite=True, once=True))
        self.running = None
        self.assertSame()
        key = f"/_txetcdctl/mirror/{name_of('/copy')}"
        for position, reason in (
            ({"cluster": "beef", "directory": "/app", "index": 2}, "is a copy of the cluster beef.*--resync"),
            ({"cluster": "", "directory": "/other", "index": 2}, "is a copy of /other, not of /app: --resync"),
            ({"index": 2}, "where the position should be, holds something else"),
        ):
            self.target.result_of(self.target.client().set(key, json.dumps(position)))
            with self.assertRaisesRegex(CommandFailedError, reason):
                self.source.result_of(self.start())
        self.target.result_of(self.target.client().delete(key))
        self.source.result_of(self.start(overwrite=True, resync=True, once=True))
        self.running = None
        self.assertSame()

    def test_refreshed_ttl(self) -> None:
        """A TTL that is extended without an event is extended in the copy; a key that expires there expires here."""
        self.put("/app/a", "1", ttl_seconds=5)
        self.start()
        client = self.source.client()
        for _ in range(10):
            self.source.advance(4.0)
            self.source.result_of(client.refresh("/app/a", 5))
        self.assertEqual(self.tree(self.target, "/copy"), {"/a": ("1", True)})
        self.assertEqual(sum(self.mirror.lag.changes.values()), 0)
        self.source.advance(5.5)
        self.assertEqual((self.tree(self.target, "/copy"), self.tree(self.source, "/app")), ({}, {}))

    def test_refreshed_ttl_while_there_was_no_mirror(self) -> None:
        """It is extended when the mirror begins again, for keys and directories."""
        client = self.source.client()
        self.put("/app/a", "1", ttl_seconds=5)
        self.source.result_of(client.make_directory("/app/d", ttl_seconds=5))
        self.start()
        self.source.advance(2.0)
        self.stop()
        for key in ("/app/a", "/app/d"):
            self.source.result_of(client.refresh(key, 60))
        self.start()
        self.source.advance(40.0)
        self.assertEqual(self.tree(self.target, "/copy"), {"/a": ("1", True), "/d": (None, True)})

    def test_ttl_without_source(self) -> None:
        """A copy's key expires a little later than it should if the source is gone."""
        self.put("/app/a", "1", ttl_seconds=5)
        self.start()
        self.source.advance(1.0)
        self.source.cut()
        self.source.advance(12.0)
        self.assertEqual(self.tree(self.target, "/copy"), {})

    def test_half_made(self) -> None:
        """A copy that was killed before it was the same for the first time is gone on with."""
        self.target = MemoryMachine(FakeReplica(self.clock), latency_seconds=0.05)
        self.addCleanup(self.target.__exit__, None, None, None)
        self.put("/app/d/b", "2")
        self.start()
        while not any("/copy/" in target for _, target in self.target.requests):
            self.target.advance(0.01)
        self.stop()
        self.put("/app/e", "3")
        self.start()
        self.assertSame()

    def test_source_that_began_anew(self) -> None:
        """It does not go on with a source that has lost changes, which the copy has, as etcd's id may be the same."""
        for number in range(5):
            self.put("/app/a", str(number))
        self.start()
        self.source.advance(2.0)
        self.stop()
        self.source = MemoryMachine(FakeReplica(self.clock))
        self.addCleanup(self.source.__exit__, None, None, None)
        self.put("/app/a", "new")
        running = self.start()
        self.source.advance(2.0)
        error = self.failureResultOf(running, CommandFailedError).value
        self.assertIn("has the changes up to index 6, and the source is at index 2 only", str(error))
        self.assertEqual(self.tree(self.target, "/copy"), {"/a": ("4", False)})
        self.start(resync=True)
        self.source.advance(2.0)
        self.assertEqual(self.tree(self.target, "/copy"), {"/a": ("new", False)})

    def test_lag(self) -> None:
        """It grows while the target does not answer, or the source, and is none while all is quiet."""
        self.put("/app/a", "1")
        self.start()
        self.source.advance(5.0)
        self.assertEqual(self.mirror.lag.seconds, 0.0)
        self.target.cut()
        self.put("/app/a", "2")
        self.source.advance(20.0)
        self.assertGreater(self.mirror.lag.seconds, 15.0)
        self.target.heal()
        self.source.advance(10.0)
        self.assertEqual(self.mirror.lag.seconds, 0.0)
        self.source.cut()
        self.source.advance(20.0)
        self.assertGreater(self.mirror.lag.seconds, 15.0)
        text = Metrics(self.mirror.lag).text().decode()
        self.assertIn('txetcdctl_mirror_changes_total{action="set"} 1.0\n', text)
        self.assertRegex(text, r"\ntxetcdctl_mirror_lag_seconds [12]\d\.")
        self.assertIn("\ntxetcdctl_mirror_applied_index 3.0\n", text)

    @settings(max_examples=examples(100))
    @given(st.lists(_steps, max_size=12))
    def test_same_at_the_end(self, steps: list[Any]) -> None:
        """Whatever happens."""
        self.setUp()
        self.start()
        for name, *arguments in steps:
            getattr(self, f"do_{name}")(*arguments)
        try:
            self.assertSame()
        finally:
            self.stop()

    def do_set(self, key: str, value: str, ttl_seconds: int | None) -> None:
        self.change(lambda client: client.set(key, value, ttl_seconds=ttl_seconds))

    def do_mkdir(self, key: str, _: str, ttl_seconds: int | None) -> None:
        self.change(lambda client: client.make_directory(key, ttl_seconds=ttl_seconds))

    def do_remove(self, key: str) -> None:
        self.change(lambda client: client.remove_directory(key, recursive=True))

    def do_refresh(self, key: str) -> None:
        # A key that gets its first TTL so has none in the copy, since nobody can know. It expires there all the same.
        if not self.tree(self.source, "/app").get(key.removeprefix("/app"), ("", False))[1]:
            return
        self.change(lambda client: client.refresh(key, 30))

    def do_wait(self, seconds: float) -> None:
        self.source.advance(seconds)

    def do_flood(self) -> None:
        for number in range(8):
            self.source.replica.put("/else", str(number))

    def do_lose(self, which: str) -> None:
        (self.source if which == "source" else self.target).cut()

    def do_restart(self) -> None:
        self.stop()
        self.start()

    def change(self, request: Any) -> None:
        """Has somebody change the source, who reaches it while the mirror may not."""
        reachable, self.source.reachable = self.source.reachable, True
        changing = request(self.source.client())
        changing.addErrback(lambda _: None)  # such as a directory that is there
        self.source.result_of(changing)
        self.source.reachable = reachable


class V3CopyTests(SynchronousTestCase):
    """What is sent to version 3 of the API."""

    def test_sizes(self) -> None:
        """A transaction has no more keys, and no more bytes, than etcd takes, and one that is larger comes alone."""

        class FakeGateway:
            def __init__(self) -> None:
                self.transactions: list[list[str]] = []

            async def transact(self, operations: list[dict[str, Any]]) -> None:
                self.transactions.append([decoded(each["requestPut"]["key"]) for each in operations])

        gateway = FakeGateway()
        copy = V3Copy(Clock(), gateway, "/")  # type: ignore[arg-type]
        values = {"/a": 10, "/b": BYTES_AT_ONCE * 2, "/c": BYTES_AT_ONCE // 2, "/d": BYTES_AT_ONCE // 2, "/e": 1}
        values |= {f"/{number}": 1 for number in range(OPERATIONS_AT_ONCE)}
        self.successResultOf(
            Deferred.fromCoroutine(copy.put_all((key, "x" * size, None) for key, size in values.items()))
        )
        self.assertEqual([key for each in gateway.transactions for key in each], list(values))
        self.assertEqual([len(each) for each in gateway.transactions], [1, 1, 1, OPERATIONS_AT_ONCE, 2])

    def test_refused(self) -> None:
        """What can't be set is named."""

        class FakeGateway:
            async def transact(self, _: list[dict[str, Any]]) -> None:
                raise CommandFailedError("too large", SERVER_ERROR)

        copy = V3Copy(Clock(), FakeGateway(), "/")  # type: ignore[arg-type]
        for keys, text in ((["/a"], "can't set /a: too large"), (["/a", "/b"], "can't set /a, or one of 1 others: ")):
            putting = Deferred.fromCoroutine(copy.put_all((key, "x", None) for key in keys))
            self.assertIn(text, str(self.failureResultOf(putting, CommandFailedError).value))

    def test_too_large(self) -> None:
        """What is larger than etcd takes is refused, and not sent again and again."""
        gateway = Gateway(Clock(), ["http://127.0.0.1:1"], Tls(), None)
        body = b'{"error":"grpc: received message larger than max (3804322 vs. 2097152)","code":8}'
        with self.assertRaises(CommandFailedError):
            gateway._reason(429, body, "http://127.0.0.1:1")
        self.assertEqual(gateway._reason(429, b'{"error":"too many requests"}', ""), "too many requests")


class ObservedTests(MirrorTest):
    """A mirror is told of."""

    def observed(self, **changes: Any) -> "Deferred[None]":
        options = Options(Move("/app", "/copy"), Settings(), False, False, False, False, 2.0, None, None, True)
        mirror = Mirror(self.source.client(), V2Copy(self.target.client(), "/copy"), options.move, self.said.append)
        return Deferred.fromCoroutine(_observed(mirror, attrs.evolve(options, **changes), self.clock))

    def test_metrics_file(self) -> None:
        """A file that can't be written ends it, at the beginning or later."""
        error = self.failureResultOf(self.observed(metrics_file=Path("/none/x")), CommandFailedError).value
        self.assertIn("--metrics-file: can't write /none/x.partial", str(error))
        directory = Path(self.mktemp())
        directory.mkdir()
        running = self.observed(metrics_file=directory / "x")
        self.source.advance(3.0)
        self.assertIn(b"lag_seconds", (directory / "x").read_bytes())
        (directory / "x").unlink()
        directory.rmdir()
        self.source.advance(3.0)
        self.failureResultOf(running, CommandFailedError)

    def test_metrics_port(self) -> None:
        """One that is taken is named."""

        def listen(port: int, *_: Any, **__: Any) -> None:
            raise CannotListenError("127.0.0.1", port, OSError(98, "Address already in use"))

        self.clock.listenTCP = listen  # type: ignore[attr-defined]
        error = self.failureResultOf(self.observed(metrics_port=9105), CommandFailedError).value
        self.assertRegex(str(error), "^--metrics-port: .*9105.*in use")


class LeasesTests(SynchronousTestCase):
    """Keys expire, are extended, and are removed."""

    def test_leases(self) -> None:
        leases = Leases()
        self.assertIsNone(leases.next_look())
        for key, expires_at in (("/a", 10.0), ("/b", 5.0), ("/a", 20.0), ("/c", 7.0), ("/d", 8.0)):
            leases.set(key, expires_at)
        leases.set("/c", None)
        leases.remove("/d")
        self.assertEqual((leases.next_look(), len(leases)), (5.0 + LOOK_SECONDS, 2))
        self.assertIsNone(leases.overdue(5.0))
        self.assertEqual([leases.overdue(6.0), leases.overdue(6.0), leases.overdue(30.0)], ["/b", None, "/a"])
        self.assertEqual((leases.next_look(), len(leases)), (None, 0))


class NameTests(SynchronousTestCase):
    """Keys become names, and texts of version 3."""

    @given(st.lists(st.text("a/~0", max_size=6), min_size=2, max_size=2))
    def test_names(self, directories: list[str]) -> None:
        """Other directories have other names."""
        first, second = (f"/{directory.strip('/')}" for directory in directories)
        self.assertEqual(name_of(first) == name_of(second), first == second)
        self.assertNotIn("/", name_of(first))

    @given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
    def test_ranges(self, prefix: str, text: str) -> None:
        """A range has what begins with the prefix, and nothing else."""
        self.assertEqual(decoded(encoded(text)), text)
        end, key = base64.b64decode(end_of(prefix)), (prefix + text).encode()
        self.assertTrue(prefix.encode() <= key and (key < end or end == b"\0"))
        if not text.startswith(prefix) and prefix:
            self.assertFalse(prefix.encode() <= text.encode() < end)
