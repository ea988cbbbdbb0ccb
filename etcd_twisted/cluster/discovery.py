"""
Finding the other machines of a new cluster through a directory of another cluster (spec, section 3, "Discovery").

Each machine registers itself as the key NAME of the directory, with its peer URL for a value, and then tries to create
the key C{_state} there. The one that can is the first machine; as all register before they try, every other one finds
at least that one in the directory. The other cluster may be of this project or any that speaks the version 2 API.

Must never take a machine for the first one that is not: two clusters would come of it.
"""

import secrets

import msgspec
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.cluster.http_client import Answer, Asker, NoAnswerError, asker, is_http
from etcd_twisted.config import Config
from etcd_twisted.config.addresses import read_url
from etcd_twisted.errors import ConfigError, ErrorCode, StartError
from etcd_twisted.interfaces import IReactor

TTL = 604_800
"""How long a registration holds, in seconds: a week, as etcd 0.4 has it."""

REFRESH = 86_400.0
"""How long until it is made again."""

AGAIN = 600.0
"""How long until that is tried again if it can't be done."""

_A_DIRECTORY = "give the URL of a directory, as in http://127.0.0.1:4001/v2/keys/discovery/TOKEN"
_A_NEW_DIRECTORY = "give the URL of a new directory"


class _Node(msgspec.Struct, frozen=True):
    """A node of the other cluster."""

    key: str = ""
    value: str = ""
    dir: bool = False
    nodes: tuple["_Node", ...] = ()


class _Event(msgspec.Struct, frozen=True):
    """An answer of the other cluster's, as far as it matters here."""

    node: _Node


class _Error(msgspec.Struct, frozen=True):
    """One that is an error."""

    code: int = msgspec.field(name="errorCode")
    message: str
    cause: str = ""


