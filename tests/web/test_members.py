"""
C{/v2/members}, in the format of etcd 2 and 3.4.
"""

import json
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.interfaces.cluster import fingerprint
from etcd_twisted.interfaces.ids import is_id
from etcd_twisted.testing.fake_membership import CLUSTER_ID
from etcd_twisted.testing.replica import MACHINE, OTHER
from etcd_twisted.web.api_options import ETCD04, ApiOptions
from etcd_twisted.web.redirects import MIN_LEADER_WAIT_SECONDS
from tests.wires import Answer, Transport, Wire, ask, read_answers

MEMBERS = "/v2/members"
JSON = "application/json"
ELSEWHERE = '{"peerURLs":["http://127.0.0.1:7009"]}'
FIRST = fingerprint(CLUSTER_ID, "0000000000000001")
SECOND = fingerprint(CLUSTER_ID, "0000000000000002")


ETCD2 = ApiOptions(hex_member_ids=True)


class MembersTest(SynchronousTestCase):
    """
    The pages, through the server. Two machines are in the cluster.

    @cvar options: what is configured.
    """

    options: ClassVar[ApiOptions] = ETCD04

    def setUp(self) -> None:
        self.wire = Wire(options=self.options)
        self.replica = self.wire.replica
        self.replica.register(OTHER)
        self.addCleanup(self.wire.stop)

    def begin(self, method: str, path: str, body: str = "", kind: str = JSON) -> Transport:
        channel, transport = self.wire.connect()
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        channel.dataReceived((head + body).encode())
        return transport

    def answer_to(self, transport: Transport, method: str) -> Answer:
        (answer,) = read_answers(transport.value(), method)
        return answer

    def ask(self, method: str, path: str, body: str = "", kind: str = JSON) -> Answer:
        return self.answer_to(self.begin(method, path, body, kind), method)

    def assert_problem(self, answer: Answer, status: int, message: str) -> None:
        self.assertEqual((answer.status, json.loads(answer.body)), (status, {"message": message}))
        self.assertEqual(answer.headers["Content-Type"], JSON)

    def assert_done(self, answer: Answer) -> None:
        self.assertEqual((answer.status, answer.body), (204, b""))
        self.assertNotIn("Transfer-Encoding", answer.headers)


