"""
Tests of AMP boxes: they are read as Twisted's parser reads them, in whatever pieces they come, and never with more
memory than is allowed.
"""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.peer.boxes import (
    MAX_BOX_BYTES,
    MAX_KEYS,
    MAX_SHORT_PAYLOAD_BYTES,
    PAYLOAD_BYTES_PER_BOX,
    BoxError,
    BoxReader,
    PayloadAssembler,
    payload_boxes,
)
from etcd_twisted.peer.commands import Deliver

BOXES = st.lists(
    st.dictionaries(st.binary(min_size=1, max_size=255), st.binary(max_size=300), min_size=1, max_size=8), max_size=6
)
LARGEST = PAYLOAD_BYTES_PER_BOX
EDGES = (0, 1, 65_534, 65_535, 65_536, 2 * 65_535, 2 * 65_535 + 1, LARGEST - 1, LARGEST, LARGEST + 1)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """Returns the same bytes in pieces."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


def payload_of(length: int) -> bytes:
    """Returns bytes that are not the same everywhere."""
    return (b"%d," % length + bytes(range(256))) * (length // 256 + 1)


class ReaderTests(SynchronousTestCase):
    @given(BOXES, st.lists(st.integers(0, 1 << 16), max_size=10))
    def test_boxes_come_out_wherever_the_stream_is_cut(self, boxes: list[dict[bytes, bytes]], cuts: list[int]) -> None:
        reader = BoxReader(1 << 20)
        stream = b"".join(amp.AmpBox(box).serialize() for box in boxes)
        read = [box for piece in split(stream, cuts) for box in reader.read(piece)]
        self.assertEqual(read, boxes)
        self.assertEqual(read, amp.parseString(stream))
        self.assertFalse(reader.has_part)

    @given(st.lists(st.binary(max_size=200), max_size=20), st.integers(2, 300))
    def test_any_bytes_are_read_within_limits(self, pieces: list[bytes], most: int) -> None:
        """Any bytes are read as boxes or refused, and no more is held than is allowed."""
        reader = BoxReader(most)
        try:
            for piece in pieces:
                for box in reader.read(piece):
                    self.assertLessEqual(len(amp.AmpBox(box).serialize()), most)
                self.assertLessEqual(len(reader._rest) + sum(map(len, reader._box.values())), most)
        except BoxError as error:
            self.assertNotIn("\n", str(error))

    def test_incomplete_box_is_noticed(self) -> None:
        """The reader knows whether a box is incomplete."""
        stream = amp.AmpBox({b"key": b"value"}).serialize()
        for end in range(1, len(stream)):
            reader = BoxReader(100)
            self.assertEqual(list(reader.read(stream[:end])), [])
            self.assertTrue(reader.has_part, end)

    def test_too_large_box_is_refused_before_its_value(self) -> None:
        reader = BoxReader(100)
        with self.assertRaises(BoxError) as caught:
            list(reader.read(b"\x00\x03key\xff\xff"))
        self.assertEqual(str(caught.exception), "a box of more than 100 bytes")

    def test_earlier_values_count_towards_the_size_of_a_box(self) -> None:
        reader = BoxReader(50)
        item = b"\x00\x01%c\x00\x0a" + b"x" * 10
        self.assertEqual(list(reader.read(item % b"a" + item % b"b" + item % b"c")), [])
        with self.assertRaises(BoxError):
            list(reader.read(item % b"d"))

    def test_limit_can_be_raised_for_the_next_box(self) -> None:
        """What a box says can raise the limit for the next one."""
        reader = BoxReader(20)
        small, large = amp.AmpBox({b"a": b""}).serialize(), amp.AmpBox({b"a": b"x" * 50}).serialize()
        read = []
        for box in reader.read(small + large):
            reader.max_box_bytes = 100
            read.append(box)
        self.assertEqual(read, [{b"a": b""}, {b"a": b"x" * 50}])

    def test_number_of_keys_is_limited(self) -> None:
        """The number of keys is limited because each takes memory of its own."""
        reader = BoxReader(1 << 20)
        box = {b"%d" % number: b"" for number in range(MAX_KEYS)}
        self.assertEqual(list(reader.read(amp.AmpBox(box).serialize())), [box])
        box[b"one more"] = b""
        with self.assertRaises(BoxError):
            list(reader.read(amp.AmpBox(box).serialize()))

    def test_too_long_key_is_refused(self) -> None:
        """A key of more than 255 bytes is refused."""
        with self.assertRaises(BoxError):
            list(BoxReader(1 << 20).read(b"\x01\x00" + b"x" * 256))


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
        self.assertTrue(come == payloads)  # the message of assertEqual would be megabytes of text
        self.assertFalse(assembly.has_part or reader.has_part)

    @given(st.lists(st.binary(max_size=1_000), max_size=20), st.integers(1, 500))
    def test_short_payloads_come_through_in_any_pieces(self, payloads: list[bytes], piece: int) -> None:
        """The payloads come in order, wherever the stream is cut."""
        self.assert_comes(payloads, piece)

    @given(st.lists(st.sampled_from(EDGES) | st.integers(0, 3 * PAYLOAD_BYTES_PER_BOX), min_size=1, max_size=3))
    def test_payloads_of_any_length_come_through(self, lengths: list[int]) -> None:
        """A payload may fit into one value, one box or several."""
        self.assert_comes([payload_of(length)[:length] for length in lengths])

    def test_twisted_reads_the_boxes(self) -> None:
        """Twisted's own AMP parser understands each of the boxes."""
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

    def test_short_payload_may_come_between_the_boxes_of_a_long_one(self) -> None:
        assembly, reader = PayloadAssembler(), BoxReader(MAX_BOX_BYTES)
        long = payload_of(2 * PAYLOAD_BYTES_PER_BOX)
        first, *others = payload_boxes(long)
        stream = b"".join((first, next(payload_boxes(b"short")), *others))
        come = [payload for box in reader.read(stream) if (payload := assembly.take(box)) is not None]
        self.assertTrue(come == [b"short", long])

    def test_too_long_payload_is_refused(self) -> None:
        """A payload that would take too much memory is refused, however it is split."""
        assembly = PayloadAssembler(max_payload_bytes=100)
        more = {b"_command": b"Deliver", b"payload": b"x" * 60, b"more": b"True"}
        self.assertIs(assembly.take(more), None)
        self.assertTrue(assembly.has_part)
        with self.assertRaises(BoxError):
            assembly.take(more)

    def test_boxes_without_a_payload_are_refused(self) -> None:
        for rest in ({}, {b"x": b""}, {b"payload": b"", b"more": b"?"}):
            with self.assertRaises(BoxError):
                PayloadAssembler().take({b"_command": b"Deliver", **rest})
