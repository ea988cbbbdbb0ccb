"""
The machine of C{etcd-twisted}, once everything is imported: this is what C{twistd -n --pidfile= etcd} does, without
C{twistd}. The log goes to standard error.

This module must never write a file of its own: a container that is killed keeps its files, so a start must not depend
on what the last one left.
"""

import signal
import sys
from typing import Any, cast

from twisted.logger import ILogObserver, globalLogBeginner

from etcd_twisted import tap
from etcd_twisted.logs import observers


class Options(tap.Options):
    """The command line of C{etcd-twisted}: the options of C{twistd etcd}, and none of C{twistd} itself."""

    program = "etcd-twisted"
    synopsis = f"Usage: {program} [options]"

    def observer(self) -> ILogObserver:
        """Returns what writes the log: to standard error."""
        config = self.config()
        return observers.stream_observer(config.verbosity, config.log_format, sys.stderr)


def run() -> None:
    """Run a machine until a signal stops it, or until it can't go on, which ends the process with status 1."""
    options = Options()
    options.parseOptions()
    service = cast(Any, tap.makeService(options))
    globalLogBeginner.beginLoggingTo([options.observer()])
    from twisted.internet import reactor  # noqa: PLC0415 - a bad option is refused without it, in less time

    started = cast(Any, reactor)
    service.privilegedStartService()
    service.startService()
    started.addSystemEventTrigger("before", "shutdown", service.stopService)
    if callable(signal.getsignal(signal.SIGINT)):  # else it is ignored
        signal.signal(signal.SIGINT, signal.default_int_handler)  # for which Twisted sets its own
    started.run()
