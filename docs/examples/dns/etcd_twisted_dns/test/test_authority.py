"""
L{etcd_twisted_dns.authority}: questions and answers.
"""

from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted_dns.authority import Authority, Reply
from etcd_twisted_dns.records import Record
from etcd_twisted_dns.zone import Zone


class AuthorityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.zone = Zone("example.com", serial=(1 << 32) + 7)
        self.left: dict[str, int] = {}
        self.authority = Authority(self.zone, 60, self.left.get)
        www = [("A", dns.Record_A("192.0.2.1")), ("B", dns.Record_A("192.0.2.2")), ("C", dns.Record_AAAA("::1"))]
        self.zone.put("www.example.com", [Record(payload.TYPE, payload, key) for key, payload in www])
        services = [dns.Record_SRV(0, 1, 80, target) for target in ("www.example.com", "www.example.org")]
        self.zone.put("_http._tcp.example.com", [Record(dns.SRV, each, "S") for each in services])

    def ask(self, name: str, kind: int = dns.A, cls: int = dns.IN) -> Reply:
        return self.authority.reply(dns.Query(name, kind, cls))

    def values(self, headers: list[dns.RRHeader]) -> list[object]:
        return [header.payload for header in headers]

    def test_records_of_the_type(self) -> None:
        """The answer has no other records."""
        reply = self.ask("www.example.com")
        self.assertEqual((reply.code, reply.authoritative), (dns.OK, True))
        self.assertEqual(self.values(reply.answers), [dns.Record_A("192.0.2.1"), dns.Record_A("192.0.2.2")])
        self.assertEqual(self.values(self.ask("www.example.com", dns.AAAA).answers), [dns.Record_AAAA("::1")])
        self.assertEqual(len(self.ask("www.example.com", dns.ALL_RECORDS).answers), 3)

    def test_case_does_not_matter(self) -> None:
        self.assertEqual(len(self.ask("WWW.Example.COM").answers), 2)

    def test_ttl(self) -> None:
        """The TTL is what the keys have left, the same for all of a type, and never more than the option allows."""
        for left, expected in (({}, 60), ({"A": 5}, 5), ({"A": 50, "B": 0}, 0), ({"A": 900}, 60)):
            self.left.clear()
            self.left.update(left)
            self.assertEqual([header.ttl for header in self.ask("www.example.com").answers], [expected, expected])
        self.left.update({"A": 5})
        self.assertEqual([header.ttl for header in self.ask("www.example.com", dns.AAAA).answers], [60])

    def test_services_come_with_their_addresses(self) -> None:
        """Only addresses in the zone are added."""
        reply = self.ask("_http._tcp.example.com", dns.SRV)
        self.assertEqual([each.target.name for each in self.values(reply.answers)],
                         [b"www.example.com", b"www.example.org"])  # fmt: skip
        self.assertEqual({str(header.name) for header in reply.additional}, {"www.example.com"})
        self.assertEqual([header.type for header in reply.additional], [dns.A, dns.A, dns.AAAA])

    def assertNothing(self, reply: Reply, code: int) -> None:
        """Asserts that an authoritative answer is empty, and says for how long that may be kept (RFC 2308)."""
        self.assertEqual((reply.code, reply.authoritative, reply.answers, reply.additional), (code, True, (), ()))
        (start,) = reply.authority
        self.assertEqual((str(start.name), start.type, start.ttl), ("example.com", dns.SOA, 60))
        self.assertEqual((start.payload.minimum, start.payload.serial), (60, 7))

    def test_no_such_name(self) -> None:
        for name in ("other.example.com", "a.www.example.com"):
            self.assertNothing(self.ask(name), dns.ENAME)

    def test_nothing_of_the_type(self) -> None:
        """The name exists, or others are below it."""
        for name, kind in (("www.example.com", dns.SRV), ("_tcp.example.com", dns.A), ("example.com", dns.A)):
            self.assertNothing(self.ask(name, kind), dns.OK)

    def test_the_zone_itself(self) -> None:
        (start,) = self.values(self.ask("example.com", dns.SOA).answers)
        self.assertEqual((start.mname.name, start.rname.name), (b"ns.example.com", b"hostmaster.example.com"))
        self.zone.put("ns.example.com", [Record(dns.A, dns.Record_A("192.0.2.9"), "N")])
        servers = self.ask("example.com", dns.NS)
        self.assertEqual([each.name.name for each in self.values(servers.answers)], [b"ns.example.com"])
        self.assertEqual(self.values(servers.additional), [dns.Record_A("192.0.2.9")])

    def test_questions_that_are_refused(self) -> None:
        for name, kind, cls in (
            ("example.org", dns.A, dns.IN),
            ("com", dns.A, dns.IN),
            ("", dns.NS, dns.IN),
            ("example.com", dns.AXFR, dns.IN),
            ("example.com", dns.IXFR, dns.IN),
            ("www.example.com", dns.A, dns.CH),
        ):
            self.assertEqual(self.ask(name, kind, cls), Reply(dns.EREFUSED))
