"""
Tests of how traffic between machines is counted.
"""

import math
import statistics

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.interfaces.statistics import RATE_WINDOW_SECONDS, Flow, FollowerTraffic

LATENCIES = st.lists(st.floats(0.0, 1e6), min_size=1)
REQUESTS = st.lists(st.tuples(st.floats(0.0, 100.0), st.integers(0, 1_000)))


class FlowTests(SynchronousTestCase):
    """Tests of requests in one direction."""

    def test_flow_without_requests_has_no_rate(self) -> None:
        """Without requests there is no rate."""
        self.assertEqual((Flow().count, Flow().rates(5.0)), (0, None))

    def test_rates_are_over_the_last_minute(self) -> None:
        """Rates are over the time since the first request of the last minute."""
        flow = Flow()
        for second in range(10):
            flow.add(100.0 + second, 50)
            flow.add(100.5 + second, 150)
        self.assertEqual(flow.rates(110.0), (2.0, 200.0))
        self.assertEqual(flow.rates(120.0), (1.0, 100.0))
        self.assertEqual(flow.count, 20)

    def test_rates_in_the_first_second(self) -> None:
        """A single request is not counted as a thousand in a second."""
        flow = Flow()
        flow.add(5.0, 100)
        self.assertEqual(flow.rates(5.001), (1.0, 100.0))

    def test_old_requests_are_forgotten(self) -> None:
        """Requests that are older than a minute do not count towards the rate, but do towards the total."""
        flow = Flow()
        flow.add(0.0, 100)
        flow.add(30.0, 100)
        self.assertEqual(flow.rates(60.0), (1 / 30, 100 / 30))
        self.assertIsNone(flow.rates(90.0))
        self.assertEqual(flow.count, 2)
        flow.add(200.0, 7)
        self.assertEqual(flow.rates(201.0), (1.0, 7.0))

    def test_rate_of_steady_requests(self) -> None:
        """A heartbeat every 50 ms is 20 requests a second, however long it has gone on, and takes little memory."""
        flow = Flow()
        for beat in range(20 * 300):
            flow.add(beat / 20, 30)
        requests, size = flow.rates(300.0) or (0.0, 0.0)
        self.assertAlmostEqual(requests, 20.0)
        self.assertAlmostEqual(size, 600.0)
        self.assertLessEqual(len(flow._seconds), RATE_WINDOW_SECONDS)

    @given(REQUESTS, st.floats(0.0, 200.0))
    def test_any_requests_are_counted_once(self, gaps: list[tuple[float, int]], pause: float) -> None:
        """Nothing is counted twice or lost, and rates stay within what is possible."""
        flow = Flow()
        now = 0.0
        recent: list[tuple[float, int]] = []
        for gap, length in gaps:
            now += gap
            flow.add(now, length)
            recent.append((now, length))
        now += pause
        lengths = [length for moment, length in recent if int(moment) > int(now) - RATE_WINDOW_SECONDS]
        rates = flow.rates(now)
        self.assertEqual(flow.count, len(gaps))
        if not lengths:
            self.assertIsNone(rates)
            return
        assert rates is not None
        self.assertTrue(len(lengths) / RATE_WINDOW_SECONDS <= rates[0] <= len(lengths))
        self.assertTrue(sum(lengths) / RATE_WINDOW_SECONDS <= rates[1] <= sum(lengths))


class FollowerTrafficTests(SynchronousTestCase):
    """Tests of a follower's answers."""

    def test_traffic_begins_at_zero(self) -> None:
        """At first everything is zero."""
        traffic = FollowerTraffic()
        self.assertEqual((traffic.success, traffic.fail, traffic.standard_deviation_ms), (0, 0, 0.0))

    def test_failures_have_no_latency(self) -> None:
        """Failures have no latency."""
        traffic = FollowerTraffic()
        traffic.succeeded(3.0)
        traffic.failed()
        traffic.failed()
        self.assertEqual((traffic.success, traffic.fail), (1, 2))
        seen = (traffic.current_ms, traffic.average_ms, traffic.minimum_ms, traffic.maximum_ms)
        self.assertEqual(seen, (3.0, 3.0, 3.0, 3.0))

    @given(LATENCIES)
    def test_latencies_are_summarized(self, latencies: list[float]) -> None:
        """The figures are those that all latencies would give if they had been kept (api, "Leader Statistics")."""
        traffic = FollowerTraffic()
        for latency in latencies:
            traffic.succeeded(latency)
        self.assertEqual((traffic.success, traffic.current_ms), (len(latencies), latencies[-1]))
        self.assertEqual((traffic.minimum_ms, traffic.maximum_ms), (min(latencies), max(latencies)))
        self.assertTrue(math.isclose(traffic.average_ms, statistics.fmean(latencies), rel_tol=1e-9, abs_tol=1e-9))
        deviation = statistics.pstdev(latencies)
        self.assertTrue(math.isclose(traffic.standard_deviation_ms, deviation, rel_tol=1e-6, abs_tol=1e-3))
