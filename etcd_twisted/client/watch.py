"""
Watches that miss nothing and repeat nothing, by the rules of L{etcd_twisted.client.watch_position}.

A connection streams events, unless something on the way holds them back; then each is a long poll for one event. A
quiet one is renewed from time to time by a long poll, so that its index does not grow too old for the server's
history, and so that a machine that is cut off is noticed. This module must never keep more than a bounded number of
events for a slow consumer, and never try again without a pause.
"""

from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from etcd_twisted.backoff import Backoff
from etcd_twisted.client import keys
from etcd_twisted.client.answers import decode_event, index_of, reading_of
from etcd_twisted.client.errors import (
    ApiError,
    ClientClosed,
    ClientError,
    ConnectionFailed,
    HistoryCleared,
    InsufficientCredentials,
    KeyNotFound,
    RequestTimedOut,
    WatchClosed,
    WatcherCleared,
)
from etcd_twisted.client.event_stream import EventStream
from etcd_twisted.client.messages import Request
from etcd_twisted.client.results import Index, Node
from etcd_twisted.client.sender import Sender
from etcd_twisted.client.watch_items import Item, WatchItems
from etcd_twisted.client.watch_position import WatchPosition

RENEW_SECONDS = 30.0
"""How long a connection may be quiet before another one takes its place."""

MAX_OPENINGS = 50
"""How many watches of a client make a connection at a time."""

MAX_BUFFERED_ITEMS = 100
"""How many events wait for the consumer before the connection is paused."""

LONGEST_PAUSE_SECONDS = 2.0


