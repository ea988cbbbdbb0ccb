"""
The commands that read and change keys.
"""

from tests.ctl.commands import CommandTest


class ValueTests(CommandTest):
    """These commands are about keys with values."""

    def test_set_and_get(self) -> None:
        self.assertEqual(self.printed("set", "/message", "Hello world"), "Hello world\n")
        self.assertEqual(self.printed("get", "/message"), "Hello world\n")
        self.assertEqual(self.printed("get", "--quorum", "--sort", "message"), "Hello world\n")
        self.assertFails(4, "Error:  100: Key not found (/none) [2]\nRemedy: ", "get", "/none")
        self.assertFails(1, "/: is a directory", "get", "/")

    def test_mk_and_update(self) -> None:
        self.assertEqual(self.printed("mk", "/key", "one"), "one\n")
        self.assertFails(4, "Error:  105: Key already exists (/key) [2]\n", "mk", "/key", "two")
        self.assertEqual(self.printed("update", "/key", "two"), "two\n")
        self.assertFails(4, "Error:  100: Key not found (/none) [3]\n", "update", "/none", "two")

    def test_in_order_keys(self) -> None:
        for value in ("a", "b"):
            self.assertEqual(self.printed("mk", "--in-order", "/queue", value), f"{value}\n")
        self.assertEqual(self.printed("ls", "--sort", "/queue"), "/queue/2\n/queue/3\n")

    def test_conditions(self) -> None:
        """C{set} and C{rm} take them; 0 and an empty text stand for none."""
        self.printed("set", "--swap-with-index", "0", "--swap-with-value", "", "/key", "one")
        self.assertEqual(self.printed("set", "--swap-with-value", "one", "/key", "two"), "two\n")
        self.assertEqual(self.printed("set", "--swap-with-index", "3", "/key", "three"), "three\n")
        mismatch = "101: Compare failed ([one != three]) [4]"
        self.assertFails(4, mismatch, "set", "--swap-with-value", "one", "/key", "four")
        self.assertFails(4, mismatch, "rm", "--with-value", "one", "/key")
        self.assertFails(1, "leave out --dir", "rm", "--recursive", "--with-value", "three", "/key")
        self.assertEqual(self.printed("rm", "--with-index", "4", "/key"), "\n")
        self.assertFails(4, "100: Key not found (/key)", "get", "/key")

    def test_ttls(self) -> None:
        """They are shown, and a key without one lives for ever."""
        for command in ("set", "update"):
            self.printed(command, "--ttl", "100", "/key", "x")
            self.assertIn("TTL: 100\n", self.printed("-o", "extended", "get", "/key"))
        self.printed("update", "--ttl", "0", "/key", "x")
        self.assertIn("TTL: 0\n", self.printed("-o", "extended", "get", "/key"))
        self.printed("mk", "--ttl", "1", "/leased", "x")
        self.machine.advance(2.0)
        self.assertFails(4, "100: Key not found", "get", "/leased")
        self.assertFails(1, "'soon' is not a valid integer", "set", "--ttl", "soon", "/key", "x")

    def test_values_that_begin_with_a_dash(self) -> None:
        """They need no C{--}, as with etcdctl, but one may stand before the key or the value."""
        for number, arguments in enumerate((("/key", "-0"), ("--", "/key", "-1"), ("/key", "--", "-2"))):
            self.assertEqual(self.printed("set", *arguments), f"-{number}\n")
        self.assertEqual(self.printed("set", "/key", "--"), "--\n")
        self.assertFails(1, "a key has one value, but here are 3", "set", "/key", "x", "--ttl", "5")

    def test_values_from_the_standard_input(self) -> None:
        """They are taken whole."""
        for command in ("set", "update"):
            self.assertEqual(self.printed(command, "/key", stdin="zwölf\n".encode()), "zwölf\n\n")
        self.assertEqual(self.printed("mk", "/other", stdin=b" x "), " x \n")
        self.assertFails(1, "value required", "set", "/key")
        self.assertFails(1, "not UTF-8", "set", "/key", stdin=b"\xff")
        self.assertFails(1, "not UTF-8", "set", "/key", "\udcff")
        self.assertFails(1, "not UTF-8", "get", "\udcff")
        self.assertEqual(self.printed("set", "/key", ""), "\n")


