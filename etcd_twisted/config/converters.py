"""
What a L{etcd_twisted.config.Config} is made of, as programs write it: values, or texts as flags have them.

These functions say to type checkers what each field takes, although texts have become values before they are called
(see L{etcd_twisted.config.option}). This module must never know an option: which values can be
used is a matter of L{etcd_twisted.config.value_types}.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from etcd_twisted.config.addresses import Address, BindAddress, Endpoint, Listener
from etcd_twisted.config.initial_cluster import InitialCluster
from etcd_twisted.config.value_types import SWITCH


def path(value: "os.PathLike[str] | str") -> Path:
    """Returns a path."""
    return Path(value)


def whole(value: int | str) -> int:
    """Returns a whole number."""
    return int(value)


def number(value: float | str) -> float:
    """Returns a number."""
    return float(value)


def switch(value: bool | str) -> bool:
    """Returns whether something is on."""
    return SWITCH.parse(value) if isinstance(value, str) else value


def texts(value: Iterable[str] | str) -> tuple[str, ...]:
    """Returns texts, of which there may be one."""
    return (value,) if isinstance(value, str) else tuple(value)


def address(value: Address | str) -> Address:
    """Returns an address."""
    if not isinstance(value, Address):
        raise TypeError("should be an Address, or its text")
    return value


def addresses(value: Iterable[Address | str] | str) -> tuple[Address, ...]:
    """Returns addresses that others reach. Each may be a text."""
    return tuple(Address.parse_reachable(each) if isinstance(each, str) else address(each) for each in value)


def initial_cluster(value: InitialCluster | str) -> InitialCluster:
    """Returns a static list of machines."""
    if not isinstance(value, InitialCluster):
        raise TypeError("should be an InitialCluster, or its text")
    return value


def listeners(value: Iterable[Listener | str] | Listener | str) -> tuple[Listener, ...]:
    """Returns further addresses or endpoints to listen on, of which there may be one."""
    several = (value,) if isinstance(value, Listener | str) else value
    return tuple(Listener.parse(each) if isinstance(each, str) else each for each in several)


def listening(value: Address | BindAddress | Endpoint | str) -> Address | BindAddress | Endpoint:
    """Returns where to listen: a L{BindAddress} if the port is still to be added."""
    if not isinstance(value, Address | BindAddress | Endpoint):
        raise TypeError("should be an Address or an Endpoint, or its text")
    return value if not isinstance(value, BindAddress) or value.port is None else value.complete()
