"""
The client of the version 2 API, for Twisted programs.

This module must never know how requests are sent, nor how answers are spelt: L{etcd_twisted.client.sender} and
L{etcd_twisted.client.answers} do.
"""

import random
from collections.abc import Callable, Iterable
from typing import Self, TypeVar

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, DeferredSemaphore, succeed
from twisted.internet.interfaces import IReactorTime, IResolver
from twisted.web.iweb import IAgent

from etcd_twisted.client import keys, members
from etcd_twisted.client.admin import Admin
from etcd_twisted.client.answers import event_of, reading_of
from etcd_twisted.client.auth import Auth
from etcd_twisted.client.body import BytesBody
from etcd_twisted.client.connecting import Connections, Tls, default_reactor
from etcd_twisted.client.exchange import Exchanges
from etcd_twisted.client.machines import Machines
from etcd_twisted.client.messages import Request
from etcd_twisted.client.results import Event, Machine, Reading, Version
from etcd_twisted.client.sender import Sender, Timeouts
from etcd_twisted.client.srv import (
    CLIENT_SERVICES,
    PEER_SERVICES,
    client_urls,
    default_resolver,
    find_urls,
    nothing_found,
)
from etcd_twisted.client.statistics import Statistics
from etcd_twisted.client.watch import MAX_OPENINGS, Watch

_T = TypeVar("_T")

REFRESH_SECONDS = 60.0
"""How old the list of machines may get before a request has it refreshed."""


