"""
Keeps a zone in agreement with the keys, which it reads once and then follows by a watch.

Must never hold up the reactor for long, however many names there are, nor use its zone when this machine no longer has
a copy of the keys.
"""

from collections.abc import Iterator

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace import Directory, Event, Node, Watcher, parent
from etcd_twisted.logs import RateLimitedLog
from etcd_twisted_dns.records import Record, is_name, records_of, reversed_name
from etcd_twisted_dns.zone import Zone

NAMES_AT_ONCE = 200
"""How many names are read in one turn of the reactor."""


class Follower(Service):
    """Keeps a zone while it runs."""

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, replica: IReplica, origin: str, directory: str, rate_limited_log: RateLimitedLog
    ) -> None:
        """
        @param origin: the zone's name.
        @param directory: the key that the names are in.
        @param rate_limited_log: takes a line for each key that can't be used.
        """
        self._clock = clock
        self._replica = replica
        self._origin = origin
        self._directory = directory
        self._rate_limited_log = rate_limited_log
        self._zone: Zone | None = None
        self._watcher: Watcher | None = None
        self._over: Deferred[None] | None = None
        self._following: Deferred[None] = succeed(None)

    @property
    def zone(self) -> Zone | None:
        """Returns the zone, or C{None} while this machine has no copy of the keys, or has not read it yet."""
        return self._zone if self._replica.serving else None

    def seconds_left(self, key: str) -> int | None:
        """
        Returns how long a key of the directory will be there, in whole seconds, or C{None} when neither the key nor
        its directories have a TTL. The key is read each time, since no event tells that a TTL was refreshed.
        """
        times = []
        while key.startswith(self._directory):
            node = self._find(key)
            if node is None:
                return 0
            times.append(node.expires)
            key = parent(key)
        left = [(time - self._replica.now()) // 1_000_000 for time in times if time is not None]
        return max(0, min(left)) if left else None

    def startService(self) -> None:
        """Begins to follow as soon as there is something to read."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        self._following = ensureDeferred(self._follow())
        self._following.addErrback(self._ended)

    def stopService(self) -> None:
        """Stops following."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        self._following.cancel()
        self._watch_no_more()
        self._zone = None

    def _ended(self, reason: Failure) -> None:
        """The replica or this service is stopping, or a fault has occurred: questions are not answered any more."""
        self._watch_no_more()
        self._zone = None
        if not reason.check(CancelledError, EtcdError):
            self._log.failure("The names are not followed any more", reason)

    async def _follow(self) -> None:
        while True:
            await self._replica.when_serving()
            if self._replica.serving:  # or it has become a standby, and this waits until it serves again
                await self._read_and_watch()
            if not self._replica.serving:
                self._zone = None

    async def _read_and_watch(self) -> None:
        """
        Reads everything, and keeps it right until it has to be read again.

        The watch begins before anything is read, so that nothing is missed. Each name is read from the newest copy, so
        it does not matter whether an event about it comes before or after.
        """
        replica = self._replica
        zone = Zone(self._origin, replica.index)
        self._over = over = Deferred[None]()
        self._watcher = replica.watch(
            self._directory, True, True, None, lambda event: self._happened(zone, event), self._read_again
        )
        try:
            for number, name in enumerate(list(self._names()), 1):
                self._read(zone, name)
                if number % NAMES_AT_ONCE == 0:
                    await deferLater(self._clock, 0, lambda: None)
            if not over.called:
                self._zone = zone
            await over
        finally:
            self._watch_no_more()

    def _watch_no_more(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()

    def _read_again(self) -> None:
        """Reads everything again, since the zone is out of date or an event may have been missed."""
        if self._over is not None and not self._over.called:
            self._over.callback(None)

    def _happened(self, zone: Zone, event: Event) -> None:
        zone.serial = event.index
        key = event.node.key
        if key.startswith(f"{self._directory}/"):
            self._read(zone, key.removeprefix(f"{self._directory}/").partition("/")[0])
        else:
            self._read_again()  # the whole directory is gone, or expires at another time

    # Reading.

    def _names(self) -> Iterator[str]:
        directory = self._find(self._directory)
        if isinstance(directory, Directory):
            yield from directory.children
        elif directory is not None:
            self._report(self._directory, "should be a directory of names")

    def _read(self, zone: Zone, segment: str) -> None:
        """Updates the zone with what this machine's copy has for a name."""
        key = f"{self._directory}/{segment}"
        if not is_name(segment):
            self._report(key, "should be a domain name from the right to the left, in lower case, as in com.example")
            return
        try:
            zone.put(reversed_name(segment), self._records(key))
        except ValueError as error:
            self._report(key, str(error))

    def _records(self, key: str) -> list[Record]:
        node = self._find(key)
        if node is None:
            return []
        return records_of(key, node, self._report)

    def _find(self, key: str) -> Node | None:
        """Returns a node of this machine's copy, if there is one."""
        try:
            return self._replica.get(key)
        except EtcdError as error:
            if error.code in (ErrorCode.KEY_NOT_FOUND, ErrorCode.NOT_A_DIRECTORY):
                return None
            raise

    def _report(self, key: str, problem: str) -> None:
        self._rate_limited_log.warn("keys", f"{key} {problem}; it is left out")
