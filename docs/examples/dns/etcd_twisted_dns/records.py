"""
The meaning of keys: which name a key is about, and what records its node holds.

The records of a name are the keys C{NAME/TYPE}, or C{NAME/TYPE/ID} where there are several of a type, with any C{ID}.
C{NAME} is the domain name from right to left, C{com.example.www} for C{www.example.com}: so related names are listed
together, and no segment begins with C{_}, as the labels of SRV names do; such keys are hidden in listings and from
watches. C{TYPE} is one of L{TYPES}; the value is written as in a zone file.

Must never let a value that can't be used keep other records from being served.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator

import attrs
from twisted.names import dns

from etcd_twisted.keyspace import Directory, File, Node

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_LONGEST_NAME = 253
_SRV = re.compile(r"([0-9]{1,5}) ([0-9]{1,5}) ([0-9]{1,5}) (\S+)")


@attrs.frozen
class Record:
    """
    A record of a name.

    @ivar kind: its type's number, as in L{dns.A}.
    @ivar payload: the content that is sent.
    @ivar key: the key that it comes from.
    """

    kind: int
    payload: dns.IEncodableRecord
    key: str


def is_name(name: str) -> bool:
    """Tells whether this can be a domain name, in lower case and without the dot at its end."""
    return len(name) <= _LONGEST_NAME and all(_LABEL.fullmatch(label) for label in name.split("."))


def reversed_name(name: str) -> str:
    """Returns a domain name from right to left, or back."""
    return ".".join(reversed(name.split(".")))


def _a(text: str) -> dns.IEncodableRecord:
    try:
        return dns.Record_A(str(ipaddress.IPv4Address(text)))
    except ValueError:
        raise ValueError("should be an IPv4 address, as in 192.0.2.1") from None


def _aaaa(text: str) -> dns.IEncodableRecord:
    try:
        return dns.Record_AAAA(str(ipaddress.IPv6Address(text)))
    except ValueError:
        raise ValueError("should be an IPv6 address, as in 2001:db8::1") from None


def _srv(text: str) -> dns.IEncodableRecord:
    found = _SRV.fullmatch(text)
    target = found[4].lower().removesuffix(".") if found else ""
    numbers = [int(each) for each in found.groups()[:3]] if found else []
    if not is_name(target) or max(numbers) > 65535:
        raise ValueError("should be PRIORITY WEIGHT PORT TARGET, as in 0 10 8080 www.example.com")
    priority, weight, port = numbers
    return dns.Record_SRV(priority, weight, port, target)


TYPES: dict[str, tuple[int, Callable[[str], dns.IEncodableRecord]]] = {
    "A": (dns.A, _a),
    "AAAA": (dns.AAAA, _aaaa),
    "SRV": (dns.SRV, _srv),
}
"""
The types of records, each with its number and the function that reads a value. The function raises L{ValueError} with
what it expects.
"""


def records_of(key: str, node: Node, report: Callable[[str, str], None]) -> list[Record]:
    """
    Returns the records of a name.

    @param key: the name's key.
    @param node: the node at that key.
    @param report: called with each key that can't be used, and what it should be.
    """
    if isinstance(node, File):
        report(key, "should be a directory with a key for each type of record, as in A")
        return []
    records = []
    for name, child in sorted(node.children.items()):
        if name not in TYPES:
            report(f"{key}/{name}", f"should be one of {', '.join(TYPES)}")
            continue
        kind, read = TYPES[name]
        for each, file in _files(f"{key}/{name}", child, report):
            try:
                records.append(Record(kind, read(file.value.strip()), each))
            except ValueError as error:
                report(each, str(error))
    return records


def _files(key: str, node: Node, report: Callable[[str, str], None]) -> Iterator[tuple[str, File]]:
    """Yields the values at a key: its own, or those in it."""
    if isinstance(node, File):
        yield key, node
        return
    for name, child in sorted(node.children.items()):
        if isinstance(child, Directory):
            report(f"{key}/{name}", "should have a value, and is a directory")
        else:
            yield f"{key}/{name}", child
