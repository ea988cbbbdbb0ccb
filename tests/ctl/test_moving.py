"""
The commands that save keys and write them elsewhere: C{export} and C{import}.
"""

import contextlib
import fcntl
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client.messages import Request
from etcd_twisted.ctl.export_format import ExportWriter, Header, NodeRecord, Record, RoleRecord, UserRecord
from etcd_twisted.ctl.import_state import ImportState
from etcd_twisted.ctl.import_writer import ImportWriter
from etcd_twisted.ctl.session import Action
from etcd_twisted.ctl.settings import Settings
from etcd_twisted.ctl.sources import Expiry
from etcd_twisted.ctl.subtree import Move, is_within
from etcd_twisted.testing.memory_machine import MemoryMachine
from tests import examples
from tests.ctl.commands import CommandTest, captured

Tree = dict[str, tuple[str | None, float | None]]
"""The value of each key, C{None} for a directory, and when it expires."""


class MoveTests(SynchronousTestCase):
    """Keys get another directory."""

    def test_moved(self) -> None:
        for source, target, key, moved in (
            ("/", "/", "/a", "/a"),
            ("/", "/copy", "/a/b", "/copy/a/b"),
            ("/", "/copy", "/", "/copy"),
            ("/app", "/", "/app/a", "/a"),
            ("/app", "/", "/app", "/"),
            ("app/", "copy//x", "/app/a", "/copy/x/a"),
            ("/app", "/copy", "/app", "/copy"),
            ("/app", "/copy", "/apple", None),
            ("/app", "/copy", "/b", None),
        ):
            self.assertEqual(Move(source, target).moved(key), moved, (source, target, key))

    _paths = st.lists(st.sampled_from("ab"), max_size=4).map(lambda parts: "/" + "/".join(parts))

    @given(_paths, _paths, _paths)
    def test_back(self, source: str, target: str, key: str) -> None:
        """What is moved there and back is where it was."""
        moved = Move(source, target).moved(key)
        self.assertEqual(moved is not None, is_within(key, source))
        if moved is not None:
            self.assertEqual(Move(target, source).moved(moved), key)


class LeasedDirectoryTests(SynchronousTestCase):
    """An import, with a target that answers when a test says so."""

    def test_what_is_in_a_leased_directory_comes_after_it(self) -> None:
        """A write of it would make the directory without its TTL. Other directories are not waited for."""
        sent: list[tuple[str, Deferred[bool]]] = []

        def send(request: Request) -> "Deferred[bool]":
            sent.append((request.target, Deferred()))
            return sent[-1][1]

        state = ImportState(None, "source", "cluster", "/", "/", 0.0)
        client, bulk = SimpleNamespace(reactor=Clock()), SimpleNamespace(send=send)
        writer = ImportWriter(client, bulk, state, Move("/", "/"), False, 10, lambda _: None)  # type: ignore[arg-type]
        records = [
            NodeRecord("/a", None),
            NodeRecord("/a/x", "1"),
            NodeRecord("/b", None, 1_000.0),
            NodeRecord("/b/x", "1", 500.0),
            NodeRecord("/b/y", "1"),
        ]
        writing = ensureDeferred(writer.write(iter(records)))
        names = [f"/v2/keys{record.key}" for record in records]
        self.assertEqual([target for target, _ in sent], names[:3])
        sent[0][1].callback(True)
        self.assertEqual([target for target, _ in sent], names[:3])
        sent[2][1].callback(True)
        self.assertEqual([target for target, _ in sent], names)
        for _, made in (sent[1], *sent[3:]):
            made.callback(True)
        self.successResultOf(writing)
        self.assertEqual(state.position, len(records))


