"""
Tests of files of a data directory that are missing, foreign, older or empty, in every combination: each is refused
with what is wrong, or recovered with all that was acknowledged.
"""

import itertools
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, HardState, Record
from etcd_twisted.consensus.recovery import Recovered, come_back, enter_cluster, found_cluster, found_together
from etcd_twisted.consensus.storage import removed_files
from etcd_twisted.consensus.storage.data_directory import Identity
from etcd_twisted.consensus.storage.hard_state import State, StateFile
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.errors import StorageError
from etcd_twisted.keyspace.commands import Set, encode_command
from etcd_twisted.testing.simulation.disk import CrashError, Disk
from etcd_twisted.testing.simulation.disks import Disks
from tests import examples
from tests.consensus.directories import (
    HARD_STATE,
    LAST,
    NEWER,
    OLDER,
    SNAPSHOT,
    Pieces,
    listing,
    make_pieces,
    recovered,
    refused_or_recovered,
    started,
    storage_with_small_segments,
    take_snapshot,
)
from tests.consensus.machine import MEMBER
from tests.consensus.storage.logs import frame_offsets

OWN = Identity("machine0", "0" * 16, "1" * 16)
OTHER = Identity("machine0", "2" * 16, "3" * 16)

IDENTITIES = ("own", "missing", "foreign", "empty")
STATES = ("own", "missing", "foreign", "stale", "empty")
LOGS = (
    "whole",
    "compacted",
    "missing",
    "first missing",
    "middle missing",
    "last missing",
    "last empty",
    "middle foreign",
    "foreign",
)
SNAPSHOTS = ("newest", "missing", "older", "newer", "foreign", "empty")

Combination = tuple[str, str, str, str]

NO_IDENTITY = "no identity.json: restore that file from a backup"
FOREIGN = "one of them is from another data directory"
GAP = "what is between them is missing"

WORDS = {
    "identity": {"empty": "identity.json is damaged"},
    "state": {"empty": "state.json is damaged"},
    "log": {
        "missing": "the log is gone",
        "middle missing": "is missing, although there are segments before and behind it",
        "middle foreign": FOREIGN,
        "last missing": "is missing or empty, although this machine has written to it",
        "last empty": "is missing or empty, although this machine has written to it",
    },
    "snapshot": {"empty": ".snapshot is damaged at byte 0"},
}


def reasons(identity: str, state: str, log: str, snapshot: str) -> set[str]:
    """
    Returns the reasons why a combination is refused, in the words of the errors, one of which is given; None if it is
    recovered.
    """
    found = {WORDS[kind].get(piece, "") for kind, piece in zip(WORDS, (identity, state, log, snapshot), strict=True)}
    if identity == "missing":
        if (state, log, snapshot) != ("missing", "missing", "missing"):
            found.add(NO_IDENTITY)
        else:
            found.clear()  # nothing shows that there was a machine
    if log in ("last missing", "last empty") and state in ("missing", "stale"):
        found -= {WORDS["log"][log]}  # what would show it is lost too
    if identity in ("own", "foreign"):
        owners = {state, log, snapshot} - {"missing", "empty"}
        if (identity == "own" and "foreign" in owners) or (identity == "foreign" and owners != {"foreign"}):
            found.add(FOREIGN)
        if identity == "foreign" and not owners:
            found.add(WORDS["log"]["missing"])
    reach = {"newest": SNAPSHOT, "older": OLDER, "newer": NEWER, "foreign": SNAPSHOT}.get(snapshot, 0)
    begins = {"whole": 0, "missing": 0, "first missing": SNAPSHOT + 1}.get(log, SNAPSHOT)
    if reach < begins:
        found.add(GAP)
    return found - {""}


