"""
Tests of a disk that is full, that fails, or that returns other bytes than were written, and of more clients than
files.

The machine may end, and then gives the reason; what it acknowledged is there when the disk works again.
"""

import errno
import os
import random
import re
import shutil
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

from tests.consensus.directories import listing
from tests.processes import writers
from tests.processes.client import GONE
from tests.processes.ledger import Ledger
from tests.processes.machine import STOPPED, TWISTD, Machine

LIMITED = (
    sys.executable,
    "-c",
    "import os, resource, sys; size = int(sys.argv[1]);"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)); os.execv(sys.argv[2], sys.argv[2:])",
)
"""The prefix of a command that limits the size of its files; the number of bytes comes between."""

FEW_FILES = (
    sys.executable,
    "-c",
    "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512));"
    "os.execv(sys.argv[1], sys.argv[1:])",
)
"""The prefix of a command that allows it only 256 open files, connections among them."""

MIB = 1 << 20


def last_line(text: str) -> str:
    """Returns the last line that a process wrote."""
    return text.splitlines()[-1]


class FailingTests(TestCase):
    """The disk accepts no more writes while 64 writers run."""

    timeout = 240

    async def run_until_it_fails(self, machine: Machine, reason: str, program: tuple[str, ...] = TWISTD) -> Ledger:
        """
        Runs a machine until its disk fails: it ends with status 1, and the last line of its output gives the reason.

        @return: what its writers know.
        """
        ledger = Ledger()
        await machine.start("--snapshot-count", "1000", program=program)
        await writers.write(ledger, machine.client, random.Random(1), most_words=400)
        self.assertEqual(await machine.child.when_ended(), 1)
        for words in (last_line(machine.child.output), machine.child.errors):
            self.assertIn(f"--data-dir {machine.data} failed: {reason}; ", words)
        self.assertEqual(len(machine.child.errors.splitlines()), 1, machine.child.errors)
        self.assertTrue(machine.child.errors.startswith("twistd etcd: "), machine.child.errors)
        self.assertGreater(ledger.told, 0)
        return ledger

    async def recover(self, machine: Machine, ledger: Ledger) -> None:
        """Starts a machine whose disk works again: it has what it acknowledged, and goes on."""
        await machine.start()
        await ledger.compare(machine.client)
        self.assertEqual(ledger.problems, [])
        answer = await machine.client.put("/afterwards", value="well")
        self.assertEqual(answer.status, 201)
        self.assertEqual(await machine.terminate(), STOPPED)

    async def test_too_large_file_is_fatal(self) -> None:
        """The system's limit on the size of files ends the machine."""
        machine = Machine(self)
        ledger = await self.run_until_it_fails(machine, os.strerror(errno.EFBIG), (*LIMITED, str(6 * MIB), *TWISTD))
        await self.recover(machine, ledger)

    async def test_full_disk_is_fatal(self) -> None:
        """A file system without any space left ends the machine."""
        machine = Machine(self)
        small = await self.mounted(machine, "6m")
        ledger = await self.run_until_it_fails(machine, os.strerror(errno.ENOSPC))
        self.assertIn("; make room on its disk (the log allocates 4 MiB at a time), then start", machine.child.errors)
        await self.remount(small, "size=100m")
        await self.recover(machine, ledger)

    async def mounted(self, machine: Machine, size: str) -> Path:
        """Puts a machine's data on a file system of its own, and returns where that is mounted."""
        mount = shutil.which("mount")
        if os.geteuid() != 0 or mount is None:
            raise SkipTest("only root can mount a small file system; test_too_large_file_is_fatal does not need one")
        small = machine.directory / "small"
        small.mkdir()
        options = ("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(small))
        _, errors, status = await getProcessOutputAndValue(mount, options)
        if status != 0:
            raise SkipTest(f"no file system can be mounted here: {errors.decode().strip()}")
        self.addCleanup(getProcessOutputAndValue, shutil.which("umount"), ("--lazy", str(small)))
        machine.data = small / "data"
        return small

    async def remount(self, small: Path, options: str) -> None:
        """Changes a file system's options."""
        mount = shutil.which("mount") or ""
        _, errors, status = await getProcessOutputAndValue(mount, ("-o", f"remount,{options}", str(small)))
        self.assertEqual((errors, status), (b"", 0))

    async def test_start_on_an_unusable_disk_is_refused(self) -> None:
        """A disk that is too full and one that can't be written have different remedies, each given once."""
        machine = Machine(self)
        small = await self.mounted(machine, "2m")
        await self.refused(machine, small, "no space left on its disk (the log allocates 4 MiB at a time); make room")
        read_only = "is on a read-only file system; mount that for writing (mount -o remount,rw)"
        await self.remount(small, "ro")
        await self.refused(machine, small, f"{machine.data} can't be used: it {read_only}")
        await self.remount(small, "rw,size=100m")
        await machine.start()
        self.assertEqual((await machine.client.put("/message", value="kept")).status, 201)
        self.assertEqual(await machine.terminate(), STOPPED)
        await self.remount(small, "ro")
        await self.refused(machine, small, read_only)

    async def refused(self, machine: Machine, small: Path, words: str) -> None:
        """Asserts that a start is refused in one line, and changes nothing."""
        before = listing(small)
        child = machine.launch()
        self.assertEqual(await child.when_ended(), 1)
        self.assertIn(words, child.errors)
        self.assertEqual(len(child.errors.splitlines()), 1, child.errors)
        self.assertEqual((child.errors + child.output).count(words), 1, child.output)
        self.assertNotIn("Traceback", child.output)
        self.assertEqual(listing(small), before)

    async def test_failed_sync_acknowledges_nothing(self) -> None:
        """Nothing is acknowledged that was not synced, and what was written is lost."""
        machine = Machine(self)
        program = (sys.executable, "-m", "tests.processes.failing_sync", "100")
        ledger = await self.run_until_it_fails(machine, os.strerror(errno.EIO), program)
        await self.recover(machine, ledger)

    async def test_failed_sync_of_one_write_does_not_acknowledge_it(self) -> None:
        """The one write that waits for the sync is not acknowledged, and does not come back."""
        machine = Machine(self)
        await machine.start(program=(sys.executable, "-m", "tests.processes.failing_sync", "8"))
        told = []
        try:
            while len(told) < 10:
                answer = await machine.client.put(f"/{len(told)}", value="x")
                if answer.status == 500:
                    self.assertEqual(answer.json()["errorCode"], 300)
                    self.assertIn("unknown", answer.json()["cause"])
                    break
                told.append((await machine.client.get(f"/{len(told)}")).json()["node"])
        except GONE:
            pass
        self.assertEqual(await machine.child.when_ended(), 1)
        self.assertGreater(len(told), 0)
        self.assertLess(len(told), 9)
        await machine.start()
        listing = await machine.client.get("/", "?sorted=true")
        self.assertEqual(listing.json()["node"]["nodes"], told)
        self.assertEqual(await machine.terminate(), STOPPED)


class DamageTests(TestCase):
    """What is on the disk is not what was written there."""

    timeout = 240

    async def setUp(self) -> None:
        """Makes a machine with ten keys in its log, and stops it."""
        self.machine = Machine(self)
        await self.machine.start()
        for number in range(10):
            self.assertEqual((await self.machine.client.put(f"/{number}", value="x" * 50)).status, 201)
        self.assertEqual(await self.machine.terminate(), STOPPED)
        (self.segment,) = self.machine.data.glob("log/*.log")
        self.written = self.segment.read_bytes()

    async def test_torn_tail_is_cut_off(self) -> None:
        """An incomplete last record is cut off, and the log says so; all records before it are there."""
        os.truncate(self.segment, len(self.written) - 3)
        await self.machine.start()
        cut = re.search(
            rf"Cut (\d+) bytes of an unfinished append off {re.escape(str(self.segment))} at offset (\d+)",
            self.machine.child.output,
        )
        self.assertIsNotNone(cut, self.machine.child.output)
        self.assertEqual(int(cut[1]) + int(cut[2]), len(self.written) - 3)
        listing = await self.machine.client.get("/", "?sorted=true")
        self.assertEqual([node["key"] for node in listing.json()["node"]["nodes"]], [f"/{n}" for n in range(9)])
        self.assertEqual((await self.machine.client.put("/9", value="again")).status, 201)
        self.assertEqual(await self.machine.terminate(), STOPPED)
        await self.machine.start()
        self.assertNotIn("unfinished append", self.machine.child.output)
        self.assertEqual((await self.machine.client.get("/9")).json()["node"]["value"], "again")

    async def test_unfinished_append_is_cut_off(self) -> None:
        """What a killed process began to append is cut off, and nothing that was acknowledged is lost with it."""
        with self.segment.open("ab") as file:
            file.write(b"\xe7\xcd\x92\x02half a frame")
        await self.machine.start()
        self.assertIn("bytes of an unfinished append", self.machine.child.output)
        listing = await self.machine.client.get("/", "?sorted=true")
        self.assertEqual(len(listing.json()["node"]["nodes"]), 10)

    async def test_flipped_bit_is_refused(self) -> None:
        """
        Damage before the last record is refused in one line with the file and the offset, and nothing is changed.
        """
        for position in (len(self.written) // 2, self.written.rindex(b"x" * 50) - 100):
            await self._refuses(self.segment, position, longest_frame=150)

    async def test_flipped_bit_in_a_snapshot_is_refused(self) -> None:
        """Damage in a snapshot is refused too, because the log that it replaced is gone."""
        await self.machine.start("--snapshot-count", "5")
        for number in range(20):
            await self.machine.client.put(f"/more/{number}", value="y" * 50)
        await self.machine.child.when_printed("Took a snapshot")
        self.assertEqual(await self.machine.terminate(), STOPPED)
        (snapshot,) = self.machine.data.glob("snapshots/*.snapshot")
        self.written = snapshot.read_bytes()
        await self._refuses(snapshot, len(self.written) // 2, longest_frame=len(self.written))

    async def _refuses(self, path: Path, position: int, longest_frame: int) -> None:
        damaged = bytearray(self.written)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        child = self.machine.launch()
        self.assertEqual(await child.when_ended(), 1)
        self.assertEqual(len(child.errors.splitlines()), 1, child.errors)
        named = re.fullmatch(rf"twistd etcd: {re.escape(str(path))} is damaged at byte (\d+): .*\n", child.errors)
        self.assertIsNotNone(named, child.errors)
        self.assertLessEqual(int(named[1]), position)
        self.assertGreater(int(named[1]), position - longest_frame)
        self.assertNotIn("is damaged", child.output)  # the error is given once
        self.assertEqual(path.read_bytes(), damaged)


class Visitor(Protocol):
    """
    A connection that makes one request and then stays open and silent.

    @ivar told: fires with whether the request was answered; if not, the connection was closed instead.
    @ivar gone: fires when it is closed.
    """

    def __init__(self) -> None:
        self.told: Deferred[bool] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self._answer = bytearray()

    def connectionMade(self) -> None:
        """Sends the request."""
        self.transport.write(b"GET /version HTTP/1.1\r\nHost: machine\r\n\r\n")

    def dataReceived(self, data: bytes) -> None:
        """Receives an answer, or a part of one."""
        self._answer += data
        if b"\r\n\r\n" in self._answer and not self.told.called:
            self.told.callback(self._answer.startswith(b"HTTP/1.1 200 "))

    def connectionLost(self, _reason: Failure = connectionDone) -> None:
        """The connection was closed, by whichever side."""
        if not self.told.called:
            self.told.callback(False)
        self.gone.callback(None)


class DescriptorTests(TestCase):
    """There are more clients than the process may have open files."""

    timeout = 240

    async def visit(self, machine: Machine) -> tuple[Visitor, bool]:
        """Returns a new connection, and whether it is served."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", machine.port)
        visitor: Visitor = await connectProtocol(endpoint, Visitor())
        self.addCleanup(lambda: visitor.gone)
        self.addCleanup(visitor.transport.abortConnection)
        return visitor, await visitor.told

    async def test_log_and_snapshots_go_on(self) -> None:
        """
        Connections beyond the limit are closed at once. Earlier ones are served, and the log and the snapshots have
        the files that they need; when the others are gone, new connections are served again.
        """
        machine = Machine(self)
        await machine.start("--snapshot-count", "50", program=(*FEW_FILES, *TWISTD))
        self.assertEqual((await machine.client.put("/first", value="x")).status, 201)
        idle = []
        visitor, served = await self.visit(machine)
        while served and len(idle) < 512:
            idle.append(visitor)
            visitor, served = await self.visit(machine)
        self.assertFalse(served)
        self.assertGreater(len(idle), 50)
        await machine.child.when_printed("connections are taken, and new ones are closed")
        for number in range(200):
            self.assertEqual((await machine.client.put(f"/{number}", value="x")).status, 201)
        await machine.child.when_printed("Took a snapshot")
        self.assertEqual([each.gone.called for each in idle], [False] * len(idle))
        for each in idle:
            each.transport.loseConnection()
        await gatherResults([each.gone for each in idle])
        self.assertEqual((await machine.client.get("/199")).status, 200)
        visitor, served = await self.visit(machine)
        self.assertTrue(served)
        self.assertNotEqual(list(machine.data.glob("snapshots/*.snapshot")), [])
        self.assertEqual(await machine.terminate(), STOPPED)
