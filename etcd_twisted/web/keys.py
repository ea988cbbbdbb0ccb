"""
The key endpoint: C{/v2/keys} as a plain function of a parsed request and a replica.

The one handler behind every door of the client port. Must never know of Klein, of L{twisted.web} or of sockets; and a
common C{GET} or C{PUT} must find nothing in its way that it does not need.
"""

import itertools
from collections.abc import Iterator
from functools import partial

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.errors import ErrorCode, EtcdError, NotDoneError
from etcd_twisted.httpd.door import DoorRequest
from etcd_twisted.httpd.responses import AnyResponse, Events, Later, Response, as_deferred, json_message
from etcd_twisted.httpd.targets import BadEscapeError, unescape
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace import events
from etcd_twisted.keyspace.events import Event, encode_json, view
from etcd_twisted.keyspace.listing import Listing
from etcd_twisted.keyspace.nodes import File
from etcd_twisted.keyspace.paths import clean
from etcd_twisted.web import answers, writes
from etcd_twisted.web.answers import broken, failure
from etcd_twisted.web.forms import NO_PARAMETERS, Form, flag, index, parse
from etcd_twisted.web.referral import LEAST_WAIT, LeaderWait, no_leader, redirect
from etcd_twisted.web.watches import Watch

ALLOWED = b"Allow: GET, HEAD, PUT, POST, DELETE, OPTIONS\r\n"

PATIENCE = 5.0
"""How long a read waits for this machine's copy, in seconds."""

_WRITES = {b"PUT": writes.put, b"POST": writes.post, b"DELETE": writes.delete}
_BOOLEANS = frozenset((
    "consistent", "dir", "noValueOnSuccess", "prevExist", "quorum",
    "recursive", "refresh", "sorted", "stream", "wait",
))  # fmt: skip
_PIECES_AT_ONCE = 3
"""Listings of fewer pieces are answered at once. A small sorted one has two: a pause, and all the rest."""


class _NoKeyError(ValueError):
    """A path with a bad escape; the text says which."""


