"""
The pages that the dashboard requests beside the API: the state of this machine, the user of the page, and the size of
a directory.

The responses are for the page that comes with them, and change with it. This module must never change anything, nor
hold up the reactor for as long as it takes to count many keys.
"""

import attrs
import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.iweb import IRequest

from etcd_twisted import __version__
from etcd_twisted.auth.state import AuthState
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.httpd.responses import JSON, Response
from etcd_twisted.interfaces import IReplica
from etcd_twisted.interfaces.cluster import MachineStatus
from etcd_twisted.interfaces.statistics import IWorkers, StartTime
from etcd_twisted.keyspace.events import encode_json
from etcd_twisted.keyspace.nodes import Directory
from etcd_twisted.keyspace.paths import ROOT, clean
from etcd_twisted.keyspace.sizes import NodeCount, count_nodes
from etcd_twisted.web.access import Access
from etcd_twisted.web.dashboard.health import Problem, problems
from etcd_twisted.web.forms import parse

_FIELDS = JSON + b"Cache-Control: no-store\r\n"


class MemberView(msgspec.Struct, rename="camel", omit_defaults=True):
    """
    What this machine knows of a member of the cluster, which may be itself. Unknown fields are left out.

    @ivar lasted: for how many seconds the member has answered, or not answered.
    @ivar problem: why it does not answer.
    @ivar uptime: seconds since it was started.
    @ivar round_trip: how many milliseconds its last answer took.
    @ivar clock_ahead: how many seconds its clock is ahead of this machine's.
    """

    name: str
    reachable: bool
    lasted: float
    problem: str = ""
    role: str = ""
    term: int | None = None
    applied: int | None = None
    version: str = ""
    uptime: float | None = None
    round_trip: float | None = None
    clock_ahead: float | None = None


class WorkerView(msgspec.Struct, rename="camel"):
    """
    A worker.

    @ivar processor: how many seconds of a processor it has used.
    @ivar memory: how many bytes it takes.
    """

    number: int
    connections: int
    watchers: int
    processor: float
    memory: int


class DashboardStatus(msgspec.Struct, rename="camel", omit_defaults=True):
    """
    This machine, and what it knows of the cluster.

    @ivar uptime: seconds since this machine was started.
    @ivar role: C{leader}, C{candidate}, C{follower}, C{learner} or C{standby}.
    @ivar forwards: whether this machine has the leader make changes, and so keys can be changed here.
    @ivar problems: what is wrong, the worst first.
    @ivar auth: C{enabled} or C{disabled}; left out while there are neither users nor roles.
    @ivar index: the index of the key space. It and all fields below are left out while this machine can't read the key
        space.
    @ivar keys: how many keys have a value, including hidden ones and those of the cluster itself.
    @ivar workers: the workers that run; left out if the machine has none.
    """

    name: str
    version: str
    uptime: float
    role: str
    leader: str
    term: int
    raft_index: int
    problems: list[Problem]
    machines: list[MemberView]
    forwards: bool = False
    auth: str = ""
    index: int | None = None
    keys: int | None = None
    size_bytes: int | None = None
    quota_bytes: int | None = None
    workers: list[WorkerView] | None = None


def _view(status: MachineStatus) -> MemberView:
    view = MemberView(status.name, status.reachable, status.lasted_seconds, status.problem)
    report = status.report
    if report is not None:
        view.role, view.term, view.applied = report.role, report.term, report.applied
        view.version, view.uptime = report.version, report.uptime_microseconds / 1e6
    if status.round_trip_seconds is not None:
        view.round_trip = status.round_trip_seconds * 1e3
    view.clock_ahead = status.clock_ahead_seconds
    return view


def _auth(state: AuthState) -> str:
    if state.enabled:
        return "enabled"
    return "disabled" if state.users or state.roles else ""


class StatusPages:
    """Makes the responses about one machine."""

    def __init__(
        self,
        replica: IReplica,
        clock: IReactorTime,
        forwards: bool,
        access: Access,
        workers: IWorkers | None,
        started: StartTime,
    ) -> None:
        """
        @param forwards: whether this machine has the leader make changes while another one leads.
        @param workers: the processes that serve clients, if it is not this one.
        @param started: when the machine was started.
        """
        self._access = access
        self._forwards = forwards
        self._replica = replica
        self._clock = clock
        self._started = started
        self._workers = workers

    async def status(self) -> Response:
        """Returns the state of the machine, and what it knows of the cluster."""
        replica = self._replica
        counts = {} if self._workers is None else await self._workers.counts()
        leader, statuses = replica.leader(), replica.statuses().values()
        own = next((each.report.role for each in statuses if each.name == replica.name and each.report), "")
        status = DashboardStatus(
            replica.name,
            __version__,
            self._clock.seconds() - self._started.reactor_seconds,
            "standby" if replica.standby else own or ("leader" if replica.is_leader else "follower"),
            "" if leader is None else leader.name,
            replica.term,
            replica.raft_index,
            problems(replica),
            [_view(each) for each in statuses],
            self._forwards and not replica.standby,
            _auth(replica.auth),
        )
        if replica.serving:
            contents = replica.measurements().contents
            status.index, status.keys, status.size_bytes = replica.index, contents.keys, contents.size_bytes
            status.quota_bytes = contents.quota_bytes or None
        if self._workers is not None:
            status.workers = [
                WorkerView(number, each.connections, each.watchers, each.processor_seconds, each.memory_bytes)
                for number, each in sorted(counts.items())
            ]
        return Response(200, _FIELDS, encode_json(status))

    async def user(self, request: IRequest) -> Response:
        """
        Returns whose credentials a request has; an empty name stands for a guest.

        @raise EtcdError: they are wrong.
        """
        return Response(200, _FIELDS, encode_json({"user": await self._access.user_of(request)}))

    async def count(self, request: IRequest) -> Response:
        """
        Returns how many keys and directories a directory holds, at any depth, and how many of them no listing shows.

        The key of the directory is the request's C{key}, which is the root by default.

        @raise EtcdError: there is no such directory, its user may not read all of it, or the query can't be decoded.
        """
        key = clean(parse(request.uri.partition(b"?")[2]).get("key", ROOT))
        await self._access.check(request, lambda rights: rights.may_read(key, recursive=True))
        node = self._replica.get(key)
        if not isinstance(node, Directory):
            raise EtcdError(ErrorCode.NOT_A_DIRECTORY, key)
        total = NodeCount()
        for so_far in count_nodes(node):
            total = so_far
            await deferLater(self._clock, 0, lambda: None)
        return Response(200, _FIELDS, encode_json(attrs.asdict(total)))
