"""
Machines that only play a script, for unit tests of programs that make requests: nothing is sent anywhere.

This module must never act on a request by itself: whatever comes back is what the test says.
"""

import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import parse_qsl

import attrs
from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IConsumer, IProtocol, IPushProducer, ITransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from etcd_twisted.client import Client, Timeouts
from etcd_twisted.errors import MESSAGES, ErrorCode, http_status

REFUSED = error.ConnectionRefusedError()
"""What becomes of a request to a machine that does not run."""


@attrs.frozen
class Reply:
    """
    What a machine answers.

    @ivar end: what the body ends with; C{None} for a body that does not come to its end, as that of a watch.
    """

    status: int = 200
    body: bytes = b'{"action": "set", "node": {"key": "/key", "value": "1", "createdIndex": 3, "modifiedIndex": 3}}'
    headers: dict[str, str] = attrs.field(factory=dict)
    end: Exception | None = attrs.field(factory=ResponseDone)

    @classmethod
    def of(
        cls,
        key: str,
        value: str | None = None,
        *,
        action: str = "get",
        index: int = 3,
        previous_value: str | None = None,
        nodes: "tuple[dict[str, Any], ...] | None" = None,
    ) -> "Reply":
        """
        Returns the answer to a read or a write of a key that succeeds.

        @param value: the value of the key; C{None} for a directory, or for a key that was deleted.
        @param index: the index of the change, and of the key space.
        @param previous_value: the value before the change; C{None} if there was none.
        @param nodes: what is in a directory, each as in the JSON of the API.
        """
        node: dict[str, Any] = {"key": key, "createdIndex": index, "modifiedIndex": index}
        if value is not None:
            node["value"] = value
        elif nodes is not None:
            node |= {"dir": True, "nodes": list(nodes)}
        answer = {"action": action, "node": node}
        if previous_value is not None:
            answer["prevNode"] = {"key": key, "value": previous_value, "createdIndex": 1, "modifiedIndex": 1}
        return cls(201 if action == "create" else 200, json.dumps(answer).encode(), {"X-Etcd-Index": str(index)})

    @classmethod
    def error(cls, code: int, cause: str = "", status: int | None = None, *, index: int = 7) -> "Reply":
        """
        Returns an answer with an error of the API.

        @param status: the HTTP status; C{None} for the one that a machine sends with this error.
        """
        known = code in MESSAGES
        if status is None:
            status = http_status(ErrorCode(code)) if known else 400
        message = MESSAGES[ErrorCode(code)] if known else "an error"
        answer = {"errorCode": code, "message": message, "cause": cause, "index": index}
        return cls(status, json.dumps(answer).encode(), {"X-Etcd-Index": str(index)})

    @classmethod
    def redirect(cls, machine: str, path: str = "/v2/keys/key") -> "Reply":
        """Returns an answer that sends the client to another machine."""
        return cls(307, b"", {"Location": machine + path})


class Hang:
    """A machine gets the request, and says nothing."""


class NoConnection:
    """The connection to a machine is never there."""


Outcome = Reply | Exception | Hang | NoConnection
"""What becomes of one request. An exception is what the request fails with, such as L{REFUSED}."""


