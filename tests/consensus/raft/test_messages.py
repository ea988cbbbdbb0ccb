"""
Tests of L{etcd_twisted.consensus.raft.messages}.
"""

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.configurations import encode_configuration
from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, Member
from etcd_twisted.consensus.raft.messages import (
    Append,
    AppendReply,
    Message,
    TimeoutNow,
    VoteReply,
    VoteRequest,
    decode_messages,
    encode_messages,
    goes_ahead,
)
from tests.consensus.raft.group import entries_of, entry

NUMBERS = st.integers(0, 1 << 48)
GROUP = Configuration(("a", "b"), ("c",), {"a": Member("machine0", "http://c", "http://p")})


@st.composite
def appends(draw: st.DrawFn) -> Append:
    prev_index = draw(st.integers(0, 1 << 40))
    terms = sorted(draw(st.lists(st.integers(0, 1 << 40), min_size=2, max_size=6)))
    entries = []
    for index, term in enumerate(terms[1:-1], prev_index + 1):
        kind = draw(st.sampled_from(EntryKind))
        configuration = kind is EntryKind.CONFIGURATION
        data = encode_configuration(GROUP) if configuration else draw(st.binary(max_size=20))
        entries.append(Entry(index, term, kind, data))
    return Append(terms[-1], draw(NUMBERS), prev_index, terms[0], draw(NUMBERS), tuple(entries))


MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(VoteRequest, NUMBERS, NUMBERS, NUMBERS, st.booleans(), st.booleans()),
    st.builds(VoteReply, NUMBERS, st.booleans(), st.booleans()),
    appends(),
    st.builds(AppendReply, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.booleans(), NUMBERS, NUMBERS),
    st.builds(TimeoutNow, NUMBERS),
)


class OrderTests(SynchronousTestCase):
    def test_some_messages_may_overtake_entries(self) -> None:
        """
        What is only useful after the entries does not overtake them: a machine that is told to stand should have the
        last ones.
        """
        for message, ahead in (
            (VoteRequest(1, 2, 3), True),
            (VoteReply(1, True), True),
            (AppendReply(1, 2, 3, 4), True),
            (Append(1, 2, 0, 0, 4), True),
            (Append(1, 2, 3, 1, 4), False),
            (Append(1, 2, 0, 0, 4, (entry(1, 1, b"x"),)), False),
            (TimeoutNow(1), False),
        ):
            self.assertEqual(goes_ahead(message), ahead, message)


class RoundTripTests(SynchronousTestCase):
    @given(st.lists(MESSAGES, max_size=5))
    def test_encoded_messages_are_decoded(self, messages: list[Message]) -> None:
        self.assertEqual(decode_messages(encode_messages(messages)), messages)

    def test_layout_of_messages_is_fixed(self) -> None:
        """The layout must not change without a new protocol version, except by fields that are added at the end."""
        for message, layout in (
            (VoteRequest(1, 2, 3), ["vote", 1, 2, 3, False, False]),
            (VoteReply(1, True), ["voted", 1, True, False]),
            (Append(1, 2, 3, 1, 4), ["append", 1, 2, 3, 1, 4, []]),
            (Append(1, 2, 0, 0, 4, (entry(1, 1, b"x"),)), ["append", 1, 2, 0, 0, 4, [[1, 1, 0, b"x"]]]),
            (AppendReply(1, 2, 3, 4), ["appended", 1, 2, 3, 4, False, 0, 0]),
            (TimeoutNow(1), ["now", 1]),
        ):
            self.assertEqual(msgspec.msgpack.decode(encode_messages([message])), [layout])

    def test_unknown_additional_fields_are_ignored(self) -> None:
        payload = msgspec.msgpack.encode([["now", 1, "later"], ["voted", 2, True]])
        self.assertEqual(decode_messages(payload), [TimeoutNow(1), VoteReply(2, True)])


