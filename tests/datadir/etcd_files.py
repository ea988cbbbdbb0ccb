"""
Data directories of etcd that tests write, record by record.
"""

import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import google_crc32c

METADATA, ENTRY, STATE, CRC, SNAPSHOT = range(1, 6)
MEMBER, CLUSTER = 0xBDAE9BBC11DD390D, 0xD1CFAF999EB97A2A
FOREVER = "0001-01-01T00:00:00Z"
SECOND = 1_000_000_000


def varint(number: int) -> bytes:
    """Returns a number as Protocol Buffers have it."""
    number &= (1 << 64) - 1
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def message(*fields: tuple[int, int | bytes | str]) -> bytes:
    """Returns a message."""
    encoded = b""
    for number, value in fields:
        if isinstance(value, int):
            encoded += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            encoded += varint(number << 3 | 2) + varint(len(data)) + data
    return encoded


def request(method: str, path: str, value: str = "", **more: Any) -> bytes:
    """Returns a request, with all fields that etcd writes."""
    fields: list[tuple[int, int | bytes | str]] = [(1, 7), (2, method), (3, path), (4, value)]
    for number, name in ((5, "dir"), (6, "prev_value"), (7, "prev_index"), (8, "prev_exist"), (9, "expiration")):
        given = more.pop(name, "" if name == "prev_value" else 0)
        if name != "prev_exist" or given != 0 or given is False:
            fields.append((number, int(given) if isinstance(given, bool) else given))
    fields += [(10, 0), (11, 0), (12, int(more.pop("recursive", False))), (13, 0), (14, 0)]
    fields += [(15, more.pop("time", 0)), (16, 0)]
    if more.pop("refresh", False):
        fields.append((17, 1))
    assert not more, more
    return message(*fields)


def put(path: str, value: str = "", **more: Any) -> bytes:
    """Returns a C{PUT} of a key below C{/1}."""
    return request("PUT", f"/1{path}", value, **more)


def conf_change(kind: int, member_id: int, **context: Any) -> bytes:
    """Returns a change of the members."""
    return message(
        (1, 0), (2, kind), (3, member_id), (4, json.dumps({"id": member_id, **context}, separators=(",", ":")))
    )


def state(term: int, commit: int, vote: int = MEMBER) -> bytes:
    """Returns a hard state."""
    return message((1, term), (2, vote), (3, commit))


def entry(index: int, data: bytes, term: int = 2, kind: int = 0) -> bytes:
    """Returns an entry."""
    fields: list[tuple[int, int | bytes | str]] = [(1, kind), (2, term), (3, index)]
    return message(*fields, *([(4, data)] if data else []))


class LogFile:
    """
    A file of a log.

    @ivar data: what is in it so far.
    @ivar offsets: where each record begins.
    """

    def __init__(self, checksum: int = 0, pads: bool = True) -> None:
        self.data = b""
        self.offsets: list[int] = []
        self.checksum = checksum
        self._pads = pads
        self.add(CRC, None)

    def add(self, kind: int, data: bytes | None) -> "LogFile":
        """Add a record."""
        if data is not None:
            self.checksum = google_crc32c.extend(self.checksum, data)
        fields: list[tuple[int, int | bytes | str]] = [(1, kind), (2, self.checksum)]
        record = message(*fields, *([(3, data)] if data is not None else []))
        padding = -len(record) % 8 if self._pads else 0
        top = (0x80 | padding) << 56 if padding else 0
        self.offsets.append(len(self.data))
        self.data += struct.pack("<Q", len(record) | top) + record + bytes(padding)
        return self


