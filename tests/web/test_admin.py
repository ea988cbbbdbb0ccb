"""
The peer port: what administrators see of the cluster, and how they change it.
"""

import itertools
import json

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.cluster_keys import CONFIG_KEY
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.httpd.limits import Limits
from etcd_twisted.httpd.ordinary.channel import Channel
from etcd_twisted.httpd.site import Site
from etcd_twisted.httpd.turns import WORK_OF_PAGE, WORK_PER_TURN
from etcd_twisted.interfaces.cluster_config import ClusterConfig, config_json
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.testing.replica import MACHINE, OTHER, FakeReplica
from etcd_twisted.web.admin import AdminPages
from etcd_twisted.web.redirects import MIN_LEADER_WAIT_SECONDS, RETRY_PAUSE_SECONDS
from tests.wires import Answer, Transport, connect, read_answers

MACHINES = ("/v2/admin/machines", "/v2/admin/machines/machine0")
CONFIG = "/v2/admin/config"
PAGES = (*MACHINES, CONFIG)
FIRST = {
    "clientURL": "http://127.0.0.1:4001",
    "name": "machine0",
    "peerURL": "http://127.0.0.1:7001",
    "state": "leader",
}
SECOND = {
    "clientURL": "http://127.0.0.1:4002",
    "name": "machine1",
    "peerURL": "http://127.0.0.1:7002",
    "state": "follower",
}
DEFAULTS = {"activeSize": 9, "removeDelay": 1800, "syncInterval": 5}
NOBODY = "no leader is known; try again"


