"""Which machines a client knows, and in which order it asks them."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client.machines import Machines, read_endpoint
from tests.client.stubs import A, B, C


def zero() -> float:
    return 0.0


class EndpointTests(SynchronousTestCase):
    """What L{read_endpoint} makes of a text."""

    def test_one_way_to_spell_it(self) -> None:
        for text, url in (
            ("http://10.0.0.1:4001", "http://10.0.0.1:4001"),
            (" 10.0.0.1:4001 ", "http://10.0.0.1:4001"),
            ("http://Example.COM:4001/", "http://example.com:4001"),
            ("https://example.com", "https://example.com:443"),
            ("example.com", "http://example.com:80"),
            ("http://[::1]:4001", "http://[::1]:4001"),
        ):
            self.assertEqual(read_endpoint(text), url)
            self.assertEqual(read_endpoint(url), url)

    def test_mistakes_are_named(self) -> None:
        for text, named in (
            ("", "HOST:PORT"),
            ("unix:///run/etcd.sock", "HOST:PORT"),
            ("http://", "HOST:PORT"),
            ("http://a:4001/v2", "no path"),
            ("http://a:4001?x=1", "no path"),
            ("http://a:port", "port"),
            ("http://a:70000", "ort"),
            ("http://[::1", "IPv6"),
            ("http://root:secret@a:4001", "credentials"),
        ):
            with self.assertRaises(ValueError) as caught:
                read_endpoint(text)
            self.assertIn(named, str(caught.exception), text)
            self.assertNotIn("secret", str(caught.exception))

    @given(st.text())
    def test_any_text_is_read_or_refused_with_a_value_error(self, text: str) -> None:
        try:
            url = read_endpoint(text)
        except ValueError:
            return
        self.assertEqual(read_endpoint(url), url)


class MachinesTests(SynchronousTestCase):
    def test_endpoints_as_text_or_list(self) -> None:
        for endpoints in (f"{A},{B}", [A, B], (A, B, A), f"{A}/, b:4001"):
            self.assertEqual(Machines(endpoints, zero).known(), (A, B))

    def test_no_endpoints(self) -> None:
        with self.assertRaises(ValueError):
            Machines([], zero)

    def test_clients_begin_with_different_machines(self) -> None:
        firsts = {
            Machines([A, B, C], lambda chance=chance: chance).order(False)[0] for chance in (0.0, 0.5, 0.99, 1.0)
        }
        self.assertEqual(firsts, {A, B, C})

    def test_each_machine_is_asked_once(self) -> None:
        machines = Machines([A, B, C], lambda: 0.5)
        self.assertEqual(machines.order(False), [B, C, A])

    def test_begins_with_the_next_machine_after_a_failure(self) -> None:
        machines = Machines([A, B, C], zero)
        machines.failed(A)
        self.assertEqual(machines.order(False), [B, C, A])
        machines.failed(A)  # another request was on its way to it
        self.assertEqual(machines.order(False), [B, C, A])
        machines.failed(B)
        machines.failed(C)
        self.assertEqual(machines.order(False), [A, B, C])

    def test_the_leader_comes_first_where_it_is_needed(self) -> None:
        machines = Machines([A, B, C], zero)
        machines.leads(C)
        self.assertEqual(machines.order(True), [C, A, B])
        self.assertEqual(machines.order(False), [A, B, C])
        machines.failed(C)
        self.assertEqual(machines.order(True), [A, B, C])

    def test_takes_a_list(self) -> None:
        machines = Machines([A], zero)
        machines.update([f" {B} ", C, "unix:///run/etcd.sock"])
        self.assertEqual(machines.known(), (A, B, C))
        machines.update([])
        machines.update(["", "unix:///run/etcd.sock"])
        self.assertEqual(machines.known(), (A, B, C))
        machines.update([C])
        self.assertEqual(machines.known(), (A, C))

    def test_goes_on_when_the_machine_in_use_is_no_longer_listed(self) -> None:
        machines = Machines([A], zero)
        machines.update([A, B])
        machines.failed(A)
        machines.leads(B)
        machines.update([A, C])
        self.assertEqual(machines.order(True), [A, C])
        machines.failed(B)
        self.assertEqual(machines.order(True), [A, C])

    def test_never_trades_an_encrypted_connection_for_a_plain_one(self) -> None:
        machines = Machines(["https://a:4001"], zero)
        machines.update([B, "https://c:4001"])
        self.assertEqual(machines.known(), ("https://a:4001", "https://c:4001"))
        machines.update([B])
        self.assertEqual(machines.known(), ("https://a:4001", "https://c:4001"))

    @given(
        st.lists(st.sampled_from([A, B, C]), min_size=1),
        st.lists(st.tuples(st.sampled_from(["failed", "leads", "update"]), st.sets(st.sampled_from([A, B, C])))),
        st.booleans(),
        st.floats(0, 1),
    )
    def test_asks_all_that_it_knows_once_each(
        self, given: list[str], changes: list[tuple[str, set[str]]], for_leader: bool, chance: float
    ) -> None:
        machines = Machines(given, lambda: chance)
        for name, urls in changes:
            if name == "update":
                machines.update(urls)
            else:
                for url in urls:
                    getattr(machines, name)(url)
            order = machines.order(for_leader)
            self.assertEqual(sorted(order), sorted(machines.known()))
            self.assertLessEqual(set(given), set(order))
