"""
Which heads are common, and what they say.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.httpd.browsers import BrowserPolicy
from etcd_twisted.httpd.fast.heads import LONGEST_BLOCK_BYTES, MOST_KNOWN_BLOCKS, Head, Heads

HOST = b"Host: x\r\n"


class HeadsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.heads = Heads(BrowserPolicy(), 1_000_000)

    def test_common_header_lines_are_understood(self) -> None:
        for block, head in (
            (HOST, Head(0, None)),
            (HOST + b"Content-Length: 12\r\n", Head(12, None)),
            (b"content-length:0012\r\nhOST:\t x \r\n", Head(12, None)),
            (HOST + b"Accept: */*\r\nUser-Agent: curl/8 (x; y)\r\nConnection: Keep-Alive\r\n", Head(0, None)),
            (HOST + b"Content-Type: a/b; c=d\r\nContent-Type: e/f\r\n", Head(0, b"a/b; c=d")),
            (HOST + b"Accept:\r\n", Head(0, None)),
            (HOST + b"x-etcd-relayed: 1\r\n", Head(0, None, None, True)),
            (HOST + b"authorization: Basic cm9vdDpw \r\n", Head(0, None, b"Basic cm9vdDpw")),
            (HOST + b"Authorization:\r\n", Head(0, None, b"")),
            (HOST + b"Authorization: a\r\nAuthorization: b\r\n", Head(0, None, b"a, b")),
            (b"Host: localhost:4001\r\nAccept-Language: de\r\nUser-Agent: Mozilla/5.0\r\n", Head(0, None)),
        ):
            for _ in range(2):
                self.assertEqual(self.heads[block], head, block)

    def test_uncommon_header_lines_are_not_understood(self) -> None:
        """They are rare or will be refused."""
        for block in (
            b"",
            b"Accept: */*\r\n",
            HOST + HOST,
            HOST + b"Transfer-Encoding: chunked\r\n",
            HOST + b"transfer-encoding: identity\r\n",
            HOST + b"Expect: 100-continue\r\n",
            HOST + b"Connection: close\r\n",
            HOST + b"Connection: keep-alive, Upgrade\r\n",
            HOST + b"Upgrade: h2c\r\n",
            HOST + b"Origin: http://x\r\n",
            HOST + b"Accept-Language: de\r\n",
            HOST + b"User-Agent: x\r\nUser-Agent: Mozilla/5.0\r\n",
            b"Host: localhost\r\nSec-Fetch-Site: none\r\nOrigin: null\r\n",
            HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n",
            HOST + b"Content-Length: -1\r\n",
            HOST + b"Content-Length: +1\r\n",
            HOST + b"Content-Length: 1_0\r\n",
            HOST + b"Content-Length: \r\n",
            HOST + b"Content-Length: 1" + b"0" * 18 + b"\r\n",
            HOST + b"Accept: a\r\n b\r\n",
            HOST + b"Accept : a\r\n",
            HOST + b"no header\r\n",
            HOST + b": a\r\n",
            HOST + b"Accept: \x00\r\n",
            HOST + b"Accept: \xe4\r\n",
            HOST + b"Accept: a\nb\r\n",
            HOST + b"Accept: a\rb\r\n",
            HOST + b"Accept: %s\r\n" % (b"x" * LONGEST_BLOCK_BYTES),
            HOST + b"a:b\r\n" * 500,
        ):
            for _ in range(2):
                self.assertIsNone(self.heads[block], block)

    @given(st.lists(st.binary(max_size=20)))
    def test_any_bytes_may_come(self, lines: list[bytes]) -> None:
        block = HOST + b"".join(line + b"\r\n" for line in lines)
        head = self.heads[block]
        if head is not None:
            self.assertTrue(all(b":" in line for line in block.split(b"\r\n")[:-1]))

    def test_few_blocks_are_remembered(self) -> None:
        """Headers that differ in each request take no memory, nor do long ones."""
        for number in range(10 * MOST_KNOWN_BLOCKS):
            self.assertIsNotNone(self.heads[HOST + b"X-Number: %d\r\n" % number])
            self.assertIsNone(self.heads[HOST + b"X-Number: %d%s\r\n" % (number, b"x" * LONGEST_BLOCK_BYTES)])
            self.assertLessEqual(len(self.heads), MOST_KNOWN_BLOCKS)
