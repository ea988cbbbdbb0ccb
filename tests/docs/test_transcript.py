"""
How pages are read and answers compared: which differences count.
"""

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.transcript import File, Step, agrees, steps


class StepsTests(SynchronousTestCase):
    """These tests find what a page has its reader type."""

    def test_shell_blocks_have_commands(self) -> None:
        """Each line is a command without its comment. A line may go on in the next."""
        self.assertEqual(
            steps("```sh\nmake run\nmake test  # all of them\n\n# nothing\ncurl -L \\\n  x\n```\n"),
            [Step("make run"), Step("make test"), Step("curl -L    x")],
        )

    def test_json_blocks_are_answers(self) -> None:
        """Such a block is the answer of the command right before it, and of no other."""
        self.assertEqual(
            steps("```sh\na\nb\n```\n\n```json\n{}\n```\n\n```json\n[]\n```\n"), [Step("a"), Step("b", "{}\n")]
        )
        self.assertEqual(steps("```sh\na\n```\nA file:\n```json\n{}\n```\n"), [Step("a")])

    def test_console_blocks_have_commands_and_outputs(self) -> None:
        """An output may be empty."""
        self.assertEqual(
            steps("```console\n$ a\n1\n2\n$ b\n$ c\n3\n```\n"), [Step("a", "1\n2\n"), Step("b", ""), Step("c", "3\n")]
        )

    def test_an_answer_without_a_command_is_an_error(self) -> None:
        """It is a mistake in the page."""
        self.assertRaises(ValueError, steps, "```console\n1\n$ a\n```\n")

    def test_file_blocks_are_files(self) -> None:
        """A block whose first comment is the name of a file is that file. Any other comment is just a comment."""
        text = "```python\n# a.py\nb\n```\n```toml\n# a.toml: an example\n```\n"
        self.assertEqual(steps(text), [File("a.py", "# a.py\nb\n")])

    def test_other_blocks_are_ignored(self) -> None:
        """A block in another language is nothing to type."""
        self.assertEqual(steps('```toml\nname = "$ a"\n```\n```\n$ a\n```\n'), [])


class AgreesTests(SynchronousTestCase):
    """These tests compare what a page shows with what is printed."""

    def test_equal_outputs_agree(self) -> None:
        """Space at the ends of lines and of the whole does not count."""
        self.assertTrue(agrees("a\nb\n", "a \r\nb"))

    def test_different_outputs_disagree(self) -> None:
        """A part that is missing, added or changed counts."""
        for printed in ("", "a", "a\nb\nc", "a\nc", "xa\nb"):
            self.assertFalse(agrees("a\nb", printed), printed)

    def test_json_agrees_in_any_layout(self) -> None:
        """Every value counts."""
        shown = '{"a": 1,\n "b": [{"c": "d"}]}'
        self.assertTrue(agrees(shown, '{"b":[{"c":"d"}],"a":1}'))
        others = ('{"a":1}', '{"a":2,"b":[{"c":"d"}]}', '{"a":1,"b":[]}', '{"a":true,"b":[{"c":"d"}]}', "nothing")
        for printed in others:
            self.assertFalse(agrees(shown, printed), printed)

    def test_variable_values_agree(self) -> None:
        """A value that no page can know has to be there, and may differ."""
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

    def test_dots_stand_for_anything(self) -> None:
        """Within a line or a text they stand for any characters, and on a line of their own for any lines."""
        self.assertTrue(agrees("a ... z", "a b c z"))
        self.assertFalse(agrees("a ... z", "a\nz"))
        self.assertTrue(agrees("a\n...\nz", "a\nb\nc\nz"))
        self.assertTrue(agrees("a\n...", "a\nb\nc"))
        self.assertFalse(agrees("a\n...\nz", "a\nb\nc"))
        self.assertTrue(agrees('{"a":"b...","c":1}', '{"a":"bcd","c":1}'))
        self.assertFalse(agrees('{"a":"b...","c":1}', '{"a":"xcd","c":1}'))
