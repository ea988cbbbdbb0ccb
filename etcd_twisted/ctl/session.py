"""
Runs what a command does with a client, on Twisted's reactor: the only place that knows of it.

A process runs one command. Ctrl-C ends it: what waits is cancelled, and the client is closed. This module must never
print anything.
"""

import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from etcd_twisted.ctl.settings import Settings

if TYPE_CHECKING:
    from etcd_twisted.client import Client
    from etcd_twisted.client.messages import Answer, Request

_T = TypeVar("_T")

Action = Callable[["Client"], Awaitable[_T]]
"""What a command does."""


class SignalledError(Exception):
    """
    The user, or another program, has ended the command.

    @ivar status: the exit status that says so.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.status = 128 + number


async def connect(settings: Settings, reactor: Any) -> "Client":
    """Returns the client that the settings describe."""
    from etcd_twisted.client import Client, Timeouts, Tls

    keywords: dict[str, Any] = {
        "reactor": reactor,
        "credentials": settings.credentials,
        "tls": Tls(settings.ca_file, settings.cert_file, settings.key_file),
        "timeouts": Timeouts(settings.total_seconds, settings.attempt_seconds, settings.attempt_seconds),
    }
    if not settings.sync:
        keywords["refresh_seconds"] = None
    if settings.discovery_srv is not None:
        return await Client.from_srv(settings.discovery_srv, **keywords)
    return Client(settings.endpoints, **keywords)


def ask(settings: Settings, request: "Request") -> "tuple[Answer | None, float]":
    """
    Returns the answer to a request about a key, or C{None} if that takes a client; and how many seconds that took.

    @raise ClientError: the cluster answers with an error, or nobody knows whether it has made a change.
    """
    from etcd_twisted.ctl import direct

    began = time.monotonic()
    answer = direct.ask(settings, request)
    return answer, time.monotonic() - began


def run(settings: Settings, action: Action[_T]) -> _T:
    """
    Returns what an action returns that is given a client, or raises what it raises. A process can call this once.

    @raise SignalledError: a signal has ended it.
    """
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    results: list[_T] = []
    errors: list[Exception] = []
    signals: list[int] = []

    async def act(reactor: Any) -> None:
        try:
            client = await connect(settings, reactor)
            try:
                results.append(await action(client))
            finally:
                await client.close()
        except Exception as error:  # it is raised below
            errors.append(error)

    def main(reactor: Any) -> "Deferred[None]":
        running = Deferred.fromCoroutine(act(reactor))

        def interrupt(number: int, _frame: FrameType | None) -> None:
            if signals:
                os._exit(128 + number)  # it does not end, and the user insists
            signals.append(number)
            reactor.callFromThread(running.cancel)

        def listen() -> None:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, interrupt)

        reactor.callWhenRunning(listen)
        return running

    with contextlib.suppress(SystemExit):  # react always ends so
        react(main)
    if signals:
        raise SignalledError(signals[0])
    if errors:
        raise errors[0]
    return results[0]
