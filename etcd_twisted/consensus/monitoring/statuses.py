"""
The statuses of the other machines: whether they answer, what they have applied, and how far their clocks are ahead.

This machine asks each of them about once a second, over the connection for messages. It must never have more than one
request to a machine under way, nor let anything else wait for an answer.
"""

from collections.abc import Iterable, Mapping

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.consensus.clocks.cluster_time import Clocks
from etcd_twisted.consensus.clocks.offsets import Offset
from etcd_twisted.consensus.raft.entries import Member
from etcd_twisted.interfaces import ITransport
from etcd_twisted.interfaces.cluster import MachineStatus, StatusReport

STATUS_INTERVAL_SECONDS = 1.0
"""How long after its answer a machine is asked again."""

STATUS_RETRY_SECONDS = 0.25
"""How long after a failure a machine is asked again: it can't be asked while it is not connected."""

TIMEOUT_ELECTIONS = 4.0
"""How many election timeouts an answer may take before it is late."""

LEAST_TIMEOUT_SECONDS = 1.0
"""The least time that an answer may take before it is late."""

_MARGIN_SECONDS = 0.01
"""A request that is due within this time is sent now, since timers are not exact."""


class _Other:
    """
    What is known of another machine.

    @ivar since: when it began to answer, or ceased to.
    @ivar next: when it is to be asked again, unless a request is under way.
    @ivar wall: the offset of its wall clock.
    """

    def __init__(self, machine_id: str, now: float) -> None:
        self.machine_id = machine_id
        self.reachable = False
        self.since = now
        self.problem = "it has not answered yet"
        self.next = now
        self.report: StatusReport | None = None
        self.round_trip_seconds: float | None = None
        self.wall = Offset()
        self.asking = False
        self.question: Deferred[StatusReport | None] | None = None
        self.timeout: IDelayedCall | None = None

    def become(self, reachable: bool, now: float, problem: str = "") -> None:
        """Note whether the machine answers now."""
        if reachable != self.reachable:
            self.reachable = reachable
            self.since = now
        self.problem = problem

    def end(self) -> None:
        """Cancel the request and its timeout."""
        if self.timeout is not None:
            self.timeout.cancel()
            self.timeout = None
        if self.question is not None:
            self.question.cancel()


class Statuses:
    """Asks the other machines, and keeps their answers."""

    _log = Logger()

    def __init__(self, clocks: Clocks, transport: ITransport, election_timeout_seconds: float) -> None:
        """
        @param clocks: the clocks of this machine; the cluster time among them learns from the answers.
        @param election_timeout_seconds: how long a leader may be silent.
        """
        self._clock = clock = clocks.monotonic
        self._wall_clock = clocks.wall
        self._time = clocks.cluster
        self._transport = transport
        self._timeout_seconds = max(LEAST_TIMEOUT_SECONDS, TIMEOUT_ELECTIONS * election_timeout_seconds)
        self._began = clock.seconds()
        self._others: dict[str, _Other] = {}
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock

    def keep(self, machine_ids: set[str]) -> None:
        """Ask these machines from here on, and no others. New ones are asked within L{STATUS_RETRY_SECONDS}."""
        now = self._clock.seconds()
        for gone in self._others.keys() - machine_ids:
            self._others.pop(gone).end()
        for machine_id in sorted(machine_ids - self._others.keys()):
            self._others[machine_id] = _Other(machine_id, now)
        if self._others and not self._looking.running:
            self._looking.start(STATUS_RETRY_SECONDS, now=False).addErrback(self._broken)
        elif not self._others and self._looking.running:
            self._looking.stop()

    def stop(self) -> None:
        """Ask no more."""
        self.keep(set())

    def have_reported(self, machine_ids: Iterable[str]) -> bool:
        """Returns whether each of these machines has sent its status. A machine of the first version never does."""
        others = self._others
        return all(each in others and others[each].report is not None for each in machine_ids)

    def _broken(self, failure: Failure) -> None:
        self._log.failure("The other machines are no longer asked for their status", failure)

    def _look(self) -> None:
        now = self._clock.seconds()
        for other in list(self._others.values()):
            if not other.asking and other.next <= now + _MARGIN_SECONDS:
                self._ask(other)

    def ask(self, machine_id: str) -> None:
        """Ask a machine now, unless a request to it is under way."""
        other = self._others.get(machine_id)
        if other is not None and not other.asking:
            self._ask(other)

    def _ask(self, other: _Other) -> None:
        asked = self._clock.seconds()
        other.asking = True
        question = self._transport.ask_status(other.machine_id)
        other.question = question
        question.addBoth(self._ended, other)
        question.addCallbacks(self._answered, self._failed, (other, asked), {}, (other,), {})
        question.addErrback(self._broken)
        if other.asking:
            other.timeout = self._clock.callLater(self._timeout_seconds, self._on_timeout, other)

    def _on_timeout(self, other: _Other) -> None:
        """Wait for one more turn: if this process was held up, the answer may have arrived but not been read yet."""
        other.timeout = self._clock.callLater(0, self._late, other)

    def _late(self, other: _Other) -> None:
        other.timeout = None
        problem = f"it is connected but has not answered for {self._timeout_seconds:g} s"
        other.become(False, self._clock.seconds(), problem)

    def _ended(self, result: StatusReport | Failure | None, other: _Other) -> StatusReport | Failure | None:
        other.asking = False
        other.question = None
        if other.timeout is not None:
            other.timeout.cancel()
            other.timeout = None
        return result

    def _answered(self, report: StatusReport | None, other: _Other, asked: float) -> None:
        now = self._clock.seconds()
        other.next = now + STATUS_INTERVAL_SECONDS
        other.become(True, now)
        other.report = report
        if report is None:
            other.round_trip_seconds = None
            other.wall.clear()
            return
        other.round_trip_seconds = now - asked
        other.wall.add(report.wall_time_microseconds / 1e6, asked, now)
        self._time.heard(report, asked, now)

    def _failed(self, failure: Failure, other: _Other) -> None:
        if failure.check(CancelledError):
            return
        now = self._clock.seconds()
        other.next = now
        other.become(False, now, failure.getErrorMessage())
        failure.trap(ConnectionError)

    def all(self, machine_id: str, members: Mapping[str, Member], own: StatusReport) -> dict[str, MachineStatus]:
        """
        Returns the status of each member, by machine id.

        @param machine_id: the id of this machine.
        @param own: the report of this machine itself.
        """
        now, wall = self._clock.seconds(), self._wall_clock()
        return {
            each: self._own_status(each, member.name, now, wall, own)
            if each == machine_id
            else self._status(self._others.get(each) or _Other(each, now), member.name, now, wall)
            for each, member in members.items()
        }

    def _own_status(self, machine_id: str, name: str, now: float, wall: float, own: StatusReport) -> MachineStatus:
        lasted = now - self._began
        since = int((wall - lasted) * 1e6)
        return MachineStatus(machine_id, name, True, since, lasted, "", own, 0.0, 0.0, 0.0)

    def _status(self, other: _Other, name: str, now: float, wall: float) -> MachineStatus:
        lasted = now - other.since
        offset = other.wall.best(now) if other.reachable else None
        ahead, error = (None, None) if offset is None else (offset[0] + now - wall, offset[1])
        return MachineStatus(
            other.machine_id,
            name,
            other.reachable,
            int((wall - lasted) * 1e6),
            lasted,
            other.problem,
            other.report,
            other.round_trip_seconds,
            ahead,
            error,
        )
