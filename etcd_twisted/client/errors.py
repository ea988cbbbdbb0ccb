"""
What can go wrong with a request, as exceptions under one base, L{ClientError}.

There are three kinds. L{ApiError} and its subclasses, one for each error code, are answers: the cluster has decided.
L{ConnectionFailed} and its subclasses say that no answer came, and that nothing was changed. L{OutcomeUnknown} says
that a write may have happened. This module must never let one look like another.
"""

from typing import ClassVar

from etcd_twisted.errors import MESSAGES, ErrorCode


class ClientError(Exception):
    """The base of everything that this library raises on purpose. The text is a sentence for people."""


class ApiError(ClientError):
    """
    The cluster answers with an error (C{api.md}). Subclasses stand for one code each; this class itself for codes that
    this library does not know.

    @ivar code: the error's number.
    @ivar message: the error's name, as the server words it.
    @ivar cause: what the error is about: a key, or the comparison that failed.
    @ivar index: the index of the key space when the error happened, 0 if the server does not tell.
    """

    expected_code: ClassVar[ErrorCode | None] = None

    def __init__(self, code: int, message: str, cause: str = "", index: int = 0) -> None:
        super().__init__(f"{message} ({cause})" if cause else message)
        self.code = code
        self.message = message
        self.cause = cause
        self.index = index


class KeyNotFound(ApiError):
    """The key does not exist."""

    expected_code = ErrorCode.KEY_NOT_FOUND


class CompareFailed(ApiError):
    """The key has another value, or another index, than the condition asks for."""

    expected_code = ErrorCode.COMPARE_FAILED


class NotAFile(ApiError):
    """The key is a directory."""

    expected_code = ErrorCode.NOT_A_FILE


class ClusterFull(ApiError):
    """As many machines as the cluster allows take part already."""

    expected_code = ErrorCode.NO_MORE_PEER


class NotADirectory(ApiError):
    """The key, or one of its parents, is a file."""

    expected_code = ErrorCode.NOT_A_DIRECTORY


class KeyExists(ApiError):
    """The key exists already."""

    expected_code = ErrorCode.KEY_EXISTS


class KeyReserved(ApiError):
    """The key belongs to the server."""

    expected_code = ErrorCode.KEY_IS_PRESERVED


class RootReadOnly(ApiError):
    """The root can't be written, nor removed."""

    expected_code = ErrorCode.ROOT_READ_ONLY


class DirectoryNotEmpty(ApiError):
    """The directory holds something, and the removal is not recursive."""

    expected_code = ErrorCode.DIRECTORY_NOT_EMPTY


class PeerAddressExists(ApiError):
    """Another machine has this address."""

    expected_code = ErrorCode.PEER_ADDRESS_EXISTS


class InsufficientCredentials(ApiError):
    """
    The request needs a user, the right password, or a user with more rights (status 401). Nothing was changed. It is
    not sent again: machines agree on users, but for what one that lags behind does not know yet.
    """

    expected_code = ErrorCode.UNAUTHORIZED


class ValueRequired(ApiError):
    """The request lacks a value."""

    expected_code = ErrorCode.VALUE_REQUIRED


class PreviousValueRequired(ApiError):
    """The condition on the previous value is empty."""

    expected_code = ErrorCode.PREVIOUS_VALUE_REQUIRED


class InvalidTtl(ApiError):
    """The TTL is not a whole number of seconds."""

    expected_code = ErrorCode.TTL_NOT_A_NUMBER


class InvalidIndex(ApiError):
    """The index is not a number."""

    expected_code = ErrorCode.INDEX_NOT_A_NUMBER


class ValueOrTtlRequired(ApiError):
    """The update has neither a value nor a TTL."""

    expected_code = ErrorCode.VALUE_OR_TTL_REQUIRED


class InvalidTimeout(ApiError):
    """The timeout of a lock is not a number."""

    expected_code = ErrorCode.TIMEOUT_NOT_A_NUMBER


class NameRequired(ApiError):
    """The request lacks a name."""

    expected_code = ErrorCode.NAME_REQUIRED


class IndexOrValueRequired(ApiError):
    """The request names neither the index nor the value of a lock."""

    expected_code = ErrorCode.INDEX_OR_VALUE_REQUIRED


class IndexAndValue(ApiError):
    """The request names both the index and the value of a lock."""

    expected_code = ErrorCode.INDEX_AND_VALUE


