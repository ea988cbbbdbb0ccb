"""
A worker: a process that serves clients from a copy of the key space.

It accepts no connection before its copy is there, and ends as soon as the consensus process is gone or its feed is
lost: nothing is flushed or finished then, since what it would answer may be out of date. This module must never
decide where to listen: all sockets are inherited.
"""

import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterable
from typing import Any, NoReturn, cast

from twisted.application.service import IService
from twisted.internet.defer import ensureDeferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorSocket
from twisted.internet.task import LoopingCall
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure

from etcd_twisted import __version__
from etcd_twisted.config import Config
from etcd_twisted.errors import StartError
from etcd_twisted.frontends import worker_frontends
from etcd_twisted.httpd.site import Site
from etcd_twisted.httpd.usage import Usage
from etcd_twisted.interfaces import IReactor
from etcd_twisted.logs.observers import filtered
from etcd_twisted.net.port import GRACE_SECONDS
from etcd_twisted.net.secure import SecureFactory
from etcd_twisted.net.tls import client_port_tls
from etcd_twisted.process import file_descriptors
from etcd_twisted.process.garbage_collection import Collector
from etcd_twisted.process.huge_pages import HugePages
from etcd_twisted.process.monotonic import use_monotonic_time
from etcd_twisted.web.access import Access
from etcd_twisted.web.frontend import client_site, standby_relay
from etcd_twisted.workers.control import (
    Accept,
    Attempt,
    Configure,
    Count,
    Counted,
    Ready,
    SharedSocket,
    Stop,
    ToWorker,
    worker_end,
)
from etcd_twisted.workers.learner import WorkerFeed
from etcd_twisted.workers.process import CONTROL, FEED, IGNORED_SIGNALS, RELAY, adopt
from etcd_twisted.workers.relay import RelayedPages, RelaySender
from etcd_twisted.workers.replica import WorkerReplica
from etcd_twisted.workers.reports import LogSender, RemoteAttempts
from etcd_twisted.workers.sharing import SharingReactor

COUNT_SECONDS = 1.0
"""
How often the consensus process is told what is counted, so that little is lost when a worker is killed, and so that it
knows that this one goes on.
"""


class Worker:
    """The worker of this process."""

    _log = Logger()

    def __init__(self, reactor: IReactor) -> None:
        self._reactor = reactor
        self._control = worker_end(self._told)
        self._control.on_lost = _end
        self._attempts = RemoteAttempts(self._control.send)
        self._owners: set[int] = set()
        self._ports: dict[SharedSocket, IListeningPort] = {}
        self._sockets: list[SharedSocket] = []
        self._usage = Usage()
        self._site: Site | None = None
        self._access: Access | None = None
        self._replica: WorkerReplica | None = None
        self._frontends: list[IService] = []
        self._collector = Collector(reactor)
        self._factories: dict[bool, IProtocolFactory] = {}

    def begin(self) -> None:
        """Take what the consensus process says."""
        for each in IGNORED_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED_SIGNALS)
        file_descriptors.raise_limit()
        adopt(self._reactor, socket.socket(fileno=CONTROL), self._control)

    def _told(self, message: ToWorker) -> None:
        match message:
            case Configure():
                ensureDeferred(self._configure(message)).addErrback(_fail)
            case Accept(owners):
                self._owners = set(owners)
                self._share()
            case Count(request_id):
                self._count(request_id)
            case Attempt():
                self._attempts.answered(message)
            case Stop():
                ensureDeferred(self._stop()).addErrback(_fail)

    async def _configure(self, message: Configure) -> None:
        reactor = self._reactor
        use_monotonic_time(reactor, message.clock_ahead_seconds)
        config = Config(**cast(Any, message.settings), sources=message.sources, contents=message.contents)
        observer = filtered(config.verbosity, LogSender(self._control.send))
        globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
        self._collector.start()
        HugePages(reactor).start()  # until the process ends
        self._sockets = message.sockets
        feed = WorkerFeed(reactor, config)
        feed.lost.addBoth(lambda _: _end())
        relay = RelaySender(reactor, socket.socket(fileno=RELAY), _end)
        tls = client_port_tls(config)
        counting = LoopingCall(self._count)
        counting.clock = reactor
        counting.start(COUNT_SECONDS).addErrback(_fail)
        adopt(reactor, socket.socket(fileno=FEED), feed)
        self._replica = replica = await feed.loaded
        self._collector.freeze()
        self._access = access = Access(replica, reactor, attempts=self._attempts)
        pages = RelayedPages(replica, relay.connect, replica.when_applied)
        relayed = standby_relay(reactor, config, replica)
        self._site = site = client_site(reactor, config, replica, pages, self._usage, access, tls, relayed)
        self._factories = {False: site, True: site if tls is None else SecureFactory(tls, site, reactor)}
        sharing = cast(IReactor, SharingReactor(reactor))
        for frontend, options in worker_frontends(config):
            self._frontends.append(frontend.service(sharing, config, options, replica))
            await maybeDeferred(self._frontends[-1].startService)
        self._control.send(Ready())

    def _share(self) -> None:
        """Accept from the sockets that this worker is to accept from, and from no others."""
        for each in self._sockets:
            port: Any = self._ports.get(each)
            if each.owner is not None and each.owner not in self._owners:
                if port is not None:
                    port.stopReading()
            elif port is None:
                adopted = cast(IReactorSocket, self._reactor).adoptStreamPort(
                    each.descriptor, socket.AddressFamily(each.family), cast(Any, self._factories[each.is_secure])
                )
                self._ports[each] = adopted
            else:
                port.startReading()

    def _count(self, request_id: int | None = None) -> None:
        counts = self._usage.counts()
        if self._replica is not None and self._access is not None:
            statistics = self._replica.statistics()
            counts.gets_success, counts.gets_fail = statistics.gets_success, statistics.gets_fail
            counts.watchers, counts.failed_attempts = statistics.watchers, self._access.failed_attempts
        counts.processor_seconds = time.process_time()
        counts.memory_bytes = _resident_bytes()
        self._control.send(Counted(request_id, counts))

    async def _stop(self) -> None:
        """Accept no more connections, finish the requests under way, and end."""
        for port in cast(Iterable[Any], self._ports.values()):
            port.stopReading()  # nothing is closed: a socket in the file system would be removed there
        stopped = [maybeDeferred(each.stopService) for each in self._frontends]
        site = self._site
        if site is not None:
            stopped.append(site.stop(min(GRACE_SECONDS, site.write_timeout_seconds)))
        for each in stopped:
            await each
        self._count()
        cast(Any, self._control.transport).loseConnection()  # when all is sent; then the process ends


def _resident_bytes() -> int:
    """Returns how much memory this process takes; where the system does not say, the most that it has taken."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _end() -> NoReturn:
    """End the process at once: the system closes its connections."""
    os._exit(0)


def _fail(failure: Failure) -> NoReturn:
    """End the process, and leave the reason to whoever reads its standard error."""
    if failure.check(StartError):
        sys.stderr.write(f"{failure.getErrorMessage()}\n")
    else:
        failure.printTraceback(sys.stderr)
    sys.stderr.flush()
    os._exit(1)


def main() -> None:
    """Run a worker until the consensus process says that it ends, or is gone."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

    wanted = sys.argv[2]
    if wanted != __version__:  # what the two tell each other is of one version
        sys.exit(f"etcd_twisted {__version__} is installed, and {wanted} runs: start this machine again")
    Worker(cast(IReactor, reactor)).begin()
    cast(Any, reactor).run(installSignalHandlers=False)
