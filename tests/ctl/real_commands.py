"""
Commands of C{txetcdctl} that ask real machines, within the process of the test, which is a hundredth of the work of a
process for each. A command blocks, and so has a thread of its own, while its client has the test's reactor.
"""

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import TestCase

from etcd_twisted.ctl.session import Action, ask, connect
from etcd_twisted.ctl.settings import Settings
from tests.ctl.commands import Outcome, captured


def run_action(settings: Settings, action: Action[Any]) -> Any:
    """Returns what an action returns, as L{etcd_twisted.ctl.session.run} does, called in another thread."""

    async def act() -> Any:
        client = await connect(settings, reactor)
        try:
            return await action(client)
        finally:
            await client.close()

    return blockingCallFromThread(reactor, lambda: ensureDeferred(act()))


class RealCommandTest(TestCase):
    """
    A test that types commands.

    @ivar endpoints: which machines they ask.
    """

    endpoints = ""

    def type(self, *arguments: str, stdin: bytes = b"", **environment: str) -> "Deferred[Outcome]":
        """Returns what a command did."""
        variables = {"TXETCDCTL_ENDPOINTS": self.endpoints, "PATH": "/usr/bin:/bin"} | environment
        return deferToThread(captured, self, arguments, stdin, variables, run_action, ask)

    async def printed(self, *arguments: str, stdin: bytes = b"") -> str:
        """Returns what a command printed, which has to succeed."""
        outcome = await self.type(*arguments, stdin=stdin)
        self.assertEqual((outcome.status, outcome.errors), (0, ""), arguments)
        return outcome.output
