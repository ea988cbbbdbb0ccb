"""Payloads in boxes."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.peer.boxes import BoxError, BoxReader
from etcd_twisted.peer.commands import Deliver
from etcd_twisted.peer.payloads import (
    MAX_BOX_BYTES,
    MAX_SHORT_PAYLOAD_BYTES,
    PAYLOAD_BYTES_PER_BOX,
    PayloadAssembler,
    payload_boxes,
)

LARGEST = PAYLOAD_BYTES_PER_BOX
EDGES = (0, 1, 65_534, 65_535, 65_536, 2 * 65_535, 2 * 65_535 + 1, LARGEST - 1, LARGEST, LARGEST + 1)


def payload_of(length: int) -> bytes:
    """Bytes that are not the same everywhere."""
    return (b"%d," % length + bytes(range(256))) * (length // 256 + 1)


class PayloadTests(SynchronousTestCase):
    def assert_comes(self, payloads: list[bytes], piece: int = 1 << 16) -> None:
        stream = b"".join(box for payload in payloads for box in payload_boxes(payload))
        reader, assembly = BoxReader(MAX_BOX_BYTES), PayloadAssembler()
        come = []
        for start in range(0, len(stream), piece):
            for box in reader.read(stream[start : start + piece]):
                payload = assembly.take(box)
                if payload is not None:
                    come.append(payload)
        self.assertTrue(come == payloads)  # a difference would be megabytes of text
        self.assertFalse(assembly.has_part or reader.has_part)

    @given(st.lists(st.binary(max_size=1_000), max_size=20), st.integers(1, 500))
    def test_short_payloads_in_any_pieces(self, payloads: list[bytes], piece: int) -> None:
        """In order, cut anywhere."""
        self.assert_comes(payloads, piece)

    @given(st.lists(st.sampled_from(EDGES) | st.integers(0, 3 * PAYLOAD_BYTES_PER_BOX), min_size=1, max_size=3))
    def test_payloads_of_any_length(self, lengths: list[int]) -> None:
        """Whatever fits into one value, one box or several."""
        self.assert_comes([payload_of(length)[:length] for length in lengths])

    def test_twisted_reads_the_boxes(self) -> None:
        """They are AMP: Twisted's own parser understands each of them."""
        for length in EDGES:
            payload = payload_of(length)[:length]
            parts = []
            for box in amp.parseString(b"".join(payload_boxes(payload))):
                self.assertEqual(box.pop(amp.COMMAND), b"Deliver")
                parts.append(Deliver.parseArguments(box, None))
            self.assertTrue(b"".join(part["payload"] for part in parts) == payload)
            is_split = len(parts) > 1 or length > MAX_SHORT_PAYLOAD_BYTES
            more = [True] * (len(parts) - 1) + [False] if is_split else [None]
            self.assertEqual([part["more"] for part in parts], more)

    def test_short_payload_between_the_boxes_of_a_long_one(self) -> None:
        """A short payload may come between the boxes of a long one."""
        assembly, reader = PayloadAssembler(), BoxReader(MAX_BOX_BYTES)
        long = payload_of(2 * PAYLOAD_BYTES_PER_BOX)
        first, *others = payload_boxes(long)
        stream = b"".join((first, next(payload_boxes(b"short")), *others))
        come = [payload for box in reader.read(stream) if (payload := assembly.take(box)) is not None]
        self.assertTrue(come == [b"short", long])

    def test_too_long_payload_is_refused(self) -> None:
        """What would take too much memory is refused, however it is split."""
        assembly = PayloadAssembler(max_payload_bytes=100)
        more = {b"_command": b"Deliver", b"payload": b"x" * 60, b"more": b"True"}
        self.assertIs(assembly.take(more), None)
        self.assertTrue(assembly.has_part)
        with self.assertRaises(BoxError):
            assembly.take(more)

    def test_boxes_without_a_payload_are_refused(self) -> None:
        """Boxes that are none."""
        for rest in ({}, {b"x": b""}, {b"payload": b"", b"more": b"?"}):
            with self.assertRaises(BoxError):
                PayloadAssembler().take({b"_command": b"Deliver", **rest})
