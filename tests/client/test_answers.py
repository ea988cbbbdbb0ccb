"""What answers mean, those of this server and those of etcd 3.4."""

from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from etcd_twisted.client import (
    ApiError,
    ClientError,
    DuringElection,
    Event,
    Index,
    InsufficientCredentials,
    KeyNotFound,
    Node,
    RaftFailed,
    RequestRefused,
    UnexpectedAnswer,
)
from etcd_twisted.client.answers import Verdict, decode_json, error_of, event_of, index_of, judge, reading_of
from etcd_twisted.client.errors import api_error
from etcd_twisted.client.exchange import Answer
from etcd_twisted.consensus import local_member
from etcd_twisted.consensus.proposals.pending import Proposals
from etcd_twisted.consensus.proposals.quota import Quota
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace import KeySpace
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.web import redirects
from etcd_twisted.web.api_responses import error_response, internal_error

_E = TypeVar("_E", bound=ClientError)


def answer(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    raw = Headers()
    for name, value in (headers or {}).items():
        raw.addRawHeader(name, value)
    return Answer("http://a:4001", status, raw, body)


class ErrorTests(SynchronousTestCase):
    def check(self, wanted: type[_E], given: Answer) -> _E:
        error = error_of(given)
        self.assertIs(type(error), wanted)
        assert isinstance(error, wanted)
        return error

    def test_one_class_for_each_code(self) -> None:
        classes = {type(api_error(code)) for code in ErrorCode}
        self.assertEqual(len(classes), len(ErrorCode))
        self.assertNotIn(ApiError, classes)
        self.assertTrue(all(issubclass(each, ApiError) for each in classes))

    def test_an_error_of_the_server(self) -> None:
        response = error_response(EtcdError(ErrorCode.KEY_NOT_FOUND, "/key", 12), 0)
        error = self.check(KeyNotFound, answer(response.body, response.status))
        self.assertEqual((error.code, error.message, error.cause, error.index), (100, "Key not found", "/key", 12))
        self.assertEqual(str(error), "Key not found (/key)")

    def test_a_code_that_nobody_knows(self) -> None:
        error = self.check(ApiError, answer(b'{"errorCode": 999, "message": "news", "cause": "x"}', 400))
        self.assertEqual((error.code, str(error)), (999, "news (x)"))

    def test_etcds_refusal_of_a_user(self) -> None:
        body = b'{"errorCode":110,"message":"The request requires user authentication","cause":"Insufficient"}'
        self.assertEqual(self.check(InsufficientCredentials, answer(body, 401)).code, 110)
        self.check(InsufficientCredentials, answer(b'{"message":"Insufficient credentials"}', 401))
        self.check(InsufficientCredentials, answer(b"<html>", 401))

    def test_a_message_without_a_code(self) -> None:
        error = self.check(RequestRefused, answer(b'{"message":"No such member: 1"}', 404))
        self.assertEqual((error.status, error.message), (404, "No such member: 1"))

    def test_another_programs_answers(self) -> None:
        for body in (b"", b"<html>", b"[]", b"{}", b'{"errorCode": "100"}', b"\xff"):
            error = self.check(UnexpectedAnswer, answer(body, 404))
            self.assertEqual((error.status, error.body), (404, body))

    @given(st.integers(300, 600), st.binary(max_size=100))
    def test_any_body_is_an_error_of_some_kind(self, status: int, body: bytes) -> None:
        error = error_of(answer(body, status))
        self.assertIsInstance(error, ClientError)
        self.assertIsInstance(judge(error), Verdict)


class VerdictTests(SynchronousTestCase):
    """Whether a write may have happened, by the causes that the server really gives."""

    def check(self, wanted: Verdict, *errors: EtcdError) -> None:
        for error in errors:
            response = error_response(error, 1)
            self.assertIs(judge(error_of(answer(response.body, response.status))), wanted, error)

    def raft_error(self, cause: str) -> EtcdError:
        return EtcdError(ErrorCode.RAFT_INTERNAL, cause)

    def test_outcomes_that_the_server_does_not_know(self) -> None:
        self.check(
            Verdict.UNKNOWN,
            local_member._unknown(KeySpace()),
            self.raft_error(
                "this machine can't go on: no leader is known; try again; its log says more;"
                " whether the write was done is unknown"
            ),
            self.raft_error("this machine can't go on: applying the change failed; its log says more"),
        )
        response = internal_error(1)
        self.assertIs(judge(error_of(answer(response.body, response.status))), Verdict.UNKNOWN)

    def test_writes_that_were_not_made(self) -> None:
        self.check(Verdict.FINAL, local_member._too_much(KeySpace()), self.refusal_for_lack_of_room())

    def refusal_for_lack_of_room(self) -> EtcdError:
        keyspace = KeySpace()
        with self.assertRaises(EtcdError) as caught:
            Quota(Clock(), keyspace, Proposals(Clock(), 1.0, Exception), 1).check(Set("/key", 0, "x" * 100))
        return caught.exception

    def test_machines_that_have_no_leader(self) -> None:
        self.check(
            Verdict.TRY_AGAIN,
            redirects.no_leader(),
            redirects.no_machines_known(),
            EtcdError(ErrorCode.DURING_ELECTION, "no leader is known"),
            self.raft_error("this machine is catching up with the others; try again"),
            self.raft_error("this machine is stopping"),
            self.raft_error("etcdserver: no leader"),
        )

    def test_all_other_codes_are_final(self) -> None:
        for code in ErrorCode:
            if code not in (ErrorCode.RAFT_INTERNAL, ErrorCode.DURING_ELECTION):
                self.check(Verdict.FINAL, EtcdError(code, "whether the write was done is unknown"))

    def test_etcds_other_causes_leave_it_open(self) -> None:
        for cause in (
            "etcdserver: request timed out",
            "etcdserver: request timed out, possibly due to previous leader failure",
            "etcdserver: request timed out, possibly due to connection lost",
            "etcdserver: request cancelled",
            "etcdserver: server stopped",
            "raft proposal dropped",
            "",
        ):
            self.check(Verdict.UNKNOWN, self.raft_error(cause))

    def test_a_key_that_reads_like_a_cause(self) -> None:
        for cause in (
            "/no leader is known; try again",
            "whatever: this one was not made; try again later",
            "no leader is known; try again; whether the write was done is unknown",
            "this machine can't go on: too few machines are alive to go on without that one: start others first",
            "a machine can't be in the group twice; whether the write was done is unknown",
        ):
            self.check(Verdict.UNKNOWN, self.raft_error(cause))

    def test_answers_without_a_code(self) -> None:
        for body, status, verdict in (
            (b'{"message":"Internal Server Error"}', 500, Verdict.UNKNOWN),
            (b'{"message":"another change of the group is not done yet; try again"}', 500, Verdict.TRY_AGAIN),
            (
                b'{"message":"too few machines are alive to go on without that one: start others first"}',
                500,
                Verdict.FINAL,
            ),
            (b'{"message":"membership: peerURL exists"}', 409, Verdict.FINAL),
            (b"<html>", 500, Verdict.UNKNOWN),
            (b"<html>", 404, Verdict.FINAL),
            (b"<html>", 401, Verdict.FINAL),
        ):
            self.assertIs(judge(error_of(answer(body, status))), verdict, body)

    def test_what_the_exceptions_are(self) -> None:
        response = error_response(redirects.no_leader(), 1)
        self.assertIsInstance(error_of(answer(response.body, response.status)), RaftFailed)
        response = error_response(EtcdError(ErrorCode.DURING_ELECTION, ""), 1)
        self.assertIsInstance(error_of(answer(response.body, response.status)), DuringElection)


class SuccessTests(SynchronousTestCase):
    def test_headers(self) -> None:
        given = answer(b"", headers={"X-Etcd-Index": "35", "X-Raft-Index": "5398", "X-Raft-Term": "0"})
        self.assertEqual(index_of(given.headers), Index(35, 5398, 0))
        self.assertEqual(index_of(answer(b"").headers), Index(0))
        self.assertEqual(index_of(answer(b"", headers={"X-Etcd-Index": "-1", "X-Raft-Term": "x"}).headers), Index(0))

    def test_an_event_of_the_documentation(self) -> None:
        body = b"""{"action": "update", "node": {"createdIndex": 5, "key": "/foo", "modifiedIndex": 6, "value": "bar"},
            "prevNode": {"createdIndex": 5, "expiration": "2013-12-04T12:01:21.874888581-08:00", "key": "/foo",
            "modifiedIndex": 5, "ttl": 3, "value": "bar"}}"""
        before = Node("/foo", "bar", created_index=5, modified_index=5, ttl_seconds=3, expires_at=1386187281.874888)
        after = Node("/foo", "bar", created_index=5, modified_index=6)
        self.assertEqual(event_of(answer(body)), Event("update", after, before, Index(0)))

    def test_a_listing(self) -> None:
        body = b"""{"action": "get", "node": {"dir": true, "key": "/", "nodes": [
            {"createdIndex": 2, "dir": true, "key": "/foo_dir", "modifiedIndex": 2},
            {"createdIndex": 4, "key": "/message", "modifiedIndex": 4, "value": "Hello world"}]}}"""
        reading = reading_of(answer(body))
        self.assertIsNone(reading.value)
        self.assertEqual([node.name for node in reading.nodes], ["foo_dir", "message"])
        self.assertEqual([node.directory for node in reading.node.walk()], [True, True, False])

    def test_what_is_no_event(self) -> None:
        for body in (b"", b"{}", b"<html>", b'{"action": "set", "node": 1}', b'{"action": 1, "node": {}}'):
            with self.assertRaises(UnexpectedAnswer):
                event_of(answer(body))
        with self.assertRaises(UnexpectedAnswer):
            event_of(answer(b'{"action":"set","node":{"key":"/k","expiration":"tomorrow"}}'))

    def test_json_of_another_kind(self) -> None:
        self.assertEqual(decode_json(answer(b'["a"]'), list[str]), ["a"])
        with self.assertRaises(UnexpectedAnswer):
            decode_json(answer(b'["a"]'), list[int])