class DirectoryTests(CommandTest):
    """These commands are about directories."""

    def test_directories(self) -> None:
        """The commands are C{mkdir}, C{setdir}, C{updatedir}, C{ls}, C{rmdir}, and C{rm} of a directory."""
        self.assertEqual(self.printed("mkdir", "/dir"), "")
        self.assertFails(4, "105: Key already exists (/dir) [2]", "mkdir", "/dir")
        self.assertEqual(self.printed("setdir", "/dir/empty"), "")
        self.printed("set", "/dir/key", "x")
        self.printed("set", "/key", "x")
        self.assertEqual(self.printed("ls", "--sort", "-p"), "/dir/\n/key\n")
        self.assertEqual(self.printed("ls", "-r", "--sort", "-p", "/"), "/dir/\n/dir/empty/\n/dir/key\n/key\n")
        self.assertEqual(self.printed("ls", "/dir/key"), "/dir/key\n")
        self.assertFails(4, "102: Not a file (/dir) [5]", "rm", "/dir")
        self.assertFails(4, "108: Directory not empty (/dir) [5]", "rmdir", "/dir")
        self.assertFails(4, "104: Not a directory (/key) [5]", "set", "/key/below", "x")
        self.assertEqual(self.printed("rmdir", "/dir/empty"), "")
        self.assertEqual(self.printed("rm", "--recursive", "/dir"), "")
        self.assertEqual(self.printed("rm", "--dir", "/key"), "PrevNode.Value: x\n")
        self.assertEqual(self.printed("ls"), "")
        self.assertFails(4, "107: Root is read only (/)", "rm", "--recursive", "/")

    def test_ttls_of_directories(self) -> None:
        """C{setdir} sets that of a directory that exists too."""
        for seconds, command in enumerate(("mkdir", "setdir", "updatedir"), 100):
            self.printed(command, "--ttl", str(seconds), "/dir")
            self.assertIn(f'"ttl":{seconds}', self.printed("-o", "json", "ls", "/dir"))
        self.printed("setdir", "/dir")
        self.assertNotIn("ttl", self.printed("-o", "json", "ls", "/dir"))
        self.assertFails(4, "100: Key not found (/none)", "updatedir", "/none")

    def test_values_are_no_directories(self) -> None:
        """A key with a value keeps it, although the API allows to update it as a directory."""
        self.printed("set", "--ttl", "100", "/key", "x")
        for command in ("setdir", "updatedir"):
            self.assertFails(4, "104: Not a directory (/key) [2]", command, "--ttl", "50", "/key")
        found = self.printed("-o", "json", "get", "/key")
        self.assertIn('"value":"x"', found)
        self.assertIn('"ttl":100', found)

    def test_tree(self) -> None:
        """Lines are as long as they have to be, and what looks like markup is none."""
        long = "[bold]" + "x" * 200
        for key, value in (("/dir/sub/key", long), ("/dir/z", "'"), ("/a", "1")):
            self.printed("set", key, value)
        self.printed("set", "--ttl", "60", "/dir/leased", "x")
        self.assertEqual(
            self.printed("tree", "--with-value"),
            f'/\n├── a = "1"\n└── dir/\n    ├── leased = "x" (expires in 60 s)\n    ├── sub/\n'
            f'    │   └── key = "{long}"\n    └── z = "\'"\n',
        )
        self.assertEqual(self.printed("tree", "/dir/sub"), "/dir/sub/\n└── key\n")


class FormatTests(CommandTest):
    """Programs read these formats."""

    def test_json(self) -> None:
        """Each field is as C{docs/txetcdctl.md} has it."""
        self.printed("set", "/dir/a", "zwölf")
        self.assertEqual(
            self.printed("-o", "json", "set", "--ttl", "60", "/dir/a", 'a "b"'),
            '{"action":"set","node":{"key":"/dir/a","value":"a \\"b\\"","nodes":null,"createdIndex":3,'
            '"modifiedIndex":3,"expiration":"1970-01-01T00:01:00.000000Z","ttl":60},"prevNode":{"key":"/dir/a","value":"zwölf","nodes":null,'
            '"createdIndex":2,"modifiedIndex":2}}\n',
        )
        self.assertEqual(
            self.printed("-o", "json", "ls"),
            '{"action":"get","node":{"key":"/","dir":true,"value":"","nodes":[{"key":"/dir","dir":true,"value":"",'
            '"nodes":null,"createdIndex":2,"modifiedIndex":2}],"createdIndex":0,"modifiedIndex":0},"prevNode":null}\n',
        )
        self.assertEqual(self.printed("-o", "json", "tree"), self.printed("-o", "json", "ls", "-r", "--sort"))

    def test_extended(self) -> None:
        self.printed("set", "/a", "one")
        shown = "Key: /a\nCreated-Index: 3\nModified-Index: 3\nPrevNode.Value: one\nTTL: 0\nIndex: 3\n\ntwo\n"
        self.assertEqual(self.printed("-o", "extended", "set", "/a", "two"), shown)
        self.assertEqual(
            self.printed("-o", "extended", "rm", "/a"),
            "Key: /a\nCreated-Index: 3\nModified-Index: 4\nPrevNode.Value: two\nTTL: 0\nIndex: 4\n",
        )

    def test_simple_is_text(self) -> None:
        self.assertEqual(self.printed("-o", "simple", "set", "/a", "one"), "one\n")


class WatchTests(CommandTest):
    """C{watch} prints changes."""

    def test_past_changes(self) -> None:
        """It prints one, and with its key if it is recursive. Programs get JSON alone."""
        self.printed("set", "/dir/a", "one")
        self.printed("rm", "/dir/a")
        self.assertEqual(self.printed("watch", "--after-index", "1", "/dir/a"), "one\n")
        self.assertEqual(self.printed("watch", "--after-index", "1", "-r", "/dir"), "[set] /dir/a\none\n")
        self.assertEqual(self.printed("watch", "--after-index", "2", "/dir/a"), "PrevNode.Value: one\n")
        self.assertEqual(
            self.printed("-o", "json", "watch", "--after-index", "1", "-r", "/dir"),
            '{"action":"set","node":{"key":"/dir/a","value":"one","nodes":null,"createdIndex":2,"modifiedIndex":2},'
            '"prevNode":null}\n',
        )

    def test_directories_are_passed_over(self) -> None:
        """The error output says so."""
        self.printed("mkdir", "/dir")
        self.printed("set", "/dir/a", "one")
        outcome = self.type("watch", "--after-index", "1", "--recursive", "/dir")
        self.assertEqual((outcome.status, outcome.output), (0, "[set] /dir/a\none\n"))
        self.assertEqual(outcome.errors, "Ignored dir /dir change\n")

    def test_values_that_no_command_can_be_told(self) -> None:
        """C{exec-watch} ends, and says so."""
        self.machine.replica.put("/key", "a\0b")
        self.assertFails(
            1, "'/key' or its value has a null character", "exec-watch", "--after-index", "1", "/key", "sh"
        )

    def test_lost_changes(self) -> None:
        """It ends with an error that names the index to go on from."""
        for number in range(1_100):
            self.machine.replica.put("/a", str(number))
        self.assertFails(4, "the index is 1101 now; read the key", "watch", "--after-index", "1", "/a")