class ListingTests(MembersTest):
    """
    These tests list the members of the cluster.

    @cvar ids: the ids of the two machines.
    @cvar ending: what follows the JSON.
    """

    ids: ClassVar[tuple[str, str]] = (MACHINE.name, OTHER.name)
    ending: ClassVar[str] = ""

    def test_all_members_are_listed(self) -> None:
        """
        They are in the order of their ids, with the fields in the order of etcd. The path may end with a slash (spec,
        "Later additions").
        """
        first, second = self.ids
        for path in (MEMBERS, MEMBERS + "/"):
            answer = self.ask("GET", path)
            self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, JSON))
            shown = {
                first: f'{{"id":"{first}","name":"machine0",'
                '"peerURLs":["http://127.0.0.1:7001"],"clientURLs":["http://127.0.0.1:4001"]}',
                second: f'{{"id":"{second}","name":"machine1",'
                '"peerURLs":["http://127.0.0.1:7002"],"clientURLs":["http://127.0.0.1:4002"]}',
            }
            listed = ",".join(shown[each] for each in sorted(shown))
            self.assertEqual(answer.body.decode(), f'{{"members":[{listed}]}}{self.ending}')

    def test_statistics_name_the_leader_by_its_id(self) -> None:
        """Clients look that up in the list."""
        statistics = json.loads(self.ask("GET", "/v2/stats/leader").body)
        self.assertEqual((statistics["leader"], list(statistics["followers"])), (self.ids[0], [self.ids[1]]))
        for change, leader in ((self.replica.lead, self.ids[0]), (self.replica.follow, self.ids[1])):
            change()
            statistics = json.loads(self.ask("GET", "/v2/stats/self").body)
            self.assertEqual((statistics["leaderInfo"]["leader"], statistics["name"]), (leader, MACHINE.name))
        self.replica.lose_leader()
        self.assertEqual(json.loads(self.ask("GET", "/v2/stats/self").body)["leaderInfo"]["leader"], "")

    def test_unknown_members_are_an_error(self) -> None:
        """A client would take an empty list for the answer."""
        self.patch(self.replica, "shown_members", dict)
        answer = self.ask("GET", MEMBERS)
        self.assertEqual((answer.status, json.loads(answer.body)["errorCode"]), (500, 300))

    def test_session_ids_are_hidden(self) -> None:
        """The ids by which machines recognize each other are not shown to clients."""
        body = self.ask("GET", MEMBERS).body.decode()
        for machine_id in self.replica.members():
            self.assertNotIn(machine_id, body)

    def test_leader_is_a_member(self) -> None:
        """Without a leader there is an error (spec, "Later additions")."""
        for change, machine_id in ((self.replica.lead, self.ids[0]), (self.replica.follow, self.ids[1])):
            change()
            self.assertEqual(json.loads(self.ask("GET", "/v2/members/leader").body)["id"], machine_id)
        self.replica.lose_leader()
        self.assert_problem(self.ask("GET", "/v2/members/leader"), 503, "During election")

    def test_other_methods_and_pages_are_refused(self) -> None:
        """The list is that of etcd."""
        for method, path in (("DELETE", MEMBERS), ("PUT", MEMBERS), ("POST", f"{MEMBERS}/{FIRST}")):
            self.assertEqual(self.ask(method, path).status, 405)
        self.assertEqual(self.ask("GET", f"{MEMBERS}/{FIRST}").status, 405)
        self.assertEqual(self.ask("GET", f"{MEMBERS}/{FIRST}/x").status, 404)


class HexListingTests(ListingTests):
    """With ids of digits, the answers are those of etcd 2."""

    options = ETCD2
    ids = (FIRST, SECOND)
    ending = "\n"

    def test_statistics_are_those_of_etcd_2(self) -> None:
        statistics = json.loads(self.ask("GET", "/v2/stats/self").body)
        self.assertEqual(list(statistics)[:5], ["name", "id", "state", "startTime", "leaderInfo"])
        self.assertEqual((statistics["id"], statistics["state"]), (FIRST, "StateLeader"))
        self.assertEqual(list(statistics["leaderInfo"]), ["leader", "uptime", "startTime"])
        self.replica.follow()
        self.assertEqual(json.loads(self.ask("GET", "/v2/stats/self").body)["state"], "StateFollower")
        self.assert_problem(self.ask("GET", "/v2/stats/leader"), 403, "not current leader")