class RefusalTests(SynchronousTestCase):
    """Any payload is decoded to messages or raises a L{ValueError} with one line."""

    def assert_refused(self, payload: bytes) -> None:
        with self.assertRaisesRegex(ValueError, "^no Raft messages: ") as caught:
            decode_messages(payload)
        self.assertNotIn("\n", str(caught.exception))

    def test_garbage_is_refused(self) -> None:
        deep = b"\x91\x93\xa3now\x01" + b"\x91" * 100_000
        large = b"\xdd\xff\xff\xff\xff"
        for payload in (b"", b"GET / HTTP/1.1\r\n", b"\xc1", b"\x91\x91\xa3\xff\xff\xff", large, deep):
            self.assert_refused(payload)

    def test_impossible_messages_are_refused(self) -> None:
        for message in (
            ["now", -1],
            ["now", (1 << 48) + 1],
            ["now", 1 << 63],
            ["now", "1"],
            ["now"],
            ["later", 1],
            [],
            ["append", 1, 1, 1, 1, 1, [[2, 1, 9, b""]]],
            ["append", 1, 1, 1, 1, 1, [[2, 1]]],
            "now",
        ):
            self.assert_refused(msgspec.msgpack.encode([message]))
        self.assert_refused(msgspec.msgpack.encode({}))

    def test_entries_that_do_not_follow_each_other_are_refused(self) -> None:
        for append in (
            Append(3, 1, 5, 2, 0, entries_of([2], 5)),
            Append(3, 1, 5, 2, 0, entries_of([2], 7)),
            Append(3, 1, 5, 2, 0, (entry(6, 2), entry(8, 2))),
            Append(3, 1, 5, 2, 0, entries_of([1], 6)),
            Append(3, 1, 5, 2, 0, entries_of([3, 2], 6)),
            Append(3, 1, 5, 2, 0, entries_of([4], 6)),
            Append(3, 1, 5, 2, 0, (entry(-6, 2),)),
        ):
            self.assert_refused(encode_messages([append]))

    def test_exactly_those_entries_are_taken_that_follow_each_other(self) -> None:
        """Entries that are checked together, as nearly all are, are no exception."""
        data = encode_configuration(GROUP)
        for count, kind in itertools.product(range(4), EntryKind):
            for terms in itertools.product((1, 2), repeat=count + 2):
                for gap in range(count + 1):
                    indexes = [6 + position + (position >= gap) for position in range(count)]
                    added = tuple(
                        Entry(index, term, kind, data) for index, term in zip(indexes, terms[1:-1], strict=True)
                    )
                    payload = encode_messages([Append(terms[-1], 1, 5, terms[0], 0, added)])
                    if not added or (list(terms) == sorted(terms) and gap == count):
                        self.assertEqual(len(decode_messages(payload)), 1)
                    else:
                        self.assert_refused(payload)

    def test_bad_configuration_is_refused(self) -> None:
        for data in (b"", b"x", encode_configuration(Configuration(()))[:-1], b"\x91\x91\x01"):
            new = entry(1, 1, data, EntryKind.CONFIGURATION)
            self.assert_refused(encode_messages([Append(1, 1, 0, 0, 0, (new,))]))

    def test_refusal_is_one_line(self) -> None:
        """The error goes into the log, so it is one line whatever was sent."""
        error = self.assertRaises(ValueError, decode_messages, msgspec.msgpack.encode([["\nforged", 1]]))
        self.assertIn("forged", str(error))
        self.assertTrue(str(error).isprintable())

    @given(st.binary(max_size=200))
    def test_any_bytes_are_decoded_or_refused(self, payload: bytes) -> None:
        self.decode_or_refuse(payload)

    @given(st.lists(MESSAGES, min_size=1, max_size=3), st.data())
    def test_damaged_messages_are_decoded_or_refused(self, messages: list[Message], data: st.DataObject) -> None:
        payload = bytearray(encode_messages(messages))
        for _ in range(data.draw(st.integers(1, 3))):
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
        self.decode_or_refuse(bytes(payload[: data.draw(st.integers(0, len(payload)))]))

    def decode_or_refuse(self, payload: bytes) -> None:
        try:
            messages = decode_messages(payload)
        except ValueError as error:
            self.assertRegex(str(error), "^no Raft messages: .*$")
        else:
            self.assertIsInstance(messages, list)
