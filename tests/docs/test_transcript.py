"""
How pages are read and answers compared: what counts as the same, and what does not.
"""

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.transcript import File, Step, agrees, steps


class StepsTests(SynchronousTestCase):
    """What a page has its reader type."""

    def test_shell(self) -> None:
        """One command a line, without comments; a line may go on in the next."""
        self.assertEqual(
            steps("```sh\nmake run\nmake test  # all of them\n\n# nothing\ncurl -L \\\n  x\n```\n"),
            [Step("make run"), Step("make test"), Step("curl -L    x")],
        )

    def test_json(self) -> None:
        """It is the answer of the command right before it, and of no other."""
        self.assertEqual(
            steps("```sh\na\nb\n```\n\n```json\n{}\n```\n\n```json\n[]\n```\n"), [Step("a"), Step("b", "{}\n")]
        )
        self.assertEqual(steps("```sh\na\n```\nA file:\n```json\n{}\n```\n"), [Step("a")])

    def test_console(self) -> None:
        """Each command with what it prints, be that nothing."""
        self.assertEqual(
            steps("```console\n$ a\n1\n2\n$ b\n$ c\n3\n```\n"), [Step("a", "1\n2\n"), Step("b", ""), Step("c", "3\n")]
        )

    def test_printed_by_nobody(self) -> None:
        """An answer without a command is a mistake in the page."""
        self.assertRaises(ValueError, steps, "```console\n1\n$ a\n```\n")

    def test_file(self) -> None:
        """A block that begins with the name of a file is that file; another comment is none."""
        text = "```python\n# a.py\nb\n```\n```toml\n# a.toml: an example\n```\n"
        self.assertEqual(steps(text), [File("a.py", "# a.py\nb\n")])

    def test_other_blocks(self) -> None:
        """What is in another language is nothing to type."""
        self.assertEqual(steps('```toml\nname = "$ a"\n```\n```\n$ a\n```\n'), [])


class AgreesTests(SynchronousTestCase):
    """What a page shows and what is printed."""

    def test_same(self) -> None:
        """But for space at the ends of lines and of the whole."""
        self.assertTrue(agrees("a\nb\n", "a \r\nb"))

    def test_other(self) -> None:
        """What is missing, or too much, or otherwise, is seen."""
        for printed in ("", "a", "a\nb\nc", "a\nc", "xa\nb"):
            self.assertFalse(agrees("a\nb", printed), printed)

    def test_json(self) -> None:
        """In any layout; every value counts."""
        shown = '{"a": 1,\n "b": [{"c": "d"}]}'
        self.assertTrue(agrees(shown, '{"b":[{"c":"d"}],"a":1}'))
        others = ('{"a":1}', '{"a":2,"b":[{"c":"d"}]}', '{"a":1,"b":[]}', '{"a":true,"b":[{"c":"d"}]}', "nothing")
        for printed in others:
            self.assertFalse(agrees(shown, printed), printed)

    def test_masks(self) -> None:
        """What no page can know has to be there, and may be another."""
        for shown, printed in (
            ('{"expiration":"2013-12-04T12:01:21.874-08:00"}', '{"expiration":"2026-01-01T00:00:00Z"}'),
            ('{"ttl":5}', '{"ttl":4}'),
            ('{"uptime":"1m18.5s"}', '{"uptime":"2h3m4s"}'),
            ("X-Raft-Index: 5398\nX-Raft-Term: 0", "X-Raft-Index: 3\r\nX-Raft-Term: 2\r\n"),
            ('{"sendPkgRate":38.7,"sendAppendRequestCnt":3}', '{"sendPkgRate":1.5,"sendAppendRequestCnt":99}'),
            ("in use by process 12", "in use by process 345"),
        ):
            self.assertTrue(agrees(shown, printed), shown)
            self.assertFalse(agrees(shown, "{}"), shown)
        self.assertFalse(agrees('{"modifiedIndex":5}', '{"modifiedIndex":6}'))
        self.assertFalse(agrees("X-Etcd-Index: 5", "X-Etcd-Index: 6"))
        self.assertFalse(agrees('{"expiration":"2013-12-04T12:01:21Z"}', '{"expiration":"soon"}'))

    def test_dots(self) -> None:
        """Anything within a line or a text; on a line of their own, any lines."""
        self.assertTrue(agrees("a ... z", "a b c z"))
        self.assertFalse(agrees("a ... z", "a\nz"))
        self.assertTrue(agrees("a\n...\nz", "a\nb\nc\nz"))
        self.assertTrue(agrees("a\n...", "a\nb\nc"))
        self.assertFalse(agrees("a\n...\nz", "a\nb\nc"))
        self.assertTrue(agrees('{"a":"b...","c":1}', '{"a":"bcd","c":1}'))
        self.assertFalse(agrees('{"a":"b...","c":1}', '{"a":"xcd","c":1}'))
