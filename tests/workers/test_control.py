"""
What the consensus process and a worker tell each other.
"""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.workers.control import Configure


class ConfigureTests(SynchronousTestCase):
    """The first message, in which there are the contents of files."""

    def test_private_key_is_not_shown(self) -> None:
        """A log or a traceback may show a message."""
        message = Configure(1, 0.0, {}, {}, {"key-file": b"secret"}, [])
        for shown in (repr(message), str(message), repr([message])):
            self.assertIn("key-file", shown)
            self.assertNotIn("secret", shown)
