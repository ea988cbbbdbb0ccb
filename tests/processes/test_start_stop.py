"""
Tests of how a machine starts, refuses to start, and stops.
"""

import os
import random
import signal
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from etcd_twisted.testing.ports import free_ports
from tests.certificates import Authority
from tests.consensus.directories import listing
from tests.privileges import UNPRIVILEGED
from tests.processes import writers
from tests.processes.child import ChildProcess, spawn
from tests.processes.client import GONE
from tests.processes.cluster import until
from tests.processes.ledger import Ledger
from tests.processes.machine import SERVES, STOPPED, TWISTD, Machine
from tests.processes.stranger import Stranger


class FirstStartTests(TestCase):
    """A machine has the defaults for everything except addresses and directories."""

    timeout = 240

    async def test_first_index_is_2(self) -> None:
        """Registering the machine took index 1 (api, "Setting the value of a key")."""
        machine = Machine(self)
        await machine.start()
        answer = await machine.client.put("/message", value="Hello world")
        self.assertEqual(answer.status, 201)
        self.assertEqual(answer.index, 2)
        self.assertEqual(
            answer.json(),
            {
                "action": "set",
                "node": {"key": "/message", "value": "Hello world", "modifiedIndex": 2, "createdIndex": 2},
            },
        )

    async def test_peer_port_serves_administrators(self) -> None:
        """Administrators get the data of the machine at the peer port."""
        machine = Machine(self)
        await machine.start("--name", "machine0")
        answer = await machine.connect(machine.peer_url).request("GET", "/v2/admin/machines")
        self.assertEqual(answer.status, 200)
        self.assertEqual(
            answer.json(),
            [{"clientURL": machine.url, "name": "machine0", "peerURL": machine.peer_url, "state": "leader"}],
        )

    async def test_help_needs_nothing(self) -> None:
        """C{--help} needs nothing and leaves nothing."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        child = spawn(self, [*TWISTD, "etcd", "--help"], directory)
        self.assertEqual(await child.when_ended(), 0)
        self.assertIn("--data-dir DIRECTORY", child.output)
        self.assertEqual(list(directory.iterdir()), [])


class RefusalTests(TestCase):
    """A start that is impossible is refused with one line and status 1, before anything is changed on disk."""

    timeout = 240

    async def assertRefused(self, child: ChildProcess, *words: str) -> None:
        """Asserts that the process ends by itself and gives the reason."""
        self.assertEqual(await child.when_ended(), 1)
        self.assertEqual(len(child.errors.splitlines()), 1, child.errors)
        self.assertTrue(child.errors.startswith("twistd etcd: "), child.errors)
        for each in words:
            self.assertIn(each, child.errors)

    async def _assert_port_taken(self, machine: Machine, port: int, option: str, *flags: str) -> None:
        taken = reactor.listenTCP(port, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.addCleanup(taken.stopListening)
        pid_file = machine.directory / "machine.pid"
        child = machine.launch(*flags, twistd=("-n", f"--pidfile={pid_file}"))
        await self.assertRefused(child, f"{option} 127.0.0.1:{port}", "another program uses it")
        self.assertEqual(list(machine.directory.iterdir()), [])

    async def test_taken_client_port_is_refused(self) -> None:
        """The port of another process is refused (spec, "Flags")."""
        machine = Machine(self)
        await self._assert_port_taken(machine, machine.port, "--addr")

    async def test_taken_peer_port_is_refused(self) -> None:
        machine = Machine(self)
        await self._assert_port_taken(machine, machine.peer_port, "--peer-addr")

    async def test_taken_bind_address_is_refused(self) -> None:
        """The error names the option that says where to listen."""
        machine = Machine(self)
        (port,) = free_ports(1)
        await self._assert_port_taken(machine, port, "--bind-addr", "--bind-addr", f"127.0.0.1:{port}")

    async def _assert_refused_as_daemon(self, machine: Machine, flags: tuple[str, ...], words: str) -> None:
        log = machine.directory / "machine.log"
        child = machine.launch(*flags, twistd=(f"--pidfile={machine.directory / 'machine.pid'}", f"--logfile={log}"))
        await self.assertRefused(child, words)
        self.assertEqual(list(machine.directory.iterdir()), [log])
        self.assertIn(child.errors.removeprefix("twistd etcd: "), log.read_text())

    async def test_daemon_refuses_a_taken_port(self) -> None:
        """The command fails with the whole line, the log has it too, and no other file is left."""
        machine = Machine(self)
        taken = reactor.listenTCP(machine.peer_port, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.addCleanup(taken.stopListening)
        await self._assert_refused_as_daemon(machine, (), f"--peer-addr 127.0.0.1:{machine.peer_port}")

    async def test_daemon_refuses_a_bad_frontend(self) -> None:
        """The same holds for an error that is found before any port is opened."""
        await self._assert_refused_as_daemon(Machine(self), ("--frontend", "nonsense"), "--frontend nonsense")

    async def test_daemon_refuses_a_directory_in_use(self) -> None:
        """The same holds for an error that is found after the ports were opened."""
        machine, second = Machine(self), Machine(self)
        await machine.start()
        second.data = machine.data
        await self._assert_refused_as_daemon(second, (), f"is in use by process {machine.child.pid}")

    async def test_daemon_refuses_to_start_without_a_cluster_to_join(self) -> None:
        """The same holds for an error that is found only after others were asked."""
        (nowhere,) = free_ports(1)
        flags = ("--peers", f"127.0.0.1:{nowhere}", "--max-retry-attempts", "1")
        await self._assert_refused_as_daemon(Machine(self), flags, "no cluster admits this machine")

    async def test_command_ends_when_its_daemon_is_killed(self) -> None:
        """A user who waits for a daemon that looks for its cluster does not wait for ever."""
        child, daemon = await self._start_daemon_without_a_cluster()
        daemon.signal(signal.SIGKILL)
        await self.assertRefused(child, "ended without a reason")

    async def test_interrupt_ends_the_command_and_not_the_daemon(self) -> None:
        """Control-C ends the waiting, and not the process in the background, as a message says."""
        child, daemon = await self._start_daemon_without_a_cluster()
        child.signal(signal.SIGINT)
        await self.assertRefused(child, "goes on in the background")
        self.assertFalse(daemon.ended.called)

    async def _start_daemon_without_a_cluster(self) -> tuple[ChildProcess, Stranger]:
        """Starts the command, which waits, and the process in the background, which finds no cluster to join."""
        machine = Machine(self)
        (nowhere,) = free_ports(1)
        flags = ("--peers", f"127.0.0.1:{nowhere}", "--max-retry-attempts", "1000")
        child = machine.launch(*flags, twistd=(f"--pidfile={machine.pid_file}", "--logfile=/dev/null"))

        async def written() -> int | None:
            return int(machine.pid_file.read_text() or 0) or None if machine.pid_file.exists() else None

        daemon = Stranger(self, await until(written, "its process id is in the file"))
        self.assertIsNone(child.status)
        return child, daemon

    async def test_error_is_reported_once(self) -> None:
        """What is on standard error is not also in a log that goes to the same terminal."""
        machine = Machine(self)
        (nowhere,) = free_ports(1)
        for flags in (("--frontend", "nonsense"), ("--peers", f"127.0.0.1:{nowhere}", "--max-retry-attempts", "1")):
            child = machine.launch(*flags)
            await self.assertRefused(child, flags[0])
            self.assertNotIn(child.errors.removeprefix("twistd etcd: ").strip(), child.output)

    async def test_settings_without_effect_are_two_warnings(self) -> None:
        """One is about known settings and one about unknown variables, and nothing more comes of them."""
        machine = Machine(self)
        program = ("/usr/bin/env", "ETCD_NMAE=a", "ETCD_VERSION=3", "ETCD_WAL_DIR=w", *TWISTD)
        child = machine.launch("--frontend", "nonsense", "--max-wals=5", program=program)
        await self.assertRefused(child, "--frontend nonsense")
        warnings = [line.partition("#warn] ")[2] for line in child.output.splitlines() if "#warn] " in line]
        self.assertEqual(
            warnings,
            [
                "Settings of etcd that have no effect here: --max-wals, ETCD_WAL_DIR",
                "Variables that set nothing: ETCD_NMAE (did you mean ETCD_NAME?), ETCD_VERSION",
            ],
        )

    async def test_working_directory_that_is_not_writable_is_refused(self) -> None:
        """
        The start is refused in the foreground, where C{twistd} has its pid file there, and as a daemon, which logs
        there too.
        """
        machine = Machine(self)
        machine.directory.chmod(0o555)
        self.addCleanup(machine.directory.chmod, 0o755)
        program = ("/usr/bin/env", *UNPRIVILEGED, *TWISTD)
        for twistd, words in (
            (("-n",), f"the pid file {machine.directory}/twistd.pid can't be written: Permission denied; "),
            ((), "--logfile twistd.log: can't be written: Permission denied; "),
            (("--logfile=/dev/null",), f"the pid file {machine.directory}/twistd.pid can't be written: "),
        ):
            await self.assertRefused(machine.launch(program=program, twistd=twistd), words)
        self.assertEqual(list(machine.directory.iterdir()), [])

    async def test_missing_working_directory_is_refused(self) -> None:
        """The missing directory is the one in which C{twistd} should run."""
        machine = Machine(self)
        refused = machine.launch(twistd=("-n", "--rundir", "nowhere"))
        await self.assertRefused(refused, "--rundir nowhere: is no directory that this user may enter")

    async def test_directory_in_use_is_refused(self) -> None:
        """The process that uses the directory goes on (spec, "Flags")."""
        machine = Machine(self)
        await machine.start()
        second = Machine(self)
        second.data = machine.data
        holder = f"--data-dir {machine.data} is in use by process {machine.child.pid}"
        await self.assertRefused(second.launch(), holder)
        self.assertEqual((await machine.client.put("/message", value="still here")).status, 201)

    async def test_directory_that_is_not_writable_is_refused(self) -> None:
        """The start is refused whether the directory exists or would have to be made (spec, "Flags")."""
        machine, other = Machine(self), Machine(self)
        machine.data.mkdir(mode=0o555)
        other.directory.chmod(0o555)
        self.addCleanup(other.directory.chmod, 0o755)
        program = ("/usr/bin/env", *UNPRIVILEGED, *TWISTD)
        for each in (machine, other):
            refused = each.launch(program=program)
            await self.assertRefused(refused, f"--data-dir {each.data} can't be used", "not writable")
        self.assertEqual(list(machine.data.iterdir()), [])

    async def test_file_in_place_of_the_directory_is_refused(self) -> None:
        machine = Machine(self)
        machine.data.write_text("something else")
        await self.assertRefused(machine.launch(), f"--data-dir {machine.data} can't be used", "not a directory")
        self.assertEqual(machine.data.read_text(), "something else")

    async def test_bad_values_are_refused(self) -> None:
        """The error names the flag as it was given."""
        machine = Machine(self)
        bad = [
            ("--snapshot-count", "abc"),
            ("--addr", "127.0.0.1"),
            ("--name", "machine 0"),
            ("--http-read-timeout", "-1"),
            ("--frontend", "nonsense"),
            ("--nonsense", "1"),
        ]
        refused = [ensureDeferred(self.assertRefused(machine.launch(*flag), f"{flag[0]} ")) for flag in bad]
        await gatherResults(refused, consumeErrors=True)
        self.assertFalse(machine.data.exists())

    async def test_refused_start_tidies_nothing_up(self) -> None:
        """A torn end of the log and the process id of the last start stay if the identity is missing."""
        machine = Machine(self)
        await machine.start("--snapshot-count", "5")
        for number in range(20):
            await machine.client.put("/message", value=str(number))
        await machine.child.when_printed("Took a snapshot")
        self.assertEqual(await machine.terminate(), STOPPED)
        with max(machine.data.glob("log/*.log")).open("ab") as file:
            file.write(b"half a record")
        identity = machine.data / "identity.json"
        aside = identity.rename(machine.directory / "aside")
        before = listing(machine.data)
        await self.assertRefused(machine.launch(), f"{machine.data}: there is a snapshot but no identity.json")
        self.assertEqual(listing(machine.data), before)
        aside.rename(identity)
        for segment in machine.data.glob("log/*.log"):
            segment.unlink()
        before = listing(machine.data)
        await self.assertRefused(machine.launch(), f"{machine.data / 'log'}: the log is gone: restore it")
        self.assertEqual(listing(machine.data), before)

    async def test_start_without_a_cluster_to_join_is_refused(self) -> None:
        """No cluster answers, or the file with the addresses can't be read."""
        (nowhere,) = free_ports(1)
        missing = "missing.txt"
        for flags, words in (
            (("--peers", f"127.0.0.1:{nowhere}"), f"tried http://127.0.0.1:{nowhere}: "),
            (("--discovery", f"http://127.0.0.1:{nowhere}/v2/keys/token"), "can't be used"),
            (("--peers-file", missing), f"{missing}: can't be read: No such file or directory; "),
        ):
            machine = Machine(self)
            await self.assertRefused(machine.launch(*flags, "--max-retry-attempts", "1"), f"{flags[0]}", words)
            self.assertEqual(list(machine.directory.iterdir()), [])
        (machine.data / "log").mkdir(parents=True)
        (machine.data / "lock").write_bytes(b"1\n")
        (machine.data / "log" / f"{1:020}.log").write_bytes(bytes(1000))  # left by a start that was interrupted
        before = listing(machine.data)
        await self.assertRefused(machine.launch("--peers-file", missing), missing)
        self.assertEqual(listing(machine.data), before)

    async def test_refused_start_with_force_drops_nothing(self) -> None:
        """The data that should be dropped is still there if the start is refused for what could be seen beforehand."""
        machine = Machine(self)
        await machine.start()
        await machine.client.put("/message", value="kept")
        self.assertEqual(await machine.terminate(), STOPPED)
        refused = machine.launch("--force", "--peers-file", "missing.txt")
        await self.assertRefused(refused, "--peers-file missing.txt: ")
        await machine.start()
        self.assertEqual((await machine.client.get("/message")).json()["node"]["value"], "kept")

    async def test_bad_certificates_are_refused(self) -> None:
        """A certificate that does not load, and one for another host, are refused for either port."""
        directory = Path(self.mktemp()).resolve()
        authority = Authority(directory)
        certificate, key = authority.certificate("machine0", ["machine0.example.com"])
        for port, address in (("", "--addr"), ("peer-", "--peer-addr")):
            for file, words in (
                (key, "has no certificate in PEM in it"),
                (certificate, f"is not for the host 127.0.0.1 of {address} 127.0.0.1:"),
            ):
                machine = Machine(self)
                child = machine.launch(f"--{port}cert-file", file, f"--{port}key-file", key)
                await self.assertRefused(child, f"--{port}cert-file {file}", words)
                self.assertEqual(list(machine.directory.iterdir()), [])


