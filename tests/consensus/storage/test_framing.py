"""
Tests of files made of checked frames: what is written is read again, and nothing else is accepted.
"""

import errno
import os
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.storage import files, framing
from etcd_twisted.consensus.storage.framing import (
    FILE_HEADER_LENGTH,
    FRAME_HEADER_LENGTH,
    BadFrameError,
    Frame,
    FrameKind,
    FrameReader,
    encode_file_header,
    encode_frame,
)
from etcd_twisted.errors import StorageError
from tests import examples

MAGIC = b"testfile"
SALT = 0xFFFFFFF0  # lets salt and offset together exceed 32 bits


def encode_file(payloads: list[bytes], salt: int = SALT) -> bytes:
    data = encode_file_header(MAGIC, salt)
    for payload in payloads:
        data += encode_frame(FrameKind.RECORD, payload, salt, len(data))
    return data


def read_file(path: Path) -> list[Frame]:
    with closing(FrameReader(path, MAGIC)) as reader:
        frames = []
        while (frame := reader.next()) is not None:
            frames.append(frame)
        return frames


class FramingTests(SynchronousTestCase):
    def write(self, data: bytes) -> Path:
        path = Path(self.mktemp())
        path.write_bytes(data)
        return path

    @settings(max_examples=examples(50))
    @given(st.lists(st.binary(max_size=300), max_size=6), st.integers(0, 2**32 - 1))
    def test_written_frames_are_read_again(self, payloads: list[bytes], salt: int) -> None:
        frames = read_file(self.write(encode_file(payloads, salt)))
        self.assertEqual([frame.payload for frame in frames], payloads)
        self.assertEqual([frame.offset for frame in frames[1:]], [frame.end for frame in frames[:-1]])

    def test_layout_of_frames(self) -> None:
        """The bytes are those that docs/storage.md shows."""
        self.assertEqual(
            encode_file([b"abc"], salt=1).hex(" ", -4),
            "74657374 66696c65 01000000 01000000 94e9d93f e7cd9202 03000000 c2412435 dd443ed6 616263",
        )

    def test_every_flipped_bit_is_noticed(self) -> None:
        data = encode_file([b"one", b"", b"three"])
        path = self.write(data)
        ends = [frame.end for frame in read_file(path)]
        for position in range(len(data)):
            for bit in range(8):
                damaged = bytearray(data)
                damaged[position] ^= 1 << bit
                path.write_bytes(damaged)
                if position < FILE_HEADER_LENGTH:
                    error = self.assertRaises(StorageError, read_file, path)
                    self.assertIn(f"{path} is damaged at byte 0", str(error))
                else:
                    bad = self.assertRaises(BadFrameError, read_file, path)
                    begin = max([FILE_HEADER_LENGTH, *(end for end in ends if end <= position)])
                    self.assertEqual((bad.path, bad.offset), (path, begin))

    def test_file_may_end_only_between_frames(self) -> None:
        """A file that is cut off is complete between two frames, and nowhere else."""
        data = encode_file([b"one", b"two"])
        path = self.write(data)
        first, second = read_file(path)
        for length in range(len(data)):
            path.write_bytes(data[:length])
            if length < FILE_HEADER_LENGTH:
                self.assertRaises(StorageError, read_file, path)
            elif length in {first.offset, second.offset}:
                self.assertEqual(len(read_file(path)), 0 if length == first.offset else 1)
            else:
                self.assertRaises(BadFrameError, read_file, path)

    def test_frame_out_of_place_is_refused(self) -> None:
        """A good frame of another file, or of another place in the same file, is no frame."""
        header = encode_file_header(MAGIC, SALT)
        for salt, offset in ((SALT, 0), (SALT, len(header) + 1), (SALT - 1, len(header))):
            path = self.write(header + encode_frame(FrameKind.RECORD, b"payload", salt, offset))
            self.assertRaises(BadFrameError, read_file, path)

    def test_find_header_is_not_fooled_by_a_payload(self) -> None:
        """A client's value is not accepted as a frame, even if it is the copy of one."""
        copy = encode_frame(FrameKind.RECORD, b"payload", SALT, FILE_HEADER_LENGTH)
        data = encode_file([copy * 3, b"last"])
        path = self.write(data)
        first, second = read_file(path)
        with closing(FrameReader(path, MAGIC)) as reader:
            self.assertEqual(reader.find_header(first.offset), second.offset)
            self.assertIsNone(reader.find_header(second.offset))

    def test_find_header_needs_no_payload(self) -> None:
        data = encode_file([b"one", b"two"])
        path = self.write(data)
        second = read_file(path)[1]
        path.write_bytes(data[: second.offset + FRAME_HEADER_LENGTH])
        with closing(FrameReader(path, MAGIC)) as reader:
            self.assertEqual(reader.find_header(FILE_HEADER_LENGTH), second.offset)

    def test_end_of_data_is_found(self) -> None:
        window = 1 << 20
        for data, start, end in (
            (b"", 0, 0),
            (b"\0\0\0", 0, 0),
            (b"ab\0c\0\0", 0, 4),
            (b"ab\0c\0\0", 4, 4),
            (bytes(window) + b"x" + bytes(window), 0, window + 1),
            (b"x" + bytes(2 * window), 0, 1),
        ):
            self.assertEqual(framing.end_of_data(self.write(data), start), end)

    def test_newer_version_is_refused(self) -> None:
        self.patch(framing, "FORMAT_VERSION", 2)
        path = self.write(encode_file([]))
        self.patch(framing, "FORMAT_VERSION", 1)
        error = self.assertRaises(StorageError, read_file, path)
        self.assertEqual(
            str(error),
            f"{path} has format version 2, and this program reads version 1;"
            " start the version of etcd_twisted that wrote it, or a later one",
        )

    def test_another_kind_of_file_is_refused(self) -> None:
        path = self.write(encode_file([]))
        error = self.assertRaises(StorageError, FrameReader, path, b"anything")
        self.assertIn("begins with b'testfile' and not with b'anything'", str(error))

    def test_file_that_can_not_be_read_is_refused(self) -> None:
        path = Path(self.mktemp())
        error = self.assertRaises(StorageError, FrameReader, path, MAGIC)
        self.assertIn(f"{path} can't be used: No such file or directory", str(error))

    def test_errors_have_a_remedy(self) -> None:
        """The remedy depends on what is wrong."""
        for number, words in (
            (errno.EMFILE, "Too many open files; raise this process's limit on open files"),
            (errno.EACCES, "Permission denied; change its owner or mode"),
            (errno.ENOSPC, "No space left on device; make room on its disk"),
            (errno.EIO, "Input/output error; see to the disk"),
        ):
            error = framing.unusable(Path("data/log"), OSError(number, os.strerror(number)))
            self.assertTrue(str(error).startswith(f"data/log can't be used: {words}"), str(error))

    def test_a_good_header_is_found_wherever_it_is(self) -> None:
        """A header is also found across the border of what is read at a time."""
        data = encode_file([b"a" * 30, b"b" * 30])
        second = len(data) - 30 - FRAME_HEADER_LENGTH
        path = self.write(data[:FILE_HEADER_LENGTH] + b"?" + data[FILE_HEADER_LENGTH + 1 :])
        for window in range(1, len(data)):
            self.patch(framing, "_WINDOW_BYTES", window)
            with closing(FrameReader(path, MAGIC)) as reader:
                self.assertEqual(reader.find_header(FILE_HEADER_LENGTH), second)
                self.assertIsNone(reader.find_header(second))

    def test_payload_that_is_too_long_is_refused(self) -> None:
        self.patch(framing, "MAX_FRAME_PAYLOAD_BYTES", 3)
        encode_frame(FrameKind.RECORD, b"abc", SALT, 0)
        self.assertRaises(ValueError, encode_frame, FrameKind.RECORD, b"abcd", SALT, 0)

    def test_unknown_kind_is_refused(self) -> None:
        header = encode_file_header(MAGIC, SALT)
        path = self.write(header + encode_frame(99, b"", SALT, len(header)))
        bad = self.assertRaises(BadFrameError, read_file, path)
        self.assertIn("no frame of kind 99", bad.reason)

    def test_short_writes_are_continued(self) -> None:
        """A system that accepts a few bytes at a time gets them all, in their place."""

        def grudging(descriptor: int, data: bytes, offset: int) -> int:
            return os.pwrite(descriptor, bytes(data[:3]), offset)

        path = self.write(b"0123456789")
        self.patch(files, "os", SimpleNamespace(pwrite=grudging))
        with path.open("r+b") as file:
            files.write_all(file.fileno(), b"abcdefg", 2)
        self.assertEqual(path.read_bytes(), b"01abcdefg9")