class Discovery:
    """A directory of another cluster."""

    _log = Logger()

    def __init__(self, asker: Asker, url: str, given_as: str = "--discovery") -> None:
        """
        @param url: the directory's.
        @param given_as: how it was given, as in C{--discovery} or C{ETCD_DISCOVERY}.
        @raise ConfigError: it is no URL that can be one.
        """
        self._asker = asker
        self._given = f"{given_as} {url}"
        if not is_http(url) or any(each in "?# " or not each.isprintable() for each in url):
            raise ConfigError(f"{given_as} {url!r}: is no such URL; {_A_DIRECTORY}")
        self._url = url.rstrip("/")
        self._state = f"started {secrets.token_hex(8)}"

    async def find(self, name: str, peer_url: str) -> list[str]:
        """
        Register a machine, and say what others it should join.

        @return: their peer URLs; none for the first machine, which has nobody to join.
        @raise StartError: the directory can't be used; one line that says how it was given, and the remedy.
        """
        try:
            await self.register(name, peer_url)
            if await self._take_first_place():
                return []
            peers = await self._others(name, peer_url)
        except NoAnswerError as error:
            raise self._unanswered(error) from error
        if not peers:
            taken = "a cluster was started by it, and no other machine is registered there"
            raise StartError(f"{self._given} can't be used: {taken}: {_A_NEW_DIRECTORY}")
        return peers

    async def find_again(self, name: str, peer_url: str) -> list[str]:
        """
        Say what other machines are registered, and change nothing: for a machine that has been of a cluster.

        @return: their peer URLs.
        @raise StartError: see L{find}.
        """
        try:
            return await self._others(name, peer_url)
        except NoAnswerError as error:
            raise self._unanswered(error) from error

    async def register(self, name: str, peer_url: str) -> None:
        """
        Have a machine listed for a week.

        @raise NoAnswerError: the other cluster can't be asked.
        @raise StartError: it does not do that.
        """
        if name.startswith("_"):
            remedy = f"give another --name than {name}"
            raise StartError(f"{self._given} can't be used: it does not list names that begin with '_': {remedy}")
        form = {"value": peer_url, "ttl": str(TTL)}
        answer = await self._asker.ask("PUT", f"{self._url}/{name}", form)
        self._event(answer, "PUT")

    async def _take_first_place(self) -> bool:
        """Whether this machine is the first one. Asking again is safe, as nobody else writes the same state."""
        url = f"{self._url}/_state"
        answer = await self._asker.ask("PUT", f"{url}?prevExist=false", {"value": self._state})
        if answer.status in {200, 201}:
            self._event(answer, "PUT")
            return True
        error = self._error(answer, "PUT")
        if error.code != ErrorCode.KEY_EXISTS:
            raise self._refused(error)
        # Made by this machine, if an earlier answer was lost.
        made = self._event(await self._asker.ask("GET", f"{url}?quorum=true"), "GET")
        return made.node.value == self._state

    async def _others(self, name: str, peer_url: str) -> list[str]:
        """
        Who else is in the directory. Read from its leader: a follower may not know yet who came first.
        """
        listing = self._event(await self._asker.ask("GET", f"{self._url}?quorum=true"), "GET")
        peers: list[str] = []
        for node in listing.node.nodes:
            url = node.value.rstrip("/")
            if node.key.rpartition("/")[2] == name or url == peer_url or url in peers:
                continue
            if node.dir or not _is_peer_url(url):
                self._log.warn("{given}: {key} is no machine: it holds no peer URL", given=self._given, key=node.key)
                continue
            peers.append(url)
        return peers

    def _event(self, answer: Answer, method: str) -> _Event:
        """
        What was done.

        @raise StartError: it was not.
        """
        if answer.status not in {200, 201}:
            raise self._refused(self._error(answer, method))
        try:
            return msgspec.json.decode(answer.body, type=_Event)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._stranger(answer, method) from error

    def _error(self, answer: Answer, method: str) -> _Error:
        try:
            return msgspec.json.decode(answer.body, type=_Error)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._stranger(answer, method) from error

    def _unanswered(self, error: NoAnswerError) -> StartError:
        remedy = "see that the cluster that serves it runs, or give another URL"
        return StartError(f"{self._given} can't be used: {error}: {remedy}")

    def _refused(self, error: _Error) -> StartError:
        told = " ".join(f"{error.code}: {error.message} ({error.cause})".split())
        return StartError(f"{self._given} can't be used: its cluster answers with error {told}: {_A_DIRECTORY}")

    def _stranger(self, answer: Answer, method: str) -> StartError:
        told = f"{method} there was answered with status {answer.status}, and not as etcd does"
        return StartError(f"{self._given} can't be used: {told}: {_A_DIRECTORY}")


class Registration:
    """Keeps a machine listed while it runs."""

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
        Begin.

        @param seconds: when to register it first: L{REFRESH} if that was done just now, see L{Discovery.find}.
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
        except (NoAnswerError, StartError) as error:
            self._log.warn(
                "The registration of {name} for discovery was not refreshed, and is tried again in {minutes:.0f} "
                "minutes: {error}",
                name=self._name,
                minutes=AGAIN / 60,
                error=error,
            )
            self._wait(AGAIN)
        else:
            self._wait(REFRESH)

    async def stop(self) -> None:
        """End; also what is being asked."""

        def cancelled(failure: Failure) -> None:
            failure.trap(CancelledError)

        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._refreshing.addErrback(cancelled)
        self._refreshing.cancel()
        await self._refreshing


def configured_discovery(reactor: IReactor, config: Config) -> Discovery | None:
    """
    The directory that C{--discovery} names, if it was given.

    @raise ConfigError: it can't be one.
    """
    if config.discovery is None:
        return None
    return Discovery(asker(reactor, config.max_retry_attempts), config.discovery, config.given_as("discovery"))


def _is_peer_url(text: str) -> bool:
    try:
        return not read_url(text)[1].is_unspecified
    except ValueError:
        return False
