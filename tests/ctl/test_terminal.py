"""
What people see: tables, trees and colours, in a pseudo-terminal of a known size.
"""

import re

from tests.ctl.terminal import COLUMNS, LINES, TerminalTest

_STYLE = re.compile(r"\x1b\[[\d;]*m")


def plain(text: str) -> str:
    """Returns what is shown, without styles, nor spaces at the ends of lines."""
    return "\n".join(line.rstrip() for line in _STYLE.sub("", text).splitlines())


class GoldenTests(TerminalTest):
    """Each is as it should be, to the last character."""

    def assertShown(self, wanted: str, *arguments: str) -> str:
        """Asserts that a command shows some lines. Returns them with their styles."""
        shown = self.shown(*arguments)
        self.assertEqual(plain(shown), wanted.strip("\n"))
        return shown

    def test_members(self) -> None:
        shown = self.assertShown(
            """
NAME       ID         PEER URLS               CLIENT URLS
───────────────────────────────────────────────────────────────────────────
machine0   machine0   http://127.0.0.1:7001   http://127.0.0.1:4001   leads
""",
            *("member", "list"),
        )
        self.assertIn("\x1b[1;32mleads\x1b[0m", shown)

    def test_health(self) -> None:
        shown = self.assertShown(
            """
NAME       ID         HEALTH
─────────────────────────────────────────────────────────────────────────────
machine0   machine0   healthy   got healthy result from http://127.0.0.1:4001

The cluster is healthy.
""",
            "health",
        )
        self.assertIn("\x1b[32mhealthy\x1b[0m", shown)

    def test_machines_and_configuration(self) -> None:
        self.assertShown(
            """
NAME       STATE    CLIENT URL              PEER URL
─────────────────────────────────────────────────────────────────
machine0   leader   http://127.0.0.1:4001   http://127.0.0.1:7001
""",
            *("machines", "list"),
        )
        self.assertShown(
            """
SETTING          VALUE
─────────────────────────────────────────────────────────────────────────
active size          9   how many machines take part in consensus at most
remove delay    30 min   how long a machine is silent until it is removed
sync interval      5 s   how often a standby looks whether it can join
""",
            *("config", "get"),
        )

    def test_statistics(self) -> None:
        self.printed("set", "/key", "x")
        self.printed("get", "/key")
        self.assertShown(
            """
                   DONE   FAILED
────────────────────────────────
gets                  1        0
sets                  2        0
create                0        0
update                0        0
delete                0        0
compareAndSwap        0        0
compareAndDelete      0        0
expireCount           0
watchers              0
""",
            *("stats", "store"),
        )

    def test_users_and_roles(self) -> None:
        self.printed("user", "add", "root:pw")
        self.printed("role", "add", "reader")
        self.printed("role", "grant", "reader", "--path", "/dir/*", "--read")
        self.assertShown("USER   ROLES\n────────────\nroot   root", "user", "list")
        self.assertShown(
            """
ROLE     MAY READ   MAY WRITE
─────────────────────────────
reader   /dir/*
root     /*         /*
""",
            *("role", "list"),
        )

    def test_trees_and_listings(self) -> None:
        self.printed("set", "--ttl", "90", "/dir/key", "[bold]x")
        self.assertEqual(
            self.shown("tree", "--with-value"),
            '\x1b[1;34m/\x1b[0m\n└── \x1b[1;34mdir/\x1b[0m\n    └── key\x1b[32m = "[bold]x"\x1b[0m'
            "\x1b[2m (expires in 90 s)\x1b[0m\n",
        )
        self.assertEqual(self.shown("ls", "-p"), "\x1b[34m\x1b[1m/dir\x1b[0m/\n")
        self.assertNotIn("\x1b[", self.shown("tree", NO_COLOR="1"))

    def test_top(self) -> None:
        """It has the whole terminal, and gives it back."""
        shown = self.shown("top", "--count", "1")
        self.assertTrue(shown.startswith("\x1b[?1049h\x1b[H\x1b[?25l"), shown)
        self.assertTrue(shown.endswith("\x1b[?25h\x1b[?1049l"), shown)
        looks = shown.removeprefix("\x1b[?1049h\x1b[H").removesuffix("\x1b[?25h\x1b[?1049l")
        _, first, second = plain(looks).split("\x1b[H")
        header = "NAME       STATE    READS/S   WRITES/S   WATCHERS   LAG   LATENCY   AVERAGE"
        row = "machine0   leader                               0     0"
        self.assertEqual(first.split("\n")[:5], ["1 machine, machine0 leads", "", header, "─" * 78, row])
        row = "machine0   leader         0          0          0     0"
        self.assertEqual(second.split("\n")[:5], ["1 machine, machine0 leads", "", header, "─" * 78, row])
        self.assertLessEqual(len(second.split("\n")), LINES + 1)
        self.assertLessEqual(max(map(len, second.split("\n"))), COLUMNS)

    def test_progress(self) -> None:
        """A bar is drawn on the error output, with a count, and taken away at the end."""
        for number in range(3):
            self.printed("set", f"/dir/{number}", "x")
        file = self.mktemp()
        for title, arguments in (
            ("Exporting", ("export", "--file", file, "/dir")),
            ("Importing", ("import", "--to", "/copy", file)),
        ):
            shown = self.shown(*arguments, errors=True)
            self.assertRegex(plain(shown), rf"{title} +━+ +\d records +\d:\d\d:\d\d")
            self.assertTrue(shown.endswith("\n\x1b[?25h\r\x1b[1A\x1b[2K"), repr(shown))
        self.assertEqual(self.printed("ls", "--sort", "/copy"), "/copy/0\n/copy/1\n/copy/2\n")

    def test_pipes_get_lines(self) -> None:
        """So that scripts read what etcdctl prints; C{simple} prints it in a terminal too."""
        line = (
            "machine0: name=machine0 peerURLs=http://127.0.0.1:7001 clientURLs=http://127.0.0.1:4001 isLeader=true\n"
        )
        self.assertEqual(self.printed("member", "list"), line)
        self.assertEqual(plain(self.shown("-o", "simple", "member", "list")) + "\n", line)
