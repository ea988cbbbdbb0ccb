"""
Machines without a network: an agent whose answers a test scripts, and what it was asked.
"""

from collections.abc import Callable
from typing import Any

import attrs
from treq.client import HTTPClient
from twisted.internet import error as internet_error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IConsumer, IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from etcd_twisted.client.body import BytesBody
from etcd_twisted.client.exchange import Exchanges
from etcd_twisted.client.machines import Machines
from etcd_twisted.client.sender import Sender, Timeouts

A, B, C = "http://a:4001", "http://b:4001", "http://c:4001"

REFUSED = internet_error.ConnectionRefusedError()

EVENT = b'{"action": "set", "node": {"key": "/key", "value": "1", "createdIndex": 3, "modifiedIndex": 3}}'


@attrs.frozen
class Reply:
    """
    What a machine answers.

    @ivar end: what the body ends with; C{None} for a body that does not come to its end.
    """

    status: int = 200
    body: bytes = EVENT
    headers: dict[str, str] = attrs.field(factory=dict)
    end: Exception | None = attrs.field(factory=ResponseDone)


def error(code: int, cause: str = "", status: int = 400) -> Reply:
    """Returns a reply with an error of the API."""
    return Reply(status, b'{"errorCode": %d, "message": "m", "cause": "%s", "index": 7}' % (code, cause.encode()))


def redirect(machine: str, path: str = "/v2/keys/key") -> Reply:
    """Returns a reply that sends the client to another machine."""
    return Reply(307, b"", {"Location": machine + path})


@attrs.define
class Sent:
    """
    A request that an agent got.

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
        return (self.headers.getRawHeaders(name) or [None])[0]


@implementer(IResponse)
class StubResponse:
    """
    An answer.

    @ivar closed: whether the client has closed its connection.
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
        self.closed = self.delivered = False
        self._reply = reply

    def deliverBody(self, protocol: IProtocol) -> None:
        """See L{IResponse}."""
        self.delivered = True
        transport = StringTransport()
        transport.loseConnection = self._close  # type: ignore[method-assign]
        protocol.makeConnection(transport)
        protocol.dataReceived(self._reply.body)
        if self._reply.end is not None:
            protocol.connectionLost(Failure(self._reply.end))

    def _close(self) -> None:
        self.closed = True

    def setPreviousResponse(self, response: IResponse) -> None:
        """See L{IResponse}."""


class Hang:
    """A machine gets the request, and says nothing."""


class NoConnection:
    """The connection to a machine is never there."""


Outcome = Reply | Exception | Hang | NoConnection


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
    Machines that do what a test says.

    @ivar machines: what each machine does, by URL: a function of the request, or outcomes one after the other, of
        which the last one stays. Others refuse connections.
    @ivar sent: what was sent to them.
    """

    def __init__(self, **machines: Any) -> None:
        """
        @param machines: those of C{a}, C{b} and C{c}.
        """
        self.machines: dict[str, Callable[[Sent], Outcome] | list[Outcome]] = {
            f"http://{name}:4001": each if callable(each) or isinstance(each, list) else [each]
            for name, each in machines.items()
        }
        self.sent: list[Sent] = []

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
            return Deferred(lambda deferred: _cancel(sent, deferred, internet_error.ConnectionAborted()))
        if isinstance(outcome, NoConnection):
            address = IPv4Address("TCP", "10.0.0.1", 4001)
            return Deferred(lambda deferred: _cancel(sent, deferred, internet_error.ConnectingCancelledError(address)))
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


def sender_of(
    agent: IAgent,
    clock: Clock,
    endpoints: str = f"{A},{B},{C}",
    credentials: tuple[str, str] | None = None,
    refresh_seconds: float | None = None,
    timeouts: Timeouts | None = None,
) -> Sender:
    """Returns a sender that asks the machines in the order in which they are given."""
    chance = lambda: 0.0  # noqa: E731
    exchanges = Exchanges(HTTPClient(agent, data_to_body_producer=BytesBody), credentials)
    machines = Machines(endpoints, chance)
    return Sender(clock, exchanges, machines, timeouts or Timeouts(), refresh_seconds, chance)