class Connection:
    """
    A time for which a watch has been connected to machines without a break.

    @ivar index: where the machine stood when it accepted the watch. The events since the break, up to this index, may
        still be on their way.
    @ivar lost: fires when no machine sends events any more, and when the watch ends.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self.lost: Deferred[None] = Deferred()


class Watch:
    """
    The changes of a key, or of a directory and everything below it, in order.

    It begins when it is made. Items come from an asynchronous iteration, from L{next}, or from L{for_each}; each is
    consumed once. While no machine can be reached the watch waits, and goes on later where it was.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        sender: Sender,
        key: str,
        recursive: bool,
        after_index: int | None,
        chance: Callable[[], float],
        openings: DeferredSemaphore,
        renew_seconds: float = RENEW_SECONDS,
        max_buffered_items: int = MAX_BUFFERED_ITEMS,
    ) -> None:
        """
        @param after_index: the watch begins with the first event after this index; C{None} to begin now.
        @param chance: returns a random number from 0 to 1, by which pauses differ.
        @param openings: limits how many watches of the client make a connection at a time: when a machine ends, all of
            its watches do.
        @param renew_seconds: see L{RENEW_SECONDS}.
        @param max_buffered_items: see L{MAX_BUFFERED_ITEMS}.
        """
        self._clock = clock
        self._sender = sender
        self._key = key
        self._recursive = recursive
        self._position = WatchPosition(key, recursive, after_index)
        self._openings = openings
        self._renew_seconds = renew_seconds
        self._items = WatchItems(max_buffered_items)
        self._stream: EventStream | None = None
        self._connection: Connection | None = None
        self._until_connected: list[Deferred[Connection]] = []
        self._streaming = True
        self._is_held_back = False
        self._replays_history = False
        self._backoff = Backoff(chance, LONGEST_PAUSE_SECONDS)
        self._timer: IDelayedCall | None = None
        self._history_check: IDelayedCall | None = None
        self._renewal: Deferred[None] | None = None
        self._running = sender.run(Deferred.fromCoroutine(self._run()))
        self._running.addErrback(self._finish)

    # The consumer's side

    def next(self) -> "Deferred[Item]":
        """
        Returns a Deferred that fires with the next item. Cancelling it loses nothing.

        @raise WatchClosed: (as a failure) the watch was closed.
        @raise ClientClosed: (as a failure) the client was closed.
        @raise InsufficientCredentials: (as a failure) the watch needs a right that the client's user does not have, or
            has lost meanwhile.
        @raise ClientError: (as a failure) the cluster refuses the watch otherwise, or what comes is no watch of this
            cluster any more.
        @raise RuntimeError: the one before has not fired yet.
        """
        item = self._items.next()
        if self._stream is not None and self._items.has_room:
            self._stream.resume()
        return item

    def __aiter__(self) -> "Watch":
        return self

    async def __anext__(self) -> Item:
        try:
            return await self.next()
        except WatchClosed:
            raise StopAsyncIteration from None

    def for_each(self, callback: "Callable[[Item], object]") -> "Deferred[None]":
        """
        Call a function with each item. The next item waits while a Deferred that the function returns has not fired.

        @return: fires when the watch is closed, and fails when the function fails or the watch can't go on. Cancelling
            it closes the watch.
        """

        def cancel(_: "Deferred[None]") -> None:
            self.close()
            running.cancel()  # it may wait for what the function has returned

        def end(result: "Failure | None") -> None:
            if not done.called:
                done.callback(result)

        done: Deferred[None] = Deferred(cancel)
        running = Deferred.fromCoroutine(self._for_each(callback))
        running.addBoth(end)
        return done

    async def _for_each(self, callback: "Callable[[Item], object]") -> None:
        try:
            async for item in self:
                result = callback(item)
                if isinstance(result, Awaitable):
                    await result
        finally:
            self.close()

    def connected(self) -> "Deferred[Connection]":
        """
        Returns a Deferred that fires as soon as the watch is connected, which may be now. Each end of a long poll ends
        a connection. It may be cancelled.

        @raise ClientError: (as a failure) the watch has ended, for the reason that L{next} fails with.
        """
        if self._items.end is not None:
            return fail(self._items.end)
        if self._connection is not None:
            return succeed(self._connection)
        waiting: Deferred[Connection] = Deferred(self._until_connected.remove)
        self._until_connected.append(waiting)
        return waiting

    def close(self) -> None:
        """End the watch. What the consumer has not taken yet is dropped."""
        if self._items.end is None:
            self._finish(Failure(WatchClosed("the watch is closed")))
            self._running.cancel()
        self._items.clear()

    def _finish(self, reason: Failure) -> None:
        if self._items.end is None:
            self._items.finish(reason)
            self._tidy_up()
            self._connection_lost()
            until_connected, self._until_connected = self._until_connected, []
            for each in until_connected:
                each.errback(reason)

    def _deliver(self, item: Item) -> None:
        self._items.put(item)
        if self._stream is not None and self._items.is_full:
            self._stream.pause()

    # The connections

    async def _run(self) -> None:
        while self._items.end is None:
            try:
                if self._stream is None:
                    await self._connect(self._streaming and not self._is_held_back)
                assert self._stream is not None  # noqa: S101  # _accept has set it
                await self._until_ended(self._stream)
            except (HistoryCleared, WatcherCleared):
                await self._recover()
            except ClientClosed:
                raise
            except ConnectionFailed as error:
                self._log.debug("Can't watch {key!r} just now: {reason}", key=self._key, reason=str(error))
                if isinstance(error, RequestTimedOut) and not self._is_held_back:
                    self._is_held_back = await self._is_read_answered()
                await self._pause()

    async def _connect(self, streaming: bool) -> None:
        """
        Make a connection that begins where the watch is, in place of the one before.

        @param streaming: whether to ask for a stream, not for one event.
        @raise HistoryCleared: the server does not have the events since then.
        """
        self._check_wanted()
        wait_index = self._position.next_index
        query = {"wait": "true"}
        if self._recursive:
            query["recursive"] = "true"
        if wait_index is not None:
            query["waitIndex"] = str(wait_index)
        if streaming:
            query["stream"] = "true"
        seconds = self._renew_seconds if self._is_held_back else None

        async def accept(_: str, response: IResponse) -> None:
            self._accept(response, wait_index, streaming)

        request = Request("GET", keys.target(self._key, query))
        if self._is_held_back:  # then it takes until there is an event
            await self._sender.open(request, accept, seconds, seconds)
        else:
            await self._openings.run(self._sender.open, request, accept)

    def _accept(self, response: IResponse, wait_index: int | None, streaming: bool) -> None:
        index = index_of(response.headers)
        self._position.begin(wait_index, index)
        old = self._stream
        stream = EventStream(self._take, index, streaming, old is not None, self._clock.seconds())
        self._stream = stream
        if old is not None:
            old.close()
        self._renew_in(self._renew_seconds)
        response.deliverBody(stream)
        if self._items.is_full:
            stream.pause()
        if self._connection is None and self._items.end is None:
            self._connection = connection = Connection(index)
            until_connected, self._until_connected = self._until_connected, []
            for each in until_connected:
                each.callback(connection)

    def _connection_lost(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.lost.callback(None)

    async def _until_ended(self, stream: EventStream) -> None:
        """Wait until a connection has ended, or another one has taken its place."""
        clean = await stream.ended
        if self._stream is not stream or self._items.end is not None:
            return
        self._stream = None
        self._connection_lost()
        if clean and not stream.count and stream.index.etcd_index:
            # The machine had no event up to its index, or it would have sent that.
            self._position.skip(stream.index)
        lived_seconds = self._clock.seconds() - stream.accepted_at
        if stream.is_useful or lived_seconds > LONGEST_PAUSE_SECONDS:
            self._backoff.reset()
        if not stream.is_useful:
            await self._pause()

    def _take(self, stream: EventStream, line: bytes) -> None:
        """Take what a connection has brought."""
        if stream is not self._stream:
            return
        try:
            event = decode_event(line, stream.index)
        except ClientError:
            self._finish(Failure())
            self._running.cancel()
            return
        stream.count += 1
        stream.active_at = self._clock.seconds()
        from_history = event.node.modified_index <= stream.index.etcd_index
        if from_history and stream.is_renewal and stream.count == 1:
            self._streaming = False  # the connection before has not brought this event: something holds it back
        elif stream.streaming and from_history:
            self._check_history(stream)
        if self._position.take(event):
            stream.is_useful = True
            self._deliver(event)

    def _check_history(self, stream: EventStream) -> None:
        """
        Don't trust a stream with the rest of the history before it has shown that it sends more than one event of it:
        etcd sends the first alone, and nothing after it.
        """
        if stream.count > 1:
            self._replays_history = True
        elif not self._replays_history:
            self._history_check = self._clock.callLater(0, self._end_unless_replayed, stream)

    def _end_unless_replayed(self, stream: EventStream) -> None:
        if stream is self._stream and stream.count == 1:
            stream.close()

    # Quiet connections

    def _renew_in(self, seconds: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._clock.callLater(seconds, self._renew_if_quiet)

    def _renew_if_quiet(self) -> None:
        stream = self._stream
        if stream is None or self._items.end is not None:
            return  # the next connection sets the timer
        quiet_seconds = self._clock.seconds() - stream.active_at
        if quiet_seconds < self._renew_seconds or stream.is_paused:
            self._renew_in(max(self._renew_seconds - quiet_seconds, self._renew_seconds / 2))
            return
        self._renewal = Deferred.fromCoroutine(self._renew(stream))
        self._renewal.addErrback(lambda failure: None if failure.check(CancelledError) else self._finish(failure))

    async def _renew(self, stream: EventStream) -> None:
        """Put another connection in the place of one that has been quiet for long."""
        position = self._position
        try:
            if position.is_ahead_of(stream.index):
                state = await self._read_state()
                if position.is_ahead_of(state[1]):  # not this machine is behind, the store was replaced
                    self._deliver(position.go_on_in_another_store(*state))
            if not stream.streaming and not stream.has_begun:
                # A machine answers a long poll as a whole at once if it has an event up to its index. That a stream is
                # quiet says nothing: its connection may be cut in the middle of the history, or something may hold
                # its events back.
                position.skip(stream.index)
            try:
                await self._connect(streaming=False)
            except (HistoryCleared, WatcherCleared):
                goes_on, lost = position.go_on_beside_connection(*await self._read_state())
                if not goes_on:
                    raise
                if lost is not None:
                    self._deliver(lost)
                await self._connect(streaming=False)
        except InsufficientCredentials:
            raise  # the right was revoked, and a server may leave the old connection open in spite of that
        except ClientError as error:
            # Nothing is lost while the old connection lives. The history may well not reach back to its beginning.
            self._log.debug("Can't renew the watch of {key!r} now: {reason}", key=self._key, reason=str(error))
            if self._stream is stream:
                stream.active_at = self._clock.seconds()
                self._renew_in(self._renew_seconds)

    # Trouble

    async def _recover(self) -> None:
        """Go on from the present state, since the history does not reach back to where this watch is."""
        lost = self._position.go_on_after_gap(*await self._read_state())
        if lost is not None:
            self._deliver(lost)
        await self._pause()

    async def _read_state(self) -> tuple[Node | None, Index]:
        request = keys.read(self._key, recursive=self._recursive, sort=False, consistent=False, quorum=True)
        while True:
            try:
                reading = reading_of(await self._sender.send(request))
            except KeyNotFound as error:
                return None, Index(error.index)
            except ClientClosed:
                raise
            except ConnectionFailed:
                await self._pause()
            else:
                return reading.node, reading.index

    async def _is_read_answered(self) -> bool:
        """Returns whether a machine answers a read, though none answers the watch: then a proxy holds that back."""
        request = keys.read(self._key, recursive=False, sort=False, consistent=False, quorum=False)
        try:
            await self._sender.send(request)
        except ClientClosed:
            raise
        except ConnectionFailed:
            return False
        except ApiError:
            return True
        return True

    def _check_wanted(self) -> None:
        """
        Stop what goes on for the watch if the consumer has closed it meanwhile, out of the call that brought an item.

        @raise CancelledError: the watch has ended.
        """
        if self._items.end is not None:
            raise CancelledError

    async def _pause(self) -> None:
        self._check_wanted()
        await deferLater(self._clock, self._backoff.next())

    def _tidy_up(self) -> None:
        for timer in (self._timer, self._history_check):
            if timer is not None and timer.active():
                timer.cancel()
        if self._renewal is not None:
            self._renewal.cancel()
        if self._stream is not None:
            self._stream.close()
