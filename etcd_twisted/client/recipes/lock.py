"""
Locks and semaphores.

This module must never know how contenders queue: L{etcd_twisted.client.recipes.contender} does.
"""

from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from twisted.internet.defer import Deferred, fail

from etcd_twisted.client import Client
from etcd_twisted.client.recipes.contender import Contender, own_name
from etcd_twisted.client.recipes.errors import AlreadyHeld, NotHeld
from etcd_twisted.client.recipes.lease import Lease, Loss

DEFAULT_TTL_SECONDS = 15
"""
How long others wait for a holder that has died, unless a recipe is made with another TTL. A holder that can't reach
the cluster counts as lost a fifth earlier.
"""


class Hold:
    """
    A lock that is held, or one of those that a semaphore has let in.

    @ivar key: the key of the holder.
    @ivar fencing_token: a number that is higher than that of every holder of this lock before. Send it along with what
        the lock protects, and have whatever receives it refuse lower numbers than the highest it has seen: this stops
        a holder that has not noticed yet that it is none any more. (The holders of a semaphore have different numbers,
        but several hold it at once.)
    """

    def __init__(self, lease: Lease) -> None:
        self.key = lease.key
        self.fencing_token = lease.created_index
        self._lease = lease

    @property
    def is_held(self) -> bool:
        """Whether it is still held for certain. Look at it right before each step that depends on it."""
        return self._lease.is_held

    @property
    def lost(self) -> "Deferred[Loss]":
        """
        A Deferred that fires with a L{Loss} as soon as it can no longer be certain that this is held: before anybody
        else can get it, and also when it is released, with C{Loss.released} set. Each access returns a new Deferred,
        which may be cancelled.
        """
        return self._lease.lost

    @property
    def loss(self) -> Loss | None:
        """Why it is not held any more, or C{None} while nothing has ended it."""
        return self._lease.loss

    def release(self) -> "Deferred[None]":
        """
        Give it up. The Deferred fires when the next one can have it: when the key is deleted, or must have expired
        because the cluster could not be reached. Cancelling it leaves the key to its TTL.

        @raise NotHeld: (as a failure) it was released or lost before.
        """
        return Deferred.fromCoroutine(self._release())

    def check_held(self) -> None:
        """
        @raise NotHeld: it is not held for certain any more.
        """
        if not self._lease.is_held:
            reason = "its time is over" if self._lease.loss is None else self._lease.loss.reason
            raise NotHeld(f"{self.key} is not held any more: {reason}")

    async def _release(self) -> None:
        self.check_held()
        self._lease.end("it was released", released=True)
        await self._lease.remove(self._lease.ttl_seconds)


_HoldT = TypeVar("_HoldT", bound=Hold)


