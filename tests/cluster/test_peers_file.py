"""
Tests of the seeds that a new machine is given by C{--peers} and C{--peers-file}.
"""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.cluster.seeds import named_machines, read_peers_file
from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.errors import ConfigError

OWN = Address("127.0.0.1", 7001)


def addresses(*texts: str) -> tuple[Address, ...]:
    return tuple(Address.parse(text) for text in texts)


class SeedsTests(SynchronousTestCase):
    """Tests of both options together."""

    def file(self, text: str | bytes) -> Path:
        path = Path(self.mktemp())
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def test_no_machines_are_named(self) -> None:
        """A machine that is given no seeds, or itself alone, has none."""
        self.assertEqual(named_machines(Config()), [])
        self.assertEqual(named_machines(Config(peers=(OWN,), peers_file=self.file("127.0.0.1:7001"))), [])

    def test_peers_come_before_the_peers_file(self) -> None:
        """The addresses of the flag come first, each once, and without this machine."""
        path = self.file("c:7001\nb:7002,d:7001\n127.0.0.1:7001\na:7001\n")
        config = Config(peers=addresses("b:7001", "a:7001", "127.0.0.1:7001", "b:7001"), peers_file=path)
        urls = [f"http://{each}" for each in ("b:7001", "a:7001", "c:7001", "b:7002", "d:7001")]
        self.assertEqual(named_machines(config), urls)

    def test_same_machine_counts_once(self) -> None:
        """A host counts as the same however it is written."""
        peers = addresses("Machine1.example.com.:7001", "machine1.example.com:7001", "[::0:1]:7001", "[::1]:7001")
        config = Config(peer_addr=Address("machine0", 7001), peers=(*peers, *addresses("MACHINE0:7001")))
        self.assertEqual(named_machines(config), ["http://Machine1.example.com.:7001", "http://[::1]:7001"])

    def test_urls_have_the_scheme_of_this_machine(self) -> None:
        """The scheme of the URLs is that of this machine's own peer port."""
        certificate = Path("machine0.pem")
        config = Config(peers=addresses("a:7001"), peer_cert_file=certificate, peer_key_file=certificate)
        self.assertEqual(named_machines(config), ["https://a:7001"])


class PeersFileTests(SynchronousTestCase):
    """Tests of the file alone."""

    def read(self, text: str | bytes) -> tuple[Address, ...]:
        self.path = Path(self.mktemp())
        self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return tuple(read_peers_file(self.path, "machine0.toml: peers_file"))

    def refusal(self, text: str | bytes) -> str:
        with self.assertRaises(ConfigError) as caught:
            self.read(text)
        beginning, _, rest = str(caught.exception).partition(f"{self.path}: ")
        self.assertEqual(beginning, "machine0.toml: peers_file ")
        return rest

    def test_peers_file_with_commas_lines_and_comments(self) -> None:
        """Addresses may be separated by commas, line breaks or both, with spaces and comments anywhere."""
        wanted = addresses("a:1", "[::1]:2", "127.0.0.1:3")
        for text in (
            "a:1,[::1]:2,127.0.0.1:3",
            "a:1\n[::1]:2\n127.0.0.1:3\n",
            "a:1\r\n[::1]:2\r\n127.0.0.1:3",
            " a:1 ,, [::1]:2,\n\t127.0.0.1:3 , \n\n",
            "# the cluster\na:1 # the first: b:1\n#c:1, d:1\n[::1]:2, 127.0.0.1:3 # and so on",
        ):
            self.assertEqual(self.read(text), wanted)

    def test_bad_address_is_refused_with_its_line(self) -> None:
        """The error names the line, and what is wrong in it."""
        self.assertEqual(
            self.refusal("a:1\n\n# b\nc:2, d"),
            "line 4: 'd': should have a port, as in 127.0.0.1:4001, machine0.example.com:4001 or [::1]:4001",
        )
        self.assertTrue(self.refusal("http://a:1").startswith("line 1: 'http://a:1': should be HOST:PORT without "))
        self.assertTrue(self.refusal("a:1 b:2").startswith("line 1: 'a:1 b:2': "))

    def test_empty_peers_file_is_refused(self) -> None:
        """A machine that should join a cluster, but is given no addresses, would start a cluster of its own."""
        for text in ("", "\n", "# a:1\n", " , \n"):
            self.assertTrue(self.refusal(text).startswith("has no address in it; "))

    def test_peers_file_that_is_no_text_is_refused(self) -> None:
        self.assertEqual(self.refusal(b"a:1\n\xff"), "is not UTF-8 text, at byte 4; save it as UTF-8")

    def test_unreadable_peers_file_is_refused(self) -> None:
        """The error has the system's reason and the remedy."""
        for path, told in ((Path(self.mktemp()), "No such file or directory"), (Path("/"), "Is a directory")):
            with self.assertRaises(ConfigError) as caught:
                read_peers_file(path, "--peers-file")
            text = str(caught.exception)
            self.assertTrue(text.startswith(f"--peers-file {path}: can't be read: {told}; name a file"), text)
