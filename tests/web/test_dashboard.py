"""
The dashboard's files, as the server sends them. The tests in C{tests/browser/} show what the page does with them.
"""

import json
import re
from base64 import b64encode
from importlib import resources
from pathlib import Path
from typing import Any

import bcrypt
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted import __version__
from etcd_twisted.auth.state import AUTH_KEY, AuthState, Role, User
from etcd_twisted.interfaces.cluster import MachineStatus, StatusReport
from etcd_twisted.interfaces.statistics import Contents, Measurements
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.keyspace.nodes import MAX_BATCH_NAMES
from etcd_twisted.testing.replica import MACHINE, OTHER
from tests.wires import Answer, Wire, ask, read_answers

PAGE = "/mod/dashboard/"
FILES = Path(str(resources.files("etcd_twisted.web.dashboard").joinpath("page")))
TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}

MOST = 200_000
"""The most that the page and all its files may weigh, in bytes."""


class FilesTests(SynchronousTestCase):
    """These tests look at each file as it is sent."""

    def setUp(self) -> None:
        self.wire = Wire()
        self.addCleanup(self.wire.stop)
        self.files = sorted(FILES.iterdir())

    def ask(self, path: str, method: str = "GET", fields: str = "") -> Answer:
        return ask(self.wire.site, path, method, fields)

    def test_page_is_at_its_path(self) -> None:
        """The page is the dashboard (api, "Statistics"; spec, "Other client endpoints")."""
        self.assertEqual(self.ask(PAGE).body, (FILES / "index.html").read_bytes())

    def test_path_without_a_slash_is_redirected(self) -> None:
        """The page would not find its files there."""
        answer = self.ask("/mod/dashboard")
        self.assertEqual((answer.status, answer.headers["Location"]), (307, PAGE))

    def test_files_have_their_types(self) -> None:
        """A browser may not guess another type (spec, "Other client endpoints")."""
        self.assertGreater(len(self.files), 3)
        for file in self.files:
            answer = self.ask(PAGE + file.name)
            self.assertEqual((answer.status, answer.body), (200, file.read_bytes()), file.name)
            self.assertEqual(answer.headers["Content-Type"].partition(";")[0], TYPES[file.suffix])
            self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")

    def test_content_security_policy(self) -> None:
        """The page loads nothing from elsewhere, runs no inline code, and appears in no frame."""
        policy = self.ask(PAGE).headers["Content-Security-Policy"]
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        own = {rules.pop(f"{each}-src") for each in ("script", "style", "img", "connect")}
        self.assertEqual(own, {"'self'"})
        self.assertEqual(set(rules), {"default-src", "base-uri", "form-action", "frame-ancestors"})
        self.assertEqual(set(rules.values()), {"'none'"})

    def test_known_file_is_not_sent_again(self) -> None:
        """A browser that has the file learns that it is unchanged."""
        for file in self.files:
            tag = self.ask(PAGE + file.name).headers["ETag"]
            for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
                answer = self.ask(PAGE + file.name, fields=f"If-None-Match: {known}\r\n")
                self.assertEqual((answer.status, answer.body, answer.headers["ETag"]), (304, b"", tag))
            self.assertEqual(self.ask(PAGE + file.name, fields='If-None-Match: "other"\r\n').status, 200)

    def test_each_content_has_its_own_tag(self) -> None:
        tags = {self.ask(PAGE + file.name).headers["ETag"] for file in self.files}
        self.assertEqual(len(tags), len({file.read_bytes() for file in self.files}))

    def test_head_has_the_headers_of_get(self) -> None:
        """Only the date differs."""
        head, answer = self.ask(PAGE, "HEAD"), self.ask(PAGE)
        del head.headers["Date"], answer.headers["Date"]
        self.assertEqual((head.body, head.headers.items()), (b"", answer.headers.items()))

    def test_other_methods_are_refused(self) -> None:
        for method in ("PUT", "POST", "DELETE"):
            self.assertEqual(self.ask(PAGE, method).status, 405)

    def test_no_other_file_is_served(self) -> None:
        """The page does not serve a file beside it on the disk, nor a name that is a path."""
        for name in ("nothing.js", "..%2Ffiles.py", "../files.py", "%2Fetc%2Fpasswd", "page/index.html", "a/b"):
            answer = self.ask(PAGE + name)
            self.assertEqual((answer.status, answer.body), (404, b'{"message":"Not Found"}\n'), name)

    def test_standby_redirects_to_the_leaders_page(self) -> None:
        """A standby has no cluster to show."""
        self.wire.replica.stand_by()
        for path in ("/mod/dashboard", PAGE, f"{PAGE}style.css"):
            answer = self.ask(path)
            self.assertEqual((answer.status, answer.headers["Location"]), (307, f"http://127.0.0.1:4002{path}"))