class InvalidField(ApiError):
    """The server does not understand one of the request's fields."""

    expected_code = ErrorCode.INVALID_FIELD


class InvalidForm(ApiError):
    """The server can't decode the request."""

    expected_code = ErrorCode.INVALID_FORM


class RefreshWithValue(ApiError):
    """A refresh keeps the value, so that it takes none."""

    expected_code = ErrorCode.REFRESH_WITH_VALUE


class RefreshWithoutTtl(ApiError):
    """A refresh needs a TTL."""

    expected_code = ErrorCode.REFRESH_WITHOUT_TTL


class RaftFailed(ApiError):
    """The cluster could not decide, and has not made the change."""

    expected_code = ErrorCode.RAFT_INTERNAL


class DuringElection(ApiError):
    """The cluster has no leader."""

    expected_code = ErrorCode.DURING_ELECTION


class WatcherCleared(ApiError):
    """The watch ended because the machine has recovered from a snapshot."""

    expected_code = ErrorCode.WATCHER_CLEARED


class HistoryCleared(ApiError):
    """The events that were asked for are no longer kept."""

    expected_code = ErrorCode.HISTORY_CLEARED


class StandbyFailed(ApiError):
    """A machine that stands by could not serve the request."""

    expected_code = ErrorCode.STANDBY_INTERNAL


class InvalidActiveSize(ApiError):
    """The cluster can't have this size."""

    expected_code = ErrorCode.INVALID_ACTIVE_SIZE


class InvalidRemoveDelay(ApiError):
    """A machine can't be removed after this delay."""

    expected_code = ErrorCode.STANDBY_REMOVE_DELAY


class ClientInternal(ApiError):
    """The server reports a fault of its own client."""

    expected_code = ErrorCode.CLIENT_INTERNAL


class ConnectionFailed(ClientError):
    """No machine has answered, or none could serve the request just now. Nothing was changed."""


class RequestTimedOut(ConnectionFailed):
    """No answer came in time, and nothing was changed."""


class ClientClosed(ConnectionFailed):
    """The client is closed: it sends nothing any more, and what it was doing has ended."""


class RedirectRefused(ConnectionFailed):
    """A machine redirects the request to an address that is not known to be a machine of the cluster."""


class NoMachinesFound(ConnectionFailed):
    """A domain's DNS records lead to no machine. The text names the domain and the records that were looked for."""


class ClusterChanged(ClientError):
    """
    The machine that answers is of another cluster than before: the store under the client was replaced, and what was
    learned earlier, indexes above all, is void. A write that gets this answer may have been made in the other cluster.
    A new client starts afresh.

    @ivar expected: the id of the cluster so far.
    @ivar found: the id that the answer has.
    """

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(
            f"the answer comes from the cluster {found}, and earlier ones came from {expected}: the store was"
            " replaced; make a new client to go on with the new one"
        )
        self.expected = expected
        self.found = found


class WatchClosed(ClientError):
    """The watch was closed by its owner, and has no more items."""


class RequestRefused(ClientError):
    """
    The cluster refuses a request in the manner of etcd 2, with a status and a message, but without a code: that is how
    it answers about members, users and roles. Nothing was changed.

    @ivar status: the HTTP status of the answer.
    @ivar message: what the server says.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message} (status {status})")
        self.status = status
        self.message = message


class UnexpectedAnswer(ClientError):
    """
    The answer is none of this API: a proxy's, or that of another program. A write whose answer can't be read may have
    happened.

    @ivar status: its HTTP status.
    @ivar body: its body, or the beginning of it.
    """

    def __init__(self, status: int, body: bytes, reason: str = "it is not an answer of this API") -> None:
        super().__init__(f"can't use the answer with status {status}: {reason}: {body[:200]!r}")
        self.status = status
        self.body = body


class OutcomeUnknown(ClientError):
    """
    The write may have happened, or may still happen: no answer came, or one that leaves it open. The library does not
    send it again, because it might then be done twice. Read the key to find out.
    """


_CLASSES: dict[int, type[ApiError]] = {
    kind.expected_code: kind for kind in ApiError.__subclasses__() if kind.expected_code is not None
}


def api_error(code: int, message: str = "", cause: str = "", index: int = 0) -> ApiError:
    """
    Returns the exception for an error of the API.

    @param message: the server's wording, if there is one.
    """
    known = MESSAGES[ErrorCode(code)] if code in MESSAGES else f"error {code}"
    return _CLASSES.get(code, ApiError)(code, message or known, cause, index)
