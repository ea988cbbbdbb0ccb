"""
One request about a key, without Twisted: the import of Twisted takes longer than all the rest of a short command.

The first machine that takes the connection is asked. What its answer means is for the client library to say
(L{etcd_twisted.client.answers}), and whatever is not simple is left to a whole client, which begins anew: TLS, SRV
records, redirects, elections, a read without an answer. This module must never leave to it a write that a machine may
have got.
"""

import base64
import http.client
import os
import time
import urllib.parse
from collections.abc import Sequence
from http import HTTPStatus

import attrs

from etcd_twisted.client.answers import Verdict, error_of, judge
from etcd_twisted.client.errors import ConnectionFailed, OutcomeUnknown
from etcd_twisted.client.machines import read_endpoint
from etcd_twisted.client.messages import Answer, Request
from etcd_twisted.ctl.settings import Settings

_REDIRECTS = range(HTTPStatus.MULTIPLE_CHOICES, HTTPStatus.BAD_REQUEST)

_LEAST_SECONDS = 1.0
"""
How much time has to be left for a client to try again what a machine could not do just now. It also has to be as much
as that machine took to say so: otherwise a write may end without an answer, and its user would not know its outcome.
"""


@attrs.frozen
class _Headers:
    message: http.client.HTTPMessage

    def getRawHeaders(self, name: str) -> Sequence[str] | None:
        """See L{etcd_twisted.client.messages.ResponseHeaders}."""
        return self.message.get_all(name)


def ask(settings: Settings, request: Request) -> Answer | None:
    """
    Returns the answer, which is a success, or C{None} to have a whole client make the request.

    @raise ClientError: the cluster answers with an error, or nobody knows whether it has made a change.
    """
    began = time.monotonic()
    try:
        machines = [read_endpoint(each) for each in settings.endpoints]
    except ValueError:
        return None  # the client says what is wrong
    encrypted = not all(each.startswith("http:") for each in machines)
    if settings.discovery_srv is not None or encrypted or ":" in (settings.credentials or ("",))[0]:
        return None
    first = os.urandom(1)[0] % len(machines)  # so that many commands do not all ask the same machine
    for machine in (*machines[first:], *machines[:first]):
        parts = urllib.parse.urlsplit(machine)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=settings.attempt_seconds)
        try:
            connection.connect()
        except TimeoutError:
            return None
        except OSError:
            continue
        try:
            asked = time.monotonic()
            answer = _exchange(connection, machine, settings, request)
            answered = time.monotonic()
            left_seconds = began + settings.total_seconds - answered
            return _outcome(request, answer, left_seconds >= max(_LEAST_SECONDS, answered - asked))
        except TimeoutError:
            _check_repeatable(request, machine, f"no answer within {settings.total_seconds:.3g} seconds")
            return None
        except (OSError, http.client.HTTPException) as error:
            _check_repeatable(request, machine, str(error) or type(error).__name__)
            return None
        finally:
            connection.close()
    return None


def _exchange(connection: http.client.HTTPConnection, machine: str, settings: Settings, request: Request) -> Answer:
    headers = {}
    if settings.credentials is not None:
        token = base64.b64encode(":".join(settings.credentials).encode()).decode("ascii")
        headers["Authorization"] = f"Basic {token}"
    body = None
    if request.form is not None:
        body = urllib.parse.urlencode(request.form)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if request.changes:
        connection.sock.settimeout(settings.total_seconds)
    connection.request(request.method, request.target, body, headers)
    response = connection.getresponse()
    return Answer(machine, response.status, _Headers(response.msg), response.read())


def _outcome(request: Request, answer: Answer, is_time_left: bool) -> Answer | None:
    if answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return answer
    if answer.status in _REDIRECTS:
        return None
    error = error_of(answer)
    verdict = judge(error)
    if verdict is Verdict.FINAL:
        raise error
    if verdict is Verdict.TRY_AGAIN and not is_time_left:
        raise ConnectionFailed(f"no machine has answered: {answer.machine}: {error}")
    if verdict is Verdict.UNKNOWN:
        _check_repeatable(request, answer.machine, str(error))
    return None


def _check_repeatable(request: Request, machine: str, reason: str) -> None:
    """
    Check that a request can be made again that a machine may have got.

    @raise OutcomeUnknown: it may have changed something.
    """
    if request.changes:
        raise OutcomeUnknown(f"{machine} has not answered: {reason}")
