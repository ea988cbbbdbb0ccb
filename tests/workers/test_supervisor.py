"""
What the consensus process makes of workers that serve and end. No process is started.
"""

from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.config import Config
from etcd_twisted.interfaces.statistics import WorkerCounts
from etcd_twisted.web.statistics import counted
from etcd_twisted.workers.control import Accept, Counted, Ready
from etcd_twisted.workers.running import RunningWorker
from etcd_twisted.workers.supervisor import MOST_SILENT_SECONDS, STALLED_SECONDS, Workers


class SupervisorTests(SynchronousTestCase):
    """A machine with two workers, whose ends are not there."""

    def setUp(self) -> None:
        config = Config(name="machine0", data_dir=Path(self.mktemp()), workers=2)
        self.workers = Workers(reactor, config, mock.Mock())  # type: ignore[arg-type]
        self.workers.site = mock.Mock()
        self.running: list[RunningWorker] = []
        self.sent: list[list[Any]] = []
        with mock.patch.object(RunningWorker, "start"):
            for place in self.workers._places:
                self.workers._start(place)
                assert place.running is not None
                self.running.append(place.running)
                self.sent.append([])
                self.patch(place.running._control, "send", self.sent[-1].append)

    def test_what_an_ending_worker_has_counted_stays(self) -> None:
        """Whoever asks for it while the worker ends is not shown less than before, nor is it counted twice."""
        for number, each in enumerate(self.running, 1):
            each._told(Ready())
            each._told(Counted(None, WorkerCounts(gets_success=number, watchers=1)))
        asked = ensureDeferred(counted(self.workers))
        self.running[1]._told(Counted(1, WorkerCounts(gets_success=2, watchers=1)))
        self.assertNoResult(asked)
        self.workers._stopping = True  # so that no process is started again
        self.running[0]._process.ended.callback("signal 9")
        total = self.successResultOf(asked).total
        self.assertEqual((total.gets_success, total.watchers), (3, 1))

    def test_workers_that_stop_accept_nothing_more(self) -> None:
        """Not even when another one becomes ready meanwhile: its own sockets and theirs are closed."""
        self.running[0]._told(Ready())
        self.assertEqual(self.sent[0], [Accept([1, 2])])
        stopped = self.workers.stopService()
        self.running[1]._told(Ready())
        for each, sent in zip(self.running, self.sent, strict=True):
            self.assertNotIsInstance(sent[-1], Accept)
            each._process.ended.callback("status 0")
        self.successResultOf(stopped)

    def looked(self, times: int) -> None:
        """Some seconds pass."""
        for _ in range(times):
            self.workers._look()

    def test_worker_that_hangs_is_ended(self) -> None:
        """Whether it serves or not. One that says something is left alone, also while it loads its copy."""
        self.running[0]._told(Ready())
        killed: list[int] = []
        for each in self.running:
            self.patch(each, "kill", lambda each=each: killed.append(each.number))
        loading = RunningWorker(reactor, 3, self.workers.attempts, lambda _: None)  # type: ignore[arg-type]
        self.patch(loading, "kill", lambda: killed.append(3))
        self.workers._places[1].running = loading
        self.looked(MOST_SILENT_SECONDS - 1)
        loading._told(Counted(None, WorkerCounts()))
        self.assertEqual(killed, [])
        with capturedLogs() as logged:
            self.looked(MOST_SILENT_SECONDS - 1)
        self.assertEqual((killed, len(logged)), ([1], 1))
        self.looked(1)
        self.assertEqual(killed, [1, 3])
        self.looked(MOST_SILENT_SECONDS)
        self.assertEqual(killed, [1, 3])

    def test_others_accept_for_a_worker_that_says_nothing(self) -> None:
        """It goes on accepting if it can, and alone again once it has said something."""
        for each in self.running:
            each._told(Ready())
        self.assertEqual(self.sent[0][-1], Accept([1]))
        for _ in range(STALLED_SECONDS):
            self.looked(1)
            self.running[0]._told(Counted(None, WorkerCounts()))
        self.assertEqual((self.sent[0][-1], self.sent[1][-1]), (Accept([1, 2]), Accept([2])))
        sent = len(self.sent[0])
        self.looked(1)
        self.running[0]._told(Counted(None, WorkerCounts()))
        self.assertEqual(len(self.sent[0]), sent)
        self.running[1]._told(Counted(None, WorkerCounts()))
        self.looked(1)
        self.assertEqual((self.sent[0][-1], self.sent[1][-1]), (Accept([1]), Accept([2])))
