"""
Keeps the configuration of a load balancer current: the servers in it are the keys below a directory.

C{/services/SERVICE/NAME} holds the address of a server as C{HOST:PORT}. Each service is a C{backend} of HAProxy. When
servers come or go, the file is replaced as a whole, and a command has the load balancer read it again.
"""

import os
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.client import Client, ClientClosed, ConnectionFailed, Event, HistoryLost, KeyNotFound, Node

SETTLE_SECONDS = 0.2
"""For how long changes are collected, so that many of them are one reload."""

RETRY_SECONDS = 5.0

_NAME = re.compile(r"[\w.-]+")
_ADDRESS = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}")


class Servers:
    """The servers below a directory, as events change them."""

    _log = Logger()

    def __init__(self, directory: str) -> None:
        self._directory = directory.rstrip("/") + "/"
        self._addresses: dict[str, str] = {}

    def replace(self, node: Node | None) -> None:
        """Take a recursive listing in place of all that was known."""
        self._addresses = {}
        for each in () if node is None else node.walk():
            self._take(each)

    def apply(self, event: Event) -> None:
        """Take a change."""
        key = event.node.key
        if event.is_removal or event.node.directory:
            # A directory is removed with everything in it, and one that replaces a key is empty.
            gone = [each for each in self._addresses if each == key or each.startswith(f"{key}/")]
            for each in gone:
                del self._addresses[each]
        else:
            self._take(event.node)

    def _take(self, node: Node) -> None:
        if node.value is None:
            return
        parts = node.key.removeprefix(self._directory).split("/")
        if len(parts) == 2 and all(map(_NAME.fullmatch, parts)) and _ADDRESS.fullmatch(node.value):
            self._addresses[node.key] = node.value
        else:  # it must not get into the file: anybody who may set a key could write anything there
            self._log.warn("{key} is no server: {value!r}", key=node.key, value=node.value)
            self._addresses.pop(node.key, None)

    def configuration(self) -> str:
        """Returns the load balancer's configuration."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        service = None
        for key, address in sorted(self._addresses.items()):
            *_, found, name = key.split("/")
            if found != service:
                service = found
                yield f"backend {service}"
            yield f"    server {name} {address} check"


def write_whole(path: Path, text: str) -> None:
    """Replace a file, so that nobody ever reads a part of it, not even after a power failure."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


async def run(reactor: IReactorProcess, command: Sequence[str]) -> None:
    """
    Run a command to its end.

    @raise RuntimeError: it has failed.
    """
    executable, *arguments = command
    _, errors, status = await getProcessOutputAndValue(executable, arguments, os.environ, reactor=reactor)
    if status != 0:
        raise RuntimeError(f"{executable} ended with status {status}: {errors.decode(errors='replace')}")


class Balancer(Service):
    """Watches the servers, and keeps the file current."""

    _log = Logger()

    def __init__(self, client: Client, directory: str, path: Path, reload: Callable[[], Awaitable[object]]) -> None:
        """
        @param client: is closed when this stops.
        @param directory: the key of the directory with the services.
        @param path: the file.
        @param reload: has the load balancer read it, and fails if that fails.
        """
        self._client = client
        self._directory = directory
        self._path = path
        self._reload = reload
        self._servers = Servers(directory)
        self._is_due = False
        self._written: str | None = None

    def startService(self) -> None:
        """Begin to watch."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        self._client.run(Deferred.fromCoroutine(self._observe())).addErrback(self._ended)

    def stopService(self) -> "Deferred[None]":
        """End. The file stays as it is."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        return self._client.close()

    def _ended(self, failure: Failure) -> None:
        if self.running:
            self._log.failure("The servers are no longer watched", failure)

    async def _observe(self) -> None:
        node, index = await self._list()
        self._servers.replace(node)
        self._update_soon()
        async for item in self._client.watch(self._directory, recursive=True, after_index=index):
            if isinstance(item, HistoryLost):  # this was away for too long: here is everything as it is now
                self._servers.replace(item.node)
            else:
                self._servers.apply(item)
            self._update_soon()

    async def _list(self) -> tuple[Node | None, int]:
        """Returns everything as it is now, and the index from which a watch misses nothing."""
        while True:
            try:
                reading = await self._client.list(self._directory, recursive=True, quorum=True)
            except KeyNotFound as error:
                return None, error.index
            except ClientClosed:
                raise
            except ConnectionFailed as error:
                self._log.warn("The cluster can't be reached: {error}", error=error)
                await deferLater(self._client.reactor, RETRY_SECONDS)
            else:
                return reading.node, reading.index.etcd_index

    # The file

    def _update_soon(self, seconds: float = SETTLE_SECONDS) -> None:
        if not self._is_due:
            self._is_due = True
            updating = deferLater(self._client.reactor, seconds, lambda: Deferred.fromCoroutine(self._update()))
            self._client.run(updating).addErrback(self._failed)

    async def _update(self) -> None:
        text = self._servers.configuration()
        if text != self._written:
            write_whole(self._path, text)
            await self._reload()
            self._written = text
            self._log.info("{path} is written and loaded", path=self._path)
        self._is_due = False
        if text != self._servers.configuration():  # there were changes while the command ran
            self._update_soon()

    def _failed(self, failure: Failure) -> None:
        self._is_due = False
        if self.running and not failure.check(CancelledError):
            self._log.failure("{path} could not be brought up to date", failure, path=self._path)
            self._update_soon(RETRY_SECONDS)
