"""
Which key expires next.

Must never know more than times and keys, nor keep what is void: to pass over much of it would hold the reactor. A key
whose directory was removed stays noted: whoever reads it here looks at the tree before believing it, and notes that
it has no TTL when it is gone.
"""

from bisect import bisect_left, insort

_Noted = tuple[int, str]


class ExpirySchedule:
    """
    Keys by the time their TTL ends, in microseconds since the epoch.

    @ivar times: that time, by key; to be looked at only.
    """

    _LONGEST = 1_024
    """How many keys a run may have: what a change moves about, however many keys there are."""

    def __init__(self) -> None:
        self.times: dict[str, int] = {}
        # The times with their keys in order, in runs that are never empty, and the last of each run to find it by.
        self._runs: list[list[_Noted]] = []
        self._lasts: list[_Noted] = []

    def __len__(self) -> int:
        return len(self.times)

    def note(self, key: str, expires: int | None) -> None:
        """The TTL of C{key} ends at C{expires}, or C{None}: it has none; what was noted before is void."""
        noted = self.times.get(key)
        if noted == expires:
            return
        if noted is not None:
            self._remove((noted, key))
        if expires is None:
            del self.times[key]
        else:
            self.times[key] = expires
            self._add((expires, key))

    def _add(self, noted: _Noted) -> None:
        if not self._runs:
            self._runs.append([noted])
            self._lasts.append(noted)
            return
        place = min(bisect_left(self._lasts, noted), len(self._lasts) - 1)
        run = self._runs[place]
        insort(run, noted)
        self._lasts[place] = run[-1]
        if len(run) > self._LONGEST:
            half = len(run) // 2
            self._runs.insert(place, run[:half])
            self._lasts.insert(place, run[half - 1])
            del run[:half]

    def _remove(self, noted: _Noted) -> None:
        place = bisect_left(self._lasts, noted)
        run = self._runs[place]
        del run[bisect_left(run, noted)]
        if run:
            self._lasts[place] = run[-1]
        else:
            del self._runs[place], self._lasts[place]

    def first(self) -> tuple[int, str] | None:
        """When the next key expires, and which: the earliest, then by key; C{None} when nothing is noted."""
        return self._runs[0][0] if self._runs else None

    def end_of(self, key: str) -> int | None:
        """When the TTL of C{key} ends as noted; C{None} when nothing is."""
        return self.times.get(key)