class AdminTest(SynchronousTestCase):
    """The pages of a machine, through the server."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.replica = FakeReplica(self.clock)
        self.addCleanup(self.replica.stop)
        pages = AdminPages(self.replica, self.clock)
        self.site = Site(self.clock, pages, None, Limits(100, 1_000, 10.0, 10.0))

    def begin(self, method: str, path: str, body: str = "") -> tuple[Channel, Transport]:
        """Sends a request that may take a while."""
        channel, transport = connect(self.site)
        fields = f"Host: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
        channel.dataReceived(f"{method} {path} HTTP/1.1\r\n{fields}\r\n{body}".encode())
        self.clock.advance(0)
        return channel, transport

    def ask(self, path: str, method: str = "GET", body: str = "") -> Answer:
        _, transport = self.begin(method, path, body)
        return self.answer_to(transport, method)

    def answer_to(self, transport: Transport, method: str) -> Answer:
        (answer,) = read_answers(transport.value(), method)
        return answer

    def json(self, path: str, method: str = "GET", body: str = "") -> object:
        answer = self.ask(path, method, body)
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "application/json"), answer.body)
        return json.loads(answer.body)

    def assert_message(self, answer: Answer, status: int, text: str) -> None:
        self.assertEqual((answer.status, json.loads(answer.body)), (status, {"message": text}))
        self.assertEqual(answer.headers["Content-Type"], "application/json")

    def assert_error(self, answer: Answer, status: int, code: int, cause: str) -> None:
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        error = json.loads(answer.body)
        self.assertEqual((answer.status, error["errorCode"], error["cause"]), (status, code, cause))

    def assert_redirected(self, answer: Answer, path: str) -> None:
        self.assertEqual((answer.status, answer.headers["Location"]), (307, f"http://127.0.0.1:7002{path}"))


class MachinesTests(AdminTest):
    """These tests list the machines of the cluster."""

    def test_one_machine_is_a_list(self) -> None:
        self.assertEqual(self.json("/v2/admin/machines"), [FIRST])

    def test_all_machines_are_listed(self) -> None:
        """Every registered machine is in the list with the current leader, on any machine (api, "Remove Machines")."""
        self.replica.register(OTHER)
        self.assertEqual(self.json("/v2/admin/machines"), [FIRST, SECOND])
        self.replica.follow()
        states = [{**FIRST, "state": "follower"}, {**SECOND, "state": "leader"}]
        self.assertEqual(self.json("/v2/admin/machines"), states)
        self.replica.lose_leader()
        self.assertEqual(self.json("/v2/admin/machines/machine1"), SECOND)

    def test_machine_by_name(self) -> None:
        """
        The page has one machine, or an error if there is none of that name, whatever the name is (api, "Remove
        Machines"; spec, "Admin").
        """
        self.assertEqual(self.json("/v2/admin/machines/machine0"), FIRST)
        for name, shown in (("machine7", "'machine7'"), ("a%0Ab", r"'a\nb'")):
            answer = self.ask(f"/v2/admin/machines/{name}")
            self.assert_error(answer, 404, 100, f"no machine {shown} is registered")

    def test_unknown_machines_are_an_error(self) -> None:
        """The answer is neither an empty list nor that there is no such machine."""
        self.patch(self.replica, "machines", list)
        cause = "this machine does not know the machines of its cluster yet; try again"
        for path in MACHINES:
            self.assert_error(self.ask(path), 500, 300, cause)


class RemovalTests(AdminTest):
    """These tests remove machines."""

    def test_removed_machine_is_not_listed(self) -> None:
        """It is in neither list (api, "Remove Machines")."""
        self.replica.register(OTHER)
        answer = self.ask("/v2/admin/machines/machine1", "DELETE")
        self.assertEqual(answer.status, 200)
        self.assertIn("machine1 is out of the cluster; if it still runs it joins again", answer.body.decode())
        self.assertEqual(self.json("/v2/admin/machines"), [FIRST])
        self.assertEqual(self.replica.removed, ["machine1"])
        self.assertEqual(self.json("/v2/admin/forbidden"), [])

    def test_forbidden_machine_is_listed(self) -> None:
        """The list says who forbade it and when, until it is allowed again (api, "Remove Machines")."""
        self.replica.register(OTHER)
        answer = self.ask("/v2/admin/machines/machine1?forbid=true", "DELETE")
        self.assertEqual(answer.status, 200)
        allow = "kept out until it is allowed again: PUT /v2/admin/machines/machine1?forbid=false"
        self.assertIn(allow, answer.body.decode())
        self.assertEqual(self.replica.removed, ["machine1"])
        since = "1970-01-01T00:00:00.000000Z"
        self.assertEqual(self.json("/v2/admin/forbidden"), [{"name": "machine1", "by": "192.168.1.1", "since": since}])
        answer = self.ask("/v2/admin/machines/machine1?forbid=false", "PUT")
        self.assertEqual((answer.status, answer.body), (200, b"machine1 may join the cluster again\n"))
        self.assertEqual(self.json("/v2/admin/forbidden"), [])
        answer = self.ask("/v2/admin/machines/machine1?forbid=false", "PUT")
        self.assertEqual((answer.status, json.loads(answer.body)["errorCode"]), (404, 100))

    def test_forbid_is_true_or_false(self) -> None:
        """Any other value is refused, and nothing is done."""
        self.replica.register(OTHER)
        path = "/v2/admin/machines/machine1"
        for value in ("", "yes", "2", "%ff"):
            for method in ("DELETE", "PUT"):
                answer = self.ask(f"{path}?forbid={value}", method)
                self.assert_error(answer, 400, 209, "forbid should be true or false")
        for query in ("", "?forbid=true"):
            answer = self.ask(f"{path}{query}", "PUT")
            self.assert_error(
                answer, 400, 209, "forbid=false allows a machine again; DELETE with forbid=true keeps it out"
            )
        self.assertEqual(self.replica.removed, [])
        self.assertEqual(self.ask(f"{path}?forbid=0", "DELETE").status, 200)
        self.assertEqual(self.replica.forbidden(), [])

    def test_removal_is_answered_when_done(self) -> None:
        """There is no answer before."""
        self.replica.register(OTHER)
        self.replica.holding = True
        _, transport = self.begin("DELETE", "/v2/admin/machines/machine1")
        self.assertEqual(transport.value(), b"")
        self.replica.release()
        self.assertEqual(self.answer_to(transport, "DELETE").status, 200)

    def test_removal_of_an_unknown_machine_is_refused(self) -> None:
        """The answer is 404 with error 100."""
        answer = self.ask("/v2/admin/machines/machine7", "DELETE")
        self.assert_error(answer, 404, 100, "no machine machine7 is in the cluster")

    def test_impossible_removal_is_refused(self) -> None:
        """The error says why."""
        error = EtcdError(ErrorCode.RAFT_INTERNAL, "too few machines are alive")
        self.patch(self.replica, "remove", lambda *_: fail(error))
        answer = self.ask("/v2/admin/machines/machine0", "DELETE")
        self.assert_error(answer, 500, 300, "too few machines are alive")
        self.assertEqual(self.json("/v2/admin/machines"), [FIRST])


class ConfigTests(AdminTest):
    """These tests are about the settings of the whole cluster."""

    def test_default_configuration_is_shown_until_one_is_set(self) -> None:
        """The defaults hold until something is set, and are not in the key space (api, "Get Cluster Config")."""
        self.assertEqual(self.ask(CONFIG).body, b'{"activeSize":9,"removeDelay":1800,"syncInterval":5}')
        self.assertEqual(self.replica.index, 1)

    def test_configuration_that_is_not_known_yet_is_an_error(self) -> None:
        """A machine that has not caught up does not show its defaults."""
        self.replica.serving = False
        cause = "this machine does not know the configuration of the cluster yet; try again"
        self.assert_error(self.ask(CONFIG), 500, 300, cause)

    def test_configuration_that_is_set_is_kept(self) -> None:
        """The answer is the new configuration, which is kept in the key space (api, "Set Cluster Config")."""
        body = '{"activeSize":3, "removeDelay":60.5,"syncInterval":2}'
        expected = {"activeSize": 3, "removeDelay": 60.5, "syncInterval": 2}
        self.assertEqual(self.json(CONFIG, "PUT", body), expected)
        self.assertEqual(self.json(CONFIG), expected)
        node = self.replica.get(CONFIG_KEY)
        self.assertEqual(json.loads(getattr(node, "value", "")), expected)

    def test_set_a_part_of_the_configuration(self) -> None:
        """The rest stays."""
        self.assertEqual(self.json(CONFIG, "PUT", '{"activeSize":3}'), {**DEFAULTS, "activeSize": 3})
        changed = {**DEFAULTS, "activeSize": 3, "syncInterval": 1}
        self.assertEqual(self.json(CONFIG, "PUT", '{"syncInterval":1}'), changed)
        self.assertEqual(self.json(CONFIG, "PUT", "{}"), changed)

    def test_values_below_the_minimum_are_raised(self) -> None:
        """The answer has the values that were set (spec, "Admin")."""
        expected = {"activeSize": 3, "removeDelay": 2, "syncInterval": 1}
        self.assertEqual(self.json(CONFIG, "PUT", '{"activeSize":1,"removeDelay":1,"syncInterval":0}'), expected)
        self.assertEqual(self.json(CONFIG), expected)
        node = self.replica.get(CONFIG_KEY)
        self.assertEqual(json.loads(getattr(node, "value", "")), expected)

    def test_two_changes_at_a_time_are_both_made(self) -> None:
        """Neither undoes the other, and a client that goes holds up no other."""
        self.replica.holding = True
        self.begin("PUT", CONFIG, '{"activeSize":5}')
        _, gone = self.begin("PUT", CONFIG, '{"activeSize":7}')
        gone.client_goes()
        _, last = self.begin("PUT", CONFIG, '{"syncInterval":1}')
        self.assertEqual(len(self.replica.proposed), 1)
        self.replica.release()
        expected = {**DEFAULTS, "activeSize": 5, "syncInterval": 1}
        self.assertEqual(json.loads(self.answer_to(last, "PUT").body), expected)
        self.assertEqual(self.json(CONFIG), expected)

    def test_bad_configuration_is_refused(self) -> None:
        """The answer is 400 with the reason, and nothing is set (spec, "Admin")."""
        fields = "activeSize, removeDelay, syncInterval"
        for body, code, cause in (
            ('{"activeSize":2147483648}', 403, "activeSize should be a whole number from 3 to 2147483647"),
            ('{"removeDelay":1e10}', 404, "removeDelay should be a number of seconds from 2 to 2147483647"),
            ('{"syncInterval":90000}', 209, "syncInterval should be a number of seconds from 1 to 86400"),
            ('{"activeSize":"9"}', 209, "activeSize should be a whole number from 3 to 2147483647"),
            ('{"activeSize":3,"promoteDelay":5}', 209, f"promoteDelay is none of {fields}"),
        ):
            self.assert_error(self.ask(CONFIG, "PUT", body), 400, code, cause)
        for body in ("", "activeSize=3", "[]"):
            answer = self.ask(CONFIG, "PUT", body)
            self.assertEqual((answer.status, json.loads(answer.body)["errorCode"]), (400, 210))
        self.assertEqual(self.replica.proposed, [])

    def test_unknown_outcome_of_a_change_is_reported(self) -> None:
        self.replica.holding = True
        _, transport = self.begin("PUT", CONFIG, "{}")
        self.replica.fail_held(EtcdError(ErrorCode.RAFT_INTERNAL, "whether the write was done is unknown"))
        answer = self.answer_to(transport, "PUT")
        self.assert_error(answer, 500, 300, "whether the write was done is unknown")


class ElsewhereTests(AdminTest):
    """These tests are about machines that do not lead."""

    changes = (
        ("PUT", "/v2/admin/config?a=%20b", '{"activeSize":3}'),
        ("DELETE", "/v2/admin/machines/machine1", ""),
        ("DELETE", "/v2/admin/machines/a%41b%20c?x=y%zz", ""),
        ("DELETE", "/v2/admin/machines/machine1?forbid=true", ""),
        ("PUT", "/v2/admin/machines/machine1?forbid=false", ""),
    )

    def setUp(self) -> None:
        super().setUp()
        self.replica.register(OTHER)

    def test_follower_redirects_changes(self) -> None:
        """
        The redirect goes to the leader's peer URL with path and query kept. A follower answers reads itself (spec,
        "Redirects").
        """
        self.replica.keyspace.apply(Set(CONFIG_KEY, 0, config_json(ClusterConfig(3))))
        self.replica.follow()
        for method, path, body in self.changes:
            self.assert_redirected(self.ask(path, method, body), path)
        self.assertEqual(self.json(CONFIG), {**DEFAULTS, "activeSize": 3})
        self.assertEqual((self.replica.proposed, self.replica.removed), ([], []))

    def test_changes_wait_for_a_leader(self) -> None:
        """Another machine or this one may become the leader. The wait is bounded."""
        self.replica.lose_leader()
        waiting = [self.begin(*change)[1] for change in self.changes]
        self.assertEqual({transport.value() for transport in waiting}, {b""})
        self.replica.follow()
        for (method, path, _), transport in zip(self.changes, waiting, strict=True):
            self.assert_redirected(self.answer_to(transport, method), path)
        self.replica.lose_leader()
        _, transport = self.begin("PUT", CONFIG, '{"activeSize":3}')
        self.replica.lead()
        self.assertEqual(self.answer_to(transport, "PUT").status, 200)
        self.replica.lose_leader()
        waiting = [self.begin(*change)[1] for change in self.changes]
        self.clock.advance(MIN_LEADER_WAIT_SECONDS)
        for (method, _, _), transport in zip(self.changes, waiting, strict=True):
            self.assert_error(self.answer_to(transport, method), 500, 300, NOBODY)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_change_of_a_client_that_goes_is_dropped(self) -> None:
        self.replica.lose_leader()
        for change in self.changes:
            _, transport = self.begin(*change)
            transport.client_goes()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.replica.lead()
        self.assertEqual((self.replica.proposed, self.replica.removed), ([], []))

    def test_change_that_was_not_made_is_redirected(self) -> None:
        """The client repeats it at the new leader."""
        for method, path, body in self.changes:
            self.replica.lead()
            self.replica.holding = True
            _, transport = self.begin(method, path, body)
            self.replica.follow()
            self.replica.fail_held(RequestDroppedError())
            self.assert_redirected(self.answer_to(transport, method), path)

    def test_leader_without_a_quorum_keeps_nobody_for_ever(self) -> None:
        asked: list[str] = []

        def nothing(name: str, _: str | None) -> "Deferred[None]":
            asked.append(name)
            return fail(RequestDroppedError())

        self.patch(self.replica, "remove", nothing)
        _, transport = self.begin("DELETE", "/v2/admin/machines/machine1")
        self.assertEqual(asked, ["machine1"])
        self.clock.pump(itertools.repeat(RETRY_PAUSE_SECONDS, round(MIN_LEADER_WAIT_SECONDS / RETRY_PAUSE_SECONDS)))
        self.assert_error(self.answer_to(transport, "DELETE"), 500, 300, NOBODY)

    def test_standby_has_no_pages(self) -> None:
        """Every path is 404 (spec, "Standby")."""
        self.replica.stand_by(MACHINE)
        for path in (*PAGES, "/nope"):
            for method in ("GET", "PUT", "DELETE", "PATCH"):
                self.assert_message(self.ask(path, method), 404, "Not Found")


class PortTests(AdminTest):
    """These tests hold for all pages."""

    def test_head_has_the_headers_of_get(self) -> None:
        """Only the date differs."""
        for page in PAGES:
            head, answer = self.ask(page, "HEAD"), self.ask(page)
            del head.headers["Date"], answer.headers["Date"]
            self.assertEqual((head.body, head.headers.items()), (b"", answer.headers.items()))

    def test_other_methods_are_refused(self) -> None:
        """The answer is 405 with the methods that are allowed."""
        for page, allowed in zip(PAGES, (set(), {"DELETE", "PUT"}, {"PUT"}), strict=True):
            for method in {"PUT", "POST", "DELETE"} - allowed:
                answer = self.ask(page, method)
                self.assert_message(answer, 405, "Method Not Allowed")
                self.assertEqual(set(answer.headers["Allow"].split(", ")), {"GET", "HEAD", "OPTIONS", *allowed})

    def test_a_turn_answers_few_requests(self) -> None:
        """The others are answered in later turns."""
        channel, transport = connect(self.site)
        channel.dataReceived(b"GET /v2/admin/machines HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        self.assertLessEqual(transport.value().count(b"HTTP/1.1 200"), WORK_PER_TURN // WORK_OF_PAGE)
        self.clock.advance(0)
        self.assertEqual(len(read_answers(transport.value(), *["GET"] * 100)), 100)

    def test_paths_are_cleaned(self) -> None:
        """The rules are those of the client port."""
        for path in ("//v2/admin/config", "/v2//admin/./config/", "/v2/../v2/admin/config"):
            self.assertEqual(self.json(path), self.json("/v2/admin/config"))
        for path in (*PAGES, "*", "/nope"):
            self.assertEqual(self.ask(path, "OPTIONS").status, 200)
        self.assert_error(self.ask("/v2/admin/%ff"), 400, 210, "the path has bytes that are not UTF-8 (\\xff)")

    def test_unknown_paths_are_not_found(self) -> None:
        """The answer is 404. The client port's paths are not served here."""
        for path in ("/", "/nope", "/v2/admin", "/v2/admin/machinesx", "/v2/keys/", "/version"):
            self.assert_message(self.ask(path), 404, "Not Found")

    def test_unexpected_error_is_logged(self) -> None:
        """The answer does not reveal the error."""

        def broken() -> None:
            raise ZeroDivisionError("secret")

        for name, pages in (("machines", MACHINES), ("cluster_config", (CONFIG,))):
            self.patch(self.replica, name, broken)
            for page in pages:
                self.assert_error(self.ask(page), 500, 300, "an error in the server; its log says more")
                self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assert_error(self.ask(CONFIG, "PUT", "{}"), 500, 300, "an error in the server; its log says more")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
