"""
C{twistd etcd}: one machine as a process.

What concerns the process and nothing else: one line on standard error and exit status 1 when the machine can't start
or can't go on, timers that don't mind the system's clock being set, a garbage collector that does not stop the service
for long, how the log is written, and a service manager that is told when the machine serves. Must never be used by a
program that embeds the service: it ends the process.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, cast

from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from etcd_twisted import logs
from etcd_twisted.collector import Collector
from etcd_twisted.config import Config
from etcd_twisted.errors import StartError
from etcd_twisted.http import descriptors
from etcd_twisted.interfaces import IReactor
from etcd_twisted.options import Options
from etcd_twisted.readiness import Readiness
from etcd_twisted.service import EtcdService

__all__ = ["Options", "makeService"]


def keep_time_evenly(reactor: Any) -> None:
    """
    Have a reactor's time go on evenly from what it is, whatever becomes of the system's clock.

    Twisted's reactors go by the system's clock: when it is set back, what is to be done next waits until it has
    made up for that. To be called before anything is scheduled.
    """
    ahead = time.time() - time.monotonic()
    reactor.seconds = lambda: time.monotonic() + ahead


class ProcessService(Service):
    """
    The machine that a process is there for.

    @ivar etcd: the machine; made when it starts, in the process and with the reactor that it will run with.
    """

    _log = Logger()

    def __init__(
        self,
        config: Config,
        twistd: dict[str, Any],
        readiness: Readiness,
        observer: Callable[[], ILogObserver],
    ) -> None:
        """
        @param twistd: the options of C{twistd} itself. Of these C{pidfile} is what it has written this process's id
            to, if anything, and C{nodaemon} whether the process has a terminal; if it has not, the process that has it
            waits to be told of the start.
        @param readiness: tells the service manager that started this process, if one did.
        @param observer: makes what writes the log.
        """
        self.etcd: EtcdService | None = None
        self._config = config
        self._twistd = twistd
        self._daemon = not twistd["nodaemon"]
        self._readiness = readiness
        self._observer = observer
        self._collector: Collector | None = None

    def setServiceParent(self, parent: Any) -> None:
        """Be part of an application, and have its log written as is configured, unless that was settled before."""
        if isinstance(parent, Componentized) and parent.getComponent(ILogObserver, None) is None:
            parent.setComponent(ILogObserver, self._observer())
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]  # Twisted has no types there

    def startService(self) -> None:
        """
        Start the machine, or end the process.

        @raise StartError: in a daemon, what is found out at once; C{twistd} tells its parent, and ends.
        """
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it, which is twistd's to do

        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        self._readiness.status("looks for its data and its cluster, and does not serve yet")
        keep_time_evenly(reactor)
        descriptors.raise_limit()
        try:
            self.etcd = etcd = EtcdService(cast(IReactor, reactor), self._config, self._end)
        except StartError as error:
            self._refuse(error)
        self._collector = collector = Collector(reactor)
        collector.start()
        etcd.startService()
        etcd.started.addCallback(lambda _: self._serves(etcd, collector))
        if self._daemon and isinstance(etcd.refusal, StartError):
            etcd.started.addErrback(lambda _: None)  # told here
            self._refuse(etcd.refusal)
        etcd.started.addErrback(self._not_started)

    def _serves(self, etcd: EtcdService, collector: Collector) -> None:
        collector.set_aside()
        self._readiness.ready(f"{etcd.replica.name} serves {self._config.client_url}")

    def _refuse(self, error: StartError) -> NoReturn:
        """End before the reactor runs."""
        if not self._daemon:
            self._end(str(error))
        self._log.critical("{reason}", reason=error)
        self._remove_pid_file()
        raise error

    def _not_started(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if not failure.check(StartError):
            self._log.failure("Can't start", failure)
        self._end(failure.getErrorMessage())

    def stopService(self) -> "Deferred[Any] | None":
        """Stop the machine."""
        self._readiness.stopping("hands over, and finishes what is under way")
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        if self._collector is not None:
            self._collector.stop()
            self._collector = None
        return self.etcd.stopService() if self.etcd is not None else None

    def _end(self, reason: str) -> NoReturn:
        """End the process at once: what was acknowledged is on disk, and nothing else may be."""
        self._log.critical("{reason}", reason=reason)
        self._readiness.status(reason)
        if sys.__stderr__ is not None:
            sys.__stderr__.write(f"twistd etcd: {reason}\n")
            sys.__stderr__.flush()
        self._remove_pid_file()
        os._exit(1)

    def _remove_pid_file(self) -> None:
        """
        Remove what says that this process runs, and have C{twistd} not look for it.

        C{twistd} does not remove it if the process ends at once, and only after its parent was told if the start
        fails: whoever waits for that, and starts another, would be told that this one still runs.
        """
        pid_file, self._twistd["pidfile"] = self._twistd["pidfile"], None
        if pid_file:
            with contextlib.suppress(OSError):
                Path(pid_file).unlink()


def makeService(options: Options) -> IService:
    """What C{twistd} runs."""
    parent: dict[str, Any] | None = options.parent
    twistd = parent if parent is not None else {"pidfile": None, "nodaemon": True}
    config = options.config()
    readiness = Readiness(os.environ.get("NOTIFY_SOCKET"))
    observer = partial(logs.observer, config.verbosity, config.log_format, twistd)
    service: IService = ProcessService(config, twistd, readiness, observer)
    return service
