"""
Fuzzes the data directory: each file of it is flipped, cut off, swapped, removed, or replaced by something that is no
file.

A start either is refused in one line, and then nothing on the disk has changed; or the machine serves everything that
was ever acknowledged. Only what can't be told apart from an append that was under way may be missing: the end of the
log.
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

import attrs
from hypothesis import strategies as st

from etcd_twisted.consensus.raft.limits import RaftLimits
from etcd_twisted.errors import StartError
from tests.cluster.machines import LifecycleMachine
from tests.consensus.cluster import Cluster
from tests.fuzz.target import Target

SEGMENT_BYTES = 400
SNAPSHOT_COUNT = 12
WRITES = 32
HUGE = 1 << 34
"""The apparent size, in bytes, of a file that has no bytes on the disk."""

MOST_MEMORY = 1 << 33
"""How many bytes of address space a start may take."""

_KEPT = 8
"""How many log entries stay beside a snapshot."""

_NAME = "machine1"
_LOCK = f"{_NAME}/lock"


@attrs.frozen
class Sample:
    """
    A directory that a machine has left.

    @ivar state: the content of the key space after each write; the last one is all that was acknowledged.
    @ivar files: the paths of its files in the directory.
    """

    path: Path
    state: list[bytes]
    files: list[str]


def _cluster(path: Path) -> Cluster:
    """Returns a cluster whose machines write many files in a small directory."""
    cluster = Cluster(path, snapshot_count=SNAPSHOT_COUNT, raft_limits=RaftLimits(trailing_entries=_KEPT))
    cluster.change(segment_bytes=SEGMENT_BYTES)
    return cluster


@contextlib.contextmanager
def _little_memory() -> Iterator[None]:
    """Raises L{MemoryError} in code that reads a huge file whole, so that the computer does not actually do it."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _make(path: Path, prefix: str, crash: bool) -> Sample:
    """
    Has a machine write a directory.

    @param crash: whether it is killed at the end.
    """
    path.mkdir(parents=True)
    cluster = _cluster(path)
    machine = LifecycleMachine(cluster, 1, ())
    cluster.result_of(machine.launch())
    state = [machine.dumped()]
    for number in range(WRITES):
        cluster.result_of(machine.set(f"/{prefix}{number % 7}", f"{prefix} {number} " + "x" * (number % 5 * 20)))
        state.append(machine.dumped())
        if number == WRITES // 2:
            shutil.copytree(path / _NAME, path / "left" / "earlier")
    cluster.advance(0.5)
    left = path / "left" / _NAME
    if crash:
        shutil.copytree(path / _NAME, left)
    machine.stop()
    if not crash:
        shutil.copytree(path / _NAME, left)
    return Sample(left, state, [str(each.relative_to(left)) for each in sorted(left.rglob("*"))])


@functools.cache
def _samples() -> tuple[Sample, Sample, Sample]:
    """
    Returns the directories of a machine that was stopped, of one that was killed, and of another machine; they are
    removed at the end of the process.
    """
    root = Path(tempfile.mkdtemp(prefix="etcd_twisted-fuzz-"))
    atexit.register(shutil.rmtree, root)
    return _make(root / "stopped", "k", False), _make(root / "killed", "k", True), _make(root / "other", "o", False)


@attrs.frozen
class Damage:
    """
    One thing that is done to a directory.

    @ivar how: see L{_damage}.
    @ivar which: a number that selects a file, however many there are.
    @ivar where: the position in the file, in thousandths of its length.
    @ivar much: how many bytes, or which other file.
    """

    how: str
    which: int
    where: int
    much: int


_CUTTING = ("cut off", "zero to the end", "remove", "earlier", "empty")
"""What the end of a log may look like if it was being written, or if a disk has lost it."""

_HOW = (
    *_CUTTING,
    *("flip", "flip", "flip", "zero", "extend", "double", "swap", "other"),
    *("directory", "link", "dangling", "pipe", "huge"),
)
_THOUSAND = st.integers(0, 1_000)
DAMAGES = st.builds(Damage, st.sampled_from(_HOW), st.integers(0, 63), _THOUSAND, st.integers(0, 63) | _THOUSAND)


def _damage(sample: Sample, path: Path, damage: Damage) -> str:
    """Damages the copy of a sample, and returns which file was damaged."""
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
    """Changes the bytes of a file that has some."""
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
    """Puts another file in the place of one."""
    if source.is_file():
        _remove(victim)
        victim.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, victim)


def _make_special(victim: Path, how: str, aside: Path) -> None:
    """Replaces a file by something that is no file, or removes it."""
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
    """Returns everything on the disk, except the content of the lock file, which is a process id."""
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
                after.pop(_LOCK, None)  # removing it again could take it from another process that has it by then
            changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
            assert changed == [], f"{touched}: refused ({refusal}), and {changed} changed"
        elif found != sample.state[-1]:
            assert found in sample.state, f"{touched}: the machine serves what it never held"
            lost = len(sample.state) - 1 - sample.state.index(found)
            assert _may_lack_its_end(sample, touched), f"{touched}: {lost} of {WRITES} acknowledged writes are lost"


def _start(root: Path) -> tuple[str | None, bytes]:
    """Starts a machine, and returns why it refuses to start, or what it serves."""
    cluster = _cluster(root)
    machine = LifecycleMachine(cluster, 1, ())
    with _little_memory():
        try:
            cluster.result_of(machine.launch())
        except StartError as error:
            return str(error), b""
        else:
            return None, machine.dumped()
        finally:
            machine.lifecycle.stop()
            machine.crash()


def _may_lack_its_end(sample: Sample, touched: list[tuple[str, str]]) -> bool:
    """Returns whether the last segment of the log was damaged, while some of the log is still there."""
    segments = [name for name in sample.files if name.startswith("log/")]
    return any(name == segments[-1] or (name in segments and how in (*_CUTTING, "swap")) for how, name in touched)


STORAGE = Target("storage", st.tuples(st.booleans(), st.lists(DAMAGES, min_size=1, max_size=2)), _check)