class CombinationTests(SynchronousTestCase):
    """Tests with real files, put together from those of two machines."""

    def setUp(self) -> None:
        root = Path(self.mktemp())
        root.mkdir()
        self.own = make_pieces(root / "own", OWN)
        self.other = make_pieces(root / "other", OTHER)
        self.path = root / "data"
        self.assertGreaterEqual(len(self.own.segments), 4)

    def assemble(self, identity: str, state: str, log: str, snapshot: str) -> None:
        """Makes the directory."""
        shutil.rmtree(self.path, ignore_errors=True)
        for name in ("log", "snapshots"):
            (self.path / name).mkdir(parents=True)
        (self.path / "lock").write_bytes(b"123\n")
        self._put("identity.json", identity)
        self._put("state.json", state)
        self._put_log(log)
        self._put_snapshot(snapshot)

    def _put(self, name: str, which: str) -> None:
        if which == "stale":
            StateFile(self.path / name).save(State(OWN.machine_id, HardState(1, ""), 1))
        elif which == "empty":
            (self.path / name).write_bytes(b"")
        elif which != "missing":
            shutil.copy(self._machine(which).path / name, self.path / name)

    def _machine(self, which: str) -> Pieces:
        return self.other if which == "foreign" else self.own

    def _put_log(self, which: str) -> None:
        machine = self._machine(which)
        segments = sorted((machine.path / ("whole" if which == "whole" else "log")).iterdir())
        middle = len(segments) // 2
        left = {
            "missing": slice(0, 0),
            "first missing": slice(1, None),
            "last missing": slice(0, -1),
        }.get(which, slice(None))
        for segment in segments[left]:
            shutil.copy(segment, self.path / "log" / segment.name)
        target = self.path / "log" / segments[middle].name
        if which == "middle missing":
            target.unlink()
        elif which == "middle foreign":
            shutil.copy(self.other.path / "log" / target.name, target)
        elif which == "last empty":
            (self.path / "log" / segments[-1].name).write_bytes(b"")

    def _put_snapshot(self, which: str) -> None:
        index = {"older": OLDER, "newer": NEWER}.get(which, SNAPSHOT)
        source = self._machine(which).snapshot(index)
        target = self.path / "snapshots" / source.name
        if which == "empty":
            target.write_bytes(b"")
        elif which != "missing":
            shutil.copy(source, target)

    def test_every_combination_is_refused_or_recovered(self) -> None:
        """Every combination is refused or recovered, and the directory is left as it is in either case."""
        refused = accepted = 0
        combinations = list(itertools.product(IDENTITIES, STATES, LOGS, SNAPSHOTS))
        for combination in combinations:
            self.assemble(*combination)
            before = listing(self.path)
            expected = reasons(*combination)
            try:
                found, value = refused_or_recovered(self.path)
            except StorageError as error:
                refused += 1
                self.assertTrue(any(words in str(error) for words in expected), f"{combination}: {error}")
                self.assertNotIn("\n", str(error))
            else:
                accepted += 1
                self.assertEqual(expected, set(), combination)
                self._check_nothing_lost(combination, found.hard_state, value)
            self.assertEqual(listing(self.path), before, combination)
        self.assertEqual(refused + accepted, len(combinations))
        self.assertGreater(accepted, 10)

    def _check_nothing_lost(self, combination: Combination, hard_state: HardState, value: str) -> None:
        identity, state, log, snapshot = combination
        if identity == "missing":
            return  # the machine has begun anew
        if log in ("last missing", "last empty"):
            # Two files are lost, see docs/storage.md.
            self.assertIn(state, ("missing", "stale"))
            return
        self.assertEqual(value, str(NEWER if snapshot == "newer" else LAST), combination)
        self.assertEqual(hard_state, HARD_STATE, combination)

    def test_recovered_directory_is_recovered_again(self) -> None:
        """A recovered directory is itself recovered again, with what was missing in its place."""
        for combination in (
            ("own", "own", "compacted", "newest"),
            ("own", "missing", "compacted", "newest"),
            ("own", "stale", "whole", "missing"),
            ("own", "own", "whole", "older"),
            ("own", "own", "first missing", "newer"),
            ("own", "missing", "whole", "newer"),
        ):
            self.assemble(*combination)
            _, value = started(self.path)
            found, again = refused_or_recovered(self.path)
            self.assertEqual((again, found.hard_state), (value, HARD_STATE))
            state = StateFile(self.path / "state.json").load()
            assert state is not None
            newest = max(int(path.stem) for path in (self.path / "log").iterdir())
            self.assertEqual((state.hard_state, state.segment, state.machine_id), (HARD_STATE, newest, "0" * 16))

    def test_lost_end_of_the_log_does_not_lose_the_vote(self) -> None:
        """
        A newest segment that was cut between two records can't be told from one that ends there, nor one that was cut
        within a record from one whose append was interrupted. But the vote is not lost with it.
        """
        newest = self.own.segments[-1]
        for cut in (frame_offsets(newest)[1], frame_offsets(newest)[2] - 1):
            self.assemble("own", "own", "compacted", "newest")
            os.truncate(self.path / "log" / newest.name, cut)
            found, value = refused_or_recovered(self.path)
            self.assertNotEqual(value, str(LAST))
            self.assertEqual(found.hard_state, HARD_STATE)
            started(self.path)
            (self.path / "state.json").unlink()  # the log has the vote again
            self.assertEqual(refused_or_recovered(self.path)[0].hard_state, HARD_STATE)


