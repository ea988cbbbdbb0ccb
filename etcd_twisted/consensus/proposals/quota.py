"""
The quota: how large the key space may become, and the alarm before it is that large.

The leader refuses a command that would exceed the quota before it is logged. The quota must never refuse a command
that does not enlarge the key space, nor one from the log: every machine applies those.
"""

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from etcd_twisted.consensus.proposals.pending import Proposals
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.commands import Change
from etcd_twisted.keyspace.growth import MAX_GROWTH_PER_BYTE, MAX_GROWTH_PER_COMMAND
from etcd_twisted.keyspace.space import KeySpace

QUOTA_BYTES = 2 << 30
"""The quota unless another one is set. It is etcd's."""

ALARM_FRACTION = 0.9
"""The fraction of the quota at which the alarm begins."""

_ALARM_END_FRACTION = 0.85
"""The fraction below which the alarm ends. It is lower, so that a fluctuating size does not fill the log."""

REFUSALS_SECONDS = 30.0
"""The shortest time between two log lines about refused changes."""


class Quota:
    """
    The quota of one machine, while it takes part in consensus.

    @ivar most_bytes: the quota; 0 if there is none.
    @ivar refused: how many changes it has refused.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, keyspace: KeySpace, proposals: Proposals, most_bytes: int) -> None:
        """
        @param proposals: the proposals that are not applied yet, and may enlarge the key space too.
        """
        self.most_bytes = most_bytes
        self.refused = 0
        self._clock = clock
        self._keyspace = keyspace
        self._proposals = proposals
        self._alarm_bytes = ALARM_FRACTION * most_bytes if most_bytes else float("inf")
        self._is_near = False
        self._refusal_logged = -REFUSALS_SECONDS
        self._refused_then = 0

    @property
    def alarm(self) -> bool:
        """Whether the key space is nearly as large as the quota, or larger."""
        return self._keyspace.size >= self._alarm_bytes

    def has_room(self, size: int, count: int = 1) -> bool:
        """
        Returns whether there is certainly room for further commands, whatever they are.

        @param size: how many bytes of data their entries have together, at most.
        @param count: how many they are, at most.
        """
        proposals = self._proposals
        most = MAX_GROWTH_PER_BYTE * (proposals.size + size) + MAX_GROWTH_PER_COMMAND * (proposals.count + count)
        return not self.most_bytes or most <= self.most_bytes - self._keyspace.size

    def check(self, command: Change) -> None:
        """
        Check that there is room for what a command adds. All proposals have to be in the log.

        The key space may still exceed the quota by as much as the proposals hold that are not applied yet: one of them
        may remove what another one is about to write again.

        @raise EtcdError: 300, the command would exceed the quota.
        """
        growth = self._keyspace.growth
        added = growth(command)
        if added > 0 and self._proposals.growth(growth) + added > self.most_bytes - self._keyspace.size:
            raise self._refusal(command, added)

    def _refusal(self, command: Change, added: int) -> EtcdError:
        self.refused += 1
        now = self._clock.seconds()
        size, count = self._keyspace.size, self.refused - self._refused_then
        if now >= self._refusal_logged + REFUSALS_SECONDS:
            self._log.error(
                "Refused {writes} that would exceed the quota, the last one to {key!r}: the key space holds {size} of "
                "{quota} bytes. Delete keys, or restart the machines with a larger --quota-bytes",
                size=size,
                quota=self.most_bytes,
                writes="1 write" if count == 1 else f"{count} writes",
                key=command.key[:100],
            )
            self._refusal_logged = now
            self._refused_then = self.refused
        cause = (
            f"the key space holds {size} of the {self.most_bytes} bytes that --quota-bytes allows: this write was not "
            f"made, as it adds {added}; delete keys, or restart the machines with a larger quota"
        )
        return EtcdError(ErrorCode.RAFT_INTERNAL, cause, self._keyspace.index)

    def log_alarm(self) -> None:
        """Log when the key space comes near the quota, and when it has room again. Called when it may have changed."""
        size = self._keyspace.size
        if not self._is_near:
            if size >= self._alarm_bytes:
                self._is_near = True
                self._log.warn(
                    "The key space holds {size} bytes, {percent} % of the quota (--quota-bytes {quota}). Writes that "
                    "would exceed the quota are refused",
                    size=size,
                    percent=100 * size // self.most_bytes,
                    quota=self.most_bytes,
                )
        elif size < _ALARM_END_FRACTION * self.most_bytes:
            self._is_near = False
            self._log.info(
                "The key space holds {size} bytes, {percent} % of the quota: there is room again",
                size=size,
                percent=100 * size // self.most_bytes,
            )
