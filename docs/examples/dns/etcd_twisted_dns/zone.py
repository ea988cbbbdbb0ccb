"""
A zone: names below one name, and their records.

Must never know where they come from.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from etcd_twisted_dns.records import Record


class Zone:
    """
    The names of a zone.

    @ivar origin: the name that all others end in, in lower case and without the dot at its end.
    @ivar serial: rises with each change.
    """

    def __init__(self, origin: str, serial: int = 0) -> None:
        self.origin = origin
        self.serial = serial
        self._records: dict[str, Sequence[Record]] = {}
        self._below: Counter[str] = Counter()

    def holds(self, name: str) -> bool:
        """Tells whether a name belongs to the zone, whether or not it exists."""
        return name == self.origin or name.endswith(f".{self.origin}")

    def put(self, name: str, records: Sequence[Record]) -> None:
        """
        Replaces the records of a name; without records the name is gone.

        @raise ValueError: the name does not belong to the zone.
        """
        if not self.holds(name):
            raise ValueError(f"is no name in {self.origin}")
        change = bool(records) - (name in self._records)
        for above in self._above(name):
            self._below[above] += change
            if not self._below[above]:
                del self._below[above]
        if records:
            self._records[name] = records
        else:
            self._records.pop(name, None)

    def _above(self, name: str) -> Iterator[str]:
        while name != self.origin:
            name = name.partition(".")[2]
            yield name

    def exists(self, name: str) -> bool:
        """Tells whether there is such a name: one with records, or one that others are below (RFC 8020)."""
        return name == self.origin or name in self._records or self._below[name] > 0

    def records(self, name: str) -> Sequence[Record]:
        """Returns the records of a name; none when there is no such name."""
        return self._records.get(name, ())