class EtcdFiles:
    """
    A data directory of a member that is alone.

    @ivar index: the index of the last entry.
    @ivar log: the file that is written to.
    """

    def __init__(self, path: Path, pads: bool = True, version: str = "3.4.0") -> None:
        """
        @param pads: whether records are padded, as etcd 2.3 and later do it.
        @param version: the version of the cluster, or an empty text for etcd 2.0, which has none.
        """
        self.path = path
        self.wal, self.snap = path / "member" / "wal", path / "member" / "snap"
        for directory in (self.wal, self.snap):
            directory.mkdir(parents=True)
        self.index = 0
        self.term = 1
        self._number = 0
        self._begins = 0
        self._pads = pads
        self.log = LogFile(pads=pads)
        self.log.add(METADATA, message((1, MEMBER), (2, CLUSTER)))
        self.log.add(SNAPSHOT, message((1, 0), (2, 0)))
        self.apply_change(conf_change(0, MEMBER, peerURLs=["http://127.0.0.1:2380"], name="m0"))
        self.term = 2
        self.apply(b"")
        self.apply(self.attributes())
        if version:
            self.apply(request("PUT", "/0/version", version))

    @staticmethod
    def attributes(name: str = "m0") -> bytes:
        """Returns the request by which a member tells its name."""
        value = json.dumps({"name": name, "clientURLs": ["http://127.0.0.1:2379"]}, separators=(",", ":"))
        return request("PUT", f"/0/members/{MEMBER:x}/attributes", value)

    def append(self, *proposals: bytes, kind: int = 0) -> None:
        """Append entries, without a state that commits them."""
        for data in proposals:
            self.index += 1
            self.log.add(ENTRY, entry(self.index, data, self.term, kind))

    def commit(self, index: int | None = None) -> None:
        """Append a state that commits the entries up to an index, or all."""
        self.log.add(STATE, state(self.term, self.index if index is None else index))

    def apply(self, *proposals: bytes) -> None:
        """Append and commit entries."""
        self.append(*proposals)
        self.commit()

    def apply_change(self, change: bytes) -> None:
        """Append and commit a change of the members."""
        self.append(change, kind=1)
        self.commit()

    def save_snapshot(self, store: Any, voters: Iterable[int] = (MEMBER,), marked: bool = True) -> Path:
        """Write a snapshot of this moment, and a record of it."""
        if marked:
            self.log.add(SNAPSHOT, message((1, self.index), (2, self.term)))
        group = message(*((1, voter) for voter in voters))
        about = message((1, group), (2, self.index), (3, self.term))
        content = message((1, json.dumps(store)), (2, about))
        path = self.snap / f"{self.term:016x}-{self.index:016x}.snap"
        path.write_bytes(message((1, google_crc32c.value(content)), (2, content)))
        return path

    def cut(self) -> None:
        """Go on in another file."""
        self.write()
        self._number += 1
        self._begins = self.index + 1
        self.log = LogFile(self.log.checksum, self._pads)
        self.log.add(METADATA, message((1, MEMBER), (2, CLUSTER)))
        self.commit()

    @property
    def log_path(self) -> Path:
        """The file that is written to."""
        return self.wal / f"{self._number:016x}-{self._begins:016x}.wal"

    def write(self, zeros: int = 0) -> Path:
        """
        Write what was appended. Returns the data directory.

        @param zeros: how many bytes are allocated behind it.
        """
        self.log_path.write_bytes(self.log.data + bytes(zeros))
        return self.path


def node(path: str, created: int, modified: int | None = None, **more: Any) -> dict[str, Any]:
    """Returns a node of a store as JSON: a file, unless it has C{children}."""
    children = more.get("children")
    return {
        "Path": path,
        "CreatedIndex": created,
        "ModifiedIndex": created if modified is None else modified,
        "ExpireTime": more.get("expires", FOREVER),
        "Value": more.get("value", ""),
        "Children": None if children is None else {each["Path"].rpartition("/")[2]: each for each in children},
    }


def store(index: int, *keys: dict[str, Any], **more: Any) -> dict[str, Any]:
    """
    Returns a store as JSON.

    @param keys: the nodes in C{/1}.
    @param more: the C{version} of the cluster, and the nodes in C{/2} as C{users}.
    """
    members = node(
        "/0/members",
        1,
        children=[
            node(
                f"/0/members/{MEMBER:x}",
                1,
                children=[
                    node(
                        f"/0/members/{MEMBER:x}/attributes",
                        2,
                        value='{"name":"m0","clientURLs":["http://127.0.0.1:2379"]}',
                    ),
                    node(f"/0/members/{MEMBER:x}/raftAttributes", 1, value='{"peerURLs":["http://127.0.0.1:2380"]}'),
                ],
            )
        ],
    )
    version = node("/0/version", 3, value=more.get("version", "3.4.0"))
    tops = [node("/0", 0, children=[members, version]), node("/1", 0, children=list(keys))]
    if "users" in more:
        tops.append(node("/2", 4, children=more["users"]))
    return {
        "Root": node("/", 0, children=tops),
        "WatcherHub": {"EventHistory": {"Queue": {"Events": None}}},
        "CurrentIndex": index,
        "Stats": {"getsSuccess": 3, "setsSuccess": 5, "expireCount": 1, "watchers": 0},
        "CurrentVersion": 2,
    }
