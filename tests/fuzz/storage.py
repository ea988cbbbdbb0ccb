"""
The data directory, damaged: each file of it flipped, cut off, swapped, gone, or made something that is no file.

A start is either refused in one line, and then nothing on the disk is another than before; or the machine serves
everything that was ever acknowledged. Only what can't be told apart from an append that was under way may be missing:
the end of the log.
"""

import atexit
import contextlib
import functools
import os
import resource
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import attrs
from hypothesis import strategies as st

from etcd_twisted.consensus.raft import log as raft_log
from etcd_twisted.consensus.storage import storage
from etcd_twisted.errors import StartError
from tests.cluster.machines import LifecycleMachine
from tests.consensus.cluster import Cluster
from tests.fuzz.target import Target

SEGMENT_BYTES = 400
SNAPSHOT_COUNT = 12
WRITES = 32
HUGE = 1 << 34
"""Bytes of a file that has none of them on the disk."""

MOST_MEMORY = 1 << 33
"""Bytes of address space that a start may take."""

_KEPT = 8
"""How many log entries stay beside a snapshot."""

_NAME = "machine1"
_LOCK = f"{_NAME}/lock"


@attrs.frozen
class Sample:
    """
    A directory that a machine has left.

    @ivar state: what its key space held after each write; the last one is all that was acknowledged.
    @ivar files: the paths in it of what it is made of.
    """

    path: Path
    state: list[bytes]
    files: list[str]


def _machine(cluster: Cluster) -> LifecycleMachine:
    machine = LifecycleMachine(cluster, 1, ())
    cluster.machines.append(machine)
    return machine


@contextlib.contextmanager
def _small_files() -> Iterator[None]:
    """Have many files in a small directory."""
    small = functools.partial(storage.WriteAheadLog, segment_bytes=SEGMENT_BYTES)
    with mock.patch.object(storage, "WriteAheadLog", small), mock.patch.object(raft_log, "TRAILING_ENTRIES", _KEPT):
        yield


@contextlib.contextmanager
def _little_memory() -> Iterator[None]:
    """Raise L{MemoryError} in what reads a huge file whole, and not have the computer do it."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _make(path: Path, prefix: str, crash: bool) -> Sample:
    """
    Have a machine write.

    @param crash: whether it was killed at the end.
    """
    path.mkdir(parents=True)
    cluster = Cluster(path, snapshot_count=SNAPSHOT_COUNT)
    machine = _machine(cluster)
    with _small_files():
        cluster.finish(machine.start())
        state = [machine.dumped()]
        for number in range(WRITES):
            cluster.finish(machine.set(f"/{prefix}{number % 7}", f"{prefix} {number} " + "x" * (number % 5 * 20)))
            state.append(machine.dumped())
            if number == WRITES // 2:
                shutil.copytree(path / _NAME, path / "left" / "earlier")
        cluster.run(0.5)
        left = path / "left" / _NAME
        if crash:
            shutil.copytree(path / _NAME, left)
        machine.stop()
        if not crash:
            shutil.copytree(path / _NAME, left)
    return Sample(left, state, [str(each.relative_to(left)) for each in sorted(left.rglob("*"))])


@functools.cache
def _samples() -> tuple[Sample, Sample, Sample]:
    """Of a machine that was stopped, of one that was killed, and of another machine; gone with the process."""
    root = Path(tempfile.mkdtemp(prefix="etcd_twisted-fuzz-"))
    atexit.register(shutil.rmtree, root)
    return _make(root / "stopped", "k", False), _make(root / "killed", "k", True), _make(root / "other", "o", False)


@attrs.frozen
class Damage:
    """
    One thing that is done to a directory.

    @ivar how: see L{_damage}.
    @ivar which: a number that says which file, whatever their number.
    @ivar where: a part of the file's length, of 1,000.
    @ivar much: how many bytes, or which other file.
    """

    how: str
    which: int
    where: int
    much: int


_CUTTING = ("cut off", "zero to the end", "remove", "earlier", "empty")
"""What the end of a log may look like that was being written, or that a disk has lost."""

_HOW = (
    *_CUTTING,
    *("flip", "flip", "flip", "zero", "extend", "double", "swap", "other"),
    *("directory", "link", "dangling", "pipe", "huge"),
)
_THOUSAND = st.integers(0, 1_000)
DAMAGES = st.builds(Damage, st.sampled_from(_HOW), st.integers(0, 63), _THOUSAND, st.integers(0, 63) | _THOUSAND)


def _damage(sample: Sample, path: Path, damage: Damage) -> str:
    """Do it to the copy of a sample; which file it was done to."""
    name = sample.files[damage.which % len(sample.files)]
    victim = path / name
    _change_content(victim, path / sample.files[damage.much % len(sample.files)], damage)
    match damage.how:
        case "other":
            _replace(victim, _samples()[2].path / name)
        case "earlier":
            _replace(victim, sample.path.parent / "earlier" / name)
        case "remove" | "directory" | "dangling" | "pipe" | "huge" | "link":
            _make_special(victim, damage.how, path.parent / "aside")
    return name


def _change_content(victim: Path, other: Path, damage: Damage) -> None:
    """Change the bytes of a file that has some."""
    if not victim.is_file() or victim.stat().st_size == HUGE or not (content := victim.read_bytes()):
        return
    at = len(content) * damage.where // 1_000
    match damage.how:
        case "flip":
            at = min(at, len(content) - 1)
            content = content[:at] + bytes([content[at] ^ (1 << damage.much % 8)]) + content[at + 1 :]
        case "zero":
            content = (content[:at] + bytes(damage.much) + content[at + damage.much :])[: len(content)]
        case "cut off":
            content = content[:at]
        case "zero to the end":
            content = content[:at] + bytes(len(content) - at)
        case "extend":
            content += (b"\xa5" if damage.where % 2 else b"\0") * damage.much
        case "double":
            content *= 2
        case "empty":
            content = b""
        case "swap" if other.is_file() and other.stat().st_size < HUGE:
            content, swapped = other.read_bytes(), content
            other.write_bytes(swapped)
    victim.write_bytes(content)


def _replace(victim: Path, source: Path) -> None:
    """Put another file in the place of one."""
    if source.is_file():
        _remove(victim)
        victim.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, victim)


def _make_special(victim: Path, how: str, aside: Path) -> None:
    """Put something that is no file in the place of one, or nothing."""
    if not victim.parent.is_dir():
        return  # an earlier damage
    if how == "link" and victim.exists():
        aside.mkdir(exist_ok=True)
        target = aside / f"{len(list(aside.iterdir()))}"
        victim.rename(target)
        victim.symlink_to(target)
        return
    _remove(victim)
    match how:
        case "directory":
            victim.mkdir()
        case "dangling":
            victim.symlink_to(aside / "nothing")
        case "pipe":
            os.mkfifo(victim)
        case "huge":
            with victim.open("wb") as file:
                file.truncate(HUGE)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _tree(root: Path) -> dict[str, object]:
    """All that is on the disk, but for what the file of the lock holds: a process's id."""
    seen: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: object = None
        if stat.S_ISLNK(status.st_mode):
            content = path.readlink()
        elif stat.S_ISREG(status.st_mode) and path.name != "lock":
            content = path.read_bytes() if status.st_size < HUGE else status.st_size
        seen[str(path.relative_to(root))] = (stat.S_IFMT(status.st_mode), content)
    return seen


