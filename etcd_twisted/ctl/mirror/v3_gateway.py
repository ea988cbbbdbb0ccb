"""
Version 3 of etcd's API, as its JSON gateway has it (C{/v3/...} of etcd 3.4 and later).

Keys and values go in base64. Every request here can be sent again. This module must never know what is copied.
"""

import base64
from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import msgspec
from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorTime

from etcd_twisted.client import ConnectionFailed, Tls
from etcd_twisted.client.body import BytesBody
from etcd_twisted.client.connecting import Connections
from etcd_twisted.client.exchange import Exchanges, NoAnswer, NotSent, whole
from etcd_twisted.client.machines import read_endpoint
from etcd_twisted.client.messages import Request
from etcd_twisted.ctl.failures import SERVER_ERROR, CommandFailedError

PAGE_SIZE = 1000
"""How many keys a range is read by at a time."""

_CONNECT_SECONDS = 2.0
_UNAUTHENTICATED = 401
_TOO_LARGE = "message larger than max"


def encoded(text: str | bytes) -> str:
    """Returns a text in base64."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def decoded(text: str) -> str:
    """Returns what is in base64. What is not UTF-8 there has characters in its place that no key here has."""
    return base64.b64decode(text).decode(errors="surrogateescape")


def end_of(prefix: str) -> str:
    """Returns, in base64, where the range of all keys that begin with a prefix ends."""
    data = prefix.encode().rstrip(b"\xff")
    return encoded(data[:-1] + bytes([data[-1] + 1]) if data else b"\0")


@attrs.frozen
class Pair:
    """
    A key with its value.

    @ivar lease: the lease that the key expires with, or 0.
    """

    key: str
    value: str
    lease: int


def put(key: str, value: str, lease: int = 0) -> dict[str, Any]:
    """Returns the operation that sets a key."""
    fields: dict[str, Any] = {"key": encoded(key), "value": encoded(value)}
    return {"requestPut": fields | ({"lease": str(lease)} if lease else {})}


def delete(key: str, end: str | None = None) -> dict[str, Any]:
    """Returns the operation that removes a key, or a range of keys."""
    fields = {"key": encoded(key)}
    return {"requestDeleteRange": fields | ({"range_end": end} if end is not None else {})}


class Gateway:
    """The machines of one cluster."""

    def __init__(
        self, reactor: IReactorTime, endpoints: Iterable[str], tls: Tls, credentials: tuple[str, str] | None
    ) -> None:
        """
        @param endpoints: their URLs, at least one.
        @raise ValueError: one of them can't be used.
        """
        self._endpoints = [read_endpoint(each) for each in endpoints]
        self._connections = Connections(reactor, tls, _CONNECT_SECONDS)
        self._http = HTTPClient(self._connections.agent, data_to_body_producer=BytesBody)
        self._exchanges = Exchanges(self._http, None)
        self._credentials = credentials

    async def close(self) -> None:
        """Close connections."""
        await self._connections.close()

    async def get(self, key: str) -> str | None:
        """Returns the value of a key, or C{None}."""
        pairs = (await self.call("kv/range", {"key": encoded(key)})).get("kvs", ())
        return decoded(pairs[0].get("value", "")) if pairs else None

    async def pairs(self, prefix: str) -> Iterator[Pair]:
        """Returns all keys that begin with a prefix, as they were at one revision."""
        found: list[Pair] = []
        start, end, revision = encoded(prefix or "\0"), end_of(prefix), "0"
        while True:
            asked = {"key": start, "range_end": end, "limit": PAGE_SIZE, "revision": revision}
            answer = await self.call("kv/range", asked)
            revision = answer["header"]["revision"]
            found += [
                Pair(decoded(each["key"]), decoded(each.get("value", "")), int(each.get("lease", 0)))
                for each in answer.get("kvs", ())
            ]
            if not answer.get("more"):
                return iter(found)
            start = encoded(base64.b64decode(answer["kvs"][-1]["key"]) + b"\0")

    async def transact(self, operations: list[dict[str, Any]]) -> None:
        """Make changes, all at once."""
        await self.call("kv/txn", {"success": operations})

    async def grant(self, ttl_seconds: int) -> int:
        """Returns a new lease."""
        return int((await self.call("lease/grant", {"TTL": str(ttl_seconds)}))["ID"])

    async def call(self, method: str, fields: dict[str, Any]) -> dict[str, Any]:
        """
        Returns the answer to a request.

        @raise ConnectionFailed: no machine has answered.
        @raise CommandFailedError: the cluster refuses the request.
        """
        try:
            return await self._ask_each(method, fields)
        except _UnauthenticatedError:
            await self._log_in()
            return await self._ask_each(method, fields)

    async def _ask_each(self, method: str, fields: dict[str, Any]) -> dict[str, Any]:
        if self._credentials is not None and self._exchanges.authorization is None:
            await self._log_in()
        reasons = []
        for machine in list(self._endpoints):
            request = Request("POST", f"/v3/{method}", json=msgspec.json.encode(fields), changes=True)
            try:
                answer = await self._exchanges.exchange(machine, request, whole)
            except (NotSent, NoAnswer) as error:
                reasons.append(f"{machine}: {error}")
                self._endpoints.append(self._endpoints.pop(0))
                continue
            reason = self._reason(answer.status, answer.body, machine)
            if reason is None:
                found: dict[str, Any] = msgspec.json.decode(answer.body)
                return found
            reasons.append(f"{machine}: {reason}")
            self._endpoints.append(self._endpoints.pop(0))
        raise ConnectionFailed(f"no machine has answered: {', '.join(reasons)}")

    def _reason(self, status: int, body: bytes, machine: str) -> str | None:
        """
        Returns why a machine can't answer just now, or C{None} if it has.

        @raise CommandFailedError: the cluster refuses the request.
        """
        if status == 200:
            return None
        try:
            fields = msgspec.json.decode(body, type=dict[str, Any])
            message = str(fields.get("message") or fields.get("error"))
        except msgspec.MsgspecError:
            message = ""
        if status == 404 and not message:
            text = f"{machine} has no version 3 of the API at /v3, as etcd 3.4 and later have it (status 404)"
            raise CommandFailedError(text, SERVER_ERROR)
        if status == _UNAUTHENTICATED or "invalid auth token" in message:
            if self._exchanges.authorization is None:
                text = f"{machine} wants a user: name one with --to-username NAME:PASSWORD"
                raise CommandFailedError(text, SERVER_ERROR)
            raise _UnauthenticatedError(message)
        if status in {429, 500, 502, 503, 504} and _TOO_LARGE not in message:
            return message or f"status {status}"
        raise CommandFailedError(f"{machine} refuses it: {message} (status {status})", SERVER_ERROR)

    async def _log_in(self) -> None:
        assert self._credentials is not None  # noqa: S101  # else no token was used
        name, password = self._credentials
        credentials, self._credentials, self._exchanges.authorization = self._credentials, None, None
        try:
            token = (await self._ask_each("auth/authenticate", {"name": name, "password": password}))["token"]
        finally:
            self._credentials = credentials
        self._exchanges.authorization = [token.encode()]


class _UnauthenticatedError(Exception):
    """The token is too old."""
