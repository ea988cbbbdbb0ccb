"""
What bounds the memory, the messages and the records of the Raft core.

This module must never decide anything: those that keep a limit are named with it.
"""

import attrs


@attrs.frozen(slots=True)
class RaftLimits:
    """
    The limits of one machine. A single command may exceed each limit of bytes.

    @ivar record_bytes: the most bytes of commands in one record, since a record has to fit into a frame.
    @ivar trailing_entries: how many entries that a snapshot covers stay in the log nevertheless, for machines that are
        a little behind.
    @ivar trailing_bytes: the most bytes of data that these entries may hold.
    @ivar needed_entries: how many entries stay in the log for a machine that is catching up. If the entries after its
        snapshot were gone each time, it would need another snapshot, and might never catch up.
    @ivar needed_bytes: the most bytes of data that these entries may hold.
    @ivar batch_entries: the most entries in one message to another machine.
    @ivar batch_bytes: the most bytes of commands in one message.
    @ivar in_flight_batches: the most batches that may be in flight to one machine.
    @ivar in_flight_bytes: the most bytes of commands that may be in flight to one machine.
    """

    record_bytes: int = 64 << 20
    trailing_entries: int = 5_000
    trailing_bytes: int = 16 << 20
    needed_entries: int = 100_000
    needed_bytes: int = 64 << 20
    batch_entries: int = 4_096
    batch_bytes: int = 1 << 20
    in_flight_batches: int = 256
    in_flight_bytes: int = 4 << 20


DEFAULT_LIMITS = RaftLimits()
