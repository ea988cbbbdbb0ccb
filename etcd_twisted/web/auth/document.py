"""
Changing the document of users and roles from any machine: each change is a compare-and-swap of the document as it was
when the change was found to be right, and is tried again when another one came before.

This module must never make a change for somebody who was not allowed to at that moment, nor make one twice.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from etcd_twisted.auth.changes import AuthChange, AuthError
from etcd_twisted.auth.state import AUTH_KEY, AuthState, encode
from etcd_twisted.errors import CannotForwardError, ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.commands import CompareAndSwap, Create
from etcd_twisted.web.redirects import LeaderWait

MOST_BYTES = 1 << 20
"""How large the document may be."""

_MOST_TRIES = 1_000
"""How often a change is tried while others come before it."""

_CONFLICTS = (ErrorCode.KEY_NOT_FOUND, ErrorCode.COMPARE_FAILED, ErrorCode.KEY_EXISTS)


class AuthDocument:
    """The document, as changes see it."""

    def __init__(self, replica: IReplica, clock: IReactorTime, leader_wait_seconds: float, forwards: bool) -> None:
        """
        @param leader_wait_seconds: how long a change waits for a leader.
        @param forwards: whether a machine that does not lead has the leader make changes.
        """
        self._replica = replica
        self._forwards = forwards
        self._leader = LeaderWait(replica, clock, leader_wait_seconds)

    async def change(self, check: Callable[[AuthState], None], change: AuthChange) -> AuthState:
        """
        Make a change. Returns the new state.

        @param check: raises an error if the client may not make changes in this state.
        @raise AuthError: the change is refused.
        @raise CannotForwardError: the client itself has to ask the leader, which is known.
        @raise EtcdError: there is no leader, or the outcome is unknown.
        """
        deadline: float | None = None
        while True:
            try:
                if not (self._forwards or self._replica.is_leader):
                    raise CannotForwardError("changes are not forwarded")
                # The state here may be an old one, by which a change might be refused that is right.
                await self._replica.confirm_at_leader(recent=True)
                return await self._swap(check, change)
            except RequestDroppedError as error:
                if isinstance(error, CannotForwardError) and self._replica.leader() is not None:
                    raise
                deadline = await self._leader.until_led(deadline)

    async def _swap(self, check: Callable[[AuthState], None], change: AuthChange) -> AuthState:
        for _ in range(_MOST_TRIES):
            state = self._replica.auth
            check(state)
            changed = change(state)
            text, now = encode(changed), self._replica.now()
            if (size := len(text.encode())) > MOST_BYTES:
                raise AuthError(400, f"Users and roles may take {MOST_BYTES} bytes together, and not {size}")
            swap = CompareAndSwap(AUTH_KEY, now, text, previous_index=state.index)
            try:
                # This machine wants it: the client's rights are those of the very state that is replaced.
                await self._replica.forward(swap if state.index else Create(AUTH_KEY, now, text))
            except EtcdError as error:
                if error.code not in _CONFLICTS:
                    raise
            else:
                return changed
        raise EtcdError(ErrorCode.RAFT_INTERNAL, "others change users and roles all the time; try again")
