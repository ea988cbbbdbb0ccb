"""
Frames come out of a stream as they went in, however it is cut.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, Member, SnapshotMetadata
from etcd_twisted.workers.frames import (
    Answer,
    Down,
    Entries,
    FrameReader,
    Load,
    Loaded,
    Lost,
    NotSent,
    Piece,
    Request,
    State,
    Unload,
    Up,
    Withdraw,
    decode_down,
    decode_up,
    frame,
)

numbers = st.integers(0, 1 << 62)
entries = st.builds(Entry, numbers, numbers, st.sampled_from(EntryKind), st.binary())
members = st.builds(Member, st.text(), st.text(), st.text())
configurations = st.builds(
    Configuration, st.tuples(st.text()), st.tuples(st.text()), st.dictionaries(st.text(), members)
)
down: st.SearchStrategy[Down] = st.one_of(
    st.builds(Load, st.builds(SnapshotMetadata, numbers, numbers, configurations)),
    st.builds(Piece, st.binary()),
    st.builds(Loaded),
    st.builds(Unload),
    st.builds(Entries, st.lists(entries).map(tuple)),
    st.builds(
        State,
        *(
            st.text(),
            st.text(),
            numbers,
            st.none() | st.text(),
            st.none() | st.tuples(st.text(), st.text(), st.text()),
        ),
        *(st.booleans(), st.floats(allow_nan=False), st.floats(allow_nan=False), st.booleans(), st.booleans()),
        st.none() | st.text(),
    ),
    st.builds(Answer, numbers, st.binary()),
    st.builds(NotSent, numbers, st.text(), st.booleans()),
    st.builds(Lost, numbers, st.text()),
)
up: st.SearchStrategy[Up] = st.builds(Request, numbers, st.binary()) | st.builds(Withdraw, numbers)


class FrameTests(SynchronousTestCase):
    """Tests of L{frame} and L{FrameReader}."""

    @given(st.lists(down), st.lists(up), st.integers(1, 50))
    def test_messages_come_back(self, sent: list[Down], asked: list[Up], piece: int) -> None:
        for messages, decode in ((sent, decode_down), (asked, decode_up)):
            stream = b"".join(map(frame, messages))
            reader = FrameReader()
            pieces = [stream[start : start + piece] for start in range(0, len(stream), piece)]
            received = [decode(each) for data in pieces for each in reader.feed(data)]
            self.assertEqual(received, messages)

    def test_reader_that_is_not_asked_for_all_keeps_the_rest(self) -> None:
        """What was not asked for comes next."""
        reader = FrameReader()
        stream = b"".join(frame(Withdraw(number)) for number in range(3))
        self.assertEqual(decode_up(next(reader.feed(stream))), Withdraw(0))
        self.assertEqual([decode_up(each) for each in reader.feed(b"")], [Withdraw(1), Withdraw(2)])
