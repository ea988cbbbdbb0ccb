"""What tests of the client share: scripted machines, see L{etcd_twisted.testing.stub_agent}, and what asks them."""

from treq.client import HTTPClient
from twisted.internet.task import Clock
from twisted.web.iweb import IAgent

from etcd_twisted.client.body import BytesBody
from etcd_twisted.client.exchange import Exchanges
from etcd_twisted.client.machines import Machines
from etcd_twisted.client.sender import Sender, Timeouts
from etcd_twisted.testing.stub_agent import REFUSED, Hang, NoConnection, Outcome, Reply, Sent, StubAgent, StubResponse

__all__ = [
    "EVENT",
    "REFUSED",
    "A",
    "B",
    "C",
    "Hang",
    "NoConnection",
    "Outcome",
    "Reply",
    "Sent",
    "StubAgent",
    "StubResponse",
    "error",
    "redirect",
    "sender_of",
]

A, B, C = "http://a:4001", "http://b:4001", "http://c:4001"

EVENT = Reply().body

error = Reply.error
redirect = Reply.redirect


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
