"""
Several machines as processes, and what their users see of them.

Nobody is notified of what a cluster does by itself, so the helpers poll until the expected state is there or a time
limit is reached.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, gatherResults
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from etcd_twisted.testing.ports import free_ports
from tests.certificates import Authority
from tests.processes.child import ChildProcess
from tests.processes.client import GONE, Answer, Client
from tests.processes.ledger import leaves
from tests.processes.machine import FOREGROUND, TWISTD, Machine

_T = TypeVar("_T")

OFTEN = 0.05
"""The number of seconds between two polls."""

LONGEST_WAIT_SECONDS = 60.0
"""The number of seconds after which polling gives up."""

STEADY = ("--peer-election-timeout", "1000")
"""
The leader changes only when a test makes it change, and not because a machine was kept waiting for the processor.
"""

REDIRECTS = 3
"""One redirect leads to the leader, and others follow if another machine has taken over meanwhile."""


async def until(probe: Callable[[], Awaitable[_T | None]], wanted: str) -> _T:
    """
    Returns the result of C{probe} as soon as that is not C{None}. Until then C{probe} may also raise one of L{GONE},
    or an C{AssertionError} because the expected state is not there yet.

    @param wanted: what is waited for, for the reader of the error that it did not come.
    """
    told: object = None
    latest = reactor.seconds() + LONGEST_WAIT_SECONDS
    while reactor.seconds() < latest:
        try:
            result = await probe()
        except (*GONE, AssertionError) as error:
            told = error
        else:
            if result is not None:
                return result
            told = None
        await deferLater(reactor, OFTEN, lambda: None)
    raise AssertionError(f"{wanted}: not within {LONGEST_WAIT_SECONDS} seconds; {told}")


@implementer(IPolicyForHTTPS)
class Credentials:
    """Whom a client trusts, and the certificate that it shows."""

    def __init__(self, trusted: Authority, certificate: tuple[Path, Path] | None = None) -> None:
        """@param certificate: the files of a certificate and its key; C{None} for a client without one."""
        self._trusted = trustRootFromCertificates([Certificate.loadPEM(trusted.path.read_bytes())])
        self._own = None
        if certificate is not None:
            self._own = PrivateCertificate.loadPEM(b"".join(path.read_bytes() for path in certificate))

    def creatorForNetloc(self, host: bytes, _port: int) -> object:
        """Returns what a connection to a server needs."""
        return optionsForClientTLS(host.decode(), trustRoot=self._trusted, clientCertificate=self._own)


class Member(Machine):
    """
    A machine that has a name and is given others.

    @ivar user: a client of its client port that follows redirects, as C{curl -L} does.
    @ivar admin: a client of its peer port.
    @ivar others: the machines that it is given when it starts.
    @ivar flags: further flags that it is always given.
    """

    user: Client
    admin: Client
    scheme = peer_scheme = "http"
    tls: IPolicyForHTTPS | None = None

    def __init__(self, test: TestCase, name: str, *flags: str | Path) -> None:
        super().__init__(test, name)
        self.flags = flags
        self._children: list[ChildProcess] = []
        test.addCleanup(self._keep_words)

    def _keep_words(self) -> None:
        """Keeps the output of its processes beside their data, to help find out why a test failed."""
        words = [text for child in self._children for text in (child.output, child.errors)]
        (self.directory / f"{self.name}.log").write_text("".join(words))

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def peer_url(self) -> str:
        """The URL for machines and administrators."""
        return f"{self.peer_scheme}://127.0.0.1:{self.peer_port}"

    def arguments(self) -> list[str]:
        """Returns the flags that it always has."""
        return [*super().arguments(), *map(str, self.flags)]

    def launch(
        self, *flags: str | Path, program: tuple[str, ...] = TWISTD, twistd: tuple[str, ...] = FOREGROUND
    ) -> ChildProcess:
        """Starts the process, and leaves it to the caller what becomes of it."""
        child = super().launch(*flags, program=program, twistd=twistd)
        self._children.append(child)
        return child

    async def launch_alone(self) -> None:
        """Starts the process, and waits until it answers the question which machines there are."""
        self.launch()
        self.client = self.connect(self.url)
        self._connect_others()

        async def answers() -> bool:
            return bool(await self.machines())

        await until(answers, f"{self.name} tells of machines")

    async def start(self, *flags: str | Path, program: tuple[str, ...] = TWISTD) -> None:
        """Starts the process, and waits until it serves clients or redirects them to others."""
        await super().start(*flags, program=program)
        self._connect_others()

    def _connect_others(self) -> None:
        self.user = self.connect(self.url, REDIRECTS)
        self.admin = self.connect(self.peer_url, REDIRECTS)

    def connect(self, url: str, redirects: int = 0) -> Client:
        """Returns a client that the end of the test closes."""
        client = Client(url, redirects, self.tls)
        self._test.addCleanup(client.close)
        return client

    def secure(self, authority: Authority, peers: bool = True) -> None:
        """
        Serves with TLS clients that have a certificate of the same authority, and also machines unless C{peers} is
        false.
        """
        certificate, key = authority.certificate(self.name)
        self.flags += ("--cert-file", certificate, "--key-file", key, "--ca-file", authority.path)
        if peers:
            self.flags += ("--peer-cert-file", certificate, "--peer-key-file", key, "--peer-ca-file", authority.path)
        self.scheme, self.peer_scheme = "https", "https" if peers else "http"
        self.tls = Credentials(authority, (certificate, key))

    def move(self) -> None:
        """Moves to other ports at the next start."""
        self.port, self.peer_port = free_ports(2)

    async def administer(self, method: str, path: str, settings: dict[str, object] | None = None) -> Answer:
        """Sends a request to its peer port."""
        body = None if settings is None else msgspec.json.encode(settings)
        return await self.admin.request(method, f"/v2/admin/{path}", body)

    async def machines(self) -> list[str]:
        """Returns the client URLs that it lists, the leader's first."""
        answer = await self.client.request("GET", "/v2/machines")
        self._test.assertEqual(answer.status, 200, answer)
        return answer.body.decode().split(", ")

    async def leader_url(self) -> str | None:
        """Returns the peer URL of the leader, as this machine knows it."""
        answer = await self.client.request("GET", "/v2/leader")
        return answer.body.decode() if answer.status == 200 else None

    async def keys(self) -> dict[str, tuple[str, int]]:
        """Returns the value and the index of every key in its copy."""
        answer = await self.client.get("/", "?recursive=true")
        self._test.assertEqual(answer.status, 200, answer)
        return {node["key"]: (node["value"], node["modifiedIndex"]) for node in leaves(answer.json()["node"])}


