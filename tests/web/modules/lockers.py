"""
Clients of locks without HTTP, on a fake clock and a replica that is only a key space.
"""

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.commands import Change
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.modules.lock_queue import lock_directory, read_queue
from etcd_twisted.web.modules.locks import EntryReference, LockRequest, Locks

QUEUE = lock_directory("mylock") or ""
TTL = 20
STEP = 1 / 16


class LocksTest(SynchronousTestCase):
    """A test with locks and a clock that the test advances."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000)
        self.replica = FakeReplica(self.clock)
        self.locks = Locks(self.replica, self.clock)

    def ask(
        self,
        value: str = "",
        ttl: int = TTL,
        timeout: int | None = None,
        index: int | None = None,
        directory: str = QUEUE,
    ) -> "Deferred[int]":
        """Asks for a lock, and delivers events to watchers."""
        asked = ensureDeferred(self.locks.acquire(LockRequest(directory, ttl, value, index, timeout)))
        self.clock.advance(0)
        return asked

    def get(self, value: str = "", ttl: int = TTL, timeout: int | None = None, index: int | None = None) -> int:
        """Asks for the lock, and gets it at once."""
        return self.successResultOf(self.ask(value, ttl, timeout, index))

    def wait(self, value: str = "", ttl: int = TTL, timeout: int | None = None) -> "Deferred[int]":
        """Asks for the lock, and does not get it yet."""
        asked = self.ask(value, ttl, timeout)
        self.assertNoResult(asked)
        return asked

    def release(self, index: int | None = None, value: str = "") -> None:
        """Releases an entry, and delivers events to watchers."""
        self.successResultOf(ensureDeferred(self.locks.release(EntryReference(QUEUE, index, value))))
        self.clock.advance(0)

    def renew(self, index: int | None = None, value: str = "", ttl: int = TTL) -> None:
        self.successResultOf(ensureDeferred(self.locks.renew(EntryReference(QUEUE, index, value), ttl)))

    def holder(self) -> tuple[int, str] | None:
        return self.successResultOf(ensureDeferred(self.locks.holder(QUEUE)))

    def entries(self) -> list[int]:
        """Returns the indexes of the entries in the queue."""
        return list(read_queue(self.replica, QUEUE) or ())

    def pass_time(self, seconds: float, step: float = STEP) -> None:
        """Advances the clock in small steps, which are whole numbers so that rounding plays no part."""
        steps, rest = divmod(seconds, step)
        self.assertEqual(rest, 0)
        self.clock.pump([step] * int(steps))

    def proposed(self, *kinds: type) -> list[Change]:
        """Returns the proposed commands of these kinds."""
        return [command for command in self.replica.proposed if isinstance(command, kinds)]

    def assert_not_acquired(self, asked: "Deferred[int]", why: str) -> None:
        error = self.failureResultOf(asked, EtcdError).value
        self.assertEqual((error.code, error.cause), (ErrorCode.COMPARE_FAILED, f"/mylock was not acquired: {why}"))

    def assert_over(self) -> None:
        """Asserts that nobody waits and that no timers, watchers or entries remain."""
        self.assertEqual(self.locks._queues, {})
        self.assertEqual(self.replica.keyspace.hub.count, 0)
        self.replica.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