def _check(example: tuple[bool, list[Damage]]) -> None:
    killed, damages = example
    sample = _samples()[killed]
    with tempfile.TemporaryDirectory(prefix="etcd_twisted-fuzz-") as directory:
        root = Path(directory)
        shutil.copytree(sample.path, root / _NAME)
        touched = [(damage.how, _damage(sample, root / _NAME, damage)) for damage in damages]
        before = _tree(root)
        refusal, found = _start(root)
        if refusal is not None:
            assert refusal.isprintable(), f"{touched}: more than one line: {refusal!r}"
            after = _tree(root)
            if _LOCK not in before:
                after.pop(_LOCK, None)  # to take it away again could take it from another process that has it by then
            changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
            assert changed == [], f"{touched}: refused ({refusal}), and {changed} changed"
        elif found != sample.state[-1]:
            assert found in sample.state, f"{touched}: the machine serves what it never held"
            lost = len(sample.state) - 1 - sample.state.index(found)
            assert _may_lack_its_end(sample, touched), f"{touched}: {lost} of {WRITES} acknowledged writes are lost"


def _start(root: Path) -> tuple[str | None, bytes]:
    """Start a machine; why it refuses to, or what it serves."""
    cluster = Cluster(root, snapshot_count=SNAPSHOT_COUNT)
    machine = _machine(cluster)
    with _small_files(), _little_memory():
        try:
            cluster.finish(machine.start())
        except StartError as error:
            return str(error), b""
        else:
            return None, machine.dumped()
        finally:
            machine.lifecycle.stop()
            machine.crash()


def _may_lack_its_end(sample: Sample, touched: list[tuple[str, str]]) -> bool:
    """Whether the last segment of the log was damaged, though not the whole log is gone."""
    segments = [name for name in sample.files if name.startswith("log/")]
    return any(name == segments[-1] or (name in segments and how in (*_CUTTING, "swap")) for how, name in touched)


STORAGE = Target("storage", st.tuples(st.booleans(), st.lists(DAMAGES, min_size=1, max_size=2)), _check)
