"""
A process that takes a lock, or items of a queue, over and over until it is killed. It notes in a journal what it does.

Each note is one write to the end of a file, so that it survives a process that is killed right after it. It begins
with the time of the monotonic clock, which is the same in all processes of a computer.
"""

import fcntl
import os
import random
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred

from etcd_twisted.client import Client, ClientError, Timeouts
from etcd_twisted.client.recipes import Hold, Lock, NotHeld, Queue

LOCK = "/campaign/lock"
QUEUE = "/campaign/queue"
TTL_SECONDS = 2


@attrs.frozen
class Note:
    """
    A line of the journal.

    @ivar when: the time in nanoseconds.
    @ivar pid: the process that has written it.
    @ivar action: what it has done.
    @ivar subject: the fencing token, or the item.
    """

    when: int
    pid: int
    action: str
    subject: str


class Journal:
    """What all workers have done."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._path = path

    def note(self, action: str, subject: object = "", pid: int | None = None) -> None:
        """Adds a line."""
        line = f"{time.monotonic_ns()} {pid or os.getpid()} {action} {subject}\n"
        os.write(self._file, line.encode())

    def read(self) -> list[Note]:
        """Returns all lines."""
        fields = (line.split(" ", 3) for line in self._path.read_text().splitlines())
        return [Note(int(when), int(pid), action, subject) for when, pid, action, subject in fields]

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)


class Resource:
    """What the lock protects: a file that honours fencing tokens."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def use(self, token: int) -> bool:
        """Returns whether the resource lets the holder of this token use it: no higher one has been seen."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            highest = int(os.pread(self._file, 20, 0) or b"0")
            if token >= highest:
                os.pwrite(self._file, b"%020d" % token, 0)
            return token >= highest
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


async def hold_locks(client: Client, journal: Journal, directory: Path) -> None:
    """Takes the lock over and over."""
    resource = Resource(directory / "resource")
    lock = Lock(client, LOCK, ttl_seconds=TTL_SECONDS)
    while True:
        try:
            hold = await lock.acquire()
            journal.note("held", hold.fencing_token)
            await use(hold, journal, resource)
            await hold.release()
        except (ClientError, NotHeld) as error:
            journal.note("failed", repr(error))


async def use(hold: Hold, journal: Journal, resource: Resource) -> None:
    """Uses the resource a few times while the lock is held."""
    token = hold.fencing_token
    hold.lost.addCallback(lambda _: journal.note("lost", token))
    for _ in range(random.randint(1, 4)):
        if not hold.is_held:
            return
        journal.note("used" if resource.use(token) else "refused", token)
        await task.deferLater(reactor, random.uniform(0.0, 0.02))


async def take_items(client: Client, journal: Journal, _: Path) -> None:
    """Takes one item after the other, and acknowledges it."""
    queue = Queue(client, QUEUE, ttl_seconds=TTL_SECONDS)
    while True:
        try:
            item = await queue.take()
            journal.note("taken", item.value)
            await task.deferLater(reactor, random.uniform(0.0, 0.02))
            journal.note("acknowledging", item.value)
            await item.ack()
            journal.note("acknowledged", item.value)
        except (ClientError, NotHeld) as error:
            journal.note("failed", repr(error))


WORK: dict[str, Callable[[Client, Journal, Path], Coroutine[Any, Any, None]]] = {
    "locks": hold_locks,
    "items": take_items,
}


def main(_: object, kind: str, endpoints: str, directory: str) -> "Deferred[None]":
    """Does what C{kind} says until the process is killed."""
    journal = Journal(Path(directory) / "journal")
    client = Client(endpoints, reactor=reactor, timeouts=Timeouts(total_seconds=2.0))
    return Deferred.fromCoroutine(WORK[kind](client, journal, Path(directory)))


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
