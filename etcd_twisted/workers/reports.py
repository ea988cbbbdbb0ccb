"""
What a worker has the consensus process know: the events of its log, and log-ins.

This module must never hold anything back: the worker may be killed at any moment.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from etcd_twisted.logs.observers import plain_fields
from etcd_twisted.web.auth.failed_attempts import IAttempts
from etcd_twisted.workers.control import Attempt, BeginAttempt, EndAttempt, FromWorker, Logged

_TWISTED = (None, "log_legacy")
"""The loggers that tell when a port is opened, which the consensus process has done."""

Send = Callable[[FromWorker], None]
"""Sends a message to the consensus process."""


@implementer(ILogObserver)
class LogSender:
    """Sends the events of the log."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def __call__(self, event: LogEvent) -> None:
        """See L{ILogObserver}."""
        text, failure = formatEvent(event), event.get("log_failure")
        if not text and failure is None:
            return
        level = event.get("log_level") or LogLevel.info
        if level < LogLevel.warn and event.get("log_namespace") in _TWISTED:
            return
        traceback = "" if failure is None else failure.getTraceback()
        self._send(Logged(level.name, event.get("log_namespace") or "-", text, plain_fields(event), traceback))


@implementer(IAttempts)
class RemoteAttempts:
    """The log-ins that have failed on the whole machine, which the consensus process counts."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._requests = 0
        self._waiting: dict[int, Deferred[Any]] = {}

    def answered(self, message: Attempt) -> None:
        """Take the answer to a message."""
        waiting = self._waiting.pop(message.request_id)
        if not waiting.called:
            waiting.callback(message.answer)

    def _ask(self) -> "tuple[int, Deferred[Any]]":
        self._requests += 1
        waiting = self._waiting[self._requests] = Deferred()
        return self._requests, waiting

    def begin(self, name: str) -> "Deferred[float | None]":
        """See L{IAttempts}."""
        request_id, waiting = self._ask()
        self._send(BeginAttempt(request_id, name))
        return waiting

    def failed(self, name: str) -> "Deferred[bool]":
        """See L{IAttempts}."""
        request_id, waiting = self._ask()
        self._send(EndAttempt(request_id, name, False))
        return waiting

    def succeeded(self, name: str) -> None:
        """See L{IAttempts}."""
        self._send(EndAttempt(None, name, True))

    def given_up(self, name: str) -> None:
        """See L{IAttempts}."""
        self._send(EndAttempt(None, name, None))
