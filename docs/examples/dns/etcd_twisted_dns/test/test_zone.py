"""
L{etcd_twisted_dns.zone}: the names that exist.
"""

from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted_dns.records import Record
from etcd_twisted_dns.zone import Zone

RECORD = Record(dns.A, dns.Record_A("192.0.2.1"), "/n/A")


class ZoneTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.zone = Zone("example.com")

    def test_names_below_the_origin_belong_to_the_zone(self) -> None:
        for name in ("example.com", "www.example.com", "a.b.example.com"):
            self.assertTrue(self.zone.holds(name))
        for name in ("com", "example.org", "badexample.com", "www.example.com.org", ""):
            self.assertFalse(self.zone.holds(name))
            self.assertRaises(ValueError, self.zone.put, name, [RECORD])

    def test_names_above_others_exist(self) -> None:
        """They exist only while there are names below them."""
        for name in ("a.b.example.com", "c.b.example.com"):
            for records in ([RECORD], [RECORD, RECORD]):
                self.zone.put(name, records)
        self.assertTrue(self.zone.exists("b.example.com"))
        self.assertEqual(self.zone.records("b.example.com"), ())
        self.zone.put("a.b.example.com", [])
        self.assertFalse(self.zone.exists("a.b.example.com"))
        self.assertTrue(self.zone.exists("b.example.com"))
        self.zone.put("c.b.example.com", [])
        self.assertFalse(self.zone.exists("b.example.com"))
        self.assertTrue(self.zone.exists("example.com"))
        self.assertEqual(vars(self.zone), vars(Zone("example.com")))

    def test_a_name_may_be_removed_twice(self) -> None:
        for _ in range(2):
            self.zone.put("a.b.example.com", [])
        self.zone.put("a.b.example.com", [RECORD])
        self.assertTrue(self.zone.exists("b.example.com"))
