"""
Queues whose items are lost only when they are acknowledged.

The rules:

 1. An item is a key in C{items}. It is deleted by an acknowledgement, and by nothing else.
 2. Who takes an item makes a key in C{claims}, which lives by a TTL; then it writes the item again, with the same
    value. An acknowledgement deletes the item as it was written then. So whoever has lost an item to another taker
    can't acknowledge it any more, however late it notices.
 3. Takers wait in line for their turn, as for a lock. Only the first one looks for items and watches them.
 4. Items are in the order of their C{created_index}, never of their names. By that index they are claimed, too: no
    other item ever has it.

This module must never delete an item that another taker may have.
"""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from etcd_twisted.client import (
    Client,
    ClientError,
    CompareFailed,
    Event,
    KeyNotFound,
    Node,
    OutcomeUnknown,
    Reading,
)
from etcd_twisted.client.recipes.claim import Claim, give_up
from etcd_twisted.client.recipes.contender import Contender, own_name
from etcd_twisted.client.recipes.errors import NotAcquired, NotHeld, QueueEmpty
from etcd_twisted.client.recipes.lease import RETRY_FRACTION, Lease, monotonic
from etcd_twisted.client.recipes.lock import DEFAULT_TTL_SECONDS, Hold
from etcd_twisted.client.recipes.paths import is_at_or_below, normal_key
from etcd_twisted.client.recipes.waiting import may_pass, pause, until_event


class Item(Hold):
    """
    An item that was taken from a queue::

        async with await queue.take() as item:
            await work_on(item.value)

    The context acknowledges the item when its body ends, and releases it when an exception ends the body.

    @ivar value: the value.
    @ivar key: the key of the item.
    @ivar fencing_token: a number that is higher than that of every taker of this item before; see L{Hold}.
    """

    def __init__(self, client: Client, node: Node, index: int, lease: Lease) -> None:
        """
        @param index: the index at which this taker has written the item.
        @param lease: the claim.
        """
        super().__init__(lease)
        self.key = node.key
        self.value = node.value or ""
        self._client = client
        self._index = index
        self._may_be_gone = False

    def ack(self) -> "Deferred[None]":
        """
        Say that the work is done, and delete the item. The Deferred fires when it is gone for good. While the cluster
        can't be reached this tries again, for as long as the item is held.

        @raise NotHeld: (as a failure) the item was released or lost before, and is not acknowledged.
        @raise OutcomeUnknown: (as a failure) the item was lost before an answer came. It may be acknowledged, or
            another one may take it.
        """
        return Deferred.fromCoroutine(self._ack())

    async def _ack(self) -> None:
        self.check_held()
        try:
            while not await self._delete():
                if not self.is_held and self._may_be_gone:
                    raise OutcomeUnknown(f"no answer has come to the acknowledgement of {self.key} while it was held")
                self.check_held()
                await pause(self._client, self._lease.ttl_seconds * RETRY_FRACTION)
        except (NotHeld, OutcomeUnknown):
            raise
        except ClientError as error:
            if not self._may_be_gone:
                raise
            raise OutcomeUnknown(f"{self.key} may be acknowledged: {error}") from error
        await give_up(self._lease, "the item was acknowledged")

    async def _delete(self) -> bool:
        """Returns whether the item is deleted; otherwise this may be tried again."""
        try:
            await self._client.compare_and_delete(self.key, previous_index=self._index)
        except KeyNotFound:
            if not self._may_be_gone:
                raise NotHeld(f"{self.key} is gone: it was deleted, but not by an acknowledgement") from None
            return self.is_held  # then nobody else can have acknowledged it
        except CompareFailed:
            self._lease.end("another one has taken the item")
            raise NotHeld(f"{self.key} is not held any more: another one has taken it") from None
        except (OutcomeUnknown, CancelledError) as error:
            self._may_be_gone = True
            if isinstance(error, CancelledError):
                raise
        except ClientError as error:
            if not may_pass(error):
                raise
        else:
            return True
        return False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """
        @raise NotHeld: the body ended without an exception, but the item was lost before that.
        """
        if self.loss is not None and self.loss.released:
            return
        if kind is None:
            await self.ack()
        elif self.is_held:
            await self.release()