class Client:
    """
    A client of one cluster.

    Each request returns a Deferred, which can be awaited and cancelled. It asks the machines one after the other until
    one answers, follows redirects to the leader, and waits out elections, for C{timeout_seconds} in all. What may have
    changed something is not sent twice: it fails with L{OutcomeUnknown}. See L{etcd_twisted.client.errors} for all
    exceptions; every request may raise those of L{ClientError}.

    A key is a path such as C{/services/web}; its first slash may be left out. Values are text. TTLs are whole seconds.

    @ivar reactor: schedules what this client does, and what is built on it.
    @ivar statistics: what machines count; see L{Statistics}.
    @ivar admin: what administrators do; see L{Admin}.
    @ivar auth: users and roles; see L{Auth}.
    """

    def __init__(
        self,
        endpoints: str | Iterable[str] = "http://127.0.0.1:4001",
        *,
        reactor: IReactorTime | None = None,
        agent: IAgent | None = None,
        wrap_agent: Callable[[IAgent], IAgent] | None = None,
        credentials: tuple[str, str] | None = None,
        tls: Tls | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  # it is frozen
        refresh_seconds: float | None = REFRESH_SECONDS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """
        @param endpoints: URLs of machines, such as C{http://10.0.0.1:4001}, or hosts and ports; one is enough, several
            are safer.
        @param reactor: C{None} for Twisted's global one.
        @param agent: what sends requests in place of the network, such as a stub; C{tls} is not used then.
        @param wrap_agent: is given what sends requests, and returns what is used in its place and may pass requests on
            to it, as L{etcd_twisted.service.EtcdService.agent} does.
        @param credentials: a user's name and password.
        @param tls: the certificates to use with C{https://} endpoints.
        @param timeouts: how long requests may take.
        @param refresh_seconds: how old the list of the cluster's machines may get; C{None} to use the endpoints alone.
        @param chance: returns a random number from 0 to 1.
        @raise ValueError: an endpoint or a certificate can't be used.
        """
        self.reactor = clock = default_reactor() if reactor is None else reactor
        self._connections: Connections | None = None
        if agent is None:
            self._connections = Connections(clock, tls, timeouts.connect_seconds)
            agent = self._connections.agent
        if wrap_agent is not None:
            agent = wrap_agent(agent)
        machines = Machines(endpoints, chance)
        self._clock = clock
        self._chance = chance
        self._openings = DeferredSemaphore(MAX_OPENINGS)
        http = HTTPClient(agent, data_to_body_producer=BytesBody)
        self._sender = Sender(clock, Exchanges(http, credentials), machines, timeouts, refresh_seconds, chance)
        self.statistics = Statistics(self._sender)
        self.admin = Admin(self._sender)
        self.auth = Auth(self._sender)

    @classmethod
    def from_srv(
        cls,
        domain: str,
        *,
        reactor: IReactorTime | None = None,
        resolver: IResolver | None = None,
        agent: IAgent | None = None,
        credentials: tuple[str, str] | None = None,
        tls: Tls | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  # it is frozen
        refresh_seconds: float | None = REFRESH_SECONDS,
        chance: Callable[[], float] = random.random,
    ) -> "Deferred[Self]":
        """
        Make a client of the cluster whose machines are in a domain's DNS SRV records: those of
        C{_etcd-client-ssl._tcp}, C{_etcd-client._tcp}, C{_etcd-ssl._tcp} or C{_etcd._tcp}, whichever comes first; or
        else those of C{_etcd-server-ssl._tcp} or C{_etcd-server._tcp}, whose machines are asked where they serve
        clients. Names with C{ssl} in them stand for C{https://}.

        Forged DNS records can lead a client to a stranger's machines. Only a C{ca_file} of the cluster's own keeps the
        credentials from them.

        @param domain: the domain, such as C{example.com}.
        @param resolver: looks the records up; C{None} to ask the name servers of this computer.
        @return: fires with the client. For the other parameters see the class.
        @raise NoMachinesFound: (as a failure) there are no such records, or no machine behind them says where it
            serves clients.
        @raise ConnectionFailed: (as a failure) the records can't be looked up.
        """
        clock = default_reactor() if reactor is None else reactor

        async def find() -> Self:
            looking = default_resolver(clock) if resolver is None else resolver
            endpoints = await find_urls(domain, CLIENT_SERVICES, looking, chance)
            if not endpoints:
                peers = await find_urls(domain, PEER_SERVICES, looking, chance)
                if not peers:
                    raise nothing_found(domain)
                asking = cls(
                    peers,
                    reactor=clock,
                    agent=agent,
                    tls=tls,
                    timeouts=timeouts,
                    refresh_seconds=None,
                    chance=chance,
                )
                try:
                    endpoints = await client_urls(domain, peers, asking._sender, timeouts.read_attempt_seconds)
                finally:
                    await asking.close()
            client = cls(
                endpoints,
                reactor=clock,
                agent=agent,
                credentials=credentials,
                tls=tls,
                timeouts=timeouts,
                refresh_seconds=refresh_seconds,
                chance=chance,
            )
            client._sender.machines.begin_with(client._sender.machines.given[0])
            return client

        return Deferred.fromCoroutine(find())

    @property
    def cluster_id(self) -> str | None:
        """The id of the cluster, or C{None} while no machine has told it."""
        return self._sender.cluster_id

    def close(self) -> "Deferred[None]":
        """
        End everything: requests under way fail, watches end, and connections are closed. The Deferred fires when
        nothing is left of them. A closed client can't be used again.
        """
        self._sender.close()
        return succeed(None) if self._connections is None else self._connections.close()

    def run(self, deferred: "Deferred[_T]") -> "Deferred[_T]":
        """
        End something that is built on this client when the client closes: the Deferred is cancelled then, and fails
        with L{ClientClosed}. Returns the same Deferred.
        """
        return self._sender.run(deferred)

    # The cluster

    def machines(self, *, timeout_seconds: float | None = None) -> "Deferred[tuple[str, ...]]":
        """List the URLs at which the machines of the cluster serve clients."""
        return self._sender.send(members.MACHINES, timeout_seconds).addCallback(members.machine_urls_of)

    def members(self, *, timeout_seconds: float | None = None) -> "Deferred[tuple[Machine, ...]]":
        """List the machines of the cluster, with their ids, names and URLs."""
        return self._sender.send(members.MEMBERS, timeout_seconds).addCallback(members.members_of)

    def leader(self, *, timeout_seconds: float | None = None) -> "Deferred[Machine]":
        """
        Read which machine leads.

        @raise ConnectionFailed: (as a failure) no machine has known of a leader in time.
        """
        return self._sender.send(members.LEADER, timeout_seconds).addCallback(members.machine_of)

    def version(
        self, machine: str | Machine | None = None, *, timeout_seconds: float | None = None
    ) -> "Deferred[Version]":
        """
        Read which software a machine runs.

        @param machine: the machine, or the URL at which it serves clients; C{None} for any.
        @raise ValueError: the machine can't be asked.
        """
        machines = members.only(self._sender.machines, machine)
        return self._sender.send(members.VERSION, timeout_seconds, machines).addCallback(members.version_of)

    def health(
        self, machine: str | Machine | None = None, *, timeout_seconds: float | None = None
    ) -> "Deferred[bool]":
        """
        Ask a machine whether it serves requests and knows a leader.

        @param machine: the machine, or the URL at which it serves clients; C{None} for any.
        @raise ConnectionFailed: (as a failure) it does not answer.
        @raise ValueError: the machine can't be asked.
        """
        machines = members.only(self._sender.machines, machine)
        return self._sender.send(members.HEALTH, timeout_seconds, machines).addCallback(members.health_of)

    # Reading

    def get(
        self,
        key: str,
        *,
        consistent: bool = False,
        quorum: bool = False,
        timeout_seconds: float | None = None,
    ) -> "Deferred[Reading]":
        """
        Read a key, or list what is directly in a directory.

        @param consistent: whether to read from the leader, which has the newest value unless it was just replaced.
        @param quorum: whether to read the newest value for certain, which takes the leader a round trip to a majority.
            Otherwise the value may be stale.
        @raise KeyNotFound: the key does not exist.
        """
        request = keys.read(key, recursive=False, sort=False, consistent=consistent, quorum=quorum)
        return self._read(request, timeout_seconds)

    def list(
        self,
        directory: str,
        *,
        recursive: bool = False,
        sort: bool = False,
        consistent: bool = False,
        quorum: bool = False,
        timeout_seconds: float | None = None,
    ) -> "Deferred[Reading]":
        """
        List a directory. Hidden nodes, whose names begin with an underscore, are left out.

        @param recursive: whether to list the directories in it too, and so on.
        @param sort: whether the server sorts each directory. L{Node.in_order} sorts in-order keys, whatever server
            named them.
        @param consistent: see L{get}.
        @param quorum: see L{get}.
        @raise KeyNotFound: the directory does not exist.
        """
        request = keys.read(directory, recursive=recursive, sort=sort, consistent=consistent, quorum=quorum)
        return self._read(request, timeout_seconds)

    def watch(self, key: str, *, recursive: bool = False, after_index: int | None = None) -> Watch:
        """
        Watch a key, or a directory and everything below it. See L{Watch}; close it when it is no longer wanted.

        To see a state and everything that comes after it, read that first, and watch from there::

            reading = await client.list("/services", recursive=True)
            watch = client.watch("/services", recursive=True, after_index=reading.index.etcd_index)

        @param recursive: whether to watch everything below the key too.
        @param after_index: the watch begins with the first event after this index; C{None} to begin now.
        """
        return Watch(self._clock, self._sender, key, recursive, after_index, self._chance, self._openings)

    # Writing

    def set(
        self, key: str, value: str, *, ttl_seconds: int | None = None, timeout_seconds: float | None = None
    ) -> "Deferred[Event]":
        """
        Set a key, whether it exists or not. Missing directories are made.

        @param ttl_seconds: after how many seconds the key expires; C{None} for never.
        @raise NotAFile: the key is a directory.
        """
        return self._write(keys.set_(key, value, ttl_seconds), timeout_seconds)

    def create(
        self, key: str, value: str, *, ttl_seconds: int | None = None, timeout_seconds: float | None = None
    ) -> "Deferred[Event]":
        """
        Set a key that does not exist.

        @raise KeyExists: the key exists.
        """
        return self._write(keys.create(key, value, ttl_seconds), timeout_seconds)

    def update(
        self, key: str, value: str, *, ttl_seconds: int | None = None, timeout_seconds: float | None = None
    ) -> "Deferred[Event]":
        """
        Set a key that exists.

        @param ttl_seconds: after how many seconds the key expires; C{None} for never, even if it had a TTL.
        @raise KeyNotFound: the key does not exist.
        """
        return self._write(keys.update(key, value, ttl_seconds), timeout_seconds)

    def refresh(
        self,
        key: str,
        ttl_seconds: int,
        *,
        previous_index: int | None = None,
        timeout_seconds: float | None = None,
    ) -> "Deferred[Event]":
        """
        Extend the life of a key without changing its value. Watchers do not notice. etcd has had this since
        version 2.3.

        @param previous_index: the index at which the key must have been modified last, by a refresh too. Without it
            also a directory is given the TTL.
        @raise KeyNotFound: the key does not exist any more.
        @raise CompareFailed: the key has another index.
        """
        parameters = {"prevExist": "true", "refresh": "true"}
        if previous_index is not None:
            parameters |= keys.Condition(None, previous_index).form()
        return self._write(keys.put_without_value(key, parameters, ttl_seconds), timeout_seconds)

    def delete(self, key: str, *, timeout_seconds: float | None = None) -> "Deferred[Event]":
        """
        Delete a key.

        @raise KeyNotFound: the key does not exist.
        @raise NotAFile: the key is a directory; see L{remove_directory}.
        """
        return self._write(keys.delete(key, {}), timeout_seconds)

    def compare_and_swap(
        self,
        key: str,
        value: str,
        *,
        previous_value: str | None = None,
        previous_index: int | None = None,
        ttl_seconds: int | None = None,
        timeout_seconds: float | None = None,
    ) -> "Deferred[Event]":
        """
        Set a key if it is as expected.

        @param previous_value: the value that the key must have.
        @param previous_index: the index at which the key must have been modified last.
        @raise CompareFailed: the key is not as expected.
        @raise KeyNotFound: the key does not exist.
        @raise ValueError: neither condition is given.
        """
        condition = keys.Condition(previous_value, previous_index)
        return self._write(keys.compare_and_swap(key, value, condition, ttl_seconds), timeout_seconds)

    def compare_and_delete(
        self,
        key: str,
        *,
        previous_value: str | None = None,
        previous_index: int | None = None,
        timeout_seconds: float | None = None,
    ) -> "Deferred[Event]":
        """
        Delete a key if it is as expected; see L{compare_and_swap}.

        @raise CompareFailed: the key is not as expected.
        @raise KeyNotFound: the key does not exist.
        @raise ValueError: neither condition is given.
        """
        condition = keys.Condition(previous_value, previous_index)
        return self._write(keys.compare_and_delete(key, condition), timeout_seconds)

    def create_in_order(
        self, directory: str, value: str, *, ttl_seconds: int | None = None, timeout_seconds: float | None = None
    ) -> "Deferred[Event]":
        """
        Make a key in a directory, with a name that no other key has had. Its C{created_index} is higher than that of
        every key made before. The directory is made if it does not exist.

        @raise NotADirectory: the directory is a file.
        """
        return self._write(keys.post(directory, value, ttl_seconds), timeout_seconds)

    def make_directory(
        self, directory: str, *, ttl_seconds: int | None = None, timeout_seconds: float | None = None
    ) -> "Deferred[Event]":
        """
        Make a directory that does not exist.

        @param ttl_seconds: after how many seconds the directory expires, with all that is in it; C{None} for never.
        @raise KeyExists: the directory, or a file of that name, exists.
        """
        return self._write(keys.make_directory(directory, ttl_seconds), timeout_seconds)

    def update_directory(
        self, directory: str, *, ttl_seconds: int | None = None, timeout_seconds: float | None = None
    ) -> "Deferred[Event]":
        """
        Change after how many seconds a directory expires. A key with a value becomes empty, as the API has it.

        @param ttl_seconds: how many; C{None} for never.
        @raise KeyNotFound: the directory does not exist.
        """
        return self._write(keys.update_directory(directory, ttl_seconds), timeout_seconds)

    def remove_directory(
        self, directory: str, *, recursive: bool = False, timeout_seconds: float | None = None
    ) -> "Deferred[Event]":
        """
        Remove a directory.

        @param recursive: whether to remove everything in it too.
        @raise DirectoryNotEmpty: something is in it, and the removal is not recursive.
        @raise KeyNotFound: the directory does not exist.
        """
        return self._write(keys.remove_directory(directory, recursive), timeout_seconds)

    def _read(self, request: Request, timeout_seconds: float | None) -> "Deferred[Reading]":
        self._sender.refresh_if_due()
        return self._sender.send(request, timeout_seconds).addCallback(reading_of)

    def _write(self, request: Request, timeout_seconds: float | None) -> "Deferred[Event]":
        self._sender.refresh_if_due()
        return self._sender.send(request, timeout_seconds).addCallback(event_of)
