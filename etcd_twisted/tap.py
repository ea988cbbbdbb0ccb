"""
C{twistd etcd}: one machine as a process. L{etcd_twisted.foreground} runs the same service without C{twistd}.

This is about the process alone: one line on standard error and exit status 1 if the machine can't start or go on,
timers that do not follow the system's clock, a garbage collector that does not hold the service up for long, how the
log is written, and what the service manager is told. This module must never be used by a program that embeds the
service: it ends the process.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from etcd_twisted.config import command_line
from etcd_twisted.config.loading import unknown_variables
from etcd_twisted.errors import StartError
from etcd_twisted.interfaces import IReactor
from etcd_twisted.logs import observers
from etcd_twisted.process import file_descriptors
from etcd_twisted.process.background import Background
from etcd_twisted.process.garbage_collection import Collector
from etcd_twisted.process.huge_pages import HugePages
from etcd_twisted.process.monotonic import use_monotonic_time
from etcd_twisted.process.pid_file import PidFile
from etcd_twisted.process.systemd import Readiness
from etcd_twisted.service import EtcdService

DAEMON_UMASK = 0o077
"""C{twistd} gives this to a process in the background: only its user can use the files that it creates."""


class Options(command_line.MachineOptions):
    """
    The command line of C{etcd}, which follows that of C{twistd}.

    This takes two tasks over from C{twistd}: going into the background, and writing the pid file. C{twistd} is made to
    believe that neither is wanted.

    @ivar twistd: the options of C{twistd} as they were given.
    """

    twistd: Mapping[str, Any] = {"pidfile": None, "nodaemon": True}

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """See L{command_line.MachineOptions.parseOptions}."""
        super().parseOptions(options)
        if self.parent is not None:
            self.twistd = {**self.parent, "nodaemon": self.parent["nodaemon"] or self.parent["debug"]}
            self.parent["pidfile"] = None
            self.parent["nodaemon"] = True
            directory = self.parent["rundir"]
            if self.parent["chroot"] is None and not (os.path.isdir(directory) and os.access(directory, os.X_OK)):
                sys.exit(
                    f"{self.program}: --rundir {directory}: is no directory that this user may enter; name another"
                )

    def observer(self) -> ILogObserver:
        """Returns what writes the log where the options of C{twistd} say."""
        config = self.config()
        return observers.observer(config.verbosity, config.log_format, self.twistd)


class ProcessService(Service):
    """
    The machine of this process.

    @ivar etcd: the machine. It is made when the service starts: in the process, and with the reactor, that it runs in.
    """

    _log = Logger()

    def __init__(self, options: Options, readiness: Readiness) -> None:
        """
        @param readiness: notifies the service manager that started this process, if one did.
        """
        self.etcd: EtcdService | None = None
        self._options = options
        self._config = options.config()
        self._twistd = twistd = options.twistd
        self._background = None if twistd["nodaemon"] else Background()
        self._pid_file = PidFile(Path(twistd["pidfile"]).absolute() if twistd["pidfile"] else None)
        self._readiness = readiness
        self._collector: Collector | None = None
        self._huge_pages: HugePages | None = None

    def setServiceParent(self, parent: Any) -> None:
        """Join an application, and make its log as configured, unless the application has an observer already."""
        if isinstance(parent, Componentized) and parent.getComponent(ILogObserver, None) is None:
            parent.setComponent(ILogObserver, self._options.observer())
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]  # Twisted has no types there

    def privilegedStartService(self) -> None:
        """Go into the background, if configured, and write the pid file, with the initial rights of the process."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        if self._background is not None:
            if self._twistd["umask"] is None:
                os.umask(DAEMON_UMASK)
            self._background.enter()
        try:
            self._pid_file.write()
        except StartError as error:
            self._refuse(str(error))

    def startService(self) -> None:
        """Start the machine, or end the process."""
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it, which is twistd's to do

        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        self._warn_of_settings()
        self._readiness.status("looks for its data and its cluster, and does not serve yet")
        use_monotonic_time(reactor)
        file_descriptors.raise_limit()
        cast(Any, reactor).addSystemEventTrigger("after", "shutdown", self._pid_file.remove)
        try:
            self.etcd = etcd = EtcdService(cast(IReactor, reactor), self._config, self._fail)
        except StartError as error:
            self._refuse(str(error))
        self._collector = collector = Collector(reactor)
        collector.start()
        self._huge_pages = HugePages(reactor)
        self._huge_pages.start()
        etcd.startService()
        if self._background is not None:
            etcd.accepted.addCallback(self._background.started)
        etcd.started.addCallbacks(lambda _: self._started(etcd, collector), self._start_failed)

    def _warn_of_settings(self) -> None:
        """Name what was given and has no effect, in one line each for settings and for unknown variables."""
        if self._config.without_effect:
            names = ", ".join(self._config.without_effect)
            self._log.warn("Settings of etcd that have no effect here: {names}", names=names)
        if unknown := unknown_variables(os.environ):
            hints = (name if meant is None else f"{name} (did you mean {meant}?)" for name, meant in unknown.items())
            self._log.warn("Variables that set nothing: {names}", names=", ".join(hints))

    def _started(self, etcd: EtcdService, collector: Collector) -> None:
        collector.freeze()
        self._readiness.ready(f"{etcd.replica.name} serves {self._config.client_url}")

    def _start_failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if failure.check(StartError):
            self._refuse(failure.getErrorMessage())
        self._log.failure("Can't start", failure)
        self._fail(failure.getErrorMessage())

    def stopService(self) -> "Deferred[Any] | None":
        """Stop the machine."""
        self._readiness.stopping("hands over, and finishes what is under way")
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        if self._collector is not None:
            self._collector.stop()
            self._collector = None
        if self._huge_pages is not None:
            self._huge_pages.stop()
            self._huge_pages = None
        return self.etcd.stopService() if self.etcd is not None else None

    def _refuse(self, reason: str) -> NoReturn:
        """
        End the process because the machine can't start. Whoever gave the command reads the reason on standard error;
        if the log goes there too, one line is enough.
        """
        if not observers.is_standard_output(self._twistd):
            self._log.critical("{reason}", reason=reason)
        self._end(reason)

    def _fail(self, reason: str) -> NoReturn:
        """End the process because the machine can't go on."""
        self._log.critical("{reason}", reason=reason)
        self._end(reason)

    def _end(self, reason: str) -> NoReturn:
        """End the process at once: what was acknowledged is on disk, and nothing else may get there."""
        self._readiness.status(reason)
        self._pid_file.remove()
        line = f"{self._options.program}: {reason}\n"
        if self._background is not None:
            self._background.refused(line)
        elif sys.__stderr__ is not None:
            sys.__stderr__.write(line)
            sys.__stderr__.flush()
        os._exit(1)


def makeService(options: Options) -> IService:
    """Returns the service that C{twistd} runs."""
    service: IService = ProcessService(options, Readiness(os.environ.get("NOTIFY_SOCKET")))
    return service