class Cluster:
    """
    Machines that should form one cluster.

    @ivar machines: all of them, whether they run or not.
    """

    def __init__(self, test: TestCase, size: int, *flags: str | Path) -> None:
        """
        @param flags: the flags that each machine is always given, in addition to L{STEADY} unless they set the same.
        """
        self._test = test
        self._flags = (*STEADY, *flags)
        self.machines: list[Member] = []
        for _ in range(size):
            self.add()

    def add(self) -> Member:
        """Adds a machine that is given those that are there."""
        machine = Member(self._test, f"machine{len(self.machines)}", *self._flags)
        machine.others = list(self.machines)
        self.machines.append(machine)
        return machine

    @property
    def running(self) -> list[Member]:
        """The machines whose processes run."""
        return [machine for machine in self.machines if machine.is_running]

    async def start(self) -> None:
        """Starts the first machine alone, then all others at once."""
        first, *others = self.machines
        await first.start()
        for machine in others:
            machine.others = [other for other in self.machines if other is not machine]
        await together(machine.start() for machine in others)
        await self.agree(self.machines)

    async def agree(self, members: list[Member]) -> None:
        """Waits until each of these machines lists them as the members, with the same leader."""
        urls = {machine.url for machine in members}

        async def agreed() -> bool | None:
            told = [(machine, await machine.machines()) for machine in members]
            leaders = {(await machine.leader_url()) for machine in members}
            for machine, listed in told:
                self._test.assertEqual((set(listed), len(listed)), (urls, len(urls)), f"{machine.name}: {listed}")
            self._test.assertEqual(len({listed[0] for _, listed in told}), 1, told)
            self._test.assertEqual(len(leaders), 1, leaders)
            return True if leaders <= {machine.peer_url for machine in members} else None

        await until(agreed, f"the cluster is {', '.join(machine.name for machine in members)}")

    async def leader(self) -> Member:
        """Returns the machine that runs and that all running machines with a leader take for it."""

        async def found() -> Member | None:
            told = {await machine.leader_url() for machine in self.running} - {None}
            leading = [machine for machine in self.running if {machine.peer_url} == told]
            return leading[0] if leading else None

        return await until(found, "there is a leader")

    async def followers(self) -> list[Member]:
        """Returns the running machines that do not lead."""
        leader = await self.leader()
        return [machine for machine in self.running if machine is not leader]

    async def converge(self, *members: Member) -> dict[str, tuple[str, int]]:
        """
        Waits until all copies are the same, and returns the keys.

        @param members: the machines that have copies; all that run, if none is named.
        """

        async def converged() -> dict[str, tuple[str, int]] | None:
            first, *others = [await machine.keys() for machine in members or self.running]
            for other in others:
                self._test.assertEqual(other, first)
            return first

        return await until(converged, "all copies are the same")

    async def put(self, key: str, value: str) -> None:
        """Sets a key through any machine, and repeats that until it is acknowledged."""
        for turn in range(6_000):
            if await self.try_to_put(turn, key, value):
                return
            await deferLater(reactor, 0.01, lambda: None)
        raise AssertionError(f"{key} could not be written")

    async def try_to_put(self, turn: int, key: str, value: str) -> bool:
        """
        Sets a key through the machine whose turn it is, and returns whether that is acknowledged.

        @raise AssertionError: there was an answer that no client should get.
        """
        machines = self.running
        if not machines:
            return False
        try:
            answer = await machines[turn % len(machines)].user.put(key, value=value)
        except GONE:
            return False
        if answer.status in {200, 201}:
            return True
        if answer.status != 307:  # normal if the leader changes while the client follows redirects
            self._test.assertEqual(answer.status, 500, answer)
            self._test.assertIn(answer.json()["errorCode"], (300, 301))
        return False

    async def kill(self, *machines: Member) -> None:
        """Kills processes at the same moment, as crashes would."""
        await together(machine.kill() for machine in machines)