class Semaphore:
    """
    Lets in a limited number of holders at once, in the order in which they came::

        semaphore = Semaphore(client, "/semaphores/uploads", 3)
        async with semaphore:
            ...

    Each object can hold it once; use one object for each task. It has the guarantees and the limits of a L{Lock}.
    Every contender must be made with the same C{limit}. All waiters learn of a release, and only those that it lets in
    list the directory again.
    """

    def __init__(
        self,
        client: Client,
        directory: str,
        limit: int,
        *,
        ttl_seconds: int = DEFAULT_TTL_SECONDS,
        name: str | None = None,
    ) -> None:
        """
        @param directory: the directory of the contenders' keys. Nothing else should be in it.
        @param limit: how many may hold it at once.
        @param ttl_seconds: for how long others wait for a holder that has died.
        @param name: what the key says, for people who look at it; by default the host's name and the process's id.
        @raise ValueError: C{limit} or C{ttl_seconds} is below 1.
        """
        if limit < 1:
            raise ValueError(f"limit is {limit}, but at least 1 must be let in")
        if ttl_seconds < 1:
            raise ValueError(f"ttl_seconds is {ttl_seconds}, but at least 1 is needed")
        self._client = client
        self._directory = directory
        self._limit = limit
        self._ttl_seconds = ttl_seconds
        self._name = own_name() if name is None else name
        self._entering = False
        self._hold: Hold | None = None

    def acquire(self, timeout_seconds: float | None = None) -> "Deferred[Hold]":
        """
        Wait until this may hold it. Cancelling the Deferred gives up, and removes the key that stands for this
        contender; so does every failure.

        It fails if the cluster can't be reached when it begins. After that it waits out everything: if its own key
        expires meanwhile, as the cluster could not be reached for too long, it queues again, behind the others.

        @param timeout_seconds: for how long to wait for the others; 0 to try once, C{None} for as long as it takes.
        @raise NotAcquired: (as a failure) that time is over.
        @raise AlreadyHeld: (as a failure) this object holds it, or waits for it, already.
        """
        return self.enter(Hold, self._name, timeout_seconds)

    def enter(self, kind: "Callable[[Lease], _HoldT]", text: str, timeout_seconds: float | None) -> "Deferred[_HoldT]":
        """
        Like L{acquire}, for recipes that are built on this.

        @param kind: returns what the Deferred fires with, from the holder's lease.
        @param text: what the key says.
        """
        if self._entering or (self._hold is not None and self._hold.is_held):
            state = "is being acquired" if self._entering else "is held"
            return fail(AlreadyHeld(f"{self._directory} {state} already through this object: use another one"))
        self._entering = True
        return Deferred.fromCoroutine(self._enter(kind, text, timeout_seconds))

    async def _enter(self, kind: "Callable[[Lease], _HoldT]", text: str, timeout_seconds: float | None) -> "_HoldT":
        contender = Contender(self._client, self._directory, self._limit, self._ttl_seconds, text)
        try:
            self._hold = hold = kind(await contender.acquire(timeout_seconds))
        finally:
            self._entering = False
        return hold

    def release(self) -> "Deferred[None]":
        """
        Give it up; see L{Hold.release}.

        @raise NotHeld: (as a failure) it is not held, or was lost.
        """
        hold, self._hold = self._hold, None
        if hold is None:
            return fail(NotHeld(f"{self._directory} is not held through this object"))
        return hold.release()

    async def __aenter__(self) -> Hold:
        return await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """
        @raise NotHeld: the body ended without an exception, but the lock was lost before that.
        """
        hold = self._hold
        if hold is None or (hold.loss is not None and hold.loss.released):
            return
        if hold.is_held or kind is None:
            await self.release()


class Lock(Semaphore):
    """
    A lock that at most one holder has at a time, in the order in which they came::

        lock = Lock(client, "/locks/printer")
        async with lock as hold:
            await printer.send(job, token=hold.fencing_token)

    I{What it guarantees.} While L{Hold.is_held} is true, nobody else holds the lock, provided that the clocks of this
    process and of the cluster run at the same speed to within a fifth. L{Hold.lost} fires before anybody else can get
    the lock: when the cluster could not be reached for four fifths of the TTL, when the key is gone, or when the
    client is closed. Each holder has a higher L{Hold.fencing_token} than all before it. A holder that dies is replaced
    after its TTL. A waiter watches only the one before it.

    I{What no lease can guarantee.} A process that is stopped, swapped out or busy for longer than the TTL does not
    notice in time that it holds the lock no longer; and what it has sent may arrive after the next holder has begun.
    Only what the lock protects can tell: have it refuse a fencing token that is lower than one that it has seen.
    Whoever deletes keys in the directory by hand, or replaces the store, breaks the lock; the holder notices at its
    next refresh, after a third of the TTL. With etcd in place of this server, the machines' wall clocks count too:
    when one leads whose clock is ahead of its predecessor's, keys expire earlier by the difference.
    """

    def __init__(
        self, client: Client, directory: str, *, ttl_seconds: int = DEFAULT_TTL_SECONDS, name: str | None = None
    ) -> None:
        """See L{Semaphore}."""
        super().__init__(client, directory, 1, ttl_seconds=ttl_seconds, name=name)

    async def __aenter__(self) -> Hold:
        return await super().__aenter__()