class StatusTests(SynchronousTestCase):
    """These tests are about the page's requests beyond the API."""

    def setUp(self) -> None:
        self.wire = Wire()
        self.addCleanup(self.wire.stop)

    def ask(self, path: str) -> dict[str, Any]:
        answer = ask(self.wire.site, PAGE + path)
        return self.read(answer)

    def read(self, answer: Answer) -> dict[str, Any]:
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "application/json"))
        self.assertEqual(answer.headers["Cache-Control"], "no-store")
        return dict(json.loads(answer.body))

    def test_status_of_this_machine(self) -> None:
        """The page shows the version and the uptime (spec, "Other client endpoints")."""
        self.wire.clock.advance(90)
        status = self.ask("status")
        self.assertEqual((status["version"], status["uptime"]), (__version__, 90))
        replica = self.wire.replica
        indexes = (status["term"], status["index"], status["raftIndex"])
        self.assertEqual(indexes, (replica.term, replica.index, replica.raft_index))

    def know(self, *statuses: MachineStatus) -> None:
        """Makes the machine know itself and these other machines."""
        own = StatusReport(0, 0, 0, "leader", 3, 5_000, __version__, 60_000_000)
        self.wire.replica.raft_index = 5_000
        all_statuses = (MachineStatus("0", MACHINE.name, True, 0, 60.0, "", own, 0.0, 0.0, 0.0), *statuses)
        self.wire.replica.known_statuses = {each.machine_id: each for each in all_statuses}

    def problems(self) -> list[tuple[str, str]]:
        return [(each["title"], each["text"]) for each in self.ask("status")["problems"]]

    def test_statuses_of_other_machines(self) -> None:
        """The page shows exactly what this machine knows of each."""
        report = StatusReport(0, 0, 0, "follower", 3, 4_990, "0.0.1", 30_000_000)
        self.know(
            MachineStatus("1", "machine1", True, 0, 20.0, "", report, 0.002, -0.5, 0.001),
            MachineStatus("2", "machine2", False, 0, 12.0, "it is down"),
        )
        status = self.ask("status")
        self.assertEqual((status["name"], status["role"], status["leader"]), ("machine0", "leader", "machine0"))
        self.assertEqual(
            status["machines"][1:],
            [
                {"name": "machine1", "reachable": True, "lasted": 20.0, "role": "follower", "term": 3, "applied": 4990,
                 "version": "0.0.1", "uptime": 30.0, "roundTrip": 2.0, "clockAhead": -0.5},
                {"name": "machine2", "reachable": False, "lasted": 12.0, "problem": "it is down"},
            ],
        )  # fmt: skip

    def test_machine_that_is_alone_has_no_problem(self) -> None:
        """A machine has no problem while it is alone, or while the others answer."""
        self.assertEqual(self.problems(), [])
        self.know(MachineStatus("1", "machine1", True, 0, 20.0))
        self.assertEqual(self.problems(), [])

    def test_missing_machine_is_a_problem(self) -> None:
        """The others go on, and the text says when no further machine may fail."""
        missing = MachineStatus("2", "machine2", False, 0, 75.0, "it is down")
        well = [MachineStatus(each, f"machine{each}", True, 0, 20.0) for each in "134"]
        self.know(*well[:1], missing)
        text = "machine2 has not answered for 1 min 15 s: it is down."
        self.assertEqual(
            self.problems(), [("machine2 does not answer", f"{text} If another machine fails, writes are refused.")]
        )
        self.know(*well, missing)
        self.assertEqual(self.problems(), [("machine2 does not answer", text)])

    def test_missing_majority_is_a_problem(self) -> None:
        """The text says first what that means."""
        self.know(*(MachineStatus(each, f"machine{each}", False, 0, 5.0, "it is down") for each in "12"))
        self.wire.replica.lose_leader()
        first, *others = self.problems()
        self.assertEqual(first[0], "No majority")
        self.assertIn("1 of 3 machines answers; 2 are needed. Writes are refused until", first[1])
        self.assertEqual([title for title, _ in others], ["machine1 does not answer", "machine2 does not answer"])

    def test_missing_leader_is_a_problem(self) -> None:
        self.know(MachineStatus("1", "machine1", True, 0, 20.0))
        self.wire.replica.lose_leader()
        self.assertEqual([title for title, _ in self.problems()], ["No leader"])

    def test_machine_that_is_behind_is_a_problem(self) -> None:
        """This machine shows old data, or none."""
        report = StatusReport(0, 0, 0, "leader", 3, 9_000, __version__, 0)
        self.know(MachineStatus("1", OTHER.name, True, 0, 20.0, "", report))
        self.wire.replica.follow()
        text = "This machine is 4,000 log entries behind the leader, so it shows old data."
        self.assertEqual(self.problems(), [("Behind", text)])
        self.wire.replica.serving = False
        self.assertEqual([title for title, _ in self.problems()], ["Catching up"])

    def test_restarted_machine_without_a_leader_is_not_ready(self) -> None:
        """The machine does not claim that its key space is empty."""
        self.know(MachineStatus("1", "machine1", False, 0, 5.0, "it is down"))
        self.wire.replica.serving = False
        self.wire.replica.lose_leader()
        self.assertEqual(
            [title for title, _ in self.problems()], ["No majority", "machine1 does not answer", "Not ready"]
        )
        status = self.ask("status")
        for unknown in ("index", "keys", "sizeBytes", "quotaBytes"):
            self.assertNotIn(unknown, status)

    def test_machine_without_a_cluster_misses_no_majority(self) -> None:
        self.wire.replica.serving = False
        self.wire.replica.lose_leader()
        self.assertEqual(self.problems(), [("No cluster", "This machine does not take part in a cluster yet.")])

    def test_full_key_space_is_a_problem(self) -> None:
        """The problem appears shortly before the key space is full."""
        self.wire.replica.measured = Measurements(contents=Contents(7, 1, 1_900_000, 2_000_000))
        status = self.ask("status")
        self.assertEqual((status["keys"], status["sizeBytes"], status["quotaBytes"]), (7, 1_900_000, 2_000_000))
        self.assertEqual(status["problems"], [])
        self.wire.replica.measured = Measurements(contents=Contents(7, 1, 1_900_000, 2_000_000, alarm=True))
        ((title, text),) = self.problems()
        self.assertEqual(title, "Key space nearly full")
        self.assertIn("The key space holds 1.9 MB of the 2.0 MB that --quota-bytes allows.", text)
        for size, quota, words in (
            (950, 999, "950 bytes of the 999 bytes"),
            (19_481, 20_000, "19.5 kB of the 20.0 kB"),
            (2_100_000_000, 2**31, "2.1 GB of the 2.1 GB"),
            (1_900_000_000_000, 2_000_000_000_000, "1.9 TB of the 2.0 TB"),
        ):
            self.wire.replica.measured = Measurements(contents=Contents(7, 1, size, quota, alarm=True))
            self.assertIn(words, self.problems()[0][1])

    def test_clock_that_differs_is_a_problem(self) -> None:
        """A clock counts only if it certainly differs, within the error of the measurement."""
        self.know(
            MachineStatus("1", "machine1", True, 0, 20.0, "", None, 0.001, -3.25, 0.001),
            MachineStatus("2", "machine2", True, 0, 20.0, "", None, 9.0, 1.5, 4.5),
        )
        text = "The clock of machine1 is 3.2 s behind this machine's. Have NTP keep the clocks of both."
        self.assertEqual(self.problems(), [("The clock of machine1 differs", text)])

    def test_users_that_protect_nothing_are_a_problem(self) -> None:
        """The text is there as soon as they are enabled, until guests have lost any of their rights to everything."""
        everything, root = Role("guest", ("/*",), ("/*",)), {"root": User("root", "hash", ("root",))}
        self.assertNotIn("auth", self.ask("status"))
        for enabled, guest, known, titles in (
            (False, everything, "disabled", []),
            (True, everything, "enabled", ["Open to guests"]),
            (True, Role("guest", ("/*",), ()), "enabled", []),
            (True, Role("other", ("/*",), ("/*",)), "enabled", []),
        ):
            self.wire.replica.set_auth(AuthState(enabled, root, {guest.name: guest}))
            self.assertEqual(self.ask("status")["auth"], known)
            self.assertEqual([title for title, _ in self.problems()], titles)

    def test_user_of_a_request(self) -> None:
        """The page asks whether credentials are right before it uses them (spec, "Other client endpoints")."""
        hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
        self.wire.replica.set_auth(AuthState(True, {"ben": User("ben", hashed)}))
        right = b64encode(b"ben:secret").decode()
        for fields, name in (("", ""), (f"Authorization: Basic {right}\r\n", "ben")):
            self.assertEqual(self.read(ask(self.wire.site, f"{PAGE}user", fields=fields)), {"user": name})
        for wrong in ("Basic " + b64encode(b"ben:wrong").decode(), "Basic ?", "Bearer 1"):
            answer = ask(self.wire.site, f"{PAGE}user", fields=f"Authorization: {wrong}\r\n")
            self.assertEqual((answer.status, json.loads(answer.body)["errorCode"]), (401, 110))
        self.wire.replica.set_auth(AuthState())
        self.assertEqual(self.ask("user"), {"user": ""})

    def test_users_that_can_not_be_read_are_a_problem(self) -> None:
        replica = self.wire.replica
        replica.apply(Set(AUTH_KEY, 0, "{"))
        ((title, text),) = self.problems()
        self.assertEqual((title, self.ask("status")["auth"]), ("Users can't be read", "enabled"))
        self.assertIn("nobody may do anything", text)

    def test_standby_shows_its_status(self) -> None:
        """
        A standby has a status, although all other pages are the leader's. Without a leader it serves the page itself.
        """
        self.wire.replica.stand_by()
        status = self.ask("status")
        self.assertEqual((status["role"], status["machines"]), ("standby", []))
        self.assertIn("machine1 leads the cluster", self.problems()[0][1])
        self.assertEqual(ask(self.wire.site, PAGE).status, 307)
        self.wire.replica.lose_leader()
        self.assertIn("It finds no machine that leads", self.problems()[0][1])
        self.assertEqual(ask(self.wire.site, PAGE).status, 200)

    def test_count_of_a_directory(self) -> None:
        """All nodes below the directory count, hidden or not (spec, "Other client endpoints")."""
        for key in ("/a b/k", "/a b/d/_k", "/a b/_d/k"):
            self.wire.replica.keyspace.apply(Set(key, 0, "v"))
        self.assertEqual(self.count("?key=/a%20b/"), {"keys": 3, "directories": 2, "hidden": 3})
        self.assertEqual(self.count("")["keys"], 3 + 1)  # the machine's own key

    def count(self, query: str) -> dict[str, Any]:
        channel, transport = self.wire.connect()
        channel.dataReceived(f"GET {PAGE}count{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.wire.clock.advance(0)
        (answer,) = read_answers(transport.value(), "GET")
        return self.read(answer)

    def test_count_of_no_directory_is_refused(self) -> None:
        """A file or a missing key is an error of the API's."""
        self.wire.replica.keyspace.apply(Set("/k", 0, "v"))
        for key, status, code in (("/k", 400, 104), ("/nothing", 404, 100)):
            answer = ask(self.wire.site, f"{PAGE}count?key={key}")
            self.assertEqual((answer.status, json.loads(answer.body)["errorCode"]), (status, code))

    def test_count_leaves_turns_to_others(self) -> None:
        """Others get their turns while the machine counts very many keys."""
        for number in range(3 * MAX_BATCH_NAMES):
            self.wire.replica.keyspace.apply(Set(f"/d/{number}", 0, "v"))
        channel, transport = self.wire.connect()
        channel.dataReceived(f"GET {PAGE}count?key=/d HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answered_before_others: list[bool] = []
        self.wire.clock.callLater(0, lambda: answered_before_others.append(bool(transport.value())))
        self.wire.clock.advance(0)
        self.assertEqual(answered_before_others, [False])
        (answer,) = read_answers(transport.value(), "GET")
        self.assertEqual(json.loads(answer.body)["keys"], 3 * MAX_BATCH_NAMES)


class PageTests(SynchronousTestCase):
    """These tests look at what is in the files."""

    def setUp(self) -> None:
        self.texts = {file.name: file.read_text() for file in FILES.iterdir()}

    def test_page_weighs_little(self) -> None:
        self.assertLess(sum(len(text.encode()) for text in self.texts.values()), MOST)

    def test_nothing_comes_from_elsewhere(self) -> None:
        """No file names another host, except in the names of XML namespaces."""
        for name, text in self.texts.items():
            addresses = re.findall(r"""["'(]((?:\w+:)?//[^"')]*)""", text.replace("http://www.w3.org/2000/svg", ""))
            self.assertEqual(addresses, [], name)

    def test_values_never_become_markup(self) -> None:
        """No file builds elements out of text, since the text may come from a key."""
        for name, text in self.texts.items():
            for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
                self.assertNotIn(word, text, name)

    def test_files_name_one_another(self) -> None:
        """Every file that a file names exists, and every file is named."""
        named = {"index.html"}
        for text in self.texts.values():
            named.update(re.findall(r"""["'](?:\./)?([\w-]+\.(?:js|css|svg))["']""", text))
        self.assertEqual(named, set(self.texts))