class ExpiryTests(SynchronousTestCase):
    """Nodes come as a source has them."""

    def test_hidden(self) -> None:
        """What is hidden comes last, and expires with a directory that came long before."""
        expiry = Expiry()
        records = [
            NodeRecord("/a", None, 5.0),
            NodeRecord("/a/b", None, 4.0),
            NodeRecord("/b", None),
            NodeRecord("/b/c", "x", 5.0),
            NodeRecord("/a/_h", "x", 20.0),
            NodeRecord("/b/c/_h", "x"),
            NodeRecord("/ab/_h", "x"),
        ]
        self.assertEqual(
            [expiry.is_over(each, 10.0) for each in records], [True, True, False, True, True, False, False]
        )

    def test_directories(self) -> None:
        """What is in a directory expires with it, and its sisters don't."""
        expiry = Expiry()
        for key, value, expires_at, is_over in (
            ("/a", "x", 10.0, True),
            ("/ab", "x", 11.0, False),
            ("/d", None, 10.0, True),
            ("/d/e", None, None, True),
            ("/d/e/f", "x", None, True),
            ("/d/g", "x", 99.0, True),
            ("/dd", "x", None, False),
            ("/d0", None, 99.0, False),
            ("/d0/x", "x", 1.0, True),
            ("/d0/y", "x", None, False),
        ):
            self.assertEqual(expiry.is_over(NodeRecord(key, value, expires_at), 10.0), is_over, key)


