"""
The key endpoint: C{/v2/keys} as a plain function of a parsed request and a replica.

This is the only handler, whichever door a request came by. This module must never know of Klein, of L{twisted.web} or
of sockets, nor do anything for a common C{GET} or C{PUT} that it does not need.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from functools import partial

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.auth.checks import MARK, check_change, check_read
from etcd_twisted.auth.state import GUEST
from etcd_twisted.errors import CannotForwardError, ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.httpd.handler import ParsedRequest
from etcd_twisted.httpd.responses import AnyResponse, Later, Response, as_deferred, json_message
from etcd_twisted.httpd.targets import BadEscapeError, unescape
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace import events
from etcd_twisted.keyspace.commands import Change, Set
from etcd_twisted.keyspace.events import Event, encode_json, view
from etcd_twisted.keyspace.listing import Listing
from etcd_twisted.keyspace.nodes import File
from etcd_twisted.keyspace.paths import clean
from etcd_twisted.web import writes
from etcd_twisted.web.access import Access, own_result, without_value
from etcd_twisted.web.api_options import ETCD04, ApiOptions
from etcd_twisted.web.api_responses import bad_escape, error_response, internal_error, success
from etcd_twisted.web.discovery import registry_target
from etcd_twisted.web.forms import NO_PARAMETERS, Parameters, flag, index, parse, plain_value, without_zero_index
from etcd_twisted.web.redirects import MIN_LEADER_WAIT_SECONDS, READ_WAIT_SECONDS, LeaderWait, no_leader, redirect
from etcd_twisted.web.relay import ClientRequest, Relay
from etcd_twisted.web.watches import OpenWatches, Watch

ALLOWED = b"Allow: GET, HEAD, PUT, POST, DELETE, OPTIONS\r\n"

_COMMON_KEY = re.compile(rb"(?:/[!-$&-\-0-~][!-$&-.0-~]*)+")
"""A path that means itself: of ASCII, clean, and without escapes."""

_WRITES = {b"PUT": writes.put, b"POST": writes.post, b"DELETE": writes.delete}
_BOOLEANS = frozenset((
    "consistent", "dir", "noValueOnSuccess", "prevExist", "quorum",
    "recursive", "refresh", "sorted", "stream", "wait",
))  # fmt: skip
_LEADER_READS = {b"quorum=true": False, b"consistent=true": True}
"""The common queries of reads that are the leader's, which say nothing else, each with whether a lease suffices."""

_PIECES_AT_ONCE = 3
"""A listing of fewer pieces is sent as a whole. A small sorted one has two: a pause, and everything else."""


class _BadEscapeInKeyError(ValueError):
    """A path has a bad escape. The text says which."""


