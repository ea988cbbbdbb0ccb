"""
Answers to questions about a zone (RFC 1034, section 4.3.2, for one zone without aliases and wildcards).

Must never read a clock or touch a socket.
"""

from collections.abc import Callable, Iterable, Sequence

import attrs
from twisted.names import dns

from etcd_twisted_dns.records import Record
from etcd_twisted_dns.zone import Zone


@attrs.frozen
class Reply:
    """
    An answer.

    @ivar code: as in L{dns.OK}.
    @ivar authoritative: whether the answer is about the zone.
    """

    code: int
    authoritative: bool = False
    answers: Sequence[dns.RRHeader] = ()
    authority: Sequence[dns.RRHeader] = ()
    additional: Sequence[dns.RRHeader] = ()


class Authority:
    """Answers questions about a zone."""

    def __init__(self, zone: Zone, ttl: int, seconds_left: Callable[[str], int | None]) -> None:
        """
        @param ttl: the longest time that a resolver may keep an answer, in seconds; a record whose key has a TTL may
            have less.
        @param seconds_left: returns how long a record's key will be there; C{None} when it has no TTL.
        """
        self._zone = zone
        self._ttl = ttl
        self._seconds_left = seconds_left

    def reply(self, query: dns.Query) -> Reply:
        """Answers a question."""
        name = query.name.name.decode("latin-1").lower()
        if query.cls not in (dns.IN, dns.ANY) or not self._zone.holds(name) or query.type in (dns.AXFR, dns.IXFR):
            return Reply(dns.EREFUSED)
        if not self._zone.exists(name):
            # The name may exist a second later: the answer says how long not to ask again (RFC 2308, section 5).
            return Reply(dns.ENAME, True, authority=[self._start()])
        answers = self._sets(name, query.type)
        if not answers:
            return Reply(dns.OK, True, authority=[self._start()])
        return Reply(dns.OK, True, answers, additional=self._addresses(answers))

    def _sets(self, name: str, kind: int) -> list[dns.RRHeader]:
        """Returns the records of a name that are asked for."""
        found = list(self._with_ttl(name, self._zone.records(name)))
        if name == self._zone.origin:
            found += [self._start(), self._header(name, dns.NS, dns.Record_NS(self._server, self._ttl), self._ttl)]
        return [each for each in found if kind in (each.type, dns.ALL_RECORDS)]

    def _with_ttl(self, name: str, records: Iterable[Record]) -> Iterable[dns.RRHeader]:
        """Returns records as they are sent; all of a type have the same TTL (RFC 2181, section 5.2)."""
        ttls: dict[int, int] = {}
        for record in records:
            left = self._seconds_left(record.key)
            ttls[record.kind] = min(ttls.get(record.kind, self._ttl), self._ttl if left is None else left)
        for record in records:
            yield self._header(name, record.kind, record.payload, ttls[record.kind])

    def _addresses(self, answers: Iterable[dns.RRHeader]) -> list[dns.RRHeader]:
        """
        Returns the addresses of the hosts in these answers, if they are in the zone, which saves further questions.
        """
        hosts: dict[str, None] = {}
        for each in answers:
            if isinstance(each.payload, dns.Record_SRV):
                hosts[each.payload.target.name.decode()] = None
            elif isinstance(each.payload, dns.Record_NS):
                hosts[each.payload.name.name.decode()] = None
        return [
            header
            for host in hosts
            for header in self._with_ttl(host, self._zone.records(host))
            if header.type in (dns.A, dns.AAAA)
        ]

    @property
    def _server(self) -> str:
        """Returns the name of this server, which can be given an address like any other name."""
        return f"ns.{self._zone.origin}"

    def _start(self) -> dns.RRHeader:
        """Returns the zone's SOA. Nobody copies the zone, so only its serial and its last field mean anything."""
        payload = dns.Record_SOA(
            mname=self._server,
            rname=f"hostmaster.{self._zone.origin}",
            serial=self._zone.serial % (1 << 32),
            refresh=3600,
            retry=600,
            expire=86400,
            minimum=self._ttl,
            ttl=self._ttl,
        )
        return self._header(self._zone.origin, dns.SOA, payload, self._ttl)

    @staticmethod
    def _header(name: str, kind: int, payload: dns.IEncodableRecord, ttl: int) -> dns.RRHeader:
        return dns.RRHeader(name, kind, dns.IN, ttl, payload, auth=True)
