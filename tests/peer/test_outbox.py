"""
Tests of the queue of payloads for a machine, and of their order.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.peer.boxes import MAX_BOX_BYTES, MAX_SHORT_PAYLOAD_BYTES, BoxReader, PayloadAssembler
from etcd_twisted.peer.outbox import MAX_QUEUED_BYTES, Outbox

STEPS = st.lists(st.sampled_from(["add", "ahead", "long", "take"]), max_size=60)


class OutboxTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.outbox = Outbox()
        self.reader, self.assembly = BoxReader(MAX_BOX_BYTES), PayloadAssembler()
        self.come: list[bytes] = []

    def take(self) -> bool:
        """Takes a box, and returns whether there was one."""
        box = self.outbox.take()
        for each in self.reader.read(box or b""):
            payload = self.assembly.take(each)
            self.come += [] if payload is None else [payload]
        return box is not None

    def take_all(self) -> None:
        while self.take():
            pass

    @given(STEPS)
    def test_payloads_leave_in_order(self, steps: list[str]) -> None:
        """
        Each kind of payload leaves whole and in order; those that go ahead precede all others that are not begun.
        """
        self.setUp()
        added: list[bytes] = []
        hurried: list[bytes] = []
        for number, step in enumerate(steps):
            if step == "take":
                self.take()
                continue
            payload = b"%d " % number * (50_000 if step == "long" else 1)
            (hurried if step == "ahead" else added).append(payload)
            self.assertTrue((self.outbox.add_ahead if step == "ahead" else self.outbox.add)(payload))
            if step == "ahead":
                while self.come[-1:] != [payload]:
                    before = len(self.come)
                    self.assertTrue(self.take())
                    self.assertTrue(set(self.come[before:]) <= set(hurried))
        self.take_all()
        self.assertTrue([each for each in self.come if each in hurried] == hurried)
        self.assertTrue([each for each in self.come if each not in hurried] == added)
        self.assertEqual(self.outbox.queued_bytes, 0)

    def test_long_payload_does_not_go_ahead(self) -> None:
        """Only a payload of one box can go between the boxes of another."""
        long = [b"a" * (2 * MAX_SHORT_PAYLOAD_BYTES), b"b" * (2 * MAX_SHORT_PAYLOAD_BYTES)]
        self.outbox.add(long[0])
        self.outbox.add_ahead(long[1])
        self.take_all()
        self.assertTrue(self.come == long)

    def test_long_payloads_are_bounded(self) -> None:
        """The queue takes payloads up to the bound and one more; the one being sent does not count."""
        long = b"x" * (2 * MAX_QUEUED_BYTES)
        self.assertTrue(self.outbox.add(long))
        self.assertFalse(self.outbox.add(long))
        self.assertFalse(self.outbox.add_ahead(long))
        self.take()
        self.assertEqual(self.outbox.queued_bytes, 0)
        self.assertTrue(self.outbox.add(long))

    def test_short_payloads_are_bounded_by_themselves(self) -> None:
        """
        Short payloads are dropped if too many of them are queued, whichever way they go, but not because of a long
        one.
        """
        long, short = b"x" * (2 * MAX_QUEUED_BYTES), b"y" * MAX_SHORT_PAYLOAD_BYTES
        self.outbox.add(long)
        self.take()
        self.outbox.add(long)
        taken = 0
        while self.outbox.add_ahead(short) and self.outbox.add(short):
            taken += 2 * MAX_SHORT_PAYLOAD_BYTES
        self.assertLess(abs(taken - MAX_QUEUED_BYTES), 2 * MAX_SHORT_PAYLOAD_BYTES)
        self.assertFalse(self.outbox.add(b"z"))
        self.assertFalse(self.outbox.add_ahead(b"z"))
        self.take()
        self.take()
        self.assertTrue(self.outbox.add_ahead(b"z"))
        self.assertTrue(self.outbox.add(b"z"))

    def test_cleared_outbox_is_empty(self) -> None:
        """Clearing also removes the payload that is being sent."""
        self.outbox.add(b"x" * (20 * MAX_SHORT_PAYLOAD_BYTES))
        self.outbox.add(b"y")
        self.take()
        self.outbox.add_ahead(b"z")
        self.outbox.clear()
        self.assertEqual((self.outbox.take(), self.outbox.queued_bytes), (None, 0))