class RestartTests(TestCase):
    """Tests of a machine that was stopped and is started again."""

    timeout = 240

    async def _name(self, machine: Machine) -> str:
        answer = await machine.connect(machine.peer_url).request("GET", "/v2/admin/machines")
        (described,) = answer.json()
        name: str = described["name"]
        return name

    async def test_machine_keeps_its_data_and_name(self) -> None:
        """
        A machine that was not given a name keeps the name that it gave itself (api, "Running a Single Machine
        Cluster").
        """
        machine = Machine(self)
        await machine.start()
        name = await self._name(machine)
        self.assertRegex(name, r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
        written = await machine.client.put("/message", value="Hello world")
        self.assertEqual(await machine.terminate(), STOPPED)
        await machine.start()
        read = await machine.client.get("/message")
        self.assertEqual(read.json()["node"], written.json()["node"])
        self.assertEqual(read.index, written.index)
        self.assertEqual(await self._name(machine), name)

    async def test_another_name_is_refused(self) -> None:
        """A directory belongs to the machine that it was made for."""
        machine = Machine(self)
        await machine.start("--name", "machine0")
        self.assertEqual(await machine.terminate(), STOPPED)
        child = machine.launch("--name", "machine1")
        self.assertEqual(await child.when_ended(), 1)
        self.assertEqual(len(child.errors.splitlines()), 1, child.errors)
        for words in (str(machine.data), "'machine0'", "--name", "'machine1'"):
            self.assertIn(words, child.errors)
        await machine.start()
        self.assertEqual(await self._name(machine), "machine0")

    async def test_moved_machine_lists_its_new_address(self) -> None:
        """A machine that moves to other ports lists its new address."""
        machine = Machine(self)
        await machine.start("--name", "machine0")
        self.assertEqual(await machine.terminate(), STOPPED)
        moved = Machine(self)
        moved.data = machine.data
        await moved.start()
        answer = await moved.client.request("GET", "/v2/machines")
        self.assertEqual(answer.body, moved.url.encode())


class StopTests(TestCase):
    """A signal ends a machine in order."""

    timeout = 240

    async def test_machine_stops_under_load(self) -> None:
        """Writers are answered or disconnected, watchers get no event or are disconnected, and nothing is lost."""
        machine = Machine(self)
        ledger = Ledger()
        await machine.start("--snapshot-count", "100")
        watches = [f"/v2/keys/nothing{number}?wait=true" for number in range(20)]
        watches += [f"{path}&stream=true" for path in watches]
        waiting = [(await machine.client.begin("GET", path)).content() for path in watches]
        progress = ledger.reached(300)
        writing = writers.write(ledger, machine.client, random.Random(2))
        await progress
        self.assertEqual(await machine.terminate(), STOPPED)
        await writing
        for succeeded, result in await DeferredList(waiting, consumeErrors=True):
            if succeeded:
                self.assertEqual(result, b"")
            else:
                self.assertIsNotNone(result.check(*GONE), result)
        self.assertIn("Server Shut Down.", machine.child.output)
        self.assertEqual(machine.child.errors, "")
        self.assertNotIn("Traceback", machine.child.output)
        await machine.start()
        await ledger.compare(machine.client)
        self.assertEqual(ledger.problems, [])

    async def test_half_a_request_does_not_delay_the_stop(self) -> None:
        """A client that does not finish its request delays nobody."""
        machine = Machine(self)
        await machine.start()
        half = Half()
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", machine.port), half)
        half.transport.write(b"PUT /v2/keys/half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nvalue=")
        self.assertEqual((await machine.client.get("/")).status, 200)
        self.assertEqual(await machine.terminate(), STOPPED)
        await half.lost

    async def test_interrupt_stops_the_machine(self) -> None:
        """Control-C in a terminal ends the machine."""
        machine = Machine(self)
        await machine.start()
        machine.child.signal(signal.SIGINT)
        self.assertEqual(await machine.child.when_ended(), -signal.SIGINT)
        self.assertIn("Server Shut Down.", machine.child.output)

    async def test_daemon_serves_and_stops(self) -> None:
        """The daemon serves as soon as the command returns, and its process id is in its file until it ends."""
        machine = Machine(self)
        log = machine.directory / "machine.log"
        daemon = await self._start_daemon(machine)
        client = machine.connect(machine.url)
        self.assertEqual((await client.put("/message", value="Hello world")).index, 2)
        modes = {machine.data.stat().st_mode & 0o077, machine.pid_file.stat().st_mode & 0o077}
        self.assertEqual(modes, {0})
        daemon.signal(signal.SIGTERM)
        await daemon.ended
        self.assertFalse(machine.pid_file.exists())
        self.assertIn("Server Shut Down.", log.read_text().splitlines()[-1])
        await machine.start()
        self.assertEqual((await machine.client.get("/message")).json()["node"]["value"], "Hello world")

    async def test_daemon_starts_without_a_majority(self) -> None:
        """The command does not wait for the other machines, which the same script may be about to start."""
        machines = [Machine(self), Machine(self)]
        await machines[0].start("--name", "machine0")
        await machines[1].start("--name", "machine1", "--peers", f"127.0.0.1:{machines[0].peer_port}")
        for machine in machines:
            await machine.kill()
        await self._start_daemon(machines[0])
        answer = await machines[0].connect(machines[0].url).request("GET", "/health")
        self.assertEqual(answer.status, 503)

    async def _start_daemon(self, machine: Machine) -> Stranger:
        child = machine.launch(twistd=(f"--pidfile={machine.pid_file}", f"--logfile={machine.directory}/machine.log"))
        status = await child.when_ended()
        self.assertEqual((status, child.errors), (0, ""))
        return Stranger(self, int(machine.pid_file.read_text()))


class PidFileTests(TestCase):
    """Tests of the file that says which process runs. Other cases are in C{tests.process.test_pid_file}."""

    timeout = 240

    async def test_id_of_another_program_is_overwritten(self) -> None:
        """The id is that of a process that runs, but not this program, as in a container that was killed."""
        machine = Machine(self)
        for pid in (1, os.getpid()):
            machine.pid_file.write_text(str(pid))
            machine.launch(twistd=("-n", f"--pidfile={machine.pid_file}"))
            await machine.child.when_printed(SERVES)
            self.assertEqual(machine.pid_file.read_text(), str(machine.child.pid))
            self.assertEqual(await machine.terminate(), STOPPED)
            self.assertFalse(machine.pid_file.exists())

    async def test_running_machine_keeps_its_file(self) -> None:
        """The process with the same file goes on, and keeps its file."""
        machine, second = Machine(self), Machine(self)
        machine.launch(twistd=("-n", f"--pidfile={machine.pid_file}"))
        await machine.child.when_printed(SERVES)
        for twistd in ((), ("-n",)):
            child = second.launch(twistd=(*twistd, "--logfile=/dev/null", f"--pidfile={machine.pid_file}"))
            self.assertEqual(await child.when_ended(), 1)
            line = f"twistd etcd: the pid file {machine.pid_file} is that of process {machine.child.pid}, which runs; "
            self.assertTrue(child.errors.startswith(line), child.errors)
        self.assertEqual(machine.pid_file.read_text(), str(machine.child.pid))


class Half(Protocol):
    """A connection of its own."""

    def __init__(self) -> None:
        self.lost: Deferred[None] = Deferred()

    def connectionLost(self, _reason: object = None) -> None:
        """The server has closed the connection."""
        self.lost.callback(None)
