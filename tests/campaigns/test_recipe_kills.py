"""
Tests that locks never overlap and that queues lose nothing, whichever processes are killed, and whenever: those that
hold a lock or an item, and the machines of the cluster.

C{KILL_ROUNDS} says how often to kill, and C{KILL_SEED} repeats the choices of a run that failed, as far as the timing
of real processes can be repeated.
"""

import random
import sys
from itertools import count, pairwise
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from etcd_twisted.client import Client, ConnectionFailed, OutcomeUnknown
from etcd_twisted.client.recipes import Queue
from tests.campaigns.recipe_worker import QUEUE, Journal, Note
from tests.campaigns.test_cluster_kills import HASTY, ROUNDS, SEED
from tests.processes.child import SOURCE, ChildProcess, spawn
from tests.processes.cluster import OFTEN, Cluster, Member, together, until

WORKERS = 4
BACKLOG = 20
"""How many items wait in the queue, about."""

PROGRESSES = (1, 10)
"""The least and the most that the workers have done before the next kill."""


class RecipeKillTests(TestCase):
    """One worker or machine after the other is killed by C{kill -9}, while all contend."""

    timeout = 240 + 60 * ROUNDS
    progress: str
    """What workers note when they have got what they want."""

    async def campaign(self, kind: str) -> list[Note]:
        """Returns the journal of workers that were killed over and over, like the machines under them."""
        print(f"KILL_SEED={SEED}", file=sys.__stdout__)
        self.chance = random.Random(SEED)
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        self.journal = Journal(self.directory / "journal")
        self.addCleanup(self.journal.close)
        self.cluster = Cluster(self, 3, *HASTY)
        await self.cluster.start()
        await self.prepare()
        self.kind = kind
        self.workers = [self.spawn_worker() for _ in range(WORKERS)]
        for _ in range(ROUNDS):
            await self.progressed(self.chance.randint(*PROGRESSES))
            await self.chance.choice([self.kill_holder, self.kill_worker, self.kill_machine])()
        await self.progressed(2 * WORKERS)
        await self.drain()
        for worker in self.workers:
            self.assertEqual((worker.status, worker.errors), (None, ""))
        await together(self.end(worker) for worker in list(self.workers))
        return self.journal.read()

    async def prepare(self) -> None:
        """Does what must be done before the workers start."""

    async def drain(self) -> None:
        """Does what must be done before the workers end."""

    def spawn_worker(self) -> ChildProcess:
        endpoints = ",".join(machine.url for machine in self.cluster.machines)
        command = [sys.executable, "-m", "tests.campaigns.recipe_worker", self.kind, endpoints, str(self.directory)]
        return spawn(self, command, SOURCE)

    async def progressed(self, count: int) -> None:
        """Waits until the workers have got what they want so many more times."""

        goal = self.done() + count

        async def reached() -> bool | None:
            return True if self.done() >= goal else None

        await until(reached, f"workers note {self.progress!r} {count} more times")

    def done(self) -> int:
        """Returns how often the workers have got what they want."""
        return sum(note.action == self.progress for note in self.journal.read())

    async def end(self, worker: ChildProcess) -> None:
        """Kills a worker, and notes that."""
        self.workers.remove(worker)
        pid = worker.pid
        await worker.stop()
        self.journal.note("killed", "", pid)

    async def kill_worker(self) -> None:
        await self.end(self.chance.choice(self.workers))
        self.workers.append(self.spawn_worker())

    async def kill_holder(self) -> None:
        """Kills the worker that was the last to get what it wants."""
        holders = [note.pid for note in self.journal.read() if note.action == self.progress]
        for worker in self.workers:
            if worker.pid == holders[-1]:
                await self.end(worker)
                self.workers.append(self.spawn_worker())
                return

    async def kill_machine(self) -> None:
        """Kills a machine, which may lead, and starts it again after a while."""
        machine: Member = await self.cluster.leader()
        if self.chance.random() < 0.5:
            machine = self.chance.choice(self.cluster.machines)
        await self.cluster.kill(machine)
        await self.progressed(self.chance.randint(*PROGRESSES))
        await machine.start()


class QueueKillTests(RecipeKillTests):
    progress = "acknowledged"

    async def prepare(self) -> None:
        self.client = Client([machine.url for machine in self.cluster.machines])
        self.addCleanup(self.client.close)
        self.put: list[str] = []
        self.producing = Deferred.fromCoroutine(self.produce())
        self.producing.addErrback(lambda failure: failure.trap(CancelledError) and None)
        self.addCleanup(self.producing.cancel)

    async def produce(self) -> None:
        """Puts items into the queue, as long as few are in it; each is put once."""
        queue = Queue(self.client, QUEUE)
        for number in count():
            while len(self.put) - self.done() > BACKLOG:
                await deferLater(reactor, OFTEN)
            try:
                await queue.put(str(number))
                self.put.append(str(number))
            except (ConnectionFailed, OutcomeUnknown) as error:
                self.journal.note("failed", repr(error))
            await deferLater(reactor, 0.01)

    async def drain(self) -> None:
        """Waits until nothing is in the queue any more."""
        self.producing.cancel()

        async def is_empty() -> bool | None:
            try:
                items = (await self.client.list(f"{QUEUE}/items", quorum=True)).nodes
            except ConnectionFailed:
                return None
            return None if items else True

        await until(is_empty, "the queue is empty")

    def perhaps_acknowledged(self, notes: list[Note]) -> set[str]:
        """
        Returns the items whose takers were killed between the answer to their acknowledgement and the note of it, or
        got no answer.
        """
        found = set()
        trying: dict[int, str] = {}
        for note in notes:
            tried = trying.pop(note.pid, None)
            if note.action == "acknowledging":
                trying[note.pid] = note.subject
            elif tried is not None and (note.action == "killed" or note.subject.startswith("OutcomeUnknown")):
                found.add(tried)
        return found

    async def test_items_are_acknowledged_once_and_never_lost(self) -> None:
        notes = await self.campaign("items")
        acknowledged = [note.subject for note in notes if note.action == "acknowledged"]
        self.assertEqual(sorted(acknowledged), sorted(set(acknowledged)), f"KILL_SEED={SEED}")
        lost = set(self.put) - set(acknowledged) - self.perhaps_acknowledged(notes)
        self.assertEqual(lost, set(), f"KILL_SEED={SEED}")
        self.assertGreater(len(acknowledged), ROUNDS)


class LockKillTests(RecipeKillTests):
    progress = "held"

    async def test_locks_never_overlap(self) -> None:
        notes = await self.campaign("locks")
        began = {int(note.subject): note for note in notes if note.action == "held"}
        ended = {int(note.subject): note.when for note in reversed(notes) if note.action == "lost"}
        killed = {note.pid: note.when for note in notes if note.action == "killed"}
        for earlier, later in pairwise(sorted(began)):
            end = ended.get(earlier, killed.get(began[earlier].pid))
            assert end is not None, f"nothing has ended {earlier}"
            self.assertLessEqual(end, began[later].when, f"{earlier} and {later} overlap; KILL_SEED={SEED}")
        self.assertEqual([note for note in notes if note.action == "refused"], [])
        used = [int(note.subject) for note in notes if note.action == "used"]
        self.assertEqual(used, sorted(used))
        self.assertGreater(len(began), ROUNDS)
