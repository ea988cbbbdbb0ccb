"""
Checks web pages at intervals, in several processes that stand in for each other, with no other program beside them.

Each process embeds a machine of one cluster. What to check is in the keys C{/uptime/checks/NAME}, as C{SECONDS URL}.
The processes elect one of them, which watches these keys and makes the checks. A lock for each check keeps a new
leader from beginning one that the old leader has not ended, and its fencing token keeps a late result from replacing
a newer one. Results are in C{/uptime/results/NAME}.
"""

import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress

import attrs
import treq
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.client import (
    Client,
    ClientClosed,
    ClientError,
    CompareFailed,
    ConnectionFailed,
    HistoryLost,
    KeyExists,
    KeyNotFound,
    Node,
    OutcomeUnknown,
)
from etcd_twisted.client.recipes import Election, Lock, NotAcquired, NotHeld
from etcd_twisted.config import Config
from etcd_twisted.interfaces import IReactor
from etcd_twisted.service import EtcdService

CHECKS, RESULTS, LOCKS, CANDIDATES = "/uptime/checks", "/uptime/results", "/uptime/locks", "/uptime/candidates"
TTL_SECONDS = 10
"""How long after the death of a leader another one is elected."""

RETRY_SECONDS = 1.0


@attrs.frozen
class Check:
    """What to check, and how often."""

    seconds: float
    url: str

    @classmethod
    def read(cls, text: str) -> "Check":
        """Read the value of a key, or raise a L{ValueError}."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?) (https?://\S+)", text)
        if match is None or not float(match[1]):
            raise ValueError(f"{text!r} should be SECONDS URL, as in '60 http://example.com/'")
        return cls(float(match[1]), match[2])


async def status_of(url: str) -> str:
    """Get a page, and return how that went."""
    try:
        response = await treq.get(url, timeout=10, persistent=False)
        await response.content()
    except Exception as error:
        return f"failed: {error or type(error).__name__}"
    return str(response.code)


class Checker:
    """One of the processes, or rather its part in the checks."""

    _log = Logger()

    def __init__(self, client: Client, name: str, status_of: Callable[[str], Awaitable[str]] = status_of) -> None:
        self._client = client
        self._name = name
        self._status_of = status_of
        self._election = Election(client, CANDIDATES, ttl_seconds=TTL_SECONDS)
        self._timers: dict[str, LoopingCall] = {}
        self._under_way: set[Deferred[None]] = set()

    async def run(self) -> None:
        """Make the checks whenever this is the leader, until this is cancelled or the client is closed."""
        while True:
            try:
                await self._campaign()
            except ClientClosed:
                raise
            except (ConnectionFailed, OutcomeUnknown) as error:
                self._log.warn("The cluster has no majority: {error}", error=error)
                await deferLater(self._client.reactor, RETRY_SECONDS)

    async def _campaign(self) -> None:
        """Lead once."""
        leadership = await self._election.campaign(self._name)
        self._log.info("{name} leads", name=self._name)
        leading = Deferred.fromCoroutine(self._lead())
        leadership.lost.addCallback(lambda _: leading.cancel())
        try:
            await leading
        except CancelledError:
            if leadership.is_held:  # this process stops
                raise
            self._log.warn("{name} no longer leads: {loss}", name=self._name, loss=leadership.loss)
        finally:
            if leadership.is_held:
                await DeferredList([*self._under_way])
                await leadership.resign()

    # What the leader does

    async def _lead(self) -> None:
        with suppress(KeyExists):
            await self._client.make_directory(CHECKS)
        reading = await self._client.list(CHECKS, quorum=True)
        watch = self._client.watch(CHECKS, recursive=True, after_index=reading.index.etcd_index)
        try:
            self._replace(reading.node)
            async for item in watch:
                if isinstance(item, HistoryLost) or item.node.key == CHECKS:
                    self._replace(item.node)
                elif item.is_removal:
                    self._forget(item.node.name)
                else:
                    self._take(item.node)
        finally:
            watch.close()
            self._replace(None)

    def _replace(self, directory: Node | None) -> None:
        """Begin anew with what is in the directory now."""
        for name in list(self._timers):
            self._forget(name)
        for node in () if directory is None else directory.nodes:
            self._take(node)

    def _forget(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None and timer.running:
            timer.stop()

    def _take(self, node: Node) -> None:
        self._forget(node.name)
        try:
            check = Check.read(node.value or "")
        except ValueError as error:
            self._log.warn("{key}: {error}", key=node.key, error=error)
            return
        timer = LoopingCall(self._begin, node.name, check.url)
        timer.clock = self._client.reactor
        self._timers[node.name] = timer
        timer.start(check.seconds)

    def _begin(self, name: str, url: str) -> None:
        """Begin a check, which goes on even if this is not the leader any more when it ends."""
        checking = Deferred.fromCoroutine(self._check(name, url))
        self._under_way.add(checking)
        checking.addErrback(lambda failure: self._log.failure("The check {name} failed", failure, name=name))
        checking.addBoth(lambda _: self._under_way.discard(checking))

    async def _check(self, name: str, url: str) -> None:
        lock = Lock(self._client, f"{LOCKS}/{name}", ttl_seconds=TTL_SECONDS, name=self._name)
        try:
            hold = await lock.acquire(timeout_seconds=0)
            status = await self._status_of(url)
            await self._publish(name, status, hold.fencing_token)
            await hold.release()
        except NotAcquired:
            self._log.info("The last check of {name} has not ended yet", name=name)
        except NotHeld as error:
            self._log.warn("The check {name} took too long: {error}", name=name, error=error)
        except ClientError as error:
            self._log.warn("The check {name} has no result: {error}", name=name, error=error)

    async def _publish(self, name: str, status: str, token: int) -> None:
        """Set the result, unless there is that of a later check."""
        key = f"{RESULTS}/{name}"
        value = json.dumps({"status": status, "by": self._name, "token": token})
        while True:
            try:
                node = (await self._client.get(key, quorum=True)).node
                if json.loads(node.value or "{}").get("token", 0) > token:
                    return
                await self._client.compare_and_swap(key, value, previous_index=node.modified_index)
                return
            except KeyNotFound:
                try:
                    await self._client.create(key, value)
                    return
                except KeyExists:
                    continue  # somebody was faster: compare with that
            except CompareFailed:
                continue


class UptimeService(Service):
    """A machine, and the checker that uses it: this starts after the machine, and stops before it."""

    _log = Logger()

    def __init__(self, reactor: IReactor, config: Config, fatal: Callable[[str], None]) -> None:
        """
        @param fatal: is called with a line for people when this can't start or can't go on: it should end the process.
        """
        self.machine = EtcdService(reactor, config, fatal)
        self._fatal = fatal
        self._running: Deferred[None] | None = None

    def startService(self) -> None:
        """Start the machine, and then the checker."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        self.machine.startService()
        self.machine.started.addCallbacks(self._begin, self._refused)

    def _begin(self, _: None) -> None:
        checker = Checker(self.machine.client(), self.machine.replica.name)
        self._running = Deferred.fromCoroutine(checker.run())
        self._running.addErrback(self._ended)

    def _ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("The checker has ended", failure)
            self._fatal(failure.getErrorMessage())

    def _refused(self, failure: Failure) -> None:
        if not failure.check(CancelledError):  # or else this is stopped before it has started
            self._fatal(failure.getErrorMessage())

    def stopService(self) -> "Deferred[None]":
        """Stop the checker, and then the machine."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await self._running
        await self.machine.stopService()
