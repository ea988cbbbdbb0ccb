"""
How the log is written: as lines for people, or as one JSON object on each line for programs.

The log goes where the C{--logfile} and C{--syslog} options of C{twistd} say, or to a stream that is open already. This
module must never write a password that is part of a URL, nor an event that was not asked for.
"""

import json
import re
import signal
import sys
import syslog
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    formatEventAsClassicLogText,
)
from twisted.python.logfile import LogFile
from twisted.python.syslog import SyslogObserver
from zope.interface import implementer

FORMATS = ("text", "json")
HIGHEST_VERBOSITY = 2
"""The highest verbosity."""

REQUESTS = "etcd_twisted.requests"
"""The logger that has a line for each request, at L{HIGHEST_VERBOSITY}."""

_PACKAGE = "etcd_twisted"
_HTTP_CLIENT = "twisted.web.client"
"""The logger that has a line for the beginning and for the end of each connection."""

_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):[^/\s]*@")
_LEGACY = frozenset(("message", "time", "system", "isError", "format", "failure", "why"))
"""The keys that Twisted puts into an event beside those that begin with C{log_}."""

_PRIORITIES = {
    LogLevel.debug: syslog.LOG_DEBUG,
    LogLevel.info: syslog.LOG_INFO,
    LogLevel.warn: syslog.LOG_WARNING,
    LogLevel.error: syslog.LOG_ERR,
    LogLevel.critical: syslog.LOG_CRIT,
}

Format = Callable[[LogEvent], str | None]
"""Returns the text that is written for an event, with its line end, or C{None} if nothing is written."""


def masked(text: str) -> str:
    """Returns the text without the passwords of the URLs in it."""
    return _PASSWORD.sub(r"\1:***@", text) if "@" in text else text


def as_text(event: LogEvent) -> str | None:
    """Returns an event as Twisted writes it: a line, followed by the traceback of a failure."""
    text = formatEventAsClassicLogText(event)
    return None if text is None else masked(text)


def as_json(event: LogEvent) -> str | None:
    """
    Returns an event as a line with a JSON object: C{time} (RFC 3339), C{level}, C{logger}, C{message},
    the C{fields} that the message is made from, and the C{traceback} of a failure.
    """
    message = formatEvent(event)
    failure = event.get("log_failure")
    if not message and failure is None:
        return None
    level = event.get("log_level")
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": "info" if level is None else level.name,
        "logger": event.get("log_namespace", "-"),
        "message": masked(message),
    }
    fields = plain_fields(event)
    if fields:
        line["fields"] = fields
    if failure is not None:
        line["traceback"] = masked(failure.getTraceback())
    # msgspec can't be used: a path may hold bytes that are not Unicode, and a number may have any size.
    return json.dumps(line, separators=(",", ":")) + "\n"


def plain_fields(event: LogEvent) -> dict[str, int | float | str]:
    """Returns what the message of an event is made from, as numbers and texts."""
    names = (name for name in event if not name.startswith("log_") and name not in _LEGACY)
    return {name: _plain(event[name]) for name in names}


def _plain(value: object) -> int | float | str:
    return value if isinstance(value, int | float) else masked(str(value))


@implementer(ILogObserver)
class _Syslog:
    """Sends each event to the system's log with its priority."""

    def __init__(self, prefix: str, written: Format) -> None:
        legacy: Any = SyslogObserver(prefix).emit
        self._send = LegacyLogObserverWrapper(legacy)
        self._written = written

    def __call__(self, event: LogEvent) -> None:
        """See L{ILogObserver}."""
        text = self._written(event)
        if text is not None:
            priority = _PRIORITIES[event.get("log_level", LogLevel.info)]
            self._send(
                {
                    "log_time": event["log_time"],
                    "log_level": event.get("log_level", LogLevel.info),
                    "log_system": event.get("log_namespace", "-"),
                    "log_format": "{text}",
                    "text": text.rstrip("\n"),
                    "syslogPriority": priority,
                }
            )


def observer(verbosity: int, kind: str, twistd: Mapping[str, Any]) -> ILogObserver:
    """
    Returns the observer that writes the log.

    @param verbosity: 0 for what an operator has to know, 1 for everything that this package logs except requests,
        L{HIGHEST_VERBOSITY} for everything.
    @param kind: one of L{FORMATS}.
    @param twistd: the options of C{twistd} itself.
    @raise SystemExit: the log can't be written where the options say.
    """
    if twistd.get("syslog"):
        # The system's log adds the time and the level to a line itself.
        sink = _Syslog(twistd.get("prefix") or "twisted", as_json if kind == "json" else _message)
        return filtered(verbosity, sink)
    return stream_observer(verbosity, kind, _file(twistd))


def filtered(verbosity: int, sink: ILogObserver) -> ILogObserver:
    """Returns an observer that passes on the events to be written. See L{observer} for C{verbosity}."""
    return FilteringLogObserver(sink, [_levels(verbosity)])


def stream_observer(verbosity: int, kind: str, stream: Any) -> ILogObserver:
    """
    Returns the observer that writes the log to a stream or an open file. See L{observer} for the other parameters.
    """
    return filtered(verbosity, FileLogObserver(stream, as_json if kind == "json" else as_text))


def _message(event: LogEvent) -> str | None:
    message, failure = formatEvent(event), event.get("log_failure")
    text = message if failure is None else f"{message}\n{failure.getTraceback()}"
    return masked(text) if text else None


def _levels(verbosity: int) -> LogLevelFilterPredicate:
    levels = LogLevelFilterPredicate(LogLevel.debug if verbosity >= HIGHEST_VERBOSITY else LogLevel.info)
    if verbosity < HIGHEST_VERBOSITY:
        levels.setLogLevelForNamespace(_HTTP_CLIENT, LogLevel.warn)
    if verbosity == 1:
        levels.setLogLevelForNamespace(_PACKAGE, LogLevel.debug)
        levels.setLogLevelForNamespace(REQUESTS, LogLevel.info)
    return levels


def is_standard_output(twistd: Mapping[str, Any]) -> bool:
    """Returns whether a process that C{twistd} runs with these options logs to its standard output."""
    elsewhere = twistd.get("syslog") or twistd.get("logger")
    return bool(not elsewhere and twistd.get("nodaemon") and twistd.get("logfile") in (None, "", "-"))


def _file(twistd: Mapping[str, Any]) -> Any:
    """Returns the file that C{twistd} itself would write to: its standard output, or one that C{SIGUSR1} rotates."""
    name = twistd.get("logfile")
    if is_standard_output(twistd):
        return sys.stdout
    if name == "-":
        sys.exit("twistd etcd: --logfile -: a daemon has no standard output; name a file, or give --nodaemon")
    try:
        file = LogFile.fromFullPath(name or "twistd.log")
    except OSError as error:
        sys.exit(f"twistd etcd: --logfile {name or 'twistd.log'}: can't be written: {error.strerror}; name another")
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda _number, _frame: _rotate(file))
    return file


def _rotate(file: LogFile) -> None:
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it, which is twistd's to do

    cast(Any, reactor).callFromThread(file.rotate)