class KeyEndpoint:
    """The door to the keys."""

    prefix = b"/v2/keys"

    _log = Logger()

    def __init__(self, replica: IReplica, clock: IReactorTime, longest_wait: float = LEAST_WAIT) -> None:
        """
        @param longest_wait: how long a request waits for a leader, in seconds.
        """
        self._replica = replica
        self._clock = clock
        self._leader = LeaderWait(replica, clock, longest_wait)

    def handle(self, request: DoorRequest, deadline: float | None = None) -> AnyResponse:
        """
        Answer a request; errors are answers too.

        To cancel an answer that is to come means that nobody wants it any more; a change that was proposed is made all
        the same.

        An answer whose body is L{Events} or pieces has to be sent, or the events cancelled.

        @param deadline: until when it may wait for a leader; C{None} for one that has not waited yet.
        """
        try:
            method = request.method
            if method in _WRITES:
                return self._write(request, deadline)
            if method in (b"GET", b"HEAD"):
                return self._read(request, deadline)
            if method == b"OPTIONS":
                return Response(200, ALLOWED, b"")
            if self._replica.standby:
                return self._at_leader(request, deadline)
            return json_message(405, "Method Not Allowed", ALLOWED)
        except Exception:
            return self._failed(Failure())

    def _handled(self, request: DoorRequest, deadline: float | None) -> "Response | Deferred[Response]":
        answer = self.handle(request, deadline)
        return answer if isinstance(answer, Response) else as_deferred(answer)

    def _failed(self, reason: Failure) -> Response:
        error = reason.value
        if isinstance(error, _NoKeyError):
            return answers.no_key(str(error), self._replica.index)
        if isinstance(error, CancelledError):
            error = EtcdError(ErrorCode.RAFT_INTERNAL, "the client is gone")
        elif not isinstance(error, EtcdError):
            self._log.failure("A request about a key failed", failure=reason)
            return broken(self._replica.index)
        return failure(error, self._replica.index)

    # Being the wrong machine to ask

    def _at_leader(self, request: DoorRequest, deadline: float | None) -> "Deferred[Response]":
        """Have the leader answer: the one that the client is sent to, or this machine if it leads after all."""
        leader = self._replica.leader()
        if leader is not None and not self._replica.is_leader:
            query = b"?" + request.query if request.query else b""
            return succeed(redirect(leader.client_url, self.prefix + request.path + query))
        led = self._leader.until_led(deadline)
        return led.addCallback(lambda until: self._handled(request, until)).addErrback(self._failed)

    def _lost(self, reason: Failure, request: DoorRequest, deadline: float | None) -> "Deferred[Response]":
        """Send the client to the new leader with what this machine could not do because it no longer leads."""
        return self._at_leader(request, deadline) if reason.check(NotDoneError) else succeed(self._failed(reason))

    def _not_serving(self, request: DoorRequest, deadline: float | None) -> "Deferred[Response]":
        """A read comes before this machine has a copy to read."""
        replica = self._replica
        if replica.standby or (not replica.is_leader and _is_for_leader(parse(request.query))):
            return self._at_leader(request, deadline)
        serving = replica.when_serving()
        serving.addTimeout(PATIENCE, self._clock)
        served = serving.addCallback(lambda _: self._handled(request, deadline))
        return served.addErrback(self._never_served, request, deadline)

    def _never_served(self, reason: Failure, request: DoorRequest, deadline: float | None) -> "Deferred[Response]":
        if not reason.check(defer.TimeoutError):
            return succeed(self._failed(reason))
        if self._replica.standby:
            return self._at_leader(request, deadline)
        error = no_leader()
        if self._replica.leader() is not None:
            error.cause = "this machine is catching up with the others; try again"
        return succeed(failure(error, self._replica.index))

    # Changing

    def _write(self, request: DoorRequest, deadline: float | None) -> AnyResponse:
        replica = self._replica
        if not replica.is_leader:
            return self._at_leader(request, deadline)
        form = parse(request.query, request.body, request.content_type)
        silent = False
        if not _BOOLEANS.isdisjoint(form):
            _check_booleans(form)
            silent = request.method != b"DELETE" and flag(form, "noValueOnSuccess")
        command = _WRITES[request.method](form, _key(request.path), replica.now())
        later = Later()
        if replica.submit(command, partial(self._told, later, request, deadline, silent)):
            return later
        changed = replica.propose(command)
        return changed.addCallbacks(self._written, self._lost, (silent,), errbackArgs=(request, deadline))

    def _told(
        self,
        later: Later,
        request: DoorRequest,
        deadline: float | None,
        silent: bool,
        outcome: Event | Exception | None,
    ) -> None:
        """What became of a change."""
        try:
            if not isinstance(outcome, Event):
                later.follow(lambda: self._lost(Failure(outcome), request, deadline))
                return
            response = self._written(outcome, silent)
        except Exception:
            response = self._failed(Failure())
        later.answer(response)

    def _written(self, event: Event, silent: bool) -> Response:
        body = encode_json({"action": event.result.action}) if silent else event.body
        return answers.success(self._replica, 201 if event.created else 200, event.index, body)

    # Reading

    def _read(self, request: DoorRequest, deadline: float | None) -> AnyResponse:
        replica = self._replica
        if not replica.serving:
            return self._not_serving(request, deadline)
        if not request.query:
            return self._get(_key(request.path), NO_PARAMETERS)
        form = parse(request.query)
        _check_booleans(form)
        if not _is_for_leader(form):
            return self._here(request, form)
        if not replica.is_leader:
            return self._at_leader(request, deadline)
        confirmed = replica.confirm_reads() if flag(form, "quorum") else replica.confirm_recent()
        answer = confirmed.addCallback(lambda _: self._here(request, form))
        return answer.addErrback(self._lost, request, deadline)

    def _here(self, request: DoorRequest, form: Form) -> Response:
        """Read this machine's copy."""
        answer = self._watch if flag(form, "wait") else self._get
        return self._finished(request, answer(_key(request.path), form))

    def _finished(self, request: DoorRequest, response: Response) -> Response:
        """A C{HEAD} waits for nothing."""
        if request.method == b"HEAD" and isinstance(response.body, Events):
            response.body.cancel()
            response.body = iter(())
        return response

    def _get(self, key: str, form: Form) -> Response:
        replica = self._replica
        node = replica.get(key)
        if isinstance(node, File):
            now = 0 if node.expires is None else replica.now()
            body = encode_json(events.ActionResult("get", view(key, node, now)))
            return answers.success(replica, 200, replica.index, body)
        listing = Listing(flag(form, "recursive"), flag(form, "sorted"), replica.now())
        pieces = itertools.chain((b'{"action":"get","node":',), listing.pieces(key, node), (b"}",))
        return answers.success(replica, 200, replica.index, _whole_if_short(pieces))

    def _watch(self, key: str, form: Form) -> Response:
        since = index(form, "waitIndex", "Watch From Index") or None
        watch = Watch(self._replica, key, flag(form, "recursive"), flag(form, "stream"), since)
        return answers.success(self._replica, 200, self._replica.index, watch)


def _whole_if_short(pieces: Iterator[bytes]) -> bytes | Iterator[bytes]:
    """The pieces as one, when the first few are all there is."""
    first = list(itertools.islice(pieces, _PIECES_AT_ONCE + 2))
    if len(first) < _PIECES_AT_ONCE + 2:
        return b"".join(first)
    return itertools.chain(first, pieces)


def _is_for_leader(form: Form) -> bool:
    return flag(form, "quorum") or flag(form, "consistent")


def _check_booleans(form: Form) -> None:
    for name in _BOOLEANS.intersection(form):
        flag(form, name)


def _key(path: bytes) -> str:
    """
    The clean key that a path means.

    @raise _NoKeyError: it has a bad escape.
    @raise EtcdError: 210, it is not UTF-8.
    """
    try:
        return clean(unescape(path))
    except ValueError as error:
        cause = f"the path has {error} in {path[:80].decode('latin-1')}"
        if isinstance(error, BadEscapeError):
            raise _NoKeyError(cause) from None
        raise EtcdError(ErrorCode.INVALID_FORM, cause) from None
