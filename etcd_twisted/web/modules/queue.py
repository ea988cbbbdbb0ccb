"""
One lock's line, followed event by event while clients wait here, and the places in it that this machine keeps.

Whose turn it is follows from the events alone, which come in the order of the changes: so a place is looked at when
its own making is told of, and whatever came before it is known by then. Must never wake a place whose turn it is not.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from etcd_twisted.errors import EtcdError
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.events import Event
from etcd_twisted.web.modules.line import Line, read_line
from etcd_twisted.web.modules.place import Place


class Queue:
    """
    See the module.

    @ivar line: as it was told of.
    @ivar places: those that are kept here.
    """

    def __init__(
        self, replica: IReplica, clock: IReactorTime, directory: str, over: Callable[["Queue"], None]
    ) -> None:
        """
        Begin to follow the line; a place has to be kept at once.

        @param over: called when no place is kept any more.
        """
        self.directory = directory
        self.places: set[Place] = set()
        self.line = read_line(replica, directory) or Line()
        self._replica = replica
        self._clock = clock
        self._over = over
        self._in_line: dict[int, Place] = {}
        self._called: dict[str, Place] = {}
        self._watcher = replica.watch(directory, True, True, None, self._happened, self.lose)

    def keep(self, index: int | None, value: str, ttl: int) -> Place:
        """
        Keep a place: one in line, or a new one at the end.

        @param index: which; C{None} for a new one.
        @param value: what its clients call it; may be empty.
        @param ttl: in seconds.
        """
        place = Place(self._replica, self._clock, self, index, value, ttl)
        self.places.add(place)
        if value:
            self._called[value] = place
        if index is not None:
            self._in_line[index] = place
        return place

    def kept(self, index: int | None, value: str) -> Place | None:
        """
        A place that is kept here already.

        @param index: which; C{None} for the one that is called C{value}, if it is called something.
        """
        return self._in_line.get(index) if index is not None else self._called.get(value)

    # What its places tell

    def made(self, place: Place, index: int) -> None:
        """A new place has got its index, and is about to be told of."""
        self._in_line[index] = place

    def over(self, place: Place) -> None:
        """A place is not kept here any more."""
        self.places.remove(place)
        if self._called.get(place.value) is place:
            del self._called[place.value]
        if place.index is not None:
            del self._in_line[place.index]
        if not self.places:
            self._watcher.cancel()
            self._over(self)

    def lose(self) -> None:
        """Others are to keep the places, as this machine no longer leads."""
        for place in list(self.places):
            place.lose()

    def stop(self, error: EtcdError) -> None:
        """Send everyone away who waits, and give the places up."""
        for place in list(self.places):
            place.stop(error)

    # What happens

    def _happened(self, event: Event) -> None:
        first = self.line.first
        for index in self.line.take(self.directory, event):
            if (gone := self._in_line.get(index)) is not None:
                gone.vanished()
        if (made := self._in_line.get(event.index)) is not None:
            made.stands()
        if self.line.first is None or self.line.first == first:
            return
        if (next_one := self._in_line.get(self.line.first)) is not None:
            next_one.renew()
