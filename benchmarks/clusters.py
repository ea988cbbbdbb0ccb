"""
Several machines of one kind on this host that form a cluster, and the state that they report.

A cluster is used only when all of its machines agree about it. No process is left behind: a cluster is started with
C{with}, which ends all machines whatever happens.
"""

import http.client
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

from benchmarks.errors import BenchmarkError
from benchmarks.servers import KINDS, START_SECONDS, Answer, Server

MACHINES = 3

SEPARATE_SECONDS = 0.05
"""The pause before machines that don't agree yet are asked again."""

_LEADING = ("leader", "StateLeader")


@attrs.frozen
class View:
    """
    What one machine reports of its cluster.

    @ivar leads: whether it leads.
    @ivar leader: the leader's name; empty when it knows none.
    @ivar term: the Raft term.
    @ivar index: the key space's index.
    @ivar machines: how many there are.
    """

    leads: bool
    leader: str
    term: int
    index: int
    machines: int


@attrs.frozen
class Leadership:
    """Which machine leads, and in which term."""

    leader: Server
    term: int


def read_view(statistics: Answer, listing: Answer, machines: Answer) -> View:
    """
    Reads the view in three answers of one machine.

    @param statistics: of C{/v2/stats/self}.
    @param listing: of a C{GET} of a key.
    @param machines: of C{/v2/machines}.
    @raise BenchmarkError: one of them is no success.
    """
    for answer in (statistics, listing, machines):
        if answer.status != http.client.OK:
            raise BenchmarkError(f"status {answer.status}: {answer.body.decode(errors='replace')}")
    told = json.loads(statistics.body)
    return View(
        leads=told["state"] in _LEADING,
        leader=told["leaderInfo"]["leader"],
        term=term_of(listing),
        index=int(listing.headers["x-etcd-index"]),
        machines=len(machines.body.decode().split(", ")),
    )


def term_of(listing: Answer) -> int:
    """
    Returns the Raft term in the headers of an answer about a key.

    @raise BenchmarkError: there is none.
    """
    term = listing.headers.get("x-raft-term")
    if term is None:
        raise BenchmarkError(f"an answer with status {listing.status} has no X-Raft-Term: {listing.body!r}")
    return int(term)


def leading(views: Sequence[View]) -> int:
    """
    Returns which of the machines leads: all are of one cluster, know the same leader and term, and have the same copy.

    @raise BenchmarkError: they don't agree.
    """
    found = [position for position, view in enumerate(views) if view.leads]
    same = {(view.leader, view.term, view.index, view.machines) for view in views}
    if len(found) != 1 or len(same) != 1 or not views[0].leader or views[0].machines != len(views):
        raise BenchmarkError(f"they don't agree: {'; '.join(map(str, views))}")
    return found[0]


class Cluster:
    """
    Machines of one kind, each on ports and with a data directory of its own.

    @ivar name: its name in tables.
    @ivar members: the machines, the first one first.
    """

    def __init__(self, kind: type[Server], directory: Path, machines: int = MACHINES) -> None:
        self.name = kind.name
        self.members = [kind(directory, f"m{number}") for number in range(1, machines + 1)]
        for member in self.members:
            member.cluster = self.members
        self._founded = kind.founded

    def start(self) -> Leadership:
        """
        Starts all machines for the first time, and waits until they agree.

        @raise BenchmarkError: one does not serve, or they don't agree.
        """
        first, *others = self.members
        first.launch()
        if self._founded:
            first.wait_until_serving()
        for member in others:
            member.launch()
        for member in self.members:
            member.wait_until_serving()
        return self.agree()

    def agree(self) -> Leadership:
        """
        Waits until all machines know the same leader and have the same copy, which does not take long when nobody
        writes.

        @raise BenchmarkError: it takes too long; with the last state of each.
        """
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                views = [self._view(member) for member in self.members]
                leader = leading(views)
            except BenchmarkError as failure:
                if time.monotonic() > deadline:
                    waited = f"{self.name} was no cluster within {START_SECONDS:.0f} s"
                    raise BenchmarkError(f"{waited}: {failure}") from failure
                time.sleep(SEPARATE_SECONDS)
            else:
                return Leadership(self.members[leader], views[leader].term)

    def terms(self) -> list[int]:
        """
        Returns the Raft term that each machine knows.

        @raise BenchmarkError: one does not answer.
        """
        return [term_of(_asked(member, "/v2/keys/")) for member in self.members]

    def kill(self) -> None:
        """
        Kills all machines that run, as a crash would. Nobody needs them any more, and a leader that is asked to end
        would look long for another one among machines that end too.
        """
        with ExitStack() as each:
            for member in self.members:
                if member.running:
                    each.callback(member.kill)

    @staticmethod
    def _view(member: Server) -> View:
        listing = _asked(member, "/v2/keys/")
        try:
            return read_view(_asked(member, "/v2/stats/self"), listing, _asked(member, "/v2/machines"))
        except (KeyError, ValueError) as failure:
            raise BenchmarkError(f"{member.machine} answered something else: {failure!r}") from failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()


def _asked(member: Server, path: str) -> Answer:
    try:
        return member.get(path)
    except (OSError, http.client.HTTPException) as failure:
        raise BenchmarkError(f"{member.machine} of {member.name} does not answer {path}: {failure!r}") from failure


@contextmanager
def started(name: str, directory: Path) -> Iterator[Cluster]:
    """
    A cluster that serves, and is ended at the end of the context.

    @param name: of L{KINDS}.
    """
    with Cluster(KINDS[name], directory) as cluster:
        cluster.start()
        yield cluster
