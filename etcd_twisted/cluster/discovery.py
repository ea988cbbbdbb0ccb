"""
Discovery: the machines of a new cluster find each other in a directory of another one (spec, section 3, "Discovery").

Each machine registers itself as the key NAME of the directory, with its peer URL as the value, and then tries to
create the key C{_state} there. The machine that can is the first one. All of them register before they try, so every
other machine finds at least the first one in the directory. The other cluster may be any that speaks this API.

This module must never take a machine for the first one that is not: this would make two clusters.
"""

import secrets

import msgspec
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.cluster.http_client import HttpResponse, NoResponseError, RetryingHttpClient, is_http
from etcd_twisted.config import Config
from etcd_twisted.config.addresses import read_url
from etcd_twisted.errors import ConfigError, ErrorCode, StartError

TTL_SECONDS = 604_800
"""How long a registration lasts: a week, as in etcd 0.4."""

REFRESH_SECONDS = 86_400.0
"""How long a machine waits before it registers again."""

RETRY_SECONDS = 600.0
"""How long it waits after it could not register."""

_A_DIRECTORY = "give the URL of a directory, as in http://127.0.0.1:4001/v2/keys/discovery/TOKEN"
_A_NEW_DIRECTORY = "give the URL of a new directory"


class _Node(msgspec.Struct, frozen=True):
    """A node of the other cluster."""

    key: str = ""
    value: str = ""
    dir: bool = False
    nodes: tuple["_Node", ...] = ()


class _Event(msgspec.Struct, frozen=True):
    """The part of a response that matters here."""

    node: _Node


class _DiscoveryError(msgspec.Struct, frozen=True):
    """An error response."""

    code: int = msgspec.field(name="errorCode")
    message: str
    cause: str = ""


class Discovery:
    """A directory of another cluster."""

    _log = Logger()

    def __init__(self, http: RetryingHttpClient, url: str, given_as: str = "--discovery") -> None:
        """
        @param url: the directory's URL.
        @param given_as: how it was given, as in C{--discovery} or C{ETCD_DISCOVERY}.
        @raise ConfigError: this can't be the URL of a directory.
        """
        self._http = http
        self._given = f"{given_as} {url}"
        if not is_http(url) or any(each in "?# " or not each.isprintable() for each in url):
            raise ConfigError(f"{given_as} {url!r}: is not the URL of a directory; {_A_DIRECTORY}")
        self._url = url.rstrip("/")
        self._state = f"started {secrets.token_hex(8)}"

    async def find(self, name: str, peer_url: str) -> list[str]:
        """
        Register a machine, and return the others that it should join.

        @return: their peer URLs; none for the first machine, which has nobody to join.
        @raise StartError: the directory can't be used. The error says how it was given, and the remedy.
        """
        try:
            await self.register(name, peer_url)
            if await self._becomes_first():
                return []
            peers = await self._others(name, peer_url)
        except NoResponseError as error:
            raise self._no_response(error) from error
        if not peers:
            taken = "a cluster was started by it, and no other machine is registered there"
            raise StartError(f"{self._given} can't be used: {taken}: {_A_NEW_DIRECTORY}")
        return peers

    async def find_again(self, name: str, peer_url: str) -> list[str]:
        """
        Returns the other machines that are registered, and changes nothing: for a machine that has been in a cluster.

        @return: their peer URLs.
        @raise StartError: see L{find}.
        """
        try:
            return await self._others(name, peer_url)
        except NoResponseError as error:
            raise self._no_response(error) from error

    async def register(self, name: str, peer_url: str) -> None:
        """
        Register a machine for L{TTL_SECONDS}.

        @raise NoResponseError: the other cluster does not answer.
        @raise StartError: it refuses.
        """
        if name.startswith("_"):
            remedy = f"give another --name than {name}"
            raise StartError(f"{self._given} can't be used: it does not list names that begin with '_': {remedy}")
        form = {"value": peer_url, "ttl": str(TTL_SECONDS)}
        response = await self._http.request("PUT", f"{self._url}/{name}", form)
        self._event(response, "PUT")

    async def _becomes_first(self) -> bool:
        """
        Returns whether this machine is the first one. Asking again is safe, since nobody else writes the same state.
        """
        url = f"{self._url}/_state"
        response = await self._http.request("PUT", f"{url}?prevExist=false", {"value": self._state})
        if response.status in {200, 201}:
            self._event(response, "PUT")
            return True
        error = self._error(response, "PUT")
        if error.code != ErrorCode.KEY_EXISTS:
            raise self._refused(error)
        # This machine made it, if an earlier response was lost.
        created = self._event(await self._http.request("GET", f"{url}?quorum=true"), "GET")
        return created.node.value == self._state

    async def _others(self, name: str, peer_url: str) -> list[str]:
        """
        Returns who else is in the directory, as its leader says: a follower may not know yet who came first.
        """
        listing = self._event(await self._http.request("GET", f"{self._url}?quorum=true"), "GET")
        peers: list[str] = []
        for node in listing.node.nodes:
            url = node.value.rstrip("/")
            if node.key.rpartition("/")[2] == name or url == peer_url or url in peers:
                continue
            if node.dir or not _is_peer_url(url):
                self._log.warn(
                    "{given}: {key} is not a machine: its value is not a peer URL", given=self._given, key=node.key
                )
                continue
            peers.append(url)
        return peers

    def _event(self, response: HttpResponse, method: str) -> _Event:
        """
        Returns what the response says was done.

        @raise StartError: nothing was done.
        """
        if response.status not in {200, 201}:
            raise self._refused(self._error(response, method))
        try:
            return msgspec.json.decode(response.body, type=_Event)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._not_etcd(response, method) from error

    def _error(self, response: HttpResponse, method: str) -> _DiscoveryError:
        try:
            return msgspec.json.decode(response.body, type=_DiscoveryError)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._not_etcd(response, method) from error

    def _no_response(self, error: NoResponseError) -> StartError:
        remedy = "see that the cluster that serves it runs, or give another URL"
        return StartError(f"{self._given} can't be used: {error}: {remedy}")

    def _refused(self, error: _DiscoveryError) -> StartError:
        text = " ".join(f"{error.code}: {error.message} ({error.cause})".split())
        return StartError(f"{self._given} can't be used: its cluster answers with error {text}: {_A_DIRECTORY}")

    def _not_etcd(self, response: HttpResponse, method: str) -> StartError:
        problem = f"{method} there was answered with status {response.status}, and not as etcd does"
        return StartError(f"{self._given} can't be used: {problem}: {_A_DIRECTORY}")


