"""The scripted machines that unit tests of programs ask."""

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse
from zope.interface.verify import verifyObject

from etcd_twisted.client import CompareFailed, Event, KeyNotFound, OutcomeUnknown, RequestTimedOut
from etcd_twisted.testing import REFUSED, Hang, NoConnection, Reply, Sent, StubAgent, StubResponse


class _Body(Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason


class ScriptTests(SynchronousTestCase):
    """What an agent does with a request."""

    def request(self, agent: StubAgent, machine: str = "a") -> "Deferred[IResponse]":
        return agent.request(b"GET", f"http://{machine}:4001/v2/keys/key?wait=true".encode())

    def test_stub_provides_its_interfaces(self) -> None:
        agent = StubAgent(a=Reply())
        verifyObject(IAgent, agent)
        verifyObject(IResponse, self.successResultOf(self.request(agent)))

    def test_outcomes_come_in_order_and_the_last_one_stays(self) -> None:
        agent = StubAgent(a=[Reply(201), REFUSED, Reply(404)])
        self.assertEqual(self.successResultOf(self.request(agent)).code, 201)
        self.failureResultOf(self.request(agent), type(REFUSED))
        codes = [self.successResultOf(self.request(agent)).code for _ in range(3)]
        self.assertEqual(codes, [404, 404, 404])

    def test_a_function_sees_the_request(self) -> None:
        def script(sent: Sent) -> Reply:
            return Reply(200 if sent.parameters == {"wait": "true"} else 400)

        agent = StubAgent(a=script)
        self.assertEqual(self.successResultOf(self.request(agent)).code, 200)

    def test_a_machine_without_a_script_does_not_run(self) -> None:
        self.failureResultOf(self.request(StubAgent(a=Reply()), "other"), type(REFUSED))

    def test_a_cancelled_request(self) -> None:
        for outcome in (Hang(), NoConnection()):
            agent = StubAgent(a=outcome)
            requesting = self.request(agent)
            self.assertNoResult(requesting)
            requesting.cancel()
            self.failureResultOf(requesting)
            self.assertTrue(agent.sent[0].cancelled)

    def test_a_body_that_stays_open(self) -> None:
        agent = StubAgent(a=Reply(200, b"1", end=None))
        response = self.successResultOf(self.request(agent))
        assert isinstance(response, StubResponse)
        self.assertFalse(response.delivered)
        body = _Body()
        response.deliverBody(body)
        response.send(b"2")
        self.assertEqual((body.data, body.reason), (b"12", None))
        assert body.transport is not None
        body.transport.pauseProducing()
        self.assertTrue(response.paused)
        body.transport.loseConnection()
        self.assertTrue(response.closed)
        response.finish()
        assert body.reason is not None
        body.reason.trap(ResponseDone)

    def test_a_body_that_breaks_off(self) -> None:
        response = self.successResultOf(self.request(StubAgent(a=Reply(end=ResponseFailed([])))))
        body = _Body()
        response.deliverBody(body)
        assert body.reason is not None
        body.reason.trap(ResponseFailed)

    def test_what_was_sent(self) -> None:
        sent = Sent("http://a:4001", "PUT", "/v2/keys/key?prevExist=false", Headers({"A": ["b"]}), b"value=1&ttl=5")
        self.assertEqual(sent.path, "/v2/keys/key")
        self.assertEqual(sent.parameters, {"prevExist": "false", "value": "1", "ttl": "5"})
        self.assertEqual((sent.header("a"), sent.header("c")), ("b", None))


class ClientTests(SynchronousTestCase):
    """What a client makes of replies."""

    def test_a_read_and_a_write(self) -> None:
        agent = StubAgent(a=[Reply.of("/key", "1"), Reply.of("/key", "2", action="set", index=8, previous_value="1")])
        client = agent.client()
        self.assertEqual(self.successResultOf(client.get("/key")).value, "1")
        event = self.successResultOf(client.set("/key", "2"))
        assert isinstance(event, Event)
        assert event.previous_node is not None
        self.assertEqual((event.node.value, event.previous_node.value, event.index.etcd_index), ("2", "1", 8))
        self.assertEqual(
            [(each.method, each.parameters.get("value")) for each in agent.sent], [("GET", None), ("PUT", "2")]
        )

    def test_stub_answers_with_a_listing(self) -> None:
        listing = Reply.of("/dir", nodes=({"key": "/dir/a", "value": "1"},))
        node = self.successResultOf(StubAgent(a=listing).client().list("/dir")).node
        self.assertTrue(node.directory)
        self.assertEqual([(each.name, each.value) for each in node.nodes], [("a", "1")])

    def test_stub_answers_with_errors(self) -> None:
        agent = StubAgent(a=[Reply.error(100, "/key"), Reply.error(101, "[1 != 2]")])
        client = agent.client()
        error = self.failureResultOf(client.get("/key"), KeyNotFound).value
        self.assertEqual((error.cause, error.index), ("/key", 7))
        self.failureResultOf(client.compare_and_swap("/key", "3", previous_value="1"), CompareFailed)
        self.assertEqual([each.response and each.response.code for each in agent.sent], [404, 412])

    def test_stub_answers_with_a_redirect(self) -> None:
        agent = StubAgent(a=Reply.redirect("http://b:4001"), b=Reply.of("/key", "1", action="set"))
        self.successResultOf(agent.client().set("/key", "1"))
        self.assertEqual(agent.asked(), ["http://a:4001", "http://b:4001"])

    def test_a_hang_is_given_up_by_the_agent_s_clock(self) -> None:
        agent = StubAgent(a=Hang())
        client = agent.client()
        reading, writing = client.get("/key"), client.set("/key", "1")
        agent.clock.pump([1] * 10)
        self.failureResultOf(reading, RequestTimedOut)
        self.failureResultOf(writing, OutcomeUnknown)
        self.assertEqual(agent.clock.getDelayedCalls(), [])