async def together(work: Any) -> list[Any]:
    """Runs several coroutines at once, and returns their results."""
    results: list[Any] = await gatherResults([ensureDeferred(each) for each in work], consumeErrors=True)
    return results


class SteadyWriter:
    """
    Sets one key after the other, through each machine in turn, and repeats each until it is acknowledged.

    @ivar acknowledged: the keys that were acknowledged.
    @ivar refused: how many attempts were not.
    """

    def __init__(self, test: TestCase, cluster: Cluster, directory: str) -> None:
        """
        Starts writing.

        @param test: its cleanup stops the writer.
        """
        self.acknowledged: dict[str, str] = {}
        self.refused = 0
        self._cluster = cluster
        self._directory = directory
        self._goals: list[tuple[int, Deferred[None]]] = []
        self._stopping = self._given_up = False
        self._writing = ensureDeferred(self._run())
        self._writing.addErrback(self._broken)
        test.addCleanup(self._give_up)

    async def stop(self) -> None:
        """Stops after the next key that is acknowledged."""
        self._stopping = True
        await self._writing

    def _give_up(self) -> None:
        """Stops at once. A request that is cancelled fails as if the machine were gone."""
        self._stopping = self._given_up = True
        self._writing.cancel()

    async def _run(self) -> None:
        number = 0
        while not self._stopping:
            number += 1
            await self._set(f"{self._directory}/{number}", f"value {number}", number)

    def _broken(self, failure: Failure) -> Failure | None:
        goals, self._goals = self._goals, []
        for _, reached in goals:
            reached.errback(failure)
        return None if goals or failure.check(CancelledError) else failure

    async def _set(self, key: str, value: str, number: int) -> None:
        for turn in range(number, number + 6_000):
            if await self._cluster.try_to_put(turn, key, value):
                self.acknowledged[key] = value
                self._count()
                return
            if self._given_up:
                return
            self.refused += 1
            await deferLater(reactor, 0.01, lambda: None)
        raise AssertionError(f"{key} could not be written")

    def _count(self) -> None:
        goals, self._goals = self._goals, []
        for goal, reached in goals:
            if goal <= len(self.acknowledged):
                reached.callback(None)
            else:
                self._goals.append((goal, reached))

    def reached(self, more: int) -> "Deferred[None]":
        """Returns a Deferred that fires when that many more keys are acknowledged."""
        reached: Deferred[None] = Deferred()
        self._goals.append((len(self.acknowledged) + more, reached))
        return reached

    def lost(self, keys: dict[str, tuple[str, int]]) -> list[str]:
        """Returns what was acknowledged and is not among these keys."""
        return [key for key, value in self.acknowledged.items() if keys.get(key, ("", 0))[0] != value]
