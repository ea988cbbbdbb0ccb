"""
Responses that are held back until the turn of the reactor ends.
"""

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.httpd.fast.sending import MOST_BYTES, MOST_HELD, SendQueue

SHORT, LONG = 1, MOST_BYTES + 1
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 3), st.sampled_from((SHORT, SHORT, SHORT, MOST_BYTES, LONG))),
        st.tuples(st.sampled_from(("begin", "end", "turn", "flush")), st.just(0), st.just(0)),
    ),
    max_size=300,
)


class Connection:
    """A connection whose client reads everything, or whose socket is broken."""

    def __init__(self, broken: bool = False) -> None:
        self.dataBuffer = b""
        self._tempDataBuffer: list[bytes] = []
        self.connected = True
        self.socket = self
        self.sent: list[bytes] = []
        self.broken = broken
        self.aborted = False

    def send(self, data: bytes) -> int:
        if self.broken:
            raise TypeError("broken")
        self.sent.append(data)
        return len(data)

    def abortConnection(self) -> None:
        self.aborted = True


class SendQueueTests(SynchronousTestCase):
    """Nothing is lost, late, or out of order."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.queue = SendQueue(self.clock)

    def connection(self, broken: bool = False) -> Any:
        return cast(Any, Connection(broken))

    @given(STEPS)
    def test_everything_is_sent_in_order_before_the_turn_ends(self, steps: list[tuple[str, int, int]]) -> None:
        """
        Whatever is sent when, each connection gets its bytes in order; a long piece is never held back, nor are many
        short ones, nor any once the turn has ended.
        """
        self.setUp()
        connections = [self.connection() for _ in range(4)]
        given: list[list[bytes]] = [[] for _ in connections]
        for number, (step, which, length) in enumerate(steps):
            if step == "send":
                data = number.to_bytes(2, "big") + bytes(length)
                given[which].append(data)
                self.queue.send(connections[which], data)
            elif step == "turn":
                self.clock.advance(0)
            elif step == "flush":
                self.queue.flush()
            else:
                self.queue.holds = step == "begin"
                if step == "end":
                    self.queue.flush()
            unsent = 0
            for expected, connection in zip(given, connections, strict=True):
                self.assertEqual(connection.sent, expected[: len(connection.sent)])
                unsent += len(expected) - len(connection.sent)
            self.assertLess(unsent, MOST_HELD)
            if step in ("end", "flush") or (step == "turn" and not self.queue.holds) or length == LONG:
                self.assertEqual(unsent, 0)
        self.queue.holds = False
        self.queue.flush()
        self.clock.advance(0)
        self.assertEqual([connection.sent for connection in connections], given)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_first_response_of_a_turn_is_sent_at_once(self) -> None:
        """Unless somebody flushes, the first response waits for nothing, and the others for the end of the turn."""
        first, second = self.connection(), self.connection()
        self.queue.send(first, b"1")
        self.queue.send(second, b"2")
        self.assertEqual((first.sent, second.sent), ([b"1"], []))
        self.clock.advance(0)
        self.assertEqual(second.sent, [b"2"])
        self.queue.send(second, b"3")
        self.assertEqual(second.sent, [b"2", b"3"])

    def test_a_connection_that_fails_is_closed_alone(self) -> None:
        """An exception from one connection does not keep others from getting their responses."""
        broken, whole = self.connection(broken=True), self.connection()
        self.queue.holds = True
        self.queue.send(broken, b"1")
        self.queue.send(whole, b"2")
        self.queue.flush()
        self.assertEqual((broken.aborted, whole.sent, whole.aborted), (True, [b"2"], False))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
