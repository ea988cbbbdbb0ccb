"""The error table (spec, section 1, "Errors")."""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import MESSAGES, ConfigError, ErrorCode, EtcdError, StartError, StorageError, http_status

# This is the table of the specification.
TABLE = {
    100: "Key not found",
    101: "Compare failed",
    102: "Not a file",
    103: "Reached the max number of peers in the cluster",
    104: "Not a directory",
    105: "Key already exists",
    106: "The prefix of given key is a keyword in etcd",
    107: "Root is read only",
    108: "Directory not empty",
    109: "Peer address has existed",
    110: "The request requires user authentication",
    200: "Value is Required in POST form",
    201: "PrevValue is Required in POST form",
    202: "The given TTL in POST form is not a number",
    203: "The given index in POST form is not a number",
    204: "Value or TTL is required in POST form",
    205: "The given timeout in POST form is not a number",
    206: "Name is required in POST form",
    207: "Index or value is required",
    208: "Index and value cannot both be specified",
    209: "Invalid field",
    210: "Invalid POST form",
    211: "Value provided on refresh",
    212: "A TTL must be provided on refresh",
    300: "Raft Internal Error",
    301: "During Leader Election",
    400: "watcher is cleared due to etcd recovery",
    401: "The event in requested index is outdated and cleared",
    402: "Standby Internal Error",
    403: "Invalid active size",
    404: "Standby remove delay",
    500: "Client Internal Error",
}


class TableTests(SynchronousTestCase):
    def test_every_code_has_its_message(self) -> None:
        """Every code has its message, and there are no other codes (spec, "Errors")."""
        self.assertEqual({int(code): message for code, message in MESSAGES.items()}, TABLE)
        self.assertEqual({int(code) for code in ErrorCode}, set(TABLE))

    def test_every_code_has_its_status(self) -> None:
        """100: 404; 102, 108: 403; 101, 105: 412; 110: 401; 3xx: 500; all others: 400 (spec, "Errors")."""
        statuses = {100: 404, 102: 403, 108: 403, 101: 412, 105: 412, 110: 401, 300: 500, 301: 500}
        for code in ErrorCode:
            self.assertEqual(http_status(code), statuses.get(int(code), 400), code)


class EtcdErrorTests(SynchronousTestCase):
    def test_text_has_number_message_and_cause(self) -> None:
        """A log needs all three."""
        self.assertEqual(str(EtcdError(ErrorCode.KEY_NOT_FOUND, "/a", 5)), "100: Key not found (/a)")

    def test_index_may_come_later(self) -> None:
        """Where the error is raised the index may not be known yet."""
        error = EtcdError(ErrorCode.NOT_A_FILE, "/a")
        self.assertEqual(error.index, 0)
        error.index = 7
        self.assertEqual(error.index, 7)

    def test_error_can_be_raised(self) -> None:
        """It is an exception like others, and keeps its cause when it is raised from one."""
        reason = ValueError("why")
        try:
            raise EtcdError(ErrorCode.RAFT_INTERNAL, "lost") from reason
        except EtcdError as error:
            self.assertIs(error.__cause__, reason)

    def test_error_is_equal_only_to_itself(self) -> None:
        """It may be in a set, although its index changes."""
        error, other = EtcdError(ErrorCode.NOT_A_FILE, "/a"), EtcdError(ErrorCode.NOT_A_FILE, "/a")
        raised = {error}
        error.index = 7
        self.assertIn(error, raised)
        other.index = 7
        self.assertNotEqual(error, other)


class StartErrorTests(SynchronousTestCase):
    def test_kinds_of_errors(self) -> None:
        """A program that starts the service catches one kind of error for bad settings and bad data."""
        for kind in (ConfigError, StorageError):
            self.assertTrue(issubclass(kind, StartError))
            self.assertEqual(str(kind("--name: is empty")), "--name: is empty")