class MutationTests(SynchronousTestCase):
    """Whatever becomes of some files, the start is refused with nothing changed, or nothing is missing."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()
        self.pieces = [make_pieces(self.root / name, who) for name, who in (("own", OWN), ("other", OTHER))]

    @settings(max_examples=examples(100), deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 99),
                st.sampled_from(["remove", "cut", "flip", "zeros", "longer", "swap", "another's"]),
                st.integers(0, 1 << 16),
            ),
            min_size=1,
            max_size=3,
        )
    )
    def test_any_mutation_is_refused_or_loses_nothing(self, mutations: list[tuple[int, str, int]]) -> None:
        path = self.root / "data"
        shutil.rmtree(path, ignore_errors=True)
        for name in ("log", "snapshots"):
            (path / name).mkdir(parents=True)
        own = self.pieces[0]
        for file in (*own.segments, own.path / "identity.json", own.path / "state.json", own.snapshot(SNAPSHOT)):
            shutil.copy(file, path / file.relative_to(own.path))
        files = sorted(file for file in path.rglob("*") if file.is_file())
        newest = path / own.segments[-1].relative_to(own.path)
        state = path / "state.json"
        touched = set()
        for number, kind, place in mutations:
            file = files[number % len(files)]
            touched |= self.mutate(path, file, files[place % len(files)], kind, place)
        before = listing(path)
        try:
            found, value = refused_or_recovered(path)
        except StorageError as error:
            self.assertNotIn("\n", str(error))
            self.assertEqual(listing(path), before)
            return
        self.assertEqual(listing(path), before)
        if found.identity is None:  # nothing shows that there was a machine
            self.assertEqual((value, found.log.last_index), ("", 0))
        elif newest not in touched:
            self.assertEqual((value, found.hard_state), (str(LAST), HARD_STATE))
        elif state not in touched:
            self.assertEqual(found.hard_state, HARD_STATE)

    def mutate(self, path: Path, file: Path, other: Path, kind: str, place: int) -> set[Path]:
        """Changes a file, if it is there, and returns which files were changed."""
        if not file.exists():
            return set()
        data = file.read_bytes()
        place %= len(data) + 1
        match kind:
            case "remove":
                file.unlink()
            case "cut":
                file.write_bytes(data[:place])
            case "flip":
                flipped = bytes(byte ^ 4 for byte in data[place : place + 1])
                file.write_bytes(data[:place] + flipped + data[place + 1 :])
            case "zeros":
                file.write_bytes(data[:place] + bytes(len(data) - place))
            case "longer":
                file.write_bytes(data + data[place:])
            case "swap" if other.exists():
                file.write_bytes(other.read_bytes())
                other.write_bytes(data)
                return {file, other}
            case "another's" if (theirs := self.pieces[1].path / file.relative_to(path)).exists():
                shutil.copy(theirs, file)
        return {file}


Start = Callable[[Storage, Recovered, Identity], None]
"""How a machine starts that is in no cluster yet."""


def found_alone(storage: Storage, found: Recovered, identity: Identity) -> None:
    found_cluster(storage, found, identity, MEMBER)


def found_with_others(storage: Storage, found: Recovered, identity: Identity) -> None:
    members = dict.fromkeys((identity.machine_id, "e" * 16, "f" * 16), MEMBER)
    found_together(storage, found, identity, Configuration(tuple(members), (), members))


class CrashTests(SynchronousTestCase):
    """A machine that crashes between any two changes of its disk is never refused for what it has not done yet."""

    def setUp(self) -> None:
        self.patch(removed_files, "FREED_BYTES", 50)

    def live(self, path: Path, start: Start, identity: Identity) -> None:
        """Begins or comes back, votes, writes, takes a snapshot, and gets a newer one from a leader."""
        with closing(storage_with_small_segments(path)) as storage:
            found = self.begin(storage, start, identity)
            log = storage.log
            term = found.hard_state.term + 1
            log.append(Record(HardState(term, "e" * 16), ()))
            for index in range(log.last_index + 1, log.last_index + 6):
                data = encode_command(Set("/key", index, str(index)))
                log.append(Record(None, (Entry(index, term, EntryKind.COMMAND, data),)))
            log.roll()
            for index, shorten in ((log.last_index - 1, log.compact), (log.last_index + 20, log.restart_after)):
                take_snapshot(storage, index, term)
                shorten(index)
                while storage.snapshots.removed.free_some() or log.removed.free_some():
                    pass

    def begin(self, storage: Storage, start: Start, identity: Identity) -> Recovered:
        found = recovered(storage)
        if found.identity is not None:
            come_back(storage, found)
        else:
            start(storage, found, identity)
        return found

    def check(self, start: Start, again: Start | None = None) -> int:
        """
        Crashes the machine at every call, restarts it, and crashes it there again; returns how many calls there were.

        @param again: how it starts after the first crash, if it is in no cluster yet; C{None} for as before.
        """
        again = again or start
        fuse, crashed = 0, True
        while crashed:
            disks = Disks(Random(fuse))
            self.addCleanup(disks.remove)
            disk = disks.disk("machine")
            with disks.installed():
                crashed = self.crash(disks, disk, fuse, start, OWN)
                if crashed:
                    self.crash(disks, disk, fuse % 7, again, OTHER)  # nobody remembers which machine it was
                with closing(storage_with_small_segments(disk.path)) as storage:
                    found = self.begin(storage, again, OTHER)
                    self.assertEqual(found.identity, storage.directory.load_identity())
                self.live(disk.path, again, OTHER)
                disks.close_all(disk)
            fuse += 1
        return fuse

    def crash(self, disks: Disks, disk: Disk, fuse: int, start: Start, identity: Identity) -> bool:
        """Runs the machine until that many calls are done, and returns whether it got that far."""
        disk.changes_until_crash = fuse
        try:
            self.live(disk.path, start, identity)
        except CrashError:
            disks.crash(disk)
            return True
        finally:
            disk.repair()
        disks.close_all(disk)
        return False

    def test_first_machine_may_crash_at_any_call(self) -> None:
        self.assertGreater(self.check(found_alone), 60)

    def test_joining_machine_may_crash_at_any_call(self) -> None:
        self.assertGreater(self.check(enter_cluster), 60)

    def test_machine_of_a_list_may_crash_at_any_call(self) -> None:
        self.assertGreater(self.check(found_with_others), 60)

    def test_interrupted_start_may_be_followed_by_another_one(self) -> None:
        """What the first start has left is void, as the machine took part in nothing."""
        for start, again in itertools.permutations((found_alone, found_with_others)):
            self.assertGreater(self.check(start, again), 60)


class EarlierVersionTests(SynchronousTestCase):
    """The directory was written by a version that had neither C{state.json} nor the owner of the files in them."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        shutil.copytree(Path(__file__).parent / "earlier_version", self.path)

    def test_earlier_version_starts(self) -> None:
        """The machine starts with all that it had, and from then on the state is kept."""
        found, value = started(self.path)
        self.assertEqual((value, found.hard_state), ("value24", HardState(2, "0" * 16)))
        state = StateFile(self.path / "state.json").load()
        self.assertEqual(state, State("0" * 16, HardState(2, "0" * 16), 3))
        self.assertEqual(started(self.path)[1], "value24")

    def test_missing_log_is_refused(self) -> None:
        for path in (self.path / "log").iterdir():
            path.unlink()
        before = listing(self.path)
        error = self.assertRaises(StorageError, refused_or_recovered, self.path)
        self.assertIn("the log is gone", str(error))
        self.assertEqual(listing(self.path), before)