class Registration:
    """Keeps a machine registered while it runs."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, discovery: Discovery, name: str, peer_url: str) -> None:
        self._clock = clock
        self._discovery = discovery
        self._name = name
        self._peer_url = peer_url
        self._next: IDelayedCall | None = None
        self._refreshing: Deferred[None] = succeed(None)

    def start(self, seconds: float) -> None:
        """
        Start the clock.

        @param seconds: when to register: L{REFRESH_SECONDS} if L{Discovery.find} did it just now.
        """
        self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        self._next = self._clock.callLater(seconds, self._begin)

    def _begin(self) -> None:
        self._next = None
        self._refreshing = ensureDeferred(self._refresh())

    async def _refresh(self) -> None:
        try:
            await self._discovery.register(self._name, self._peer_url)
        except (NoResponseError, StartError) as error:
            self._log.warn(
                "The registration of {name} for discovery was not refreshed, and is tried again in {minutes:.0f} "
                "minutes: {error}",
                name=self._name,
                minutes=RETRY_SECONDS / 60,
                error=error,
            )
            self._wait(RETRY_SECONDS)
        else:
            self._wait(REFRESH_SECONDS)

    async def stop(self) -> None:
        """Stop, and give up a request that is under way."""

        def cancelled(failure: Failure) -> None:
            failure.trap(CancelledError)

        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._refreshing.addErrback(cancelled)
        self._refreshing.cancel()
        await self._refreshing


def configured_discovery(http: RetryingHttpClient, config: Config) -> Discovery | None:
    """
    Returns the directory that C{--discovery} names, if it was given.

    @raise ConfigError: the URL can't be one.
    """
    if config.discovery is None:
        return None
    return Discovery(http, config.discovery, config.given_as("discovery"))


def _is_peer_url(text: str) -> bool:
    try:
        return not read_url(text)[1].is_unspecified
    except ValueError:
        return False
