"""
The timeouts of a connection by themselves. The tests of sites show that both doors keep them.
"""

import attrs
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.httpd import lifetime
from etcd_twisted.httpd.lifetime import Lifetime, Verdict
from etcd_twisted.httpd.limits import Limits

LIMITS = Limits(
    connections=1,
    body_bytes=1,
    read_timeout_seconds=10.0,
    write_timeout_seconds=20.0,
    idle_timeout_seconds=60.0,
    refused_timeout_seconds=2.0,
    stream_backlog_bytes=1_000,
    stream_backlog_timeout_seconds=1.0,
)


@attrs.define
class Backlog:
    """A stream whose client has left so many bytes unread."""

    buffered_bytes: int = 0


class LifetimeTests(SynchronousTestCase):
    """Each lifetime begins at 100 seconds."""

    def setUp(self) -> None:
        self.lifetime = Lifetime(StringTransport(), LIMITS, 100.0)
        self.bytes_taken = 0
        self.gone = False
        self.patch(lifetime, "bytes_taken", lambda _transport: self.bytes_taken)
        self.patch(lifetime, "has_gone", lambda _transport: self.gone)

    def assert_verdict(self, verdict: Verdict, now: float, buffered_bytes: int = 0, held: bool = False) -> None:
        self.assertIs(self.lifetime.verdict(now, Backlog(buffered_bytes), held), verdict)

    def test_the_first_request_has_to_begin_within_the_idle_timeout(self) -> None:
        self.assert_verdict(Verdict.STAYS, 159.9)
        self.assert_verdict(Verdict.LATE, 160.0)

    def test_a_request_has_to_be_complete_within_the_read_timeout(self) -> None:
        """Further bytes do not prolong that time. The next request has the same time."""
        self.lifetime.begin_request(150.0)
        self.lifetime.begin_request(159.0)
        self.assert_verdict(Verdict.STAYS, 159.9)
        self.assert_verdict(Verdict.LATE, 160.0)
        self.lifetime.end_request()
        self.lifetime.begin_request(170.0)
        self.assert_verdict(Verdict.STAYS, 179.9)
        self.assert_verdict(Verdict.LATE, 180.0)

    def test_an_answer_may_take_as_long_as_it_takes(self) -> None:
        """The time for the next request begins when the response is complete."""
        self.lifetime.begin_request(110.0)
        self.lifetime.end_request()
        self.assert_verdict(Verdict.STAYS, 1e9)
        self.lifetime.expect_request(1e9)
        self.assert_verdict(Verdict.STAYS, 1e9 + 59.9)
        self.assert_verdict(Verdict.LATE, 1e9 + 60.0)

    def test_a_refused_client_may_go_on_for_a_moment(self) -> None:
        self.lifetime.begin_request(110.0)
        self.lifetime.stall(110.0)
        self.lifetime.refuse(111.0)
        self.assertFalse(self.lifetime.stalled)
        self.assert_verdict(Verdict.STAYS, 112.9)
        self.assert_verdict(Verdict.LATE, 113.0)

    def test_a_stalled_client_has_to_take_something_within_the_write_timeout(self) -> None:
        """
        Bytes that the client's system acknowledges count, although there is no room for more. A second stall changes
        nothing.
        """
        self.lifetime.end_request()
        self.lifetime.stall(200.0)
        self.assert_verdict(Verdict.STAYS, 201.0)
        self.lifetime.stall(215.0)
        self.assert_verdict(Verdict.STAYS, 219.9)
        self.bytes_taken += 1
        self.assert_verdict(Verdict.STAYS, 220.0)
        self.assert_verdict(Verdict.STAYS, 239.9)
        self.assert_verdict(Verdict.ABORTED, 240.0)

    def test_a_client_that_is_not_stalled_need_not_take_anything(self) -> None:
        self.lifetime.end_request()
        self.lifetime.stall(200.0)
        self.lifetime.stalled = False
        self.assert_verdict(Verdict.STAYS, 1e9)

    def test_a_closing_connection_has_to_be_taken_to_its_end(self) -> None:
        """The server expects nothing else of the client."""
        self.lifetime.close(150.0)
        self.assert_verdict(Verdict.STAYS, 151.0)
        self.assert_verdict(Verdict.STAYS, 170.9)
        self.assert_verdict(Verdict.ABORTED, 171.0)

    def test_a_stream_with_a_large_backlog_has_less_time(self) -> None:
        """The limit holds even if the client takes some bytes."""
        self.lifetime.end_request()
        self.lifetime.stall(200.0)
        self.bytes_taken += 1
        self.assert_verdict(Verdict.STAYS, 200.9, 1_001)
        self.bytes_taken += 1
        self.assert_verdict(Verdict.STAYS, 201.0, 1_000)
        self.assert_verdict(Verdict.ABORTED, 201.0, 1_001)

    def test_a_held_client_that_has_gone_is_noticed(self) -> None:
        """The lifetime checks for that only while nothing else can show it."""
        self.gone = True
        self.assert_verdict(Verdict.STAYS, 101.0)
        self.assert_verdict(Verdict.ABORTED, 101.0, held=True)
        self.lifetime.stall(101.0)
        self.assert_verdict(Verdict.STAYS, 102.0, held=True)
        self.gone = False
        self.lifetime.stalled = False
        self.assert_verdict(Verdict.STAYS, 103.0, held=True)
