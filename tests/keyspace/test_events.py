"""
Tests of times in answers, and of the content of events.
"""

import datetime
import fractions
import math

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace.events import LAST_MOMENT, format_time, remaining_ttl, view
from etcd_twisted.keyspace.nodes import File
from tests.keyspace.model import SECOND
from tests.keyspace.running import key_space

moments = st.integers(0, LAST_MOMENT)


class TimeTests(SynchronousTestCase):
    def test_times_are_in_rfc_3339(self) -> None:
        """Times are in RFC 3339 format, in UTC, and always with six digits of microseconds."""
        self.assertEqual(format_time(0), "1970-01-01T00:00:00.000000Z")
        self.assertEqual(format_time(1_386_154_881_874_888), "2013-12-04T11:01:21.874888Z")
        self.assertEqual(format_time(SECOND), "1970-01-01T00:00:01.000000Z")
        self.assertEqual(format_time(LAST_MOMENT), "9999-12-31T23:59:59.000000Z")

    @given(moments)
    def test_the_format_of_times_is_exact(self, moment: int) -> None:
        """A formatted time is exact to the microsecond."""
        read = datetime.datetime.fromisoformat(format_time(moment))
        epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        self.assertEqual((read - epoch) // datetime.timedelta(microseconds=1), moment)

    def test_remaining_ttl_is_rounded_up(self) -> None:
        """Remaining seconds are rounded up, and nothing remains when the time has come (spec, "TTL")."""
        for left, ttl in ((0, 0), (1, 1), (SECOND - 1, 1), (SECOND, 1), (SECOND + 1, 2), (-1, 0), (-5 * SECOND, 0)):
            self.assertEqual(remaining_ttl(10 * SECOND + left, 10 * SECOND), ttl)

    @given(moments, moments)
    def test_the_remaining_ttl_is_exact(self, expires: int, now: int) -> None:
        """The remaining TTL is exact, however large the numbers are."""
        self.assertEqual(remaining_ttl(expires, now), max(0, math.ceil(fractions.Fraction(expires - now, SECOND))))

    def test_an_expired_key_has_no_ttl_left(self) -> None:
        """A node whose time has come, but which is still there, shows its expiration and no TTL."""
        shown = view("/a", File("", 1, 1, 5 * SECOND), 5 * SECOND)
        self.assertEqual((shown.expiration, shown.ttl), ("1970-01-01T00:00:05.000000Z", 0))


class EventTests(SynchronousTestCase):
    def test_the_body_is_compact_json(self) -> None:
        """The body is compact JSON with C{action}, C{node} and C{prevNode}, without a newline (spec, "Answers")."""
        space = key_space(c.Set("/a", 0, "x", expires=SECOND))
        event = space.apply(c.Set("/a", 0, "é<&>\n"))
        self.assertEqual(
            event.body.decode(),
            '{"action":"set","node":{"key":"/a","value":"é<&>\\n","modifiedIndex":2,"createdIndex":2},'
            '"prevNode":{"key":"/a","value":"x","expiration":"1970-01-01T00:00:01.000000Z","ttl":1,'
            '"modifiedIndex":1,"createdIndex":1}}',
        )

    def test_an_empty_value_is_shown(self) -> None:
        """An empty value is shown as a value; a directory has none."""
        space = key_space()
        self.assertIn(b'"value":""', space.apply(c.Set("/a", 0)).body)
        self.assertNotIn(b'"value"', space.apply(c.Set("/d", 0, "ignored", directory=True)).body)

    def test_events_that_create_a_node(self) -> None:
        """The status is 201 if set or create makes a new node, and 200 otherwise."""
        space = key_space()
        for command, created in (
            (c.Set("/a", 0), True),
            (c.Set("/a", 0), False),
            (c.Set("/a", 0, directory=True), False),
            (c.Set("/d", 0, directory=True), True),
            (c.Create("/b", 0), True),
            (c.CreateInOrder("/q", 0), True),
            (c.Update("/b", 0), False),
            (c.Refresh("/b", 0, SECOND), False),
            (c.CompareAndSwap("/b", 0, "x"), False),
            (c.CompareAndDelete("/b", 0), False),
            (c.Delete("/d", 0, directory=True), False),
            (c.Set("/b", 0), True),
        ):
            self.assertEqual(space.apply(command).created, created, command)
