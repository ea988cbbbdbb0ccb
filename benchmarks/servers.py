"""
The servers under test, each a child process on free loopback ports with a data directory of its own.

No process is left behind: a server is started with C{with}, which stops it whatever happens.
"""

import abc
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, Self

import attrs

import etcd_twisted
from benchmarks.errors import BenchmarkError
from etcd_twisted.testing.machine_process import machine_arguments
from etcd_twisted.testing.ports import free_ports

REPOSITORY = Path(__file__).resolve().parent.parent

START_SECONDS = 60.0
"""How long a server may take until it serves."""

STOP_SECONDS = 15.0
"""How long a server may take to end after SIGTERM, before SIGKILL."""

ANSWER_SECONDS = 5.0
"""How long a server may be silent before it answers a single question."""

_POLL_SECONDS = 0.005

_TUNING = ("ETCD_", "GO", "PYTHON")
"""How the names of variables begin that would change an installed server, such as C{GOMAXPROCS}."""

_LOG_TAIL = 8


@attrs.frozen
class Answer:
    """
    A server's answer to one request.

    @ivar headers: their names in lower case.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class Server(abc.ABC):
    """
    One server, started as often as needed on the same ports and data directory.

    @cvar name: its name in tables and on the command line.
    @cvar founded: whether the first machine of a cluster has to serve before others can join it.
    @ivar machine: its name in its cluster.
    @ivar cluster: the machines of its cluster, the first one first; it is alone by default. If it is not among them
        it stands by: it passes on the requests of its clients.
    @ivar port: where it serves clients, on 127.0.0.1.
    @ivar peer_port: where it serves other machines.
    @ivar directory: holds its log file and its data.
    """

    name: str
    founded: bool

    def __init__(self, directory: Path, machine: str = "bench") -> None:
        self.machine = machine
        self.cluster: Sequence[Server] = (self,)
        self.directory = directory / self.name / machine
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port, self.peer_port = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @abc.abstractmethod
    def command(self) -> list[str]:
        """Returns the program and its arguments, without those that a measurement adds."""

    @abc.abstractmethod
    def environment(self) -> dict[str, str]:
        """Returns what the program needs in its environment."""

    @abc.abstractmethod
    def snapshots(self) -> set[str]:
        """Returns the names of the whole snapshots in the data directory."""

    @classmethod
    @abc.abstractmethod
    def version(cls) -> str:
        """Returns name and version, for the head of a column."""

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """
        The process id.

        @raise BenchmarkError: it does not run.
        """
        if self._process is None:
            raise BenchmarkError(f"{self.name} is not running")
        return self._process.pid

    def start(self, options: Sequence[str] = (), ready: str = "/v2/keys/") -> float:
        """
        Starts the server and waits until it serves.

        @param options: further arguments.
        @param ready: the path whose C{GET} must answer 200.
        @return: seconds from the start of the process to that answer.
        @raise BenchmarkError: it ends or takes too long; with the last lines of its log.
        """
        began = time.perf_counter()
        self.launch(options)
        self.wait_until_serving(ready)
        return time.perf_counter() - began

    def launch(self, options: Sequence[str] = ()) -> None:
        """Starts the server, and does not wait."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_TUNING)}
        self._log = (self.directory / "log").open("ab")
        self._process = subprocess.Popen(
            [*self.command(), *options],
            cwd=self.directory,
            env=inherited | self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def wait_until_serving(self, ready: str = "/v2/keys/") -> None:
        """
        Waits until the process that was launched serves; it does not run any more if it fails to.

        @param ready: the path whose C{GET} must answer 200.
        @raise BenchmarkError: it ends or takes too long; with the last lines of its log.
        """
        try:
            self._wait_until_serving(ready, time.perf_counter() + START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def get(self, path: str) -> Answer:
        """Makes a C{GET} request; see L{ask}."""
        return self.ask("GET", path)

    def put_json(self, path: str, content: object = None, port: int | None = None) -> None:
        """
        Makes a C{PUT} request.

        @param content: is sent as JSON.
        @param port: C{None} for that of clients.
        @raise BenchmarkError: it is refused, or not answered.
        """
        headers = {"Content-Type": "application/json"}
        try:
            answer = self.ask("PUT", path, None if content is None else json.dumps(content), headers, port)
        except (OSError, http.client.HTTPException) as failure:
            raise BenchmarkError(f"{self.name} does not answer PUT {path}: {failure!r}") from failure
        if answer.status not in (http.client.OK, http.client.CREATED):
            raise BenchmarkError(f"{self.name} answered PUT {path} with status {answer.status}: {answer.body!r}")

    def ask(
        self,
        method: str,
        path: str,
        body: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        port: int | None = None,
    ) -> Answer:
        """
        Makes a request on a connection of its own.

        @param port: C{None} for that of clients.
        @raise OSError: it can't be reached.
        @raise http.client.HTTPException: it does not answer in HTTP.
        """
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    @property
    def running(self) -> bool:
        """Whether it was started and has not been seen to end."""
        return self._process is not None

    def stop(self) -> None:
        """Ends it with SIGTERM, or with SIGKILL if it does not react; does nothing if it does not run."""
        if not self.running:
            return
        self.send_signal(signal.SIGTERM)
        try:
            self.wait_until_ended()
        except BenchmarkError as failure:
            print(f"{failure}; killed", file=sys.stderr)
            self.kill()

    def kill(self) -> None:
        """Ends it with SIGKILL, as a crash would."""
        self.send_signal(signal.SIGKILL)
        self.wait_until_ended()

    def send_signal(self, number: signal.Signals) -> None:
        """
        Sends it a signal, and does not wait.

        @raise BenchmarkError: it does not run.
        """
        if self._process is None:
            raise BenchmarkError(f"{self.name} is not running")
        self._process.send_signal(number)

    def wait_until_ended(self) -> None:
        """
        Waits for the end of a process that was sent a signal.

        @raise BenchmarkError: it does not run, or does not end.
        """
        if self._process is None:
            raise BenchmarkError(f"{self.name} is not running")
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as failure:
            raise BenchmarkError(f"{self.name} did not end within {STOP_SECONDS:.0f} s of its signal") from failure
        self._forget()

    def rest(self, seconds: float) -> None:
        """
        Lets time pass.

        @raise BenchmarkError: the server ends meanwhile, at once; with the last lines of its log.
        """
        if self._process is None:
            raise BenchmarkError(f"{self.name} is not running")
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise BenchmarkError(f"{self.name} ended with status {status}:\n{self.log_tail()}")

    def resident_bytes(self) -> int:
        """
        Returns its resident memory (C{VmRSS}), in bytes, with that of processes that it has started.

        The proportional one (C{Pss}) is less for a program that runs several times, as Python does here.
        """
        return sum(map(_resident_bytes, _family(self.pid)))

    def processor_seconds(self) -> float:
        """Returns for how long it has worked since its start, in all its threads, without processes it has started."""
        return _processor_seconds(self.pid)

    def family_processor_seconds(self) -> float:
        """Returns the same, with the processes that it has started and that still run."""
        return sum(map(_processor_seconds, _family(self.pid)))

    def take_in_no_more(self, machines: int) -> None:  # noqa: B027  # not all kinds have something to do
        """
        Limit the cluster to so many members. Other machines stand by.

        @raise BenchmarkError: it refuses.
        """

    def log_tail(self) -> str:
        """Returns the last lines that it wrote."""
        text = (self.directory / "log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-_LOG_TAIL:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _forget(self) -> None:
        self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None

    def _wait_until_serving(self, path: str, deadline: float) -> None:
        last = "no answer"
        while time.perf_counter() < deadline:
            self.rest(_POLL_SECONDS)
            try:
                status = self.get(path).status
            except (OSError, http.client.HTTPException) as failure:
                last = repr(failure)
                continue
            if status == http.client.OK:
                return
            last = f"status {status}"
        waited = f"{self.name} did not serve {path} within {START_SECONDS:.0f} s ({last})"
        raise BenchmarkError(f"{waited}:\n{self.log_tail()}")


def _family(pid: int) -> list[int]:
    """Returns a process and all its descendants."""
    listed = [each.read_text().split() for each in Path(f"/proc/{pid}/task").glob("*/children")]
    return [pid, *itertools.chain.from_iterable(_family(int(child)) for children in listed for child in children)]


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_bytes(pid: int) -> int:
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if found is None:
        raise BenchmarkError(f"/proc/{pid}/status has no VmRSS line: has it ended?")
    return int(found[1]) * 1024


class EtcdTwisted(Server):
    """This project's server, run with the Python that runs the benchmarks, as C{etcd-twisted} does."""

    name = "etcd_twisted"
    founded = True

    def command(self) -> list[str]:
        return [sys.executable, "-m", "etcd_twisted", *self.arguments()]

    def arguments(self) -> list[str]:
        """Returns the arguments of C{etcd-twisted}, but for those that L{start} gets."""
        first = self.cluster[0]
        others = [] if first is self else [first.peer_port]
        return machine_arguments(self.data, self.port, self.peer_port, self.machine, others)

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(REPOSITORY)}

    def snapshots(self) -> set[str]:
        return {path.name for path in self.data.glob("snapshots/*.snapshot")}

    def take_in_no_more(self, machines: int) -> None:
        self.put_json("/v2/admin/config", {"activeSize": machines}, self.peer_port)

    @classmethod
    def version(cls) -> str:
        return f"{cls.name} {etcd_twisted.__version__}"


class GoEtcd(Server):
    """etcd itself, of a release that still serves the version 2 API (up to 3.5)."""

    name = "etcd"
    founded = False

    def command(self) -> list[str]:
        client, peer = self.url, f"http://127.0.0.1:{self.peer_port}"
        members = [f"{each.machine}=http://127.0.0.1:{each.peer_port}" for each in self.cluster]
        if self not in self.cluster:
            return [
                *(self.executable(), "--proxy", "on", "--name", self.machine, "--data-dir", str(self.data)),
                *("--listen-client-urls", client, "--initial-cluster", ",".join(members)),
            ]
        return [
            *(self.executable(), "--name", self.machine, "--data-dir", str(self.data)),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", ",".join(members)),
        ]

    def environment(self) -> dict[str, str]:
        return {"ETCD_ENABLE_V2": "true"}

    def snapshots(self) -> set[str]:
        return {path.name for path in self.data.glob("member/snap/*.snap")}

    @staticmethod
    def executable() -> str:
        """
        Returns the path of the program.

        @raise BenchmarkError: there is none.
        """
        found = shutil.which("etcd")
        if found is None:
            raise BenchmarkError("no etcd to compare with: install it with 'apt-get install etcd-server'")
        return found

    @classmethod
    def version(cls) -> str:
        shown = subprocess.run([cls.executable(), "--version"], capture_output=True, text=True, check=True, timeout=60)
        found = re.search(r"etcd Version: (\S+)", shown.stdout)
        return f"{cls.name} {found[1]}" if found else cls.name


KINDS: dict[str, type[Server]] = {kind.name: kind for kind in (EtcdTwisted, GoEtcd)}


def present() -> list[str]:
    """Returns the names of the servers that this machine can run."""
    return [name for name in KINDS if name != GoEtcd.name or shutil.which("etcd")]