class AddTests(MembersTest):
    """These tests send C{POST}. The machine is awaited from then on."""

    def add(self, url: str = "http://127.0.0.1:7009") -> Any:
        answer = self.ask("POST", MEMBERS, json.dumps({"peerURLs": [url]}))
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (201, JSON), answer.body)
        return json.loads(answer.body)

    def listed(self) -> dict[str, Any]:
        return {each["id"]: each for each in json.loads(self.ask("GET", MEMBERS).body)["members"]}

    def test_machine_is_awaited(self) -> None:
        """It has an id at once, but neither a name nor client URLs (spec, "Later additions")."""
        added = self.add("http://127.0.0.1:7009/")
        self.assertTrue(is_id(added["id"]))
        shown = {"id": added["id"], "name": "", "peerURLs": ["http://127.0.0.1:7009"], "clientURLs": []}
        self.assertEqual(added, shown)
        self.assertEqual(self.listed()[added["id"]], shown)
        self.assertEqual(len(self.listed()), 3)

    def test_awaited_machine_is_no_machine_yet(self) -> None:
        self.add()
        self.assertNotIn("7009", self.ask("GET", "/v2/machines").body.decode())
        self.assertEqual(len(self.replica.machines()), 2)

    def test_machine_is_awaited_once(self) -> None:
        self.add()
        again = self.ask("POST", MEMBERS, ELSEWHERE)
        self.assert_problem(again, 409, "membership: peerURL exists")
        taken = self.ask("PUT", f"{MEMBERS}/{SECOND}", ELSEWHERE)
        self.assert_problem(taken, 409, "membership: peerURL exists")

    def test_awaited_machine_is_moved(self) -> None:
        """It keeps its id."""
        added = self.add()
        for url in ("http://127.0.0.1:7010", "http://127.0.0.1:7010"):
            self.assert_done(self.ask("PUT", f"{MEMBERS}/{added['id']}", json.dumps({"peerURLs": [url]})))
        self.assertEqual(self.listed()[added["id"]]["peerURLs"], ["http://127.0.0.1:7010"])

    def test_awaited_machine_is_removed(self) -> None:
        added = self.add()
        self.assert_done(self.ask("DELETE", f"{MEMBERS}/{added['id']}"))
        self.assertNotIn(added["id"], self.listed())
        self.assert_gone(self.ask("DELETE", f"{MEMBERS}/{added['id']}"), added["id"])
        self.assertNotEqual(self.add()["id"], added["id"])

    def assert_gone(self, answer: Answer, member_id: str) -> None:
        """Asserts that there is no such member."""
        self.assert_problem(answer, 404, f"No such member: {member_id}")

    def test_refusal_has_the_clusters_reason(self) -> None:
        for code, status in ((ErrorCode.NO_MORE_PEER, 409), (ErrorCode.RAFT_INTERNAL, 500)):
            self.replica.holding = True
            transport = self.begin("POST", MEMBERS, ELSEWHERE)
            self.replica.fail_held(EtcdError(code, "the cause"))
            self.assert_problem(self.answer_to(transport, "POST"), status, "the cause")

    def test_known_member_is_refused(self) -> None:
        answer = self.ask("POST", MEMBERS, '{"peerURLs":["http://127.0.0.1:7002"]}')
        self.assert_problem(answer, 409, "membership: peerURL exists")

    def test_bad_bodies_are_refused(self) -> None:
        """The messages are those of etcd where etcd has one."""
        for kind, body, status, message in (
            ("text/plain; x=y", "a=b", 415, "Bad Content-Type text/plain, accept application/json"),
            (JSON, "x", 400, "JSON is malformed: invalid character (byte 0)"),
            (JSON, "", 400, "Input data was truncated"),
            (JSON, "[" * 900, 400, "Expected `object`, got `array`"),
            (JSON, "{}", 400, "Object missing required field `peerURLs`"),
            (JSON, '{"peerURLs":"x"}', 400, "Expected `array`, got `str` - at `$.peerURLs`"),
            (JSON, '{"peerURLs":[]}', 400, "no valid URLs given"),
            (JSON, '{"peerURLs":["http://a:1","http://b:2"]}', 400, "a machine has one peer URL, not 2"),
            (JSON, '{"peerURLs":["http://0.0.0.0:7001"]}', 400, "should be an address that others can reach"),
            (JSON, '{"peerURLs":["http://127.0.0.1"]}', 400, "'http://127.0.0.1': should have a port"),
            (JSON, '{"peerURLs":["ftp://a:1"]}', 400, "'ftp://a:1' should be http://HOST:PORT or https://HOST:PORT"),
            (JSON, '{"peerURLs":["http://a:1/x"]}', 400, "'http://a:1/x' should be"),
        ):
            for method, path in (("POST", MEMBERS), ("PUT", f"{MEMBERS}/{SECOND}")):
                answer = self.ask(method, path, body, kind)
                self.assertEqual(answer.status, status, body)
                self.assertTrue(json.loads(answer.body)["message"].startswith(message), answer.body)
        self.assertEqual(self.replica.moved, [])


