"""
Tests of the AMP commands: one end of a connection decodes what the other end has encoded.
"""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces.cluster import ClusterView, JoinReply, JoinRequest, Machine, StatusReport
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.peer.commands import (
    COMMANDS,
    MAX_CAUSE_CHARACTERS,
    Describe,
    Hello,
    Join,
    RefusedError,
    SnapshotPiece,
    Status,
    StructArgument,
)
from etcd_twisted.testing.raft_peer import CLUSTER, FIRST, REPORT, SECOND, VIEW

WIRE: dict[bytes, tuple[dict[bytes, str], dict[bytes, str], set[bytes]]] = {
    b"Hello": (
        {
            b"version": "Integer",
            b"cluster_id": "Unicode",
            b"sender": "Unicode",
            b"name": "Unicode",
            b"configuration_index": "Integer",
            b"receiver": "Unicode",
            b"peer_url": "Unicode, optional",
        },
        {b"machine_id": "Unicode", b"commands": "ListOf String, optional"},
        {b"IDLE", b"VERSION", b"CLUSTER", b"MACHINE", b"NOT_A_MEMBER"},
    ),
    b"Deliver": ({b"payload": "LongBytes", b"more": "Boolean, optional"}, {}, set()),
    b"OfferSnapshot": (
        {b"metadata": "LongBytes", b"head": "LongBytes", b"size": "Integer"},
        {b"offset": "Integer"},
        {b"SNAPSHOT"},
    ),
    b"SnapshotPiece": ({b"offset": "Integer", b"data": "LongBytes"}, {}, {b"SNAPSHOT"}),
    b"Join": ({b"request": "JoinRequest"}, {b"reply": "JoinReply"}, {b"ETCD_ERROR", b"VERSION"}),
    b"Leave": ({b"name": "Unicode"}, {}, {b"ETCD_ERROR"}),
    b"Describe": ({}, {b"view": "ClusterView"}, set()),
    b"Status": ({}, {b"report": "StatusReport"}, set()),
    b"Forward": (
        {b"number": "Integer", b"data": "LongBytes", b"more": "Boolean, optional"},
        {b"answer": "LongBytes"},
        set(),
    ),
    b"Withdraw": ({b"number": "Integer"}, {}, set()),
}
"""
The arguments, the results and the error codes of each command on the wire. Machines of other versions rely on them:
add optional ones, but never rename or remove any.
"""

FIELDS: dict[type, list[str]] = {
    JoinRequest: ["version", "machine_id", "cluster_id", "name", "client_url", "peer_url"],
    JoinReply: ["cluster_id"],
    ClusterView: [
        "cluster_id",
        "machines",
        "leader",
        "config",
        "configuration_index",
        "fingerprints",
        "ids",
        "heard",
        "waits",
    ],
    Machine: ["name", "client_url", "peer_url"],
    ClusterConfig: ["activeSize", "removeDelay", "syncInterval"],
    StatusReport: [
        "wall_time",
        "cluster_time",
        "cluster_time_error",
        "role",
        "term",
        "applied",
        "version",
        "uptime",
        "cluster_term",
    ],
}
"""The fields of each structure in a command, as they are named on the wire. The same holds for them."""

REQUEST = JoinRequest(1, FIRST, "", "machine1", "http://127.0.0.1:4001", "http://127.0.0.1:7001")


Listed = list[tuple[bytes, amp.Argument]]


def parts_of(command: type[amp.Command]) -> tuple[Listed, Listed]:
    """Returns the arguments and the results of a command."""
    return command.arguments, command.response


def kind_of(argument: amp.Argument) -> str:
    """Returns how an argument is written, and whether it may be missing."""
    if isinstance(argument, StructArgument):
        name = argument.kind.__name__
    elif isinstance(argument, amp.ListOf):
        name = f"ListOf {kind_of(argument.elementType)}"
    else:
        name = type(argument).__name__
    return f"{name}, optional" if argument.optional else name


def add_fields(kind: inspect.Type, found: dict[type, list[str]]) -> None:
    """Adds the names of the fields of a structure and of those within it to C{found}."""
    if isinstance(kind, inspect.StructType | inspect.DataclassType):
        found[kind.cls] = [field.encode_name for field in kind.fields]
        for field in kind.fields:
            add_fields(field.type, found)
    elif isinstance(kind, inspect.CollectionType):
        add_fields(kind.item_type, found)


