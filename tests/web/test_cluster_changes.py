"""
Changes of the members and of the cluster's configuration that clients ask a follower for: the leader makes them.
"""

import json

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import CannotForwardError, ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.httpd.limits import Limits
from etcd_twisted.httpd.site import Site
from etcd_twisted.testing.replica import MACHINE, OTHER, FakeReplica
from etcd_twisted.web.admin import AdminPages
from etcd_twisted.web.redirects import MIN_LEADER_WAIT_SECONDS
from tests.wires import Answer, Transport, Wire, connect, read_answers

MEMBERS = "/v2/members"
CONFIG = "/v2/admin/config"
ELSEWHERE = '{"peerURLs":["http://127.0.0.1:7009"]}'
UNKNOWN = "the leader was asked and has not answered; whether it was done is unknown"


class ForwardedChangesTest(SynchronousTestCase):
    """
    A follower and its leader.

    @ivar wire: the client port of the follower.
    @ivar admin: its peer port.
    @ivar leader: the leader's replica.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.replica, self.leader = FakeReplica(self.clock), FakeReplica(self.clock)
        self.wire = Wire(self.replica, forwards=True)
        pages = AdminPages(self.replica, self.clock, forwards=True)
        self.admin = Site(self.clock, pages, None, Limits(100, 1_000, 10.0, 10.0))
        leading = Wire(self.leader)
        for replica in (self.replica, self.leader):
            replica.register(OTHER)
            self.addCleanup(replica.stop)
        self.assertIs(leading.replica, self.leader)
        self.replica.follow()
        self.replica.answers = self.at_leader

    def at_leader(self, question: bytes, user: str) -> "Deferred[bytes]":
        answer = self.leader.answer_question
        assert answer is not None
        return answer(question, user)

    def begin(self, method: str, path: str, body: str = "") -> Transport:
        site = self.admin if "/admin/" in path else self.wire.site
        channel, transport = connect(site)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        )
        channel.dataReceived(f"{head}\r\n{body}".encode())
        return transport

    def answer_to(self, transport: Transport, method: str) -> Answer:
        (answer,) = read_answers(transport.value(), method)
        return answer

    def ask(self, method: str, path: str, body: str = "") -> Answer:
        return self.answer_to(self.begin(method, path, body), method)


class AnsweredTests(ForwardedChangesTest):
    """The leader answers."""

    def test_members_are_changed(self) -> None:
        added = self.ask("POST", MEMBERS, ELSEWHERE)
        self.assertEqual(added.status, 201)
        self.assertIn(json.loads(added.body)["id"], self.leader.shown_members())
        moved = self.ask("PUT", f"{MEMBERS}/{OTHER.name}", '{"peerURLs":["http://127.0.0.1:7010"]}')
        self.assertEqual(moved.status, 204)
        self.assertEqual(self.leader.moved, [("0000000000000002", "http://127.0.0.1:7010")])
        removed = self.ask("DELETE", f"{MEMBERS}/{OTHER.name}?forbid=true")
        self.assertEqual((removed.status, self.leader.removed), (204, [OTHER.name]))
        (forbidden,) = self.leader.forbidden()
        self.assertEqual((forbidden.name, forbidden.by), (OTHER.name, "192.168.1.1"))  # the client, not the follower
        self.assertEqual(self.replica.proposed, [])

    def test_refusals_are_the_leaders(self) -> None:
        for method, path, body, status, message in (
            ("DELETE", f"{MEMBERS}/nobody", "", 404, "No such member: nobody"),
            ("POST", MEMBERS, "{}", 400, "Object missing required field `peerURLs`"),
            ("POST", MEMBERS, json.dumps({"peerURLs": [OTHER.peer_url]}), 409, "membership: peerURL exists"),
        ):
            answer = self.ask(method, path, body)
            self.assertEqual((answer.status, json.loads(answer.body)), (status, {"message": message}))

    def test_configuration_is_changed(self) -> None:
        answer = self.ask("PUT", CONFIG, '{"activeSize": 5}')
        self.assertEqual((answer.status, json.loads(answer.body)["activeSize"]), (200, 5))
        self.assertEqual(self.leader.cluster_config().active_size, 5)
        wrong = self.ask("PUT", CONFIG, '{"size": 5}')
        self.assertEqual((wrong.status, json.loads(wrong.body)["errorCode"]), (400, 209))

    def test_machines_are_removed_and_allowed(self) -> None:
        removed = self.ask("DELETE", f"/v2/admin/machines/{OTHER.name}?forbid=true")
        self.assertEqual((removed.status, self.leader.removed), (200, [OTHER.name]))
        self.assertEqual(self.ask("PUT", f"/v2/admin/machines/{OTHER.name}?forbid=false").status, 200)
        self.assertEqual(self.leader.forbidden(), [])
        missing = self.ask("DELETE", "/v2/admin/machines/nobody")
        self.assertEqual((missing.status, json.loads(missing.body)["errorCode"]), (404, 100))


class UnansweredTests(ForwardedChangesTest):
    """The leader does not answer."""

    changes = (
        ("POST", MEMBERS, ELSEWHERE),
        ("DELETE", f"{MEMBERS}/{OTHER.name}", ""),
        ("PUT", CONFIG, '{"activeSize": 5}'),
    )

    def causes(self, answer: Answer) -> str:
        said = json.loads(answer.body)
        text: str = said.get("message", "") + said.get("cause", "")
        return text

    def test_unknown_outcome_is_told(self) -> None:
        """The change may have been made: it is not repeated, nor is the client sent to the leader."""
        asked = list[bytes]()

        def lost(question: bytes, _user: str) -> "Deferred[bytes]":
            asked.append(question)
            return fail(ConnectionError("it is gone"))

        self.replica.answers = lost
        for change in self.changes:
            answer = self.ask(*change)
            self.assertEqual(answer.status, 500)
            self.assertIn(UNKNOWN, self.causes(answer))
        self.assertEqual(len(asked), len(self.changes))

    def leader_leaves(self, question: bytes, user: str) -> "Deferred[bytes]":
        """Has the leader remove itself, and the follower elect another, before the answer is there."""
        self.at_leader(question, user)
        for forbidden in self.leader.forbidden():
            self.replica.put(forbidden.key, forbidden.value)
        self.replica.delete(OTHER.key)
        self.replica.follow(MACHINE)
        return fail(ConnectionError("it is gone"))

    def test_leader_that_was_removed_does_not_answer(self) -> None:
        """The next leader's answer to a read shows that it was done."""
        self.replica.answers = self.leader_leaves
        for path, status in ((f"{MEMBERS}/{OTHER.name}", 204), (f"/v2/admin/machines/{OTHER.name}", 200)):
            for query in ("", "?forbid=true"):
                answer = self.ask("DELETE", path + query)
                self.assertEqual(answer.status, status, path + query)
                self.leader.register(OTHER)
                self.replica.register(OTHER)
                self.replica.follow()

    def test_follower_that_was_removed_itself_gets_no_answer(self) -> None:
        """It learns from the leader that it is not a member any more."""

        def removed(_question: bytes, _user: str) -> "Deferred[bytes]":
            self.replica.unforwarded = CannotForwardError("this machine is not a member")
            self.replica.standby = True
            return fail(ConnectionError("it is gone"))

        self.replica.answers = removed
        for path, done in ((f"{MEMBERS}/{MACHINE.name}", 204), (f"/v2/admin/machines/{MACHINE.name}", 200)):
            for query, status in (("", done), ("?forbid=true", 500)):
                self.replica.unforwarded, self.replica.standby = None, False
                answer = self.ask("DELETE", path + query)
                self.assertEqual(answer.status, status, path + query)
                if status == 500:
                    self.assertIn(UNKNOWN, self.causes(answer))

    def test_member_that_is_not_kept_out_was_removed_by_somebody_else(self) -> None:
        self.patch(self.leader, "forbidden", list)
        self.replica.answers = self.leader_leaves
        answer = self.ask("DELETE", f"{MEMBERS}/{OTHER.name}?forbid=true")
        self.assertEqual(answer.status, 500)
        self.assertIn(UNKNOWN, self.causes(answer))

    def test_answer_that_cannot_be_read_is_an_unknown_outcome(self) -> None:
        self.replica.answers = lambda _question, _user: Deferred.fromCoroutine(_nonsense())
        for change in self.changes:
            answer = self.ask(*change)
            self.assertEqual(answer.status, 500)
            self.assertIn("whether it was done is unknown", self.causes(answer))

    def test_client_is_redirected_to_a_leader_of_an_earlier_version(self) -> None:
        self.replica.unforwarded = CannotForwardError("it is too old")
        for method, path, body in self.changes:
            answer = self.ask(method, path, body)
            url = OTHER.peer_url if path == CONFIG else OTHER.client_url
            self.assertEqual((answer.status, answer.headers["Location"]), (307, url + path))

    def test_change_that_was_not_made_is_the_next_leaders(self) -> None:
        """The follower asks it, or is it itself."""
        self.replica.unforwarded = RequestDroppedError("it does not lead")
        waiting = [(self.begin(*change), change[0]) for change in self.changes[:2]]
        self.assertEqual([transport.value() for transport, _ in waiting], [b"", b""])
        self.replica.unforwarded = None
        self.clock.advance(MIN_LEADER_WAIT_SECONDS / 2)
        self.assertEqual([self.answer_to(*each).status for each in waiting], [201, 204])
        self.replica.lose_leader()
        waiting = [(self.begin(*self.changes[2]), "PUT")]
        self.replica.lead()
        self.assertEqual(self.answer_to(*waiting[0]).status, 200)
        self.assertEqual(self.replica.cluster_config().active_size, 5)

    def test_wait_for_a_leader_ends(self) -> None:
        self.replica.unforwarded = RequestDroppedError("it does not lead")
        waiting = [(self.begin(*change), change[0]) for change in self.changes]
        for _ in range(200):
            self.clock.advance(MIN_LEADER_WAIT_SECONDS / 100)
        for each in waiting:
            answer = self.answer_to(*each)
            self.assertEqual(answer.status, 500)
            self.assertIn("no leader is known; try again", self.causes(answer))

    def test_machine_that_does_not_lead_changes_nothing(self) -> None:
        """It does not pass the question on."""
        self.leader.follow(MACHINE)
        for change in self.changes:
            self.begin(*change)
        self.assertEqual((self.leader.proposed, self.leader.forwarded), ([], []))


class ClientTests(ForwardedChangesTest):
    def test_unknown_error_of_the_leader_is_passed_on(self) -> None:
        self.leader.holding = True
        transport = self.begin("DELETE", f"/v2/admin/machines/{OTHER.name}")
        self.leader.fail_held(EtcdError(ErrorCode.RAFT_INTERNAL, "whether the write was done is unknown", 7))
        answer = self.answer_to(transport, "DELETE")
        self.assertEqual((answer.status, answer.headers["X-Etcd-Index"]), (500, "7"))
        self.assertEqual(json.loads(answer.body)["cause"], "whether the write was done is unknown")


async def _nonsense() -> bytes:
    return b"nonsense"
