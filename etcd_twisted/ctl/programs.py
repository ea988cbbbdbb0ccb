"""
Programs that commands run: C{exec-watch} and C{lock}.

This module must never decide why one is run.
"""

import os
import shutil
from typing import TYPE_CHECKING, Any

from etcd_twisted.ctl.failures import BAD_ARGUMENTS, CommandFailedError

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

GRACE_SECONDS = 10.0
"""How long a program that is asked to end may take until it is killed."""


def find(name: str) -> str:
    """
    Returns the path of a program.

    @raise CommandFailedError: there is none.
    """
    program = shutil.which(name)
    if program is None:
        raise CommandFailedError(f"can't run {name}: there is no such program on the PATH", BAD_ARGUMENTS)
    return program


class Running:
    """A program that runs, with this process's outputs."""

    def __init__(
        self, reactor: Any, program: str, command: tuple[str, ...], environment: dict[str, str], with_input: bool
    ) -> None:
        """
        @param with_input: whether it reads this process's standard input; else it has an empty one.
        """
        from twisted.internet.protocol import ProcessProtocol
        from twisted.python.failure import Failure

        ended = self._ended

        class Ending(ProcessProtocol):
            """Waits for the end."""

            def processExited(self, reason: Failure) -> None:
                """See L{ProcessProtocol}."""
                value: Any = reason.value
                ended(value.exitCode if value.signal is None else 128 + value.signal)

        self._reactor = reactor
        self._status: int | None = None
        self._waiting: list[Deferred[int]] = []
        nothing = os.open(os.devnull, os.O_RDONLY)
        files: dict[int, Any] = {0: 0 if with_input else nothing, 1: 1, 2: 2}
        try:
            self._process = reactor.spawnProcess(Ending(), program, command, environment, childFDs=files)
        finally:
            os.close(nothing)

    def _ended(self, status: int) -> None:
        self._status = status
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(status)

    def when_ended(self) -> "Deferred[int]":
        """Returns a Deferred that fires with the exit status, which is 128 and more when a signal has ended it."""
        from twisted.internet.defer import Deferred, succeed

        if self._status is not None:
            return succeed(self._status)
        waiting: Deferred[int] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    async def end(self) -> int:
        """Returns the exit status, once the program has ended as it is asked to, or was killed as it did not."""
        if self._status is None:
            self._process.signalProcess("TERM")
        killing = self._reactor.callLater(GRACE_SECONDS, self._kill)
        try:
            return await self.when_ended()
        finally:
            if killing.active():
                killing.cancel()

    def _kill(self) -> None:
        if self._status is None:
            self._process.signalProcess("KILL")