class ArgumentTests(SynchronousTestCase):
    @given(st.integers(0, 1 << 18), st.integers(0, 1 << 60))
    def test_long_bytes_go_through_amp(self, length: int, offset: int) -> None:
        """Bytes of any length are split into values that AMP can carry, and come out whole."""
        data = bytes(range(256)) * (length // 256) + bytes(length % 256)
        box = SnapshotPiece.makeArguments({"offset": offset, "data": data}, None)
        self.assertEqual(amp.parseString(box.serialize()), [box])
        self.assertEqual(SnapshotPiece.parseArguments(box, None), {"offset": offset, "data": data})

    def test_structures_go_through_amp(self) -> None:
        """Requests and views are carried as structures."""
        box = Join.makeArguments({"request": REQUEST}, None)
        self.assertEqual(Join.parseArguments(box, None), {"request": REQUEST})
        box = Describe.makeResponse({"view": VIEW}, None)
        self.assertEqual(Describe.parseResponse(box, None), {"view": VIEW})
        box = Status.makeResponse({"report": REPORT}, None)
        self.assertEqual(Status.parseResponse(box, None), {"report": REPORT})

    def test_what_is_no_structure_is_a_value_error(self) -> None:
        """Bytes that are no structure raise L{ValueError}."""
        with self.assertRaises(ValueError):
            Join.parseArguments({b"request": b"garbage"}, None)

    def test_hello_ignores_an_unknown_field(self) -> None:
        """The machine reads all fields that it knows, and ignores one that it does not know."""
        values = {"version": 1, "cluster_id": CLUSTER, "sender": FIRST, "name": "machine1", "receiver": SECOND,
                  "configuration_index": 7, "peer_url": "http://127.0.0.1:7001"}  # fmt: skip
        box = Hello.makeArguments(values, None)
        box[b"later"] = b"addition"
        self.assertEqual(Hello.parseArguments(box, None), values)

    def test_hello_of_an_older_machine_names_no_address(self) -> None:
        """An older machine does not send its peer URL."""
        values = {"version": 1, "cluster_id": CLUSTER, "sender": FIRST, "name": "machine1", "receiver": SECOND,
                  "configuration_index": 7}  # fmt: skip
        self.assertEqual(Hello.parseArguments(Hello.makeArguments(values, None), None), {**values, "peer_url": None})

    def test_hello_of_an_older_machine_names_no_commands(self) -> None:
        """An older machine does not send the names of the commands that it knows."""
        answer = Hello.parseResponse({b"machine_id": FIRST.encode()}, None)
        self.assertEqual(answer, {"machine_id": FIRST, "commands": None})

    def test_command_names_stay(self) -> None:
        """The names on the wire stay the same."""
        names = {b"Hello", b"Deliver", b"OfferSnapshot", b"SnapshotPiece", b"Join", b"Leave", b"Describe", b"Status"}
        self.assertEqual(set(COMMANDS), names | {b"Forward", b"Withdraw"})

    def test_arguments_results_and_errors_stay(self) -> None:
        """A cluster of mixed versions needs all of them: a renamed class or argument would break it."""
        found = {}
        for name, command in COMMANDS.items():
            arguments, results = ({key: kind_of(each) for key, each in listed} for listed in parts_of(command))
            found[name] = arguments, results, {*command.errors.values(), *command.fatalErrors.values()}
        self.assertEqual(found, WIRE)

    def test_fields_of_structures_stay(self) -> None:
        """Structures go over the wire as maps of their fields."""
        found: dict[type, list[str]] = {}
        for command in COMMANDS.values():
            for listed in parts_of(command):
                for _, each in listed:
                    if isinstance(each, StructArgument):
                        add_fields(inspect.type_info(each.kind), found)
        self.assertEqual(found, FIELDS)


class RefusedTests(SynchronousTestCase):
    @given(st.sampled_from(ErrorCode), st.text(st.characters(codec="utf-8"), max_size=200), st.integers(0, 1 << 62))
    def test_etcd_error_is_carried_over(self, code: ErrorCode, cause: str, index: int) -> None:
        carried = RefusedError(str(RefusedError.carrying(EtcdError(code, cause, index)))).error()
        self.assertEqual((carried.code, carried.cause, carried.index), (code, cause, index))

    def test_long_cause_is_cut(self) -> None:
        """A cause that has no room in a box is truncated."""
        carried = RefusedError.carrying(EtcdError(ErrorCode.KEY_EXISTS, "x" * 100_000)).error()
        self.assertEqual(carried.cause, "x" * MAX_CAUSE_CHARACTERS)

    def test_unreadable_error_becomes_an_error(self) -> None:
        """An error that can't be decoded becomes an error that says so."""
        for text in ("", "garbage", "[7, 'x']", '[777,"x",1]'):
            self.assertEqual(RefusedError(text).error().code, ErrorCode.RAFT_INTERNAL)