class KeyEndpoint:
    """Serves the keys."""

    prefix = b"/v2/keys"

    _log = Logger()

    def __init__(
        self,
        replica: IReplica,
        clock: IReactorTime,
        leader_wait_seconds: float = MIN_LEADER_WAIT_SECONDS,
        forwards: bool = False,
        options: ApiOptions = ETCD04,
        access: Access | None = None,
        relay: Relay | None = None,
    ) -> None:
        """
        @param leader_wait_seconds: how long a request waits for a leader.
        @param forwards: whether a machine that does not lead asks the leader for its clients, and does not redirect
            them unless it has to.
        @param access: the access control of the port; C{None} to have an own one.
        @param relay: passes requests on while this machine is a standby; C{None} if it redirects clients then.
        """
        self._forwards = forwards
        self._relay = relay
        self._access = access or Access(replica, clock)
        self._watches = OpenWatches(replica, clock)
        self._ignores_zero_index = options.ignores_zero_index
        self._replica = replica
        self._clock = clock
        self._leader = LeaderWait(replica, clock, leader_wait_seconds)

    def target_of_alias(self, target: bytes) -> bytes | None:
        """Returns the key of a registration that a target of the discovery service stands for; see L{Handler}."""
        return registry_target(target)

    def handle(self, request: ParsedRequest, deadline: float | None = None) -> AnyResponse:
        """
        Returns the response to a request, which may be an error.

        A caller that no longer wants a later response cancels it. A change that was proposed is made all the same.

        A response whose body is L{Events} has to be sent, or the events have to be cancelled.

        @param deadline: when the request's wait for a leader ends; C{None} for one that has not waited yet.
        """
        try:
            method = request.method
            if method == b"PUT":
                return self._put(request, deadline)
            if method in (b"GET", b"HEAD"):
                if request.query or not self._replica.serving:
                    return self._read(request, deadline)
                return self._here(request, NO_PARAMETERS, deadline)
            if method in _WRITES:
                return self._write(request, None, deadline)
            if method == b"OPTIONS":
                return Response(200, ALLOWED, b"")
            if self._replica.standby:
                return self._at_leader(request, deadline)
            return json_message(405, "Method Not Allowed", ALLOWED)
        except Exception:
            return self._failed(Failure())

    def _handled(self, request: ParsedRequest, deadline: float | None) -> "Response | Deferred[Response]":
        answer = self.handle(request, deadline)
        return answer if isinstance(answer, Response) else as_deferred(answer)

    def _failed(self, reason: Failure) -> Response:
        error = reason.value
        if isinstance(error, _BadEscapeInKeyError):
            return bad_escape(str(error), self._replica.index)
        if isinstance(error, CancelledError):
            error = EtcdError(ErrorCode.RAFT_INTERNAL, "the client is gone")
        elif not isinstance(error, EtcdError):
            self._log.failure("A request about a key failed", failure=reason)
            return internal_error(self._replica.index)
        return error_response(error, self._replica.index)

    def _once_identified(
        self, identified: "Deferred[None]", request: ParsedRequest, deadline: float | None
    ) -> "Deferred[Response]":
        """Handle a request again, once it is known who makes it."""
        return identified.addCallback(lambda _: self._handled(request, deadline)).addErrback(self._failed)

    # Requests that this machine can't serve now

    def _at_leader(self, request: ParsedRequest, deadline: float | None) -> "Deferred[Response]":
        """Send the client to the leader, or answer it if this machine leads after all. Waits for a leader first."""
        leader = self._replica.leader()
        if leader is not None and not self._replica.is_leader:
            query = b"?" + request.query if request.query else b""
            target = self.prefix + request.path + query
            if self._relay is None or request.relayed or not self._replica.standby:
                return succeed(redirect(leader.client_url, target))
            return self._relay.answer(leader, _passed_on(request, target))
        return self._once_led(request, deadline)

    def _once_led(self, request: ParsedRequest, deadline: float | None) -> "Deferred[Response]":
        """Handle a request again, once there is a leader."""
        led = self._leader.until_led(deadline)
        return led.addCallback(lambda until: self._handled(request, until)).addErrback(self._failed)

    def _lost(self, reason: Failure, request: ParsedRequest, deadline: float | None) -> "Deferred[Response]":
        """Turn to the new leader, if nothing was done because no machine leads that was asked."""
        if not reason.check(RequestDroppedError):
            return succeed(self._failed(self._without_value(reason, request)))
        if self._forwards and not reason.check(CannotForwardError):
            return self._once_led(request, deadline)
        return self._at_leader(request, deadline)

    def _not_serving(self, request: ParsedRequest, deadline: float | None) -> "Deferred[Response]":
        """Let a request wait until this machine has a copy that can be read."""
        replica = self._replica
        redirects = not (replica.is_leader or self._forwards)
        if replica.standby or (redirects and _is_for_leader(parse(request.query))):
            return self._at_leader(request, deadline)
        serving = replica.when_serving()
        serving.addTimeout(READ_WAIT_SECONDS, self._clock)
        served = serving.addCallback(lambda _: self._handled(request, deadline))
        return served.addErrback(self._not_served, request, deadline)

    def _not_served(self, reason: Failure, request: ParsedRequest, deadline: float | None) -> "Deferred[Response]":
        if not reason.check(defer.TimeoutError):
            return succeed(self._failed(reason))
        if self._replica.standby:
            return self._at_leader(request, deadline)
        error = no_leader()
        if self._replica.leader() is not None:
            error.cause = "this machine is catching up with the others; try again"
        return succeed(error_response(error, self._replica.index))

    # Changing

    def _put(self, request: ParsedRequest, deadline: float | None) -> AnyResponse:
        """Set a key: at once if the request has a value and nothing else, and needs no check and no other machine."""
        replica, command = self._replica, None
        value = plain_value(request.query, request.body, request.content_type)
        if value is not None and _COMMON_KEY.fullmatch(request.path):
            command = Set(request.path.decode(), replica.now(), value)
            if not (replica.auth.enabled or MARK in command.key):
                change = _Change(endpoint=self, request=request, deadline=deadline)
                if replica.submit(command, change.tell, request.user or GUEST):
                    return change.response or change  # a lone writer's change is made by now
        return self._write(request, command, deadline)

    def _write(self, request: ParsedRequest, command: Change | None, deadline: float | None) -> AnyResponse:
        """
        Make the change that a request asks for, or have the leader make it.

        @param command: the change; C{None} if it is not known yet.
        """
        replica = self._replica
        leads = replica.is_leader
        if not leads:
            if not self._forwards or replica.standby:
                return self._at_leader(request, deadline)
            if not replica.serving and (request.authorization is not None or request.common_name is not None):
                return self._not_serving(request, deadline)  # it may not know the user yet
        silent = False
        if command is None:
            form = parse(request.query, request.body, request.content_type)
            if not _BOOLEANS.isdisjoint(form):
                _check_booleans(form)
                silent = request.method != b"DELETE" and flag(form, "noValueOnSuccess")
            key = _key(request.path)
            if self._ignores_zero_index and "prevIndex" in form:
                form = without_zero_index(form)
            command = _WRITES[request.method](form, key, replica.now())
        auth = replica.auth
        if auth.enabled or MARK in command.key:
            if auth.enabled and request.user is None:
                identified = self._access.identify(auth, request)
                if identified is not None:
                    return self._once_identified(identified, request, deadline)
            request.conceals = not check_change(auth, request.user or GUEST, command).may_read(command.key)
        user = request.user or GUEST
        if leads:
            change = _Change(endpoint=self, request=request, deadline=deadline, silent=silent)
            if replica.submit(command, change.tell, user):
                return change.response or change
        changed = replica.forward(command, user)
        return changed.addCallbacks(self._written, self._lost, (request, silent), errbackArgs=(request, deadline))

    def _written(self, event: Event, request: ParsedRequest, silent: bool) -> Response:
        result = event.result
        if silent:
            body = encode_json({"action": result.action})
        elif not request.conceals:
            body = encode_json(result)  # the event's body would be kept with it, for watchers that seldom come
        else:
            form = parse(request.query, request.body, request.content_type)
            body = encode_json(own_result(result, flag(form, "refresh")))
        status = 201 if result.prev_node is None and event.created else 200
        return success(self._replica, status, body, result.node.modified_index)

    def _without_value(self, reason: Failure, request: ParsedRequest) -> Failure:
        """Returns the reason why a change was not made, as its user may see it."""
        error = reason.value
        if request.conceals and isinstance(error, EtcdError):
            return Failure(without_value(error, _key(request.path)))
        return reason

    # Reading

    def _read(self, request: ParsedRequest, deadline: float | None) -> AnyResponse:
        replica = self._replica
        if not replica.serving:
            return self._not_serving(request, deadline)
        form, recent = NO_PARAMETERS, _LEADER_READS.get(request.query)
        if recent is None:
            form = parse(request.query)
            _check_booleans(form)
            if not _is_for_leader(form):
                return self._here(request, form, deadline)
            recent = not flag(form, "quorum")
        if not self._forwards and not replica.is_leader:
            return self._at_leader(request, deadline)
        later = Later()
        if replica.submit_read(recent, partial(self._on_confirmed, later, request, form, deadline)):
            return later.response or later
        confirmed = replica.confirm_at_leader(recent)
        answer = confirmed.addCallback(lambda _: self._here(request, form, deadline))
        return answer.addErrback(self._lost, request, deadline)

    def _on_confirmed(
        self, later: Later, request: ParsedRequest, form: Parameters, deadline: float | None, error: Exception | None
    ) -> None:
        """Read this machine's copy once that is confirmed."""
        if error is not None:
            later.follow(lambda: self._lost(Failure(error), request, deadline))
        elif not form or later.is_wanted:  # without parameters there is no watch to begin
            try:
                response = self._here(request, form, deadline)
            except Exception:
                response = self._failed(Failure())
            if not isinstance(response, Response):
                later.follow(lambda: response)
            elif later.listener is None:
                later.answer(response)
            else:
                later.listener(response)

    def _here(
        self, request: ParsedRequest, form: Parameters, deadline: float | None
    ) -> "Response | Deferred[Response]":
        """Read this machine's copy."""
        key, replica = _key(request.path), self._replica
        auth = replica.auth
        if auth.enabled or MARK in key:
            if auth.enabled and request.user is None:
                identified = self._access.identify(auth, request)
                if identified is not None:
                    return self._once_identified(identified, request, deadline)
            check_read(auth, request.user or GUEST, key, bool(form) and flag(form, "recursive"))
        if form and flag(form, "wait"):
            return self._watch(request, key, form)
        node = replica.get(key)
        if isinstance(node, File):
            now = 0 if node.expires is None else replica.now()
            body = encode_json(events.ActionResult("get", view(key, node, now)))
            return success(replica, 200, body)
        listing = Listing(
            flag(form, "recursive"), flag(form, "sorted"), replica.now(), shows=self._shows(request, key)
        )
        pieces = itertools.chain((b'{"action":"get","node":',), listing.pieces(key, node), (b"}",))
        return success(replica, 200, _whole_if_short(pieces))

    def _shows(self, request: ParsedRequest, directory: str) -> Callable[[str], bool] | None:
        """Returns what tells whether a listing shows a node; C{None} if it shows all."""
        rights = self._access.rights(request.user)
        return None if rights.may_read(directory, recursive=True) else rights.may_read

    def _watch(self, request: ParsedRequest, key: str, form: Parameters) -> Response:
        since = index(form, "waitIndex", "Watch From Index") or None
        recursive, stream = flag(form, "recursive"), flag(form, "stream")
        watch = Watch(self._replica, key, recursive, stream, since, self._watches, request.user or GUEST)
        response = success(self._replica, 200, watch)
        if request.method == b"HEAD":  # its response has no body
            watch.cancel()
            response.body = iter(())
        return response