class MoveTests(MembersTest):
    """These tests send C{PUT}."""

    path = f"{MEMBERS}/{SECOND}"

    def test_member_is_moved_by_its_peer_url(self) -> None:
        """
        Fields that change nothing are ignored, as are the parameters of the content type and a final slash (spec,
        "Later additions").
        """
        body = '{"name":"x","peerURLs":["http://127.0.0.1:7009/"],"clientURLs":[]}'
        self.assert_done(self.ask("PUT", self.path, body, "Application/JSON; charset=utf-8"))
        self.assertEqual(self.replica.moved, [("0000000000000002", "http://127.0.0.1:7009")])

    def test_unknown_member_is_not_found(self) -> None:
        self.assert_problem(self.ask("PUT", f"{MEMBERS}/1234", ELSEWHERE), 404, "No such member: 1234")

    def test_refusal_has_the_clusters_reason(self) -> None:
        for code, status in (
            (ErrorCode.PEER_ADDRESS_EXISTS, 409),
            (ErrorCode.INVALID_FIELD, 409),
            (ErrorCode.RAFT_INTERNAL, 500),
            (ErrorCode.KEY_NOT_FOUND, 404),
        ):
            self.replica.holding = True
            transport = self.begin("PUT", self.path, ELSEWHERE)
            self.replica.fail_held(EtcdError(code, "the cause"))
            self.assert_problem(self.answer_to(transport, "PUT"), status, "the cause")


class HexAddTests(AddTests):
    """With ids of digits, a member that was removed is remembered."""

    options = ETCD2

    def assert_gone(self, answer: Answer, member_id: str) -> None:
        self.assert_problem(answer, 410, f"Member permanently removed: {member_id}")


class NameTests(MembersTest):
    """Where ids are names, clients may name members."""

    def test_members_are_found_by_name_and_by_digits(self) -> None:
        for member_id in (OTHER.name, SECOND):
            self.assert_done(self.ask("PUT", f"{MEMBERS}/{member_id}", ELSEWHERE))
            self.assert_done(self.ask("DELETE", f"{MEMBERS}/{member_id}"))
            self.replica.register(OTHER)
        self.assertEqual(self.replica.moved, 2 * [("0000000000000002", "http://127.0.0.1:7009")])
        self.assertEqual(self.replica.removed, [OTHER.name, OTHER.name])


class HexRemoveTests(MembersTest):
    """With ids of digits, a member that was removed stays out until it is added again."""

    options = ETCD2

    def test_removed_member_stays_out(self) -> None:
        answer = self.ask("DELETE", f"{MEMBERS}/{SECOND}")
        self.assert_done(answer)
        self.assertNotIn("Warning", answer.headers)
        self.assertEqual([(each.name, each.by) for each in self.replica.forbidden()], [(OTHER.name, "192.168.1.1")])
        again = self.ask("DELETE", f"{MEMBERS}/{SECOND}")
        self.assert_problem(again, 410, f"Member permanently removed: {SECOND}")
        self.assert_problem(
            self.ask("PUT", f"{MEMBERS}/{SECOND}", ELSEWHERE), 410, f"Member permanently removed: {SECOND}"
        )

    def test_removed_member_may_return_if_the_client_says_so(self) -> None:
        answer = self.ask("DELETE", f"{MEMBERS}/{SECOND}?forbid=false")
        self.assertIn("machine1 is out of the cluster; if it still runs it joins again", answer.headers["Warning"])
        self.assertEqual(self.replica.forbidden(), [])

    def test_names_are_no_ids(self) -> None:
        self.assert_problem(self.ask("DELETE", f"{MEMBERS}/{OTHER.name}"), 404, f"No such member: {OTHER.name}")


