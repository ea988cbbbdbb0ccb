"""
The file of C{export}: what is written is read again, and nothing damaged is taken for good.
"""

import io
import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.ctl.export_format import (
    AuthRecord,
    DamagedExportError,
    ExportReader,
    ExportWriter,
    Header,
    NodeRecord,
    Record,
    RoleRecord,
    UserRecord,
    is_export,
)

HEADER = Header("/app", 12, 1764486933.25, "etcd 3.4.23", "cafe", "http://127.0.0.1:2379")
RECORDS: list[Record] = [
    RoleRecord("ops", ("/a/*",), ()),
    UserRecord("alice", ("ops",)),
    UserRecord("bob", (), "$2a$10$x"),
    AuthRecord(True),
    NodeRecord("/app", None, None, 2, 2),
    NodeRecord("/app/line", 'two\n"lines" ☃', 1764486999.5, 3, 4),
]

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_names = st.lists(_texts, max_size=3).map(tuple)
_indexes = st.integers(0, 2**63 - 1)
_records = st.one_of(
    st.builds(
        NodeRecord,
        _texts.map(lambda text: "/" + text),
        _texts | st.none(),
        st.none() | st.integers(1, 2**32 * 4).map(lambda quarters: quarters / 4),
        _indexes,
        _indexes,
    ),
    st.builds(RoleRecord, _texts, _names, _names),
    st.builds(UserRecord, _texts, _names, st.none() | _texts),
    st.builds(AuthRecord, st.booleans()),
)


def written(records: list[Record]) -> bytes:
    """Returns a file."""
    file = io.BytesIO()
    writer = ExportWriter(file, HEADER)
    for record in records:
        writer.write(record)
    writer.finish()
    return file.getvalue()


def read(data: bytes) -> list[Record]:
    """Returns the records of a file."""
    return list(ExportReader(io.BytesIO(data), "keys.jsonl"))


class ExportFormatTests(SynchronousTestCase):
    """Files are in memory."""

    @given(st.lists(_records, max_size=5))
    def test_round_trip(self, records: list[Record]) -> None:
        self.assertEqual(read(written(records)), records)

    def test_lines(self) -> None:
        """They are as the page has them."""
        data = written(RECORDS)
        self.assertTrue(is_export(data))
        self.assertEqual(ExportReader(io.BytesIO(data), "x").header, HEADER)
        lines = data.decode().splitlines()
        self.assertEqual(
            lines[:-1],
            [
                '{"format":"txetcdctl-export","version":1,"prefix":"/app","index":12,"time":"2025-11-30T07:15:33.250000Z",'
                '"source":{"server":"etcd 3.4.23","cluster":"cafe","from":"http://127.0.0.1:2379"}}',
                '{"role":"ops","read":["/a/*"],"write":[]}',
                '{"user":"alice","roles":["ops"]}',
                '{"user":"bob","roles":[],"hash":"$2a$10$x"}',
                '{"auth":true}',
                '{"key":"/app","dir":true,"createdIndex":2,"modifiedIndex":2}',
                '{"key":"/app/line","value":"two\\n\\"lines\\" ☃","expiration":"2025-11-30T07:16:39.500000Z",'
                '"createdIndex":3,"modifiedIndex":4}',
            ],
        )
        self.assertEqual(json.loads(lines[-1])["records"], 6)

    @given(st.data())
    def test_damage(self, data: st.DataObject) -> None:
        """No byte can be changed or lost without an error, and what came before the damaged line is right."""
        good = written(RECORDS)
        position = data.draw(st.integers(0, len(good) - 1))
        replacement = data.draw(st.binary(max_size=2).filter(lambda new: new != good[position : position + 1]))
        found: list[Record] = []
        with self.assertRaises(DamagedExportError) as caught:
            found.extend(ExportReader(io.BytesIO(good[:position] + replacement + good[position + 1 :]), "keys.jsonl"))
        self.assertRegex(str(caught.exception), r"^keys\.jsonl, line \d+: ")

    def test_reasons(self) -> None:
        """Each kind of damage is told apart, with its line."""
        good = written(RECORDS)
        lines = good.splitlines(keepends=True)
        for data, text in (
            (b"", "line 1: this is no file of txetcdctl export"),
            (b'{"action":"get"}\n', "line 1: this is no file of txetcdctl export"),
            (good.replace(b'"version":1', b'"version":2'), "line 1: it has version 2 of the format"),
            (good.replace(b"-export", b"-exports"), "line 1: its format is 'txetcdctl-exports'"),
            (good[:-1], "line 8: the file is cut off here"),
            (b"".join(lines[:-1]), "line 8: the file is cut off here"),
            (
                b"".join([*lines[:3], *lines[4:]]),
                "line 7: the file was changed since it was written: it has 5 records of 6",
            ),
            (good + b"x", "line 8: something follows"),
            (good.replace(b'{"auth":true}', b'{"other":true}'), "line 5: it has none of the fields"),
            (good.replace(b'"dir":true', b'"dir":false'), "line 6: '/app' is neither a key with a value"),
        ):
            with self.assertRaises(DamagedExportError) as caught:
                read(data)
            self.assertIn(text, str(caught.exception))

    def test_unknown_fields(self) -> None:
        """A later version may add fields."""
        data = written([]).splitlines(keepends=True)[0].replace(b'"prefix"', b'"comment":{"x":[1]},"prefix"')
        self.assertEqual(ExportReader(io.BytesIO(data), "x").header, HEADER)
