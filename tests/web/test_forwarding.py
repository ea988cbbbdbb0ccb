"""
The key endpoint on machines that do not lead, and that ask the leader for their clients.
"""

import json

from twisted.internet.defer import Deferred

from etcd_twisted.errors import CannotForwardError, ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.httpd.responses import Response
from etcd_twisted.web.keys import KeyEndpoint
from etcd_twisted.web.redirects import MIN_LEADER_WAIT_SECONDS, RETRY_PAUSE_SECONDS
from etcd_twisted.web.watches import Watch
from tests.web.test_leaders import FOR_ANYBODY, NOBODY, LeaderTest


class ForwardingTests(LeaderTest):
    """These tests are about a machine that follows another."""

    def setUp(self) -> None:
        super().setUp()
        self.put("/a b", value="v")
        self.replica.follow()
        self.endpoint = KeyEndpoint(self.replica, self.clock, forwards=True)
        self.replica.proposed.clear()

    def test_writes_are_answered_as_on_the_leader(self) -> None:
        """With the action, the status and the index of the change."""
        for method, query, status, action in (
            ("PUT", "", 200, "set"),
            ("PUT", "prevExist=true", 200, "update"),
            ("PUT", "prevValue=v", 200, "compareAndSwap"),
            ("DELETE", "", 200, "delete"),
            ("PUT", "prevExist=false", 201, "create"),
        ):
            response = self.ask(method, "/a%20b", query, value="v")
            body = json.loads(response.body)
            self.assertEqual((response.status, body["action"]), (status, action))
            self.assertEqual(body["node"]["modifiedIndex"], self.replica.index)
            self.assertIn(b"X-Etcd-Index: %d\r\n" % self.replica.index, response.fields)
        self.assertEqual(json.loads(self.ask("POST", "/q", value="v").body)["node"]["value"], "v")
        self.assertEqual((len(self.replica.forwarded), self.replica.proposed), (6, []))

    def test_silent_write(self) -> None:
        response = self.ask("PUT", "/k", "noValueOnSuccess=true", value="v")
        self.assertEqual((response.status, json.loads(response.body)), (201, {"action": "set"}))

    def test_errors(self) -> None:
        """Those of the form are found here, and those of the key space by the change."""
        self.assert_error(self.ask("PUT", "/k", "ttl=x"), 202, "Update", 400)
        self.assert_error(self.ask("PUT", "/none", "prevExist=true", value="v"), 100, "/none", 404)
        self.assertEqual(len(self.replica.forwarded), 1)

    def test_reads_are_confirmed_and_answered(self) -> None:
        self.replica.holding = True
        for query in ("quorum=true", "consistent=true"):
            answer = self.begin("GET", "/a%20b", query)
            self.replica.release_once()
            self.assertEqual(json.loads(self.successResultOf(answer).body)["node"]["value"], "v")
        answer = self.begin("GET", "/a%20b", "quorum=true&wait=true")
        self.replica.release_once()
        response = self.successResultOf(answer)
        assert isinstance(response.body, Watch)
        response.body.cancel()

    def test_other_reads_are_answered_at_once(self) -> None:
        self.replica.unforwarded = AssertionError("the leader is asked")
        for method, query in FOR_ANYBODY:
            self.assertEqual(self.ask(method, "/a%20b", query).status, 200)

    def test_dropped_request_is_forwarded_again(self) -> None:
        """It was not made, and is once the leader can be asked."""
        self.replica.unforwarded = RequestDroppedError("there is no connection")
        answers = [self.begin("PUT", "/k"), self.begin("GET", "/a%20b", "quorum=true")]
        self.clock.advance(RETRY_PAUSE_SECONDS)
        self.replica.unforwarded = None
        self.clock.advance(RETRY_PAUSE_SECONDS)
        self.assertEqual([self.successResultOf(each).status for each in answers], [201, 200])
        self.assertEqual(len(self.replica.forwarded), 1)

    def test_machine_that_leads_meanwhile_does_it_itself(self) -> None:
        self.replica.unforwarded = RequestDroppedError("there is no connection")
        answer = self.begin("PUT", "/k")
        self.replica.lead()
        self.clock.advance(RETRY_PAUSE_SECONDS)
        self.assertEqual(self.successResultOf(answer).status, 201)
        self.assertEqual((len(self.replica.proposed), self.replica.forwarded), (1, []))

    def test_nobody_waits_for_ever(self) -> None:
        self.replica.unforwarded = RequestDroppedError("there is no connection")
        answer = self.begin("PUT", "/k")
        self.clock.pump([RETRY_PAUSE_SECONDS] * round(MIN_LEADER_WAIT_SECONDS / RETRY_PAUSE_SECONDS + 2))
        self.assert_error(self.successResultOf(answer), 300, NOBODY, 500)
        self.assert_quiet()

    def test_request_waits_for_a_leader(self) -> None:
        """And is forwarded then."""
        self.replica.lose_leader()
        answers = [self.begin("PUT", "/k"), self.begin("GET", "/a%20b", "consistent=true")]
        self.replica.follow()
        self.assertEqual([self.successResultOf(each).status for each in answers], [201, 200])

    def test_unknown_outcome_is_reported(self) -> None:
        """The request is not made again."""
        self.replica.holding = True
        answer = self.begin("PUT", "/k")
        cause = "the leader was asked and has not answered; whether the write was done is unknown"
        self.replica.fail_held(EtcdError(ErrorCode.RAFT_INTERNAL, cause))
        self.assert_error(self.successResultOf(answer), 300, cause, 500)
        self.assert_quiet()

    def test_earlier_version_leads(self) -> None:
        """Clients are redirected to a leader that takes no requests of other machines."""
        self.replica.unforwarded = CannotForwardError("the leader takes none")
        self.assert_redirected(self._response("PUT", ""))
        self.assert_redirected(self._response("GET", "quorum=true"), "quorum=true")

    def test_standby_redirects(self) -> None:
        """It is not a member, and the leader does not know it."""
        self.replica.stand_by()
        self.assert_redirected(self._response("PUT", ""))
        self.assert_redirected(self._response("GET", ""))

    def _response(self, method: str, query: str) -> Response:
        answer = self.start(method, "/a%20b", query, value="v")
        return self.successResultOf(answer) if isinstance(answer, Deferred) else answer
