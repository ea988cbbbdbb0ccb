"""
Workers and consensus processes that are killed under load.
"""

import os
import random
import signal
import socket

from twisted.internet import reactor
from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.multiprocess.writers import QueueWriters
from tests.processes.client import GONE
from tests.processes.cluster import until
from tests.processes.machine import STOPPED, Machine
from tests.processes.workers import kill_worker, until_ended, worker_pids


class KillTests(TestCase):
    """A machine with two workers."""

    timeout = 480

    async def start(self) -> Machine:
        machine = Machine(self, "machine0")
        await machine.start("--workers", "2")
        return machine

    async def test_worker_is_killed_under_writers(self) -> None:
        """
        No acknowledged write is lost, and none is doubled. Connections to the other worker stay open, and new ones are
        served before the worker is back.
        """
        machine = await self.start()
        writers = QueueWriters(self, [machine.url], 32)
        await writers.progress()
        hits: list[list[int]] = []
        for number in (1, 2, 1):
            lost = [writer.lost for writer in writers.writers]
            back = ensureDeferred(kill_worker(machine, number))
            await writers.progress()
            await back
            hits.append([writer.lost - before for writer, before in zip(writers.writers, lost, strict=True)])
            self.assertGreater(sum(hits[-1]), 0)
            await writers.progress()
        self.assertIn(0, hits[0])  # the others were connected to the other worker, where all are from now on
        await writers.stop()
        await writers.compare(machine.connect(machine.url))

    async def test_stopped_worker_holds_nobody_else_up(self) -> None:
        """Clients of the other worker are served, and the machine ends in order, with both of them."""
        machine = await self.start()
        writers = QueueWriters(self, [machine.url], 16)
        await writers.progress()
        stopped = worker_pids(machine)[1]
        os.kill(stopped, signal.SIGSTOP)
        done = [len(writer.done) for writer in writers.writers]
        for _ in range(200):
            await deferLater(reactor, 0.05, lambda: None)
            more = [len(writer.done) - before for writer, before in zip(writers.writers, done, strict=True)]
            if sum(each > 20 for each in more):
                break
        self.assertGreater(max(more), 20)
        for writer in writers.writers:
            writer.stopping = True
        self.assertEqual(await machine.terminate(), STOPPED)
        await until_ended(stopped)

    async def test_consensus_process_is_killed_under_writers(self) -> None:
        """The workers end, nobody listens, and after a restart everything is there that was acknowledged."""
        machine = await self.start()
        writers = QueueWriters(self, [machine.url], 16)
        for _ in range(2):
            await writers.progress()
            pids = worker_pids(machine).values()
            await machine.kill()
            await until_ended(*pids)
            with socket.socket() as alone:
                self.assertNotEqual(alone.connect_ex(("127.0.0.1", machine.port)), 0)
            await machine.start("--workers", "2")
        await writers.progress()
        await writers.stop()
        await writers.compare(machine.client)

    async def test_machine_is_killed_beside_a_stopped_worker(self) -> None:
        """The stopped worker ends too, so that the port is free: the machine starts again at once."""
        machine = await self.start()
        pids = worker_pids(machine)
        os.kill(pids[1], signal.SIGSTOP)
        await machine.kill()
        await until_ended(*pids.values())
        await machine.start("--workers", "2")
        self.assertEqual((await machine.client.put("/a", value="1")).status, 201)

    async def test_worker_that_hangs_is_ended_and_started_again(self) -> None:
        """Meanwhile, the other one accepts all new connections."""
        machine = await self.start()
        stopped = worker_pids(machine)[1]
        os.kill(stopped, signal.SIGSTOP)

        async def accepted_elsewhere() -> bool | None:
            clients = [machine.connect(machine.url) for _ in range(8)]
            answers = [ensureDeferred(each.get("/")).addTimeout(2, reactor) for each in clients]
            results = await DeferredList(answers, consumeErrors=True)
            return True if all(succeeded for succeeded, _ in results) else None

        await until(accepted_elsewhere, "all connections are accepted by the other worker")
        self.assertEqual(worker_pids(machine)[1], stopped)
        await until_ended(stopped)
        self.assertIn("Worker 1 does not go on, and is ended", machine.child.output)

        async def back() -> bool | None:
            return None if worker_pids(machine)[1] == stopped else True

        await until(back, "worker 1 serves again")

    async def test_watcher_misses_nothing(self) -> None:
        """A watcher that waits again with the next index sees every change once, whatever worker is killed."""
        machine = await self.start()
        seen: list[int] = []
        reconnections = 0
        changes = 300

        async def watch() -> None:
            nonlocal reconnections
            client = machine.connect(machine.url)
            index = 2
            while len(seen) < changes:
                try:
                    answer = await client.get("/w", f"?wait=true&waitIndex={index}")
                except GONE:
                    reconnections += 1
                    client = machine.connect(machine.url)
                    await deferLater(reactor, 0.01, lambda: None)
                    continue
                if not answer.body:
                    continue
                node = answer.json()["node"]
                seen.append(int(node["value"]))
                index = node["modifiedIndex"] + 1

        watching = ensureDeferred(watch())
        writer = machine.connect(machine.url)
        number = 0
        while number < changes:
            try:
                await writer.put("/w", value=str(number), prevExist="false" if number == 0 else "true")
            except GONE:
                writer = machine.connect(machine.url)
                answer = await writer.get("/w", "?quorum=true")
                if answer.status == 404 or answer.json()["node"]["value"] != str(number):
                    continue
            number += 1
            if number % 100 == 50:
                await kill_worker(machine, random.choice((1, 2)))
        await watching
        self.assertEqual(seen, list(range(changes)))

    async def test_lock_is_released_when_its_waiter_is_lost(self) -> None:
        """Clients that wait for a lock are the consensus process's: it notices that one of them goes."""
        machine = await self.start()
        holder = machine.client
        answer = await holder.request("POST", "/mod/v2/lock/l", {"ttl": "60"})
        index = answer.body.decode()
        waiting = machine.connect(machine.url)
        second = ensureDeferred(waiting.request("POST", "/mod/v2/lock/l", {"ttl": "60"}))
        await self._until_queued(machine, 2)
        second.addErrback(lambda _: None)
        second.cancel()
        await self._until_queued(machine, 1)
        third = ensureDeferred(machine.connect(machine.url).request("POST", "/mod/v2/lock/l", {"ttl": "60"}))
        await self._until_queued(machine, 2)
        await holder.request("DELETE", f"/mod/v2/lock/l?index={index}")
        self.assertEqual((await third).status, 200)

    async def _until_queued(self, machine: Machine, count: int) -> None:
        for _ in range(3_000):
            answer = await machine.client.get("/_etcd/mod/lock/l")
            if answer.status == 200 and len(answer.json()["node"].get("nodes", ())) == count:
                return
            await deferLater(reactor, 0.02, lambda: None)
        raise AssertionError(f"{count} are not in the queue: {answer}")
