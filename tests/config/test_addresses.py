"""
Tests of hosts and ports: which texts are addresses, and how addresses are written.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.config.addresses import Address, BindAddress, Endpoint, address_of, parse_listening

LABELS = st.from_regex(r"[A-Za-z]([A-Za-z0-9-]{0,8}[A-Za-z0-9])?", fullmatch=True)
HOSTS = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.lists(LABELS, min_size=1, max_size=4).map(".".join),
)
ADDRESSES = st.builds(Address, HOSTS, st.integers(1, 65535))


class AddressTests(SynchronousTestCase):
    """Tests of addresses, from text and back."""

    @given(address=ADDRESSES)
    def test_printed_addresses_are_read_again(self, address: Address) -> None:
        self.assertEqual(Address.parse(str(address)), address)
        self.assertEqual(BindAddress.parse(str(address)), BindAddress(address.host, address.port))

    @given(text=st.text(st.sampled_from("aZ0159-_.:[]%/ é"), max_size=12))
    def test_any_address_is_printed_with_the_same_meaning(self, text: str) -> None:
        """Every address that is read is printed as one that means the same."""
        try:
            address = Address.parse(text)
        except ValueError as e:
            self.assertTrue(str(e).startswith("should "))
        else:
            self.assertEqual(Address.parse(str(address)), address)

    def test_forms_of_addresses(self) -> None:
        for text, host, url in [
            ("127.0.0.1:4001", "127.0.0.1", "http://127.0.0.1:4001"),
            ("machine0.example.com:4001", "machine0.example.com", "http://machine0.example.com:4001"),
            ("[::1]:4001", "::1", "http://[::1]:4001"),
            ("[2001:DB8:0::1]:4001", "2001:db8::1", "http://[2001:db8::1]:4001"),
        ]:
            address = Address.parse(text)
            self.assertEqual(address, Address(host, 4001))
            self.assertEqual(address.url(), url)
            self.assertEqual(address.url("https"), url.replace("http:", "https:"))

    def test_address_for_all_interfaces_is_not_reachable(self) -> None:
        """An address that stands for all of a computer's addresses can't be reached by others; any other may be."""
        for text, host in [
            ("0.0.0.0:1", "0.0.0.0"),
            ("[::]:1", "[::]"),
            ("[0:0:0:0:0:0:0.0.0.0]:1", "[::]"),
            ("[::ffff:0.0.0.0]:1", "[::ffff:0:0]"),
        ]:
            error = self.assertRaises(ValueError, Address.parse_reachable, text, "--peer-bind-addr")
            self.assertEqual(
                str(error),
                "should be an address that others can reach, as in 127.0.0.1:4001, machine0.example.com:4001 or "
                f"[::1]:4001; set --peer-bind-addr to listen on {host}",
            )
        for text in ("0.0.0.1:1", "127.0.0.1:1", "[::1]:1", "machine0:1", "[::ffff:1.2.3.4]:1"):
            self.assertEqual(Address.parse_reachable(text), Address.parse(text))

    def test_bad_addresses_have_a_remedy(self) -> None:
        for text, remedy in [
            ("127.0.0.1", "should have a port"),
            ("::1:4001", "should have its IPv6 address in brackets, as in [::1]:4001"),
            ("http://127.0.0.1:4001", "should be HOST:PORT without a scheme"),
            ("127.0.0.1:70000", "should have a port from 1 to 65535"),
            ("[127.0.0.1]:4001", "should have an IPv6 address, without a zone, between its brackets"),
            ("300.0.0.1:4001", "should have four numbers from 0 to 255"),
            (":4001", "should have a host name or an IP address"),
        ]:
            self.assertIn(remedy, str(self.assertRaises(ValueError, Address.parse, text)))

    def test_addresses_of_one_port_overlap(self) -> None:
        """
        Two addresses overlap if they have the same port, and the same host or one that stands for every host of its
        kind.
        """
        for one, two, expected in [
            ("127.0.0.1:1", "127.0.0.1:1", True),
            ("127.0.0.1:1", "127.0.0.1:2", False),
            ("127.0.0.1:1", "127.0.0.2:1", False),
            ("0.0.0.0:1", "127.0.0.2:1", True),
            ("0.0.0.0:1", "127.0.0.2:2", False),
            ("[::]:1", "[::1]:1", True),
            ("[::]:1", "127.0.0.1:1", False),
            ("Machine0.example.com:1", "machine0.example.com.:1", True),
            ("machine0:1", "machine1:1", False),
            ("0.0.0.0:1", "machine1:1", False),
        ]:
            first, second = Address.parse(one), Address.parse(two)
            self.assertEqual((first.overlaps(second), second.overlaps(first)), (expected, expected), f"{one} {two}")

    def test_addresses_of_connections(self) -> None:
        """The addresses of connections are printed as people write them."""
        for address, text in (
            (IPv4Address("TCP", "127.0.0.1", 7001), "127.0.0.1:7001"),
            (IPv6Address("TCP", "::1", 7001), "[::1]:7001"),
            (UNIXAddress("/run/x"), str(UNIXAddress("/run/x"))),
        ):
            self.assertEqual(address_of(address), text)


class ListeningTests(SynchronousTestCase):
    """Tests of where to listen: an address, or an endpoint string."""

    def test_endpoint_strings_are_read(self) -> None:
        for text in (
            "systemd:domain=INET:index=0",
            "systemd:domain=INET6:name=clients",
            "unix:/run/etcd.sock",
            "tcp:port=4001:interface=127.0.0.1",
            "tcp6:4001:interface=\\:\\:1",
        ):
            endpoint = parse_listening(text)
            self.assertEqual((endpoint, str(endpoint), endpoint.complete(1)), (Endpoint(text), text, Endpoint(text)))

    @given(address=ADDRESSES)
    def test_addresses_are_no_endpoint_strings(self, address: Address) -> None:
        """An address is never taken for an endpoint string, whatever its host is called."""
        self.assertEqual(parse_listening(str(address)), BindAddress(address.host, address.port))
        self.assertEqual(parse_listening(f"[{address.host}]" if ":" in address.host else address.host),
                         BindAddress(address.host, None))  # fmt: skip

    def test_other_text_is_refused(self) -> None:
        for text, remedy in [
            ("http://127.0.0.1:4001", "should be HOST:PORT without a scheme"),
            ("unix:etcd.sock", "should have a port"),
            ("abcd::1", "should have its IPv6 address in brackets"),
            ("127.0.0.1:port=1", "should have a port"),
            ("unix:/run/\n", "should have a port"),
        ]:
            self.assertIn(remedy, str(self.assertRaises(ValueError, parse_listening, text)))

    def test_endpoints_of_one_socket_overlap(self) -> None:
        """Two ports can't share one socket; what other types of endpoint occupy is unknown."""
        one, other, address = Endpoint("systemd:domain=INET:index=0"), Endpoint("unix:/x"), Address("127.0.0.1", 1)
        self.assertTrue(one.overlaps(Endpoint(one.text)))
        self.assertFalse(one.overlaps(other) or one.overlaps(address) or address.overlaps(one))