@attrs.define
class Sent:
    """
    A request that an agent got.

    @ivar machine: the URL of the machine, such as C{http://a:4001}.
    @ivar target: the path and the query.
    @ivar cancelled: whether it was cancelled before there was an answer.
    @ivar response: the answer.
    """

    machine: str
    method: str
    target: str
    headers: Headers
    body: bytes
    cancelled: bool = False
    response: "StubResponse | None" = None

    def header(self, name: str) -> str | None:
        """Returns the value of a header."""
        values = self.headers.getRawHeaders(name)
        return values[0] if values else None

    @property
    def path(self) -> str:
        """The path without the query."""
        return self.target.partition("?")[0]

    @property
    def credentials(self) -> tuple[str, str] | None:
        """The user's name and password that the request has by Basic authentication, or C{None}."""
        scheme, _, encoded = (self.header("Authorization") or "").partition(" ")
        if scheme != "Basic":
            return None
        user, _, password = b64decode(encoded).decode().partition(":")
        return user, password

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of the request, in its query and in its form."""
        _, _, query = self.target.partition("?")
        return dict(parse_qsl(query, True) + parse_qsl(self.body.decode(), True))


@implementer(IPushProducer)
class _BodyTransport:
    """The connection that a body comes by, as far as a client has a hand in it."""

    def __init__(self, response: "StubResponse") -> None:
        self._response = response

    def loseConnection(self) -> None:
        """See L{twisted.internet.interfaces.ITransport}."""
        self._response.closed = True

    def abortConnection(self) -> None:
        """See L{twisted.internet.interfaces.ITCPTransport}."""
        self._response.closed = True

    def stopProducing(self) -> None:
        """See L{IPushProducer}."""
        self._response.closed = True

    def pauseProducing(self) -> None:
        """See L{IPushProducer}."""
        self._response.paused = True

    def resumeProducing(self) -> None:
        """See L{IPushProducer}."""
        self._response.paused = False


@implementer(IResponse)
class StubResponse:
    """
    An answer.

    @ivar delivered: whether the client has asked for the body.
    @ivar closed: whether the client has closed its connection.
    @ivar paused: whether the client wants no more of the body for now.
    """

    version = (b"HTTP", 1, 1)
    phrase = b""
    request = None
    previousResponse = None  # noqa: N815  # Twisted's name

    def __init__(self, reply: Reply) -> None:
        self.code = reply.status
        self.headers = Headers()
        for name, value in reply.headers.items():
            self.headers.addRawHeader(name, value)
        self.length = len(reply.body)
        self.closed = self.delivered = self.paused = False
        self._reply = reply
        self._protocol: Any = None

    def deliverBody(self, protocol: IProtocol) -> None:
        """See L{IResponse}."""
        self.delivered = True
        self._protocol = protocol
        protocol.makeConnection(cast(ITransport, _BodyTransport(self)))
        protocol.dataReceived(self._reply.body)
        if self._reply.end is not None:
            self.finish(self._reply.end)

    def send(self, data: bytes) -> None:
        """Have more of a body come that has not ended, such as an event that is watched for."""
        self._protocol.dataReceived(data)

    def finish(self, reason: Exception | None = None) -> None:
        """
        End a body that has not ended.

        @param reason: what it ends with; C{None} for an end in order.
        """
        self._protocol.connectionLost(Failure(ResponseDone() if reason is None else reason))

    def setPreviousResponse(self, response: IResponse) -> None:
        """See L{IResponse}."""


@implementer(IConsumer)
class _Body:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        raise NotImplementedError

    def unregisterProducer(self) -> None:
        raise NotImplementedError


@implementer(IAgent)
class StubAgent:
    """
    Machines that do what a test says::

        agent = StubAgent(a=[Reply.of("/color", "blue"), REFUSED])
        reading = self.successResultOf(agent.client().get("/color"))

    @ivar machines: what each machine does, by URL: a function of the request, or outcomes one after the other, of
        which the last one stays. Others refuse connections.
    @ivar sent: what was sent to them, in order.
    @ivar clock: a clock for the code under test; that of L{client}.
    """

    def __init__(self, /, **machines: Any) -> None:
        """
        @param machines: by the name of the host. C{a} is the machine at C{http://a:4001}.
        """
        self.machines: dict[str, Callable[[Sent], Outcome] | list[Outcome]] = {
            f"http://{name}:4001": each if callable(each) or isinstance(each, list) else [each]
            for name, each in machines.items()
        }
        self.sent: list[Sent] = []
        self.clock = Clock()

    def client(
        self,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  # it is frozen
        credentials: tuple[str, str] | None = None,
    ) -> Client:
        """
        Returns a client of these machines, which asks them in the order in which they were given and nothing else.

        @param timeouts: how long its requests may take, by L{clock}.
        @param credentials: a user's name and password.
        """
        return Client(
            list(self.machines),
            reactor=self.clock,
            agent=self,
            credentials=credentials,
            timeouts=timeouts,
            refresh_seconds=None,
            chance=lambda: 0.0,
        )

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> "Deferred[IResponse]":
        """See L{IAgent}."""
        scheme, _, rest = uri.decode().partition("://")
        host, _, path = rest.partition("/")
        body = _Body()
        if bodyProducer is not None:
            bodyProducer.startProducing(body)
        sent = Sent(f"{scheme}://{host}", method.decode(), f"/{path}", headers or Headers(), body.data)
        self.sent.append(sent)
        script = self.machines.get(sent.machine, [REFUSED])
        outcome = script(sent) if callable(script) else script.pop(0) if len(script) > 1 else script[0]
        if isinstance(outcome, Hang):
            return Deferred(lambda deferred: _cancel(sent, deferred, error.ConnectionAborted()))
        if isinstance(outcome, NoConnection):
            address = IPv4Address("TCP", "10.0.0.1", 4001)
            return Deferred(lambda deferred: _cancel(sent, deferred, error.ConnectingCancelledError(address)))
        if isinstance(outcome, Exception):
            return fail(outcome)
        sent.response = StubResponse(outcome)
        return succeed(sent.response)

    def asked(self) -> list[str]:
        """Returns which machines were asked for something else than a list of machines."""
        return [each.machine for each in self.sent if each.target != "/v2/machines"]


def _cancel(sent: Sent, deferred: "Deferred[IResponse]", reason: Exception) -> None:
    sent.cancelled = True
    deferred.errback(reason)
