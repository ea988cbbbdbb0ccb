"""
A client of the version 2 API, on treq: see C{docs/client.md}.

The names below are public; the modules behind them may change. L{etcd_twisted.client.recipes} builds locks, elections,
queues and more on the client. This package must never import anything of the server but L{etcd_twisted.errors} and
L{etcd_twisted.backoff}.

A name is imported when it is used first: a program that wants the exceptions alone, such as C{txetcdctl}, starts
sooner without Twisted.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etcd_twisted.client.admin import Admin
    from etcd_twisted.client.auth import Auth
    from etcd_twisted.client.client import Client
    from etcd_twisted.client.connecting import Tls
    from etcd_twisted.client.errors import (
        ApiError,
        ClientClosed,
        ClientError,
        ClientInternal,
        ClusterChanged,
        ClusterFull,
        CompareFailed,
        ConnectionFailed,
        DirectoryNotEmpty,
        DuringElection,
        HistoryCleared,
        IndexAndValue,
        IndexOrValueRequired,
        InsufficientCredentials,
        InvalidActiveSize,
        InvalidField,
        InvalidForm,
        InvalidIndex,
        InvalidRemoveDelay,
        InvalidTimeout,
        InvalidTtl,
        KeyExists,
        KeyNotFound,
        KeyReserved,
        NameRequired,
        NoMachinesFound,
        NotADirectory,
        NotAFile,
        OutcomeUnknown,
        PeerAddressExists,
        PreviousValueRequired,
        RaftFailed,
        RedirectRefused,
        RefreshWithoutTtl,
        RefreshWithValue,
        RequestRefused,
        RequestTimedOut,
        RootReadOnly,
        StandbyFailed,
        UnexpectedAnswer,
        ValueOrTtlRequired,
        ValueRequired,
        WatchClosed,
        WatcherCleared,
    )
    from etcd_twisted.client.results import (
        AdminMachine,
        ClusterConfig,
        Event,
        FollowerStatistics,
        ForbiddenMachine,
        HistoryLost,
        Index,
        LeaderStatistics,
        Machine,
        MachineStatistics,
        Node,
        Reading,
        Role,
        StoreStatistics,
        User,
        Version,
    )
    from etcd_twisted.client.sender import Timeouts
    from etcd_twisted.client.statistics import Statistics
    from etcd_twisted.client.watch import Connection, Watch

__all__ = [
    "Admin",
    "AdminMachine",
    "ApiError",
    "Auth",
    "Client",
    "ClientClosed",
    "ClientError",
    "ClientInternal",
    "ClusterChanged",
    "ClusterConfig",
    "ClusterFull",
    "CompareFailed",
    "Connection",
    "ConnectionFailed",
    "DirectoryNotEmpty",
    "DuringElection",
    "Event",
    "FollowerStatistics",
    "ForbiddenMachine",
    "HistoryCleared",
    "HistoryLost",
    "Index",
    "IndexAndValue",
    "IndexOrValueRequired",
    "InsufficientCredentials",
    "InvalidActiveSize",
    "InvalidField",
    "InvalidForm",
    "InvalidIndex",
    "InvalidRemoveDelay",
    "InvalidTimeout",
    "InvalidTtl",
    "KeyExists",
    "KeyNotFound",
    "KeyReserved",
    "LeaderStatistics",
    "Machine",
    "MachineStatistics",
    "NameRequired",
    "NoMachinesFound",
    "Node",
    "NotADirectory",
    "NotAFile",
    "OutcomeUnknown",
    "PeerAddressExists",
    "PreviousValueRequired",
    "RaftFailed",
    "Reading",
    "RedirectRefused",
    "RefreshWithValue",
    "RefreshWithoutTtl",
    "RequestRefused",
    "RequestTimedOut",
    "Role",
    "RootReadOnly",
    "StandbyFailed",
    "Statistics",
    "StoreStatistics",
    "Timeouts",
    "Tls",
    "UnexpectedAnswer",
    "User",
    "ValueOrTtlRequired",
    "ValueRequired",
    "Version",
    "Watch",
    "WatchClosed",
    "WatcherCleared",
]

_HOMES = {
    "Admin": "admin",
    "Auth": "auth",
    "Client": "client",
    "Connection": "watch",
    "Statistics": "statistics",
    "Timeouts": "sender",
    "Tls": "connecting",
    "Watch": "watch",
}
"""The modules of the names that are neither results nor exceptions."""


def __getattr__(name: str) -> object:
    """Returns a public name, which is imported now."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    homes = (_HOMES[name],) if name in _HOMES else ("errors", "results")
    for home in homes:
        found = vars(import_module(f"{__name__}.{home}")).get(name)
        if found is not None:
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Returns the public names, those that are not imported yet among them."""
    return sorted({*globals(), *__all__})
