"""
When the reactor waits for the disk thread, instead of being called by it.

A lone writer is bound by hand-overs: that of a record to the disk thread, and that of its result to the reactor. Where
the reactor has nothing else to do, it can wait for a sync as long as an ordinary one takes, and save both. Nor has the
reactor of a follower anything else to do, however much the leader sends, while no clients of its own ask. It must
never wait for longer than L{MOST_SECONDS} at a time, nor while others wait for it, nor again and again for a disk that
does not keep to its usual time. The node waits at most once in a turn of the reactor: several clients that write in
the same turn, or one that sends requests ahead, would hold it up once for each request.
"""

from collections.abc import Callable

MOST_SECONDS = 0.001
"""The longest wait: a fiftieth of a heartbeat interval."""

RECORDS_IN_A_ROW = 8
"""How many records of one entry each, with hardly a read between them, show that one client writes and waits."""

MOST_READS_BETWEEN = 2
"""How many reads may come between two writes of a lone writer: its own."""

RECORDS_AFTER_TIMEOUT = 8
"""How many records are written without a wait after one that took too long."""

MOST_RECORDS_AFTER_TIMEOUT = 512
"""How many at most: twice as many each time, while each record that is waited for takes too long."""

_MEASURED = 32
"""How many syncs are measured before the wait is set anew."""

_PERCENTILE = 0.9
_TIMES_USUAL = 2.0
"""A sync that takes longer than this, compared with nine in ten of the last ones, is not waited for."""


class BoundedWait:
    """
    Decides for one node whether to wait for a record, and how long.

    @ivar lone: whether one client writes and waits, as far as the last records show.
    """

    def __init__(
        self,
        reads: Callable[[], int],
        records_in_a_row: int = RECORDS_IN_A_ROW,
        anybody_waits: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        @param reads: returns how many reads this machine has served.
        @param anybody_waits: returns whether clients of this machine wait for changes.
        @param records_in_a_row: see L{RECORDS_IN_A_ROW}.
        """
        self.lone = False
        self._reads = reads
        self._anybody_waits = anybody_waits
        self._reads_before = 0
        self._records_in_a_row = records_in_a_row
        self._in_a_row = 0
        self._without = 0
        self._after_timeout = RECORDS_AFTER_TIMEOUT
        """Each wait halves it, and one that is too short makes it four times as large."""
        self._durations: list[float] = []
        self._limit_seconds = MOST_SECONDS

    def seconds(self, entries: int, follows: bool = False) -> float:
        """
        Returns how long to wait for a record; 0 for not at all. Call this once for each record.

        @param entries: how many entries it has.
        @param follows: whether another machine leads.
        """
        reads = self._reads()
        few_reads = reads - self._reads_before <= MOST_READS_BETWEEN
        self._reads_before = reads
        if not few_reads or not (entries == 1 or (entries and follows and not self._anybody_waits())):
            self._in_a_row = 0
            self.lone = False
            return 0.0
        self._in_a_row += 1
        in_a_row = self._in_a_row > self._records_in_a_row
        self.lone = in_a_row and entries == 1
        if not in_a_row:
            return 0.0
        if self._without:
            self._without -= 1
            return 0.0
        self._after_timeout = max(RECORDS_AFTER_TIMEOUT, self._after_timeout // 2)
        return self._limit_seconds

    def took(self, seconds: float) -> None:
        """Note how long it took until a record was durable, and this machine knew it."""
        durations = self._durations
        durations.append(seconds)
        if len(durations) == _MEASURED:
            usual = sorted(durations)[int(_MEASURED * _PERCENTILE)]
            self._limit_seconds = max(0.0, min(MOST_SECONDS, _TIMES_USUAL * usual))
            durations.clear()

    def timed_out(self) -> None:
        """Note that a wait has ended before the record was durable."""
        self._without = self._after_timeout
        self._after_timeout = min(2 * MOST_RECORDS_AFTER_TIMEOUT, 4 * self._after_timeout)
