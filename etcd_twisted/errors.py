"""
The error table of the version 2 API, and the exceptions whose texts people see.

This module must never import anything of this project, so that the key space, the servers and the clients can all
share it.
"""

import enum

import attrs


@enum.unique
class ErrorCode(enum.IntEnum):
    """The C{errorCode} of a response. L{MESSAGES} has its message, and L{http_status} returns its status."""

    KEY_NOT_FOUND = 100
    COMPARE_FAILED = 101
    NOT_A_FILE = 102
    NO_MORE_PEER = 103
    NOT_A_DIRECTORY = 104
    KEY_EXISTS = 105
    KEY_IS_PRESERVED = 106
    ROOT_READ_ONLY = 107
    DIRECTORY_NOT_EMPTY = 108
    PEER_ADDRESS_EXISTS = 109
    UNAUTHORIZED = 110
    VALUE_REQUIRED = 200
    PREVIOUS_VALUE_REQUIRED = 201
    TTL_NOT_A_NUMBER = 202
    INDEX_NOT_A_NUMBER = 203
    VALUE_OR_TTL_REQUIRED = 204
    TIMEOUT_NOT_A_NUMBER = 205
    NAME_REQUIRED = 206
    INDEX_OR_VALUE_REQUIRED = 207
    INDEX_AND_VALUE = 208
    INVALID_FIELD = 209
    INVALID_FORM = 210
    REFRESH_WITH_VALUE = 211
    REFRESH_WITHOUT_TTL = 212
    RAFT_INTERNAL = 300
    DURING_ELECTION = 301
    WATCHER_CLEARED = 400
    HISTORY_CLEARED = 401
    STANDBY_INTERNAL = 402
    INVALID_ACTIVE_SIZE = 403
    STANDBY_REMOVE_DELAY = 404
    CLIENT_INTERNAL = 500


MESSAGES: dict[ErrorCode, str] = {
    ErrorCode.KEY_NOT_FOUND: "Key not found",
    ErrorCode.COMPARE_FAILED: "Compare failed",
    ErrorCode.NOT_A_FILE: "Not a file",
    ErrorCode.NO_MORE_PEER: "Reached the max number of peers in the cluster",
    ErrorCode.NOT_A_DIRECTORY: "Not a directory",
    ErrorCode.KEY_EXISTS: "Key already exists",
    ErrorCode.KEY_IS_PRESERVED: "The prefix of given key is a keyword in etcd",
    ErrorCode.ROOT_READ_ONLY: "Root is read only",
    ErrorCode.DIRECTORY_NOT_EMPTY: "Directory not empty",
    ErrorCode.PEER_ADDRESS_EXISTS: "Peer address has existed",
    ErrorCode.UNAUTHORIZED: "The request requires user authentication",
    ErrorCode.VALUE_REQUIRED: "Value is Required in POST form",
    ErrorCode.PREVIOUS_VALUE_REQUIRED: "PrevValue is Required in POST form",
    ErrorCode.TTL_NOT_A_NUMBER: "The given TTL in POST form is not a number",
    ErrorCode.INDEX_NOT_A_NUMBER: "The given index in POST form is not a number",
    ErrorCode.VALUE_OR_TTL_REQUIRED: "Value or TTL is required in POST form",
    ErrorCode.TIMEOUT_NOT_A_NUMBER: "The given timeout in POST form is not a number",
    ErrorCode.NAME_REQUIRED: "Name is required in POST form",
    ErrorCode.INDEX_OR_VALUE_REQUIRED: "Index or value is required",
    ErrorCode.INDEX_AND_VALUE: "Index and value cannot both be specified",
    ErrorCode.INVALID_FIELD: "Invalid field",
    ErrorCode.INVALID_FORM: "Invalid POST form",
    ErrorCode.REFRESH_WITH_VALUE: "Value provided on refresh",
    ErrorCode.REFRESH_WITHOUT_TTL: "A TTL must be provided on refresh",
    ErrorCode.RAFT_INTERNAL: "Raft Internal Error",
    ErrorCode.DURING_ELECTION: "During Leader Election",
    ErrorCode.WATCHER_CLEARED: "watcher is cleared due to etcd recovery",
    ErrorCode.HISTORY_CLEARED: "The event in requested index is outdated and cleared",
    ErrorCode.STANDBY_INTERNAL: "Standby Internal Error",
    ErrorCode.INVALID_ACTIVE_SIZE: "Invalid active size",
    ErrorCode.STANDBY_REMOVE_DELAY: "Standby remove delay",
    ErrorCode.CLIENT_INTERNAL: "Client Internal Error",
}

_STATUS = {
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.KEY_NOT_FOUND: 404,
    ErrorCode.NOT_A_FILE: 403,
    ErrorCode.DIRECTORY_NOT_EMPTY: 403,
    ErrorCode.COMPARE_FAILED: 412,
    ErrorCode.KEY_EXISTS: 412,
}


def http_status(code: ErrorCode) -> int:
    """Returns the HTTP status of an error (spec, section 1, "Errors"): 500 for codes 3xx, and 400 unless listed."""
    if 300 <= code < 400:
        return 500
    return _STATUS.get(code, 400)


@attrs.define(slots=True, auto_exc=True)
class EtcdError(Exception):
    """
    An error of the API, because of which a request can't be served.

    @ivar code: which error of the table it is.
    @ivar cause: what it is about: a key, or the comparison that failed.
    @ivar index: the index of the key space when it happened; 0 while that is not known.
    """

    code: ErrorCode
    cause: str
    index: int = 0

    def __str__(self) -> str:
        return f"{int(self.code)}: {MESSAGES[self.code]} ({self.cause})"


class StartError(Exception):
    """The service can't start. The text is one line that names the option or file, and the remedy."""


class ConfigError(StartError):
    """A setting can't be used. The text is one line that names the setting and what it should be."""


class StorageError(StartError):
    """The data directory can't be used or trusted. The text names the file, and the offset if there is one."""


class RequestDroppedError(Exception):
    """Nothing was changed by the request and nothing will be, so that it is safe to make it again."""


class CannotForwardError(RequestDroppedError):
    """
    The request can't be forwarded from here, now or later: the leader runs a version that takes no such requests, or
    this machine is not a member of the cluster. The client has to ask the leader itself.
    """