class _Change(Later, kw_only=True, eq=False):
    """
    The response to a request for a change, once the outcome of the change is known.

    @ivar silent: whether it does not show the node.
    """

    endpoint: KeyEndpoint
    request: ParsedRequest
    deadline: float | None
    silent: bool = False

    def tell(self, outcome: Event | Exception | None) -> None:
        """Answer the client."""
        try:
            if not isinstance(outcome, Event):
                self._fail(Failure(outcome))
                return
            response = self.endpoint._written(outcome, self.request, self.silent)
        except Exception:
            response = self.endpoint._failed(Failure())
        if self.listener is None:
            self.answer(response)
        else:
            self.listener(response)

    def _fail(self, reason: Failure) -> None:
        self.follow(lambda: self.endpoint._lost(reason, self.request, self.deadline))


def _whole_if_short(pieces: Iterator[bytes]) -> bytes | Iterator[bytes]:
    """Returns the pieces as one, if there are only a few."""
    first = list(itertools.islice(pieces, _PIECES_AT_ONCE + 2))
    if len(first) < _PIECES_AT_ONCE + 2:
        return b"".join(first)
    return itertools.chain(first, pieces)


def _passed_on(request: ParsedRequest, target: bytes) -> ClientRequest:
    """Returns a request as a standby passes it on."""
    try:
        form = parse(request.query) if request.method == b"GET" else NO_PARAMETERS
        waits, streams = flag(form, "wait"), flag(form, "stream")
    except EtcdError:  # whoever answers says what is wrong
        waits = streams = False
    headers = (b"Content-Type", request.content_type), (b"Authorization", request.authorization)
    return ClientRequest(request.method, target, request.body, headers, waits, waits and streams)


def _is_for_leader(form: Parameters) -> bool:
    return flag(form, "quorum") or flag(form, "consistent")


def _check_booleans(form: Parameters) -> None:
    for name in _BOOLEANS.intersection(form):
        flag(form, name)


def _key(path: bytes) -> str:
    """
    Returns the clean key that a path means.

    @raise _BadEscapeInKeyError: the path has a bad escape.
    @raise EtcdError: 210, the path is not UTF-8.
    """
    if _COMMON_KEY.fullmatch(path):
        return path.decode()
    try:
        return clean(unescape(path))
    except ValueError as error:
        cause = f"the path has {error} in {path[:80].decode('latin-1')}"
        if isinstance(error, BadEscapeError):
            raise _BadEscapeInKeyError(cause) from None
        raise EtcdError(ErrorCode.INVALID_FORM, cause) from None