class RemoveTests(MembersTest):
    """These tests send C{DELETE}."""

    def test_member_is_removed(self) -> None:
        """The machine is then out of the cluster (spec, "Later additions")."""
        self.assert_done(self.ask("DELETE", f"{MEMBERS}/{SECOND}"))
        self.assertEqual(self.replica.removed, [OTHER.name])
        self.assertEqual(self.replica.forbidden(), [])
        again = self.ask("DELETE", f"{MEMBERS}/{SECOND}")
        self.assert_problem(again, 404, f"No such member: {SECOND}")

    def test_removed_member_may_return(self) -> None:
        """The answer has no body. A header says that the member may return, unless it is forbidden."""
        answer = self.ask("DELETE", f"{MEMBERS}/{SECOND}")
        self.assertIn("machine1 is out of the cluster; if it still runs it joins again", answer.headers["Warning"])
        self.replica.register(OTHER)
        answer = self.ask("DELETE", f"{MEMBERS}/{SECOND}?forbid=true")
        self.assert_done(answer)
        self.assertNotIn("Warning", answer.headers)
        self.assertEqual([(each.name, each.by) for each in self.replica.forbidden()], [(OTHER.name, "192.168.1.1")])
        self.replica.register(OTHER)
        refused = self.ask("DELETE", f"{MEMBERS}/{SECOND}?forbid=x")
        self.assert_problem(refused, 400, "forbid should be true or false")

    def test_removal_is_answered_when_done(self) -> None:
        self.replica.holding = True
        transport = self.begin("DELETE", f"{MEMBERS}/{SECOND}")
        self.assertEqual(transport.value(), b"")
        self.replica.release()
        self.assert_done(self.answer_to(transport, "DELETE"))

    def test_impossible_removal_is_refused(self) -> None:
        self.replica.holding = True
        transport = self.begin("DELETE", f"{MEMBERS}/{SECOND}")
        self.replica.fail_held(EtcdError(ErrorCode.RAFT_INTERNAL, "too few machines are alive"))
        self.assert_problem(self.answer_to(transport, "DELETE"), 500, "too few machines are alive")


class ElsewhereTests(MembersTest):
    """These tests are about machines that do not lead."""

    changes: tuple[tuple[Any, ...], ...] = (
        ("POST", f"{MEMBERS}?a=b", ELSEWHERE),
        ("PUT", f"{MEMBERS}/{FIRST}", ELSEWHERE),
        ("DELETE", f"{MEMBERS}/{FIRST}"),
    )

    def test_follower_redirects_changes(self) -> None:
        """A follower answers reads itself."""
        self.replica.follow()
        for change in self.changes:
            answer = self.ask(*change)
            self.assertEqual((answer.status, answer.headers["Location"]), (307, OTHER.client_url + change[1]))
        self.assertEqual(len(json.loads(self.ask("GET", MEMBERS).body)["members"]), 2)

    def test_changes_wait_for_a_leader(self) -> None:
        """The wait is bounded."""
        self.replica.lose_leader()
        waiting = [(self.begin(*change), change[0]) for change in self.changes]
        self.wire.clock.advance(MIN_LEADER_WAIT_SECONDS)
        for transport, method in waiting:
            self.assert_problem(self.answer_to(transport, method), 500, "no leader is known; try again")

    def test_change_that_was_not_made_is_redirected(self) -> None:
        """The client repeats it at the new leader."""
        self.replica.holding = True
        transport = self.begin("DELETE", f"{MEMBERS}/{FIRST}")
        self.replica.follow()
        self.replica.fail_held(RequestDroppedError())
        self.assertEqual(self.answer_to(transport, "DELETE").status, 307)

    def test_standby_redirects_everything(self) -> None:
        """The redirects go to the leader."""
        self.replica.stand_by(MACHINE)
        for method in ("GET", "POST"):
            answer = ask(self.wire.site, MEMBERS, method)
            self.assertEqual((answer.status, answer.headers["Location"]), (307, MACHINE.client_url + MEMBERS))
