"""
Makes the data directory of a machine with many keys: C{python -m benchmarks.filled DIR --keys 1000000}.

The machine is alone in its cluster, and ended as by a crash: DIR holds a snapshot with all keys and, if asked for, a
log after it. The package's own key space, commands and files write it without a server, which takes about 20 s for a
million keys. It must never be used beside a running machine, nor for data that somebody needs.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.growth import Shape
from etcd_twisted.consensus.cluster_keys import registrations
from etcd_twisted.consensus.machines import machines_of
from etcd_twisted.consensus.raft.entries import Entry, EntryKind, Member, Record, SnapshotMetadata
from etcd_twisted.consensus.recovery import found_cluster, recover
from etcd_twisted.consensus.storage.data_directory import Identity
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.errors import ConfigError
from etcd_twisted.interfaces.ids import new_id
from etcd_twisted.keyspace.commands import Set, encode_command
from etcd_twisted.keyspace.snapshot import dump
from etcd_twisted.keyspace.space import KeySpace

RECORD_ENTRIES = 60
"""How many entries an append holds: about as many as one of 64 connections that write."""

_TERM = 1


def names(shape: Shape) -> Iterator[str]:
    """Yields the keys that C{growth.lua} asks for, in the order of their numbers."""
    for number in range(shape.keys):
        directory, child = divmod(number, shape.children)
        yield f"/grow/d{directory}/k{child}"


def make(data: Path, name: str, ports: tuple[int, int], shape: Shape, entries: int = 0) -> None:
    """
    Makes the data directory.

    @param data: the directory, which must be empty or missing.
    @param name: the machine's name.
    @param ports: of clients and of other machines, on 127.0.0.1.
    @param entries: how many changes the log has that are in no snapshot: they write the keys once more, in order.
    @raise ConfigError: a machine is in the directory.
    """
    with closing(Storage.open(data, "--data-dir")) as storage:
        if storage.directory.load_identity() is not None:
            raise ConfigError(f"{data} has the data of a machine: choose an empty directory")
        keyspace = KeySpace()
        work = recover(storage, keyspace, name, _no_pause)
        try:
            work.send(None)
        except StopIteration as ended:
            found = ended.value
        client, peer = (f"http://127.0.0.1:{port}" for port in ports)
        found_cluster(storage, found, Identity(name, new_id(), new_id()), Member(name, client, peer))
        now = time.time_ns() // 1_000
        value = "x" * shape.value
        for registration in registrations(keyspace.root, [], machines_of(found.configuration)):
            keyspace.apply(registration)
        for key in names(shape):
            keyspace.apply(Set(key, now, value))
        index = found.log.last_index + shape.keys
        snapshot = storage.snapshots.create(SnapshotMetadata(index, _TERM, found.configuration, time=now))
        for chunk in filter(None, dump(keyspace.state())):
            snapshot.write(chunk)
        snapshot.finish()
        storage.log.restart_after(index)
        again = (Set(key, now, value) for key in itertools.islice(itertools.cycle(names(shape)), entries))
        for record in _records(again, index + 1):
            storage.log.append(record)


async def _no_pause() -> None:
    """Stands for a turn of the reactor, as there is none."""


def _records(commands: Iterable[Set], first: int) -> Iterator[Record]:
    """
    Yields the log of these commands.

    @param first: the index of the first one.
    """
    entries = (
        Entry(index, _TERM, EntryKind.COMMAND, encode_command(command))
        for index, command in enumerate(commands, first)
    )
    while batch := tuple(itertools.islice(entries, RECORD_ENTRIES)):
        yield Record(None, batch)


def main(arguments: Sequence[str]) -> None:
    """Makes the data directory that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.filled", description="Make a data directory.")
    parser.add_argument("directory", type=Path, help="for --data-dir; must be empty or missing")
    parser.add_argument("--keys", type=int, default=1_000_000, help="how many (%(default)s)")
    parser.add_argument("--children", type=int, default=1_000, help="keys in a directory (%(default)s)")
    parser.add_argument("--value", type=int, default=64, help="bytes in a value (%(default)s)")
    parser.add_argument("--entries", type=int, default=0, help="changes in the log after the snapshot (%(default)s)")
    parser.add_argument("--name", default="bench", help="of the machine (%(default)s)")
    parser.add_argument("--ports", type=int, nargs=2, default=(4001, 7001), help="client and peer (%(default)s)")
    options = parser.parse_args(arguments)
    shape = Shape(options.keys, options.children, options.value)
    make(options.directory, options.name, tuple(options.ports), shape, options.entries)


if __name__ == "__main__":
    main(sys.argv[1:])
