"""
A process that is no child of the tests, as a daemon is not.
"""

import os
import signal

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer


@implementer(IReadDescriptor)
class Stranger:
    """
    Watches a process by its file descriptor (Linux, pidfd_open(2)), so that its id can't come to mean another one.

    @ivar ended: fires when it has ended.
    """

    def __init__(self, test: TestCase, pid: int) -> None:
        """@param test: its cleanup ends the process."""
        self.ended: Deferred[None] = Deferred()
        self._descriptor = os.pidfd_open(pid)
        reactor.addReader(self)
        test.addCleanup(self._end)

    def signal(self, number: signal.Signals) -> None:
        """Sends the process a signal."""
        signal.pidfd_send_signal(self._descriptor, number)

    async def _end(self) -> None:
        if not self.ended.called:
            self.signal(signal.SIGKILL)
        await self.ended
        os.close(self._descriptor)

    def fileno(self) -> int:
        """Returns the descriptor, for the reactor."""
        return self._descriptor

    def logPrefix(self) -> str:
        """Returns the name in logs, for the reactor."""
        return "stranger"

    def doRead(self) -> None:
        """The process has ended, because the descriptor can be read."""
        reactor.removeReader(self)
        self.ended.callback(None)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gives up."""
        self.ended.errback(reason)