class MovingTest(CommandTest):
    """The file is in a directory of the test's own."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.file = str(self.directory / "keys.jsonl")

    def another_machine(self, latency_seconds: float = 0.0) -> None:
        """From now on, another machine is asked, by the same clock."""
        now = self.machine.clock.seconds()
        self.machine = MemoryMachine(latency_seconds=latency_seconds)
        self.addCleanup(self.machine.__exit__, None, None, None)
        self.machine.advance(now)

    def run_action(self, settings: Settings, action: Action[Any]) -> Any:
        """Returns what an action returns, which may take long."""
        self.settings = settings
        return self.machine.result_of(ensureDeferred(action(self.machine.client())), 400.0)  # type: ignore[arg-type]

    def tree(self) -> Tree:
        """Returns what there is."""
        reading = self.machine.result_of(self.machine.client().list("/", recursive=True))
        return {node.key: (node.value, node.expires_at) for node in reading.node.walk() if node.key != "/"}

    def fill(self) -> None:
        """Has the machine hold something of everything."""
        for arguments in (
            ("set", "/message", "Hello\nworld ☃"),
            ("set", "/empty", ""),
            ("set", "--ttl", "500", "/leased", "x"),
            ("set", "/dir/sub/a+b?c#d%", "odd"),
            ("mkdir", "/dir/none"),
            ("mkdir", "--ttl", "900", "/session"),
            ("set", "/session/a", "1"),
            ("set", "/_hidden/a", "secret"),
        ):
            self.type(*arguments)

    def saved(self, *records: Record, header: Header | None = None) -> str:
        """Writes a file, and returns where it is."""
        with Path(self.file).open("wb") as file:
            writer = ExportWriter(file, header or Header("/", 7, 0.0))
            for record in records:
                writer.write(record)
            writer.finish()
        return self.file

    def lines(self) -> list[Any]:
        """Returns the lines of the file."""
        return [json.loads(line) for line in Path(self.file).read_text().splitlines()]


class ExportTests(MovingTest):
    """A machine in memory is exported."""

    def test_lines(self) -> None:
        """They begin with the index, and have each node that is not hidden."""
        self.fill()
        outcome = self.type("export", "--file", self.file)
        self.assertEqual((outcome.status, outcome.output, outcome.errors), (0, "Exported 9 records\n", ""))
        header, *records, end = self.lines()
        self.assertEqual((header["format"], header["prefix"], header["index"]), ("txetcdctl-export", "/", 9))
        self.assertEqual(
            {record["key"]: record.get("value") for record in records}, {k: v for k, (v, _) in self.tree().items()}
        )
        self.assertEqual(end["records"], 9)
        self.assertEqual(list(self.directory.iterdir()), [Path(self.file)])

    def test_standard_output(self) -> None:
        """Without a file, the lines go there."""
        self.fill()
        self.type("export", "--file", self.file, "/dir")
        outcome = self.type("export", "dir/")
        self.assertEqual(outcome.output.splitlines()[1:], Path(self.file).read_text().splitlines()[1:])

    def test_quorum(self) -> None:
        """It is read with one, unless that can't be had."""
        for arguments, query in (((), "recursive=true&quorum=true"), (("--no-quorum",), "recursive=true")):
            self.type("export", *arguments)
            self.assertIn(("GET", f"/v2/keys/?{query}"), self.machine.requests)

    def test_hidden(self) -> None:
        """They are exported by name."""
        self.fill()
        self.type("export", "--file", self.file, "--hidden", "/_hidden")
        self.assertIn("/_hidden/a", [line.get("key") for line in self.lines()])
        self.assertFails(1, "--hidden /_hidden is not below /dir", "export", "--hidden", "/_hidden", "/dir")
        self.assertFails(4, "100: Key not found (/_none)", "export", "-f", self.file + "2", "--hidden", "/_none")

    def test_mistakes(self) -> None:
        """A file that can't be written, or a key that is not there, leaves what was there as it was."""
        Path(self.file).write_text("before")
        self.assertFails(4, "100: Key not found (/none)", "export", "-f", self.file, "/none")
        self.assertEqual(Path(self.file).read_text(), "before")
        self.assertFails(1, "No such file or directory", "export", "-f", f"{self.directory}/none/keys.jsonl")
        self.assertFails(1, f"{self.directory} is no file", "export", "-f", str(self.directory))
        self.assertEqual(list(self.directory.iterdir()), [Path(self.file)])

    def test_modes(self) -> None:
        """Only the owner may read a new file. An old one keeps its mode, and a link to it stays one."""
        link = self.directory / "link"
        link.symlink_to("keys.jsonl")
        for mode in (0o600, 0o640):
            self.type("export", "-f", str(link))
            self.assertEqual(Path(self.file).stat().st_mode & 0o777, mode)
            self.assertTrue(link.is_symlink())
            Path(self.file).chmod(0o640)

    def test_full_output(self) -> None:
        """An output that takes nothing is no fault of this program."""
        with open("/dev/full", "w") as full:
            outcome = captured(self, ("export",), b"", {}, self.run_action, lambda *_: (None, 0.0), full)
            self.assertEqual(outcome.status, 1)
            self.assertIn("can't write to the standard output: No space left on device", outcome.errors)
            with contextlib.suppress(OSError):
                full.close()

    def test_two_at_once(self) -> None:
        """Two exports don't write into one file. What one that was killed has left is not in the way."""
        partial = Path(f"{self.file}.partial")
        partial.write_text("left by another")
        with partial.open("rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            self.assertFails(1, "keys.jsonl is being written by another process", "export", "-f", self.file)
        self.assertEqual(partial.read_text(), "left by another")
        self.type("export", "-f", self.file)
        self.assertIn("end", self.lines()[-1])
        self.assertEqual(list(self.directory.iterdir()), [Path(self.file)])


class ImportTests(MovingTest):
    """A file is imported into a machine in memory."""

    def test_round_trip(self) -> None:
        """The other machine has the same keys, directories and TTLs."""
        self.fill()
        before = self.tree()
        self.type("export", "--hidden", "/_hidden", "-f", self.file)
        self.another_machine()
        self.assertRegex(self.printed("import", self.file), r"^Imported 11 keys and directories in \d+\.\d s\n$")
        self.assertEqual(self.tree().keys(), before.keys())
        for key, (value, expires_at) in self.tree().items():
            self.assertEqual(value, before[key][0])
            self.assertEqual(expires_at is None, before[key][1] is None)
            self.assertLessEqual(abs((expires_at or 0.0) - (before[key][1] or 0.0)), 1.1)
        self.assertEqual(self.printed("get", "/_hidden/a"), "secret\n")
        self.assertEqual(list(self.directory.iterdir()), [Path(self.file)])

    def test_pipe(self) -> None:
        """The standard input is imported, into another directory."""
        self.fill()
        data = self.type("export", "/dir").output.encode()
        summary = self.printed("-o", "json", "import", "--to", "/copy", "-", stdin=data)
        self.assertEqual(json.loads(summary), {"written": 4, "expired": 0, "users": 0, "randomPasswords": []})
        self.assertEqual(self.printed("get", "/copy/sub/a+b?c#d%"), "odd\n")
        cut = data[: data.index(b'{"end"')]
        self.assertFails(
            1, "the standard input, line 6: the file is cut off here", "import", "--to", "/c", "-", stdin=cut
        )

    def test_users(self) -> None:
        """They come without their passwords, which a file may give, and can be imported twice."""
        self.printed("user", "add", "alice:one")
        self.printed("user", "add", "bob:two")
        self.printed("role", "add", "ops")
        self.printed("role", "grant", "ops", "--path", "/app/*", "--readwrite")
        self.printed("user", "grant", "alice", "--roles", "ops")
        exported = self.printed("export", "--users", "--file", self.file)
        self.assertIn("passwords are not among them", exported)
        self.assertNotIn("one", Path(self.file).read_text())
        self.another_machine()
        passwords = self.directory / "passwords"
        passwords.write_text("alice:another\n")
        arguments = ("import", "--users", "--passwords", str(passwords), self.file)
        self.assertIn("User bob has a random password, since the file has none", self.printed(*arguments))
        self.assertNotIn("random password", self.printed(*arguments))
        auth = self.machine.client().auth
        users = self.machine.result_of(auth.users())
        self.assertEqual([(user.name, user.roles) for user in users], [("alice", ("ops",)), ("bob", ())])
        role = self.machine.result_of(auth.role("ops"))
        self.assertEqual((role.read, role.write), (("/app/*",), ("/app/*",)))

    def test_part(self) -> None:
        """Only what is in a directory is imported."""
        self.fill()
        self.type("export", "-f", self.file)
        self.printed("import", "--from", "/session", "--to", "/copy", self.file)
        message = f"there is nothing in /sess of {self.file}, which has /"
        self.assertFails(1, message, "import", "--from", "/sess", "--to", "/x", self.file)
        self.assertFails(4, "/x", "get", "/x")
        self.assertEqual(list(self.directory.iterdir()), [Path(self.file)])
        self.assertEqual(self.printed("ls", "-r", "/copy"), "/copy/a\n")

    def test_listing(self) -> None:
        """A listing of etcd, whose root has no key."""
        listing = {"action": "get", "node": {"dir": True, "nodes": [{"key": "/a", "value": "x"}]}}
        Path(self.file).write_text(json.dumps(listing))
        self.printed("import", self.file)
        self.assertEqual(self.printed("get", "/a"), "x\n")

    def test_expired(self) -> None:
        """What has expired meanwhile is left out, with everything in it."""
        self.machine.advance(100.0)
        self.saved(
            NodeRecord("/a", "x", 90.0),
            NodeRecord("/d", None, 99.0),
            NodeRecord("/d/a", "x"),
            NodeRecord("/dd", "x", 150.5),
        )
        printed = self.printed("import", self.file)
        self.assertRegex(printed, r"^Imported 1 keys and directories in .* s; 3 have expired meanwhile\n$")
        self.assertEqual(self.tree(), {"/dd": ("x", 151.0)})

    def test_dry_run(self) -> None:
        """It tells what there is, and writes nothing."""
        self.saved(
            RoleRecord("ops", ("/*",), ()),
            UserRecord("alice", ("ops",)),
            NodeRecord("/d", None, 99.0),
            NodeRecord("/d/a", "x"),
            NodeRecord("/b", "x", 4e9),
        )
        self.printed("set", "/b", "old")
        self.assertEqual(
            self.printed("import", "--dry-run", self.file),
            "Exported from / at index 7 (an old server)\n2 keys and 1 directories, 2 of them with a TTL\n"
            "2 have expired, and would not be imported\n1 roles and 1 users, which --users imports\n"
            "/ has keys already, such as /b: refused\nNothing was written.\n",
        )
        fields = json.loads(self.printed("-o", "json", "import", "--dry-run", self.file))
        self.assertEqual(
            (fields["keys"], fields["expired"], fields["users"], fields["there"]), (2, 2, ["alice"], "/b")
        )
        self.assertEqual(list(self.tree()), ["/b"])
        self.assertEqual(list(self.directory.iterdir()), [Path(self.file)])

    @settings(max_examples=examples(20))
    @given(st.lists(st.integers(0, 30), min_size=1, max_size=3), st.integers(1, 8))
    def test_interruptions(self, cuts: list[int], in_flight: int) -> None:
        """
        However often the machine is lost meanwhile, an import that is run again goes on, and the keys are those of the
        file at the end. What was certainly written is not sent again.
        """
        self.setUp()
        self.another_machine(0.05)
        self.saved(*(NodeRecord(f"/{n % 5}/{n}", str(n), 900.0 if n % 3 else None) for n in range(20)))
        arguments = ("import", "--in-flight", str(in_flight), self.file)
        for cut in cuts:
            latest = len(self.machine.requests) + cut

            def lose(latest: int = latest) -> None:
                if self.machine.reachable and len(self.machine.requests) >= latest:
                    self.machine.cut()

            self.machine.after_step = lose
            outcome = self.type(*arguments)
            self.assertIn(outcome.status, (0, 2, 4), outcome.errors)
            self.machine.after_step = lambda: None
            self.machine.heal()
            if outcome.status == 0:
                break
        else:
            self.printed(*arguments)
        expected = {f"/{n % 5}/{n}": str(n) for n in range(20)} | {f"/{n}": None for n in range(5)}
        self.assertEqual({key: value for key, (value, _) in self.tree().items()}, expected)
        self.assertEqual(list(self.directory.iterdir()), [Path(self.file)])

    def test_other_writers(self) -> None:
        """An import that goes on does not overwrite what somebody else has written meanwhile."""
        self.another_machine(0.05)
        self.saved(*(NodeRecord(f"/{n}", str(n)) for n in range(9)))
        self.machine.after_step = lambda: len(self.machine.requests) > 4 and self.machine.cut()
        self.assertNotEqual(self.type("import", "--in-flight", "1", self.file).status, 0)
        self.machine.after_step = lambda: None
        self.machine.heal()
        self.printed("set", "/8", "theirs")
        self.assertFails(4, "can't write /8: it has another value there", "import", self.file)
        self.assertEqual(self.printed("get", "/8"), "theirs\n")

    def test_state_of_another_import(self) -> None:
        """It is refused: it is of another file, another directory, or another cluster."""
        state = Path(f"{self.file}.import-state")
        self.saved(NodeRecord("/a", "x"))
        digest = hashlib.sha256(Path(self.file).read_bytes()).hexdigest()
        fields = {"source": digest, "cluster": "", "target": "/", "started": 0.0, "position": 0, "directory": "/"}
        for name, value, text in (
            ("source", "other", "is of the import of another file"),
            ("target", "/other", "into another directory (/other)"),
            ("directory", "/other", "is of an import of another directory (/other)"),
            ("cluster", "beef", "is of an import into another cluster (beef)"),
            ("position", "x", "can't be read"),
        ):
            state.write_text(json.dumps(fields | {name: value}))
            self.assertFails(1, text, "import", self.file)
            self.assertFails(1, f"Error:  {state} ", "import", self.file)
            self.assertFails(1, "; remove it to begin a new import", "import", self.file)

    def interrupted(self, position: int) -> None:
        """Leaves the state of an import of the file that has not ended."""
        digest = hashlib.sha256(Path(self.file).read_bytes()).hexdigest()
        cluster = self.machine.replica.cluster_id
        fields = {"source": digest, "cluster": cluster, "directory": "/", "target": "/", "started": 0.0}
        Path(f"{self.file}.import-state").write_text(json.dumps(fields | {"position": position}))

    def test_emptied_cluster(self) -> None:
        """An import does not go on in a cluster that has lost what was written."""
        self.saved(*(NodeRecord(f"/{n}", str(n)) for n in range(9)))
        self.interrupted(5)
        self.printed("import", self.file)
        self.assertEqual(len(self.tree()), 9)

    def test_directory_of_others(self) -> None:
        """One that somebody else has made is not removed since the one of the file has expired."""
        self.machine.advance(100.0)
        self.saved(NodeRecord("/d", None, 90.0), NodeRecord("/d/a", "x"), NodeRecord("/e", "x"))
        self.interrupted(0)
        self.printed("set", "/d/theirs", "x")
        self.type("import", self.file)
        self.assertEqual(self.tree().keys(), {"/d", "/d/theirs", "/e"})

    def test_mistakes(self) -> None:
        """Each gets a line that helps."""
        self.assertFails(1, "can't read none.jsonl: No such file or directory", "import", "none.jsonl")
        self.assertFails(1, "is no file: write - for the standard input", "import", "/dev/null")
        Path(self.file).write_text("hello")
        self.assertFails(1, "neither a file of txetcdctl export nor a listing", "import", self.file)
        self.saved(NodeRecord("/a", "x"))
        data = Path(self.file).read_bytes()
        Path(self.file).write_bytes(data.replace(b'"x"', b'"y"'))
        self.assertFails(1, "keys.jsonl, line 3: the file was changed since it was written", "import", self.file)
        self.assertEqual(self.tree(), {})
        Path(self.file).write_bytes(data)
        self.assertFails(1, "--passwords is for --users", "import", "--passwords", self.file, self.file)
        self.assertFails(1, "0 is not in the range", "import", "--in-flight", "0", self.file)
        self.assertFails(1, "can't write /none/state.partial", "import", "--state", "/none/state", self.file)

    def test_keys_that_are_there(self) -> None:
        """They are not touched, unless that is wanted."""
        self.saved(NodeRecord("/app/a", "new"), NodeRecord("/app/b", "new"))
        self.printed("set", "/app/a", "old")
        self.assertFails(
            4, "/ has keys already, such as /app: choose another directory with --to", "import", self.file
        )
        self.printed("import", "--to", "/copy", self.file)
        self.printed("import", "--overwrite", self.file)
        self.assertEqual(self.printed("get", "/app/a"), "new\n")
        self.assertEqual(self.printed("get", "/copy/app/a"), "new\n")

    def test_directories_that_are_there(self) -> None:
        """Values don't replace them, nor they values."""
        self.saved(NodeRecord("/a", "x"))
        self.printed("set", "/a/b", "old")
        self.assertFails(4, "can't write /a: /a is in the way", "import", "--overwrite", self.file)
        self.saved(NodeRecord("/a/b", None))
        Path(f"{self.file}.import-state").unlink()
        self.assertFails(4, "can't write /a/b: it is a key with a value there", "import", "--overwrite", self.file)

    def test_ttls_of_directories(self) -> None:
        """They are those of the file, also of directories that are there."""
        self.saved(NodeRecord("/a", None, 700.0), NodeRecord("/b", None, None), NodeRecord("/b/c", "x", 900.0))
        self.printed("mkdir", "--ttl", "5", "/a")
        self.printed("mkdir", "--ttl", "5", "/b")
        self.printed("import", "--overwrite", self.file)
        self.assertEqual({k: e for k, (_, e) in self.tree().items()}, {"/a": 700.0, "/b": None, "/b/c": 900.0})
