"""
What a worker has the consensus process know, over connections in memory.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.logs.observers import as_json
from etcd_twisted.web.auth.failed_attempts import FailedAttempts
from etcd_twisted.workers.control import Attempt, FromWorker, ToWorker, worker_end
from etcd_twisted.workers.reports import LogSender, RemoteAttempts
from etcd_twisted.workers.running import RunningWorker, WorkerError


class Joined:
    """
    A worker's end that is joined to what the consensus process has of it. No process is started.

    @ivar attempts: the log-ins that have failed, at the worker.
    """

    def __init__(self, clock: Clock, counted: FailedAttempts) -> None:
        self.running = RunningWorker(clock, 1, counted, lambda _: None)  # type: ignore[arg-type]
        self._end = worker_end(self._told)
        self._here, self._there = StringTransport(), StringTransport()
        self._end.makeConnection(self._here)
        self.running._control.makeConnection(self._there)
        self.attempts = RemoteAttempts(self.send)

    def _told(self, message: ToWorker) -> None:
        assert isinstance(message, Attempt)
        self.attempts.answered(message)

    def send(self, message: FromWorker) -> None:
        """Sends a message, and takes the answer to it."""
        self._end.send(message)
        for transport, receiver in ((self._here, self.running._control), (self._there, self._end)):
            data = transport.value()
            transport.clear()
            receiver.dataReceived(data)


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(("a", "b")),
        st.sampled_from(("failed", "succeeded", "given_up")),
        st.integers(0, 10),
        st.booleans(),
    ),
    max_size=30,
)


class AttemptsTests(SynchronousTestCase):
    """Log-ins at two workers."""

    @given(_STEPS)
    def test_workers_count_as_one_process(self, steps: list[tuple[str, str, int, bool]]) -> None:
        """Whichever worker somebody logs in at, the pauses are those of one process."""
        clock = Clock()
        alone, counted = FailedAttempts(clock), FailedAttempts(clock)
        workers = [Joined(clock, counted), Joined(clock, counted)]
        for name, outcome, seconds, at_first in steps:
            attempts = workers[at_first].attempts
            pause = alone.begin(name)
            self.assertEqual(self.successResultOf(attempts.begin(name)), pause)
            clock.advance(seconds)
            if pause is None:
                continue
            expected, found = getattr(alone, outcome)(name), getattr(attempts, outcome)(name)
            self.assertEqual(self.successResultOf(found) if isinstance(found, Deferred) else found, expected)

    def test_attempts_of_a_worker_that_ends_are_given_up(self) -> None:
        """What nobody ends any more does not make others wait for ever."""
        clock = Clock()
        alone, counted = FailedAttempts(clock), FailedAttempts(clock)
        first, second = Joined(clock, counted), Joined(clock, counted)
        for _ in range(4):
            alone.begin("a")
            first.attempts.begin("a")
        for _ in range(4):
            alone.given_up("a")
        first.running._has_ended("signal 9")
        clock.advance(5)
        self.assertEqual(self.successResultOf(second.attempts.begin("a")), alone.begin("a"))


class LogTests(SynchronousTestCase):
    """Events of a worker's log."""

    def test_event_is_logged_with_its_worker(self) -> None:
        """Level, logger, text, fields and traceback are those that the worker's own log would have."""
        joined = Joined(Clock(), FailedAttempts(Clock()))
        events: list[dict[str, object]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        log = Logger("etcd_twisted.some.place", observer=LogSender(joined.send))
        log.info("{count} of {what} are there", count=3, what="things")
        (event,) = events
        self.assertEqual((event["log_level"], event["log_namespace"]), (LogLevel.info, "etcd_twisted.some.place"))
        line = as_json(event)
        self.assertIn('"message":"Worker 1: 3 of things are there"', line or "")
        self.assertIn('"count":3,"what":"things"', line or "")
        try:
            raise ValueError("of the worker")
        except ValueError:
            log.failure("It failed", Failure())
        (logged,) = self.flushLoggedErrors(WorkerError)
        self.assertIn("of the worker", logged.getErrorMessage())
        self.assertIn("test_reports.py", logged.getErrorMessage())
