"""The commands: what is said to one end of a connection is what the other one hears."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces.cluster import JoinRequest
from etcd_twisted.peer.commands import (
    COMMANDS,
    MAX_CAUSE_CHARACTERS,
    Describe,
    Hello,
    Join,
    RefusedError,
    SnapshotPiece,
    Status,
)
from etcd_twisted.testing.raft_peer import CLUSTER, FIRST, REPORT, SECOND, VIEW

REQUEST = JoinRequest(1, FIRST, "", "machine1", "http://127.0.0.1:4001", "http://127.0.0.1:7001")


class ArgumentTests(SynchronousTestCase):
    @given(st.integers(0, 1 << 18), st.integers(0, 1 << 60))
    def test_long_bytes_go_through_amp(self, length: int, offset: int) -> None:
        """Bytes of any length go into values that AMP can carry, and come out whole."""
        data = bytes(range(256)) * (length // 256) + bytes(length % 256)
        box = SnapshotPiece.makeArguments({"offset": offset, "data": data}, None)
        self.assertEqual(amp.parseString(box.serialize()), [box])
        self.assertEqual(SnapshotPiece.parseArguments(box, None), {"offset": offset, "data": data})

    def test_structures_go_through_amp(self) -> None:
        """Requests and views."""
        box = Join.makeArguments({"request": REQUEST}, None)
        self.assertEqual(Join.parseArguments(box, None), {"request": REQUEST})
        box = Describe.makeResponse({"view": VIEW}, None)
        self.assertEqual(Describe.parseResponse(box, None), {"view": VIEW})
        box = Status.makeResponse({"report": REPORT}, None)
        self.assertEqual(Status.parseResponse(box, None), {"report": REPORT})

    def test_what_is_no_structure_is_a_value_error(self) -> None:
        """What is none is a L{ValueError}."""
        with self.assertRaises(ValueError):
            Join.parseArguments({b"request": b"garbage"}, None)

    def test_hello_ignores_an_unknown_field(self) -> None:
        """All fields, and one that is not known is passed over."""
        values = {"version": 1, "cluster_id": CLUSTER, "sender": FIRST, "name": "machine1", "receiver": SECOND,
                  "configuration_index": 7}  # fmt: skip
        box = Hello.makeArguments(values, None)
        box[b"later"] = b"addition"
        self.assertEqual(Hello.parseArguments(box, None), values)

    def test_hello_of_an_older_machine_names_no_commands(self) -> None:
        """It does not name the commands that it knows."""
        answer = Hello.parseResponse({b"machine_id": FIRST.encode()}, None)
        self.assertEqual(answer, {"machine_id": FIRST, "commands": None})

    def test_command_names_stay(self) -> None:
        """What they are called on the wire stays."""
        names = {b"Hello", b"Deliver", b"OfferSnapshot", b"SnapshotPiece", b"Join", b"Leave", b"Describe", b"Status"}
        self.assertEqual(set(COMMANDS), names)


class RefusedTests(SynchronousTestCase):
    @given(st.sampled_from(ErrorCode), st.text(st.characters(codec="utf-8"), max_size=200), st.integers(0, 1 << 62))
    def test_etcd_error_is_carried_over(self, code: ErrorCode, cause: str, index: int) -> None:
        """An error becomes the same error on the other side."""
        carried = RefusedError(str(RefusedError.carrying(EtcdError(code, cause, index)))).error()
        self.assertEqual((carried.code, carried.cause, carried.index), (code, cause, index))

    def test_long_cause_is_cut(self) -> None:
        """A cause that has no room in a box is cut."""
        carried = RefusedError.carrying(EtcdError(ErrorCode.KEY_EXISTS, "x" * 100_000)).error()
        self.assertEqual(carried.cause, "x" * MAX_CAUSE_CHARACTERS)

    def test_unreadable_error_says_so(self) -> None:
        """What is none is an error that says so."""
        for text in ("", "garbage", "[7, 'x']", '[777,"x",1]'):
            self.assertEqual(RefusedError(text).error().code, ErrorCode.RAFT_INTERNAL)
