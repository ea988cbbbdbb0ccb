"""
C{etcd-twisted}, and C{python -m etcd_twisted}: one machine as a command in the foreground.

This is what C{twistd -n --pidfile= etcd} does, without C{twistd}: the log goes to standard error, and a process that
was told to stop ends with status 0. This module must never write a file of its own: a container that is killed keeps
its files, so a start must not depend on what the last one left.
"""

import gc
import sys
from typing import Any, cast

# What a start imports stays, and passes over it take a twentieth of the start. From when the machine is made, L{tap}
# has the collector run by the clock.
gc.disable()

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


def main() -> None:
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
    started.run()


if __name__ == "__main__":
    main()