class Queue:
    """
    A queue that several processes put items into and take them from::

        queue = Queue(client, "/queues/mail")
        await queue.put("to: ...")

        item = await queue.take()
        await send(item.value)
        await item.ack()

    I{What it guarantees.} An item that was put is there until it is acknowledged, and is acknowledged once. While
    L{Item.is_held} is true, nobody else has the item, provided that clocks run at the same speed to within a fifth. If
    the taker dies, or can't reach the cluster for four fifths of the TTL, the item is taken again when the TTL is
    over. Items are taken in the order in which they were put; one that was released or lost is the first again.
    Takers get items in the order in which they began to take; an item wakes one taker.

    I{What no lease can guarantee.} An item can be worked on more than once: a taker that is stopped for longer than
    the TTL goes on working when another one has the item, and a taker that dies may have done the work. Only one of
    them can acknowledge it: L{Item.ack} of the others fails. What the work changes can refuse an earlier taker by its
    L{Item.fencing_token}. When L{put} fails with L{OutcomeUnknown}, the item may be in the queue, or may still come;
    putting it again may put it twice. A taker that dies while it waits holds up those behind it for up to the TTL.

    Each take lists the items and claims, so a queue suits some thousand items, not millions. An item is any key in
    C{items} below the queue's directory, also one that another program has put there; in-order keys are best.
    """

    _log = Logger()

    def __init__(
        self, client: Client, directory: str, *, ttl_seconds: int = DEFAULT_TTL_SECONDS, name: str | None = None
    ) -> None:
        """
        @param directory: the queue's directory, which holds C{items}, C{claims} and the line of takers.
        @param ttl_seconds: after how long an item is taken again whose taker has died.
        @param name: what the keys of this taker say, for people who look at them; by default the host's name and the
            process's id.
        @raise ValueError: C{ttl_seconds} is below 1.
        """
        if ttl_seconds < 1:
            raise ValueError(f"ttl_seconds is {ttl_seconds}, but at least 1 is needed")
        self._client = client
        self._directory = normal_key(directory)
        self._items = f"{self._directory}/items"
        self._claims = f"{self._directory}/claims"
        self._takers = f"{self._directory}/_takers"  # hidden, so that who watches items does not see it
        self._ttl_seconds = ttl_seconds
        self._name = own_name() if name is None else name
        self._now = monotonic(client.reactor)

    def put(self, value: str) -> "Deferred[str]":
        """
        Put an item. The Deferred fires with its key when it is in the queue.

        @raise OutcomeUnknown: (as a failure) the item may be in the queue, or may still come.
        """
        return self._put(self._items, value)

    def _put(self, directory: str, value: str) -> "Deferred[str]":
        return self._client.create_in_order(directory, value).addCallback(lambda event: event.node.key)

    def take(self, timeout_seconds: float | None = None) -> "Deferred[Item]":
        """
        Take the first item that nobody has, and wait for one if there is none. Cancelling the Deferred gives up, and
        leaves nothing behind; an item that was about to be taken stays in the queue.

        It fails if the cluster can't be reached when it begins. After that it waits out everything.

        @param timeout_seconds: for how long to wait; 0 to look once, C{None} for as long as it takes.
        @raise QueueEmpty: (as a failure) that time is over.
        """
        return Deferred.fromCoroutine(self._take(timeout_seconds))

    async def _take(self, timeout_seconds: float | None) -> Item:
        until = None if timeout_seconds is None else self._now() + timeout_seconds
        has_waited = False
        while True:
            turn = await self._wait_in_line(until, has_waited)
            has_waited = True
            try:
                item = await self._take_in_turn(turn, until)
            except (ClientError, CancelledError):
                await give_up(turn, "the attempt was given up")
                raise
            ended = Deferred.fromCoroutine(give_up(turn, "the turn was over"))
            if item is not None:
                return item  # who has it need not wait for the end of its turn
            await ended

    async def _wait_in_line(self, until: float | None, has_waited: bool) -> Lease:
        """
        Wait until it is this taker's turn.

        @param has_waited: whether its turn has come before, and was lost.
        """
        while True:
            taker = Contender(self._client, self._takers, 1, self._ttl_seconds, self._name)
            remaining = None if until is None else max(0.0, until - self._now())
            try:
                return await taker.acquire(remaining)
            except NotAcquired:
                raise QueueEmpty(f"other takers wait for {self._directory}, and were before this one") from None
            except ClientError as error:
                if not (has_waited and may_pass(error)) or remaining == 0:
                    raise
                self._log.info("Can't wait for {directory} now: {reason}", directory=self._takers, reason=str(error))
            await pause(self._client, self._ttl_seconds * RETRY_FRACTION)

    async def _take_in_turn(self, turn: Lease, until: float | None) -> Item | None:
        """Returns an item, or C{None} if the turn was lost before there was one."""
        while turn.is_held:
            try:
                reading = await self._list()
                free = self._free(reading.node)
                for node in free:
                    item = await self._claim(node)
                    if item is not None:
                        return item
            except ClientError as error:
                if not may_pass(error):
                    raise
                self._log.info("Could not look at {directory}: {reason}", directory=self._directory, reason=str(error))
                await pause(self._client, self._ttl_seconds * RETRY_FRACTION)
                continue
            if free:
                continue  # others have claimed them meanwhile
            seconds = None if until is None else until - self._now()
            if seconds is not None and seconds <= 0:
                raise QueueEmpty(f"there was no item in {self._directory} that nobody had")
            await until_event(
                self._client, self._directory, reading.index.etcd_index, self._is_chance, turn.lost, seconds
            )
        return None

    async def _list(self) -> Reading:
        return await self._client.list(self._directory, recursive=True, quorum=True)

    def _free(self, queue: Node) -> list[Node]:
        """Returns the items that nobody has, in order."""
        parts = {node.key: node for node in queue.nodes}
        claimed = {node.name for node in parts[self._claims].nodes} if self._claims in parts else set()
        items = self._ordered(parts[self._items]) if self._items in parts else iter(())
        return [node for node in items if str(node.created_index) not in claimed]

    def _ordered(self, items: Node) -> Iterator[Node]:
        return (node for node in items.in_order() if not node.directory)

    def _is_chance(self, event: Event) -> bool:
        """Returns whether there may be an item that nobody has, since an item has come, or a claim has ended."""
        key = event.node.key
        if event.is_removal:
            return is_at_or_below(key, self._claims) or is_at_or_below(self._claims, key)
        return is_at_or_below(key, self._items) and event.action != "compareAndSwap"

    async def _claim(self, node: Node) -> Item | None:
        """Returns the item if nobody else has claimed or acknowledged it."""
        key = f"{self._claims}/{node.created_index}"
        lease = await Claim(self._client, key, self._ttl_seconds, self._name).make()
        if lease is None:
            return None
        try:
            written = await self._write(node, lease)
        except (ClientError, CancelledError):
            await give_up(lease, "the item could not be taken")
            raise
        if written is None or not lease.is_held:
            await give_up(lease, "the item was gone, or the claim came too late")
            return None
        return Item(self._client, written, written.modified_index, lease)

    async def _write(self, node: Node, lease: Lease) -> Node | None:
        """Write a claimed item again, and return it, or C{None} if it is gone, or the claim is."""
        found: Node | None = node
        while found is not None and lease.is_held:
            try:
                event = await self._client.compare_and_swap(
                    found.key, found.value or "", previous_index=found.modified_index
                )
            except KeyNotFound:
                return None
            except CompareFailed:
                found = await self._read(node)
            except OutcomeUnknown as error:  # if it was done, or will be, the next one fails, and finds the new index
                self._log.info("May have written {key}: {reason}", key=node.key, reason=str(error))
                await pause(self._client, self._ttl_seconds * RETRY_FRACTION)
            else:
                return event.node
        return None

    async def _read(self, node: Node) -> Node | None:
        """Returns an item as it is now, or C{None} if it is gone."""
        try:
            found = (await self._client.get(node.key, quorum=True)).node
        except KeyNotFound:
            return None
        return found if found.created_index == node.created_index else None


class PriorityQueue(Queue):
    """
    A queue whose items have priorities: those with the lowest number are taken first, and among equals the one that
    was put first. See L{Queue} for all else.

    The items of each priority are in a directory of their own in C{items}, named by the number. It stays when it is
    empty.
    """

    def put(self, value: str, priority: int = 0) -> "Deferred[str]":
        """
        Put an item; see L{Queue.put}.

        @param priority: any whole number; lower ones are taken first.
        """
        return self._put(f"{self._items}/{priority:d}", value)

    def _ordered(self, items: Node) -> Iterator[Node]:
        directories = [(int(node.name), node) for node in items.nodes if node.directory and _is_number(node.name)]
        for _, directory in sorted(directories, key=lambda pair: pair[0]):
            yield from super()._ordered(directory)


def _is_number(name: str) -> bool:
    digits = name.removeprefix("-")
    return digits.isascii() and digits.isdecimal()
