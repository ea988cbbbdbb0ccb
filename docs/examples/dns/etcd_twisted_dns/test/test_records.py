"""
L{etcd_twisted_dns.records}: the meaning of keys.
"""

from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted_dns.records import Record, is_name, records_of, reversed_name
from etcd_twisted_dns.test.copy import Copy


class NameTests(SynchronousTestCase):
    def test_reversing_a_name_twice_gives_it_back(self) -> None:
        self.assertEqual(reversed_name("_http._tcp.example.com"), "com.example._tcp._http")
        self.assertEqual(reversed_name("com.example._tcp._http"), "_http._tcp.example.com")

    def test_names_are_recognized(self) -> None:
        for name in ("a", "www.example.com", "_http._tcp.example.com", "x-1.example", ".".join(["a" * 63] * 3)):
            self.assertTrue(is_name(name), name)
        for name in ("", "a..b", ".a", "a.", "A", "ä", "-a", "a-", "a b", "*.a", "a" * 64, ".".join(["a" * 63] * 4)):
            self.assertFalse(is_name(name), name)


class RecordTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.copy = Copy()
        self.problems: dict[str, str] = {}

    def records(self) -> list[Record]:
        return records_of("/n", self.copy.get("/n"), self.problems.__setitem__)

    def test_one_record_of_each_type(self) -> None:
        for key, value in (
            ("/n/A", "192.0.2.1"),
            ("/n/AAAA", " 2001:DB8::1\n"),
            ("/n/SRV", "0 10 8080 WWW.example.com."),
        ):
            self.copy.put(key, value)
        self.assertEqual(
            self.records(),
            [
                Record(dns.A, dns.Record_A("192.0.2.1"), "/n/A"),
                Record(dns.AAAA, dns.Record_AAAA("2001:db8::1"), "/n/AAAA"),
                Record(dns.SRV, dns.Record_SRV(0, 10, 8080, "www.example.com"), "/n/SRV"),
            ],
        )
        self.assertEqual(self.problems, {})

    def test_several_records_of_a_type(self) -> None:
        """They are in the order of their keys, so that every machine answers alike."""
        for key, value in (("/n/A/b", "192.0.2.2"), ("/n/A/a", "192.0.2.3")):
            self.copy.put(key, value)
        self.assertEqual([record.key for record in self.records()], ["/n/A/a", "/n/A/b"])

    def test_values_that_can_not_be_used(self) -> None:
        """They are reported, and the other records are served."""
        bad = {
            "/n/A/bad": ("192.0.2", "should be an IPv4 address"),
            "/n/A/empty": ("", "should be an IPv4 address"),
            "/n/AAAA/bad": ("192.0.2.1", "should be an IPv6 address"),
            "/n/SRV/short": ("0 10 www.example.com", "should be PRIORITY WEIGHT PORT TARGET"),
            "/n/SRV/large": ("0 0 65536 www.example.com", "should be PRIORITY WEIGHT PORT TARGET"),
            "/n/SRV/target": ("0 0 1 www..com", "should be PRIORITY WEIGHT PORT TARGET"),
            "/n/TXT": ("text", "should be one of A, AAAA, SRV"),
            "/n/a": ("192.0.2.1", "should be one of A, AAAA, SRV"),
        }
        for key, (value, _) in bad.items():
            self.copy.put(key, value)
        self.copy.put("/n/A/deep/key", "192.0.2.1")
        self.copy.put("/n/A/good", "192.0.2.1")
        self.assertEqual([record.key for record in self.records()], ["/n/A/good"])
        self.assertEqual(self.problems.pop("/n/A/deep"), "should have a value, and is a directory")
        self.assertEqual(set(self.problems), set(bad))
        for key, problem in self.problems.items():
            self.assertTrue(problem.startswith(bad[key][1]), problem)

    def test_a_name_that_is_no_directory(self) -> None:
        self.copy.put("/n", "192.0.2.1")
        self.assertEqual(self.records(), [])
        self.assertIn("should be a directory", self.problems["/n"])
