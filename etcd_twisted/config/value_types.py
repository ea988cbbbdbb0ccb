"""
The types of values that options take: how a value is written, and which values can be used.

This module must never know an option, nor where a value came from.
"""

import enum
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import attrs

from etcd_twisted.config.addresses import Address, BindAddress, Listener, parse_listening
from etcd_twisted.config.initial_cluster import InitialCluster
from etcd_twisted.interfaces.cluster import NAME
from etcd_twisted.interfaces.cluster_config import (
    MAX_ACTIVE_SIZE,
    MAX_REMOVE_DELAY_SECONDS,
    MAX_SYNC_INTERVAL_SECONDS,
    MIN_ACTIVE_SIZE,
    MIN_REMOVE_DELAY_SECONDS,
    MIN_SYNC_INTERVAL_SECONDS,
)
from etcd_twisted.logs.observers import FORMATS, HIGHEST_VERBOSITY

T = TypeVar("T")

MAX_WORKERS = 64
"""More processes than that for clients are surely a mistake: each holds a copy of the key space."""

_WHOLE = re.compile(r"[0-9]+")
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")
_URL = re.compile(r"https?://[!\"$->@-~]+")
"""It has no query and no fragment."""
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[!$&'()+.0-9:;=\[\]_a-z~-]+")
"""As browsers send it: in small letters, without a path or a user."""
_LARGEST = 2**63 - 1
_LARGEST_BODY_BYTES = 16 * 1024 * 1024
"""A machine does several things with a value in one go, for each other machine; each must take less than an election
timeout."""
_LONGEST_TIMEOUT_SECONDS = 86400.0
"""The reactor's poll waits for at most 24 days; a time of more than a day is surely a mistake."""

_LONGEST_ELECTION_MILLISECONDS = 60_000
"""A longer time without a leader is surely a mistake."""


@enum.unique
class Form(enum.Enum):
    """How a value is written: its TOML type, and whether a flag takes a value, comes as a pair, or repeats."""

    TEXT = "a string"
    WHOLE = "a whole number"
    NUMBER = "a number"
    SWITCH = "true or false"
    LIST = "a list of strings"


@attrs.frozen
class ValueType(Generic[T]):
    """
    A type of values.

    @ivar parse: makes a value from its text; raises L{ValueError} with what the text should be.
    @ivar metavar: stands for a value in help texts.
    """

    form: Form
    parse: Callable[[str], T]
    metavar: str


# Text


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("should be a path, neither empty nor with a zero byte")
    return Path(text)


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError("should be 1 to 255 letters, digits, '.', '_' and '-', the first not '.' or '-'")
    return text


def _choice(*choices: str) -> ValueType[str]:
    """Returns the type of a value that is one of a few texts."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"should be {' or '.join(choices)}")
        return text

    return ValueType(Form.TEXT, parse, "|".join(choices))


def _frontend(text: str) -> str:
    if not text or text.startswith(":"):
        raise ValueError("should be NAME or NAME:option=value...")
    return text


def _switch(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError("should be true or false")
    return text.lower() == "true"


def _initial_cluster_token(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("should be printable characters")
    return text


FILE = ValueType(Form.TEXT, _path, "FILE")
DIRECTORY = ValueType(Form.TEXT, _path, "DIRECTORY")
MACHINE_NAME = ValueType(Form.TEXT, _name, "NAME")
PROFILE = _choice("etcd04", "etcd2")
LOG_FORMAT = _choice(*FORMATS)
FOLLOWER_REQUESTS = _choice("forward", "redirect")
IN_ORDER_KEYS = _choice("plain", "padded")
MEMBER_IDS = _choice("name", "hex")
ZERO_PREV_INDEX = _choice("compare", "ignore")
VERSION_MEDIA_TYPE = _choice("negotiated", "json")
INITIAL_CLUSTER_STATE = _choice("new", "existing")
INITIAL_CLUSTER_TOKEN = ValueType(Form.TEXT, _initial_cluster_token, "TEXT")
FRONTEND = ValueType(Form.TEXT, _frontend, "NAME[:option=value...]")
SWITCH = ValueType(Form.SWITCH, _switch, "true|false")


# Whole numbers


def _whole(text: str, least: int, largest: int = _LARGEST, why: str = "") -> int:
    # The length is checked first, since Python refuses to make a number of thousands of digits.
    if not _WHOLE.fullmatch(text) or len(text.lstrip("0")) > len(str(largest)) or not least <= int(text) <= largest:
        raise ValueError(f"should be a whole number from {least} to {largest}{why}")
    return int(text)


_positive = partial(_whole, least=1)
_body_bytes = partial(
    _whole, least=1, largest=_LARGEST_BODY_BYTES, why=" (16 MiB): a longer one would hold up the leader"
)
_milliseconds = partial(_whole, least=1, largest=_LONGEST_ELECTION_MILLISECONDS, why=" (a minute)")

COUNT = ValueType(Form.WHOLE, _positive, "NUMBER")
BYTES = ValueType(Form.WHOLE, _positive, "BYTES")
BYTES_OR_ZERO = ValueType(Form.WHOLE, partial(_whole, least=0), "BYTES")
BODY_BYTES = ValueType(Form.WHOLE, _body_bytes, "BYTES")
MILLISECONDS = ValueType(Form.WHOLE, _milliseconds, "MILLISECONDS")
ACTIVE_SIZE = ValueType(Form.WHOLE, partial(_whole, least=MIN_ACTIVE_SIZE, largest=MAX_ACTIVE_SIZE), "NUMBER")
WORKERS = ValueType(Form.WHOLE, partial(_whole, least=0, largest=MAX_WORKERS), "NUMBER")
VERBOSITY = ValueType(Form.WHOLE, partial(_whole, least=0, largest=HIGHEST_VERBOSITY), "NUMBER")


# Seconds


def _number(text: str) -> float:
    """Returns the number that a text stands for; if it stands for none, NaN, which is in no range."""
    return float(text) if _DECIMAL.fullmatch(text) else math.nan


def _timeout(text: str) -> float:
    seconds = _number(text)
    if not 0 < seconds <= _LONGEST_TIMEOUT_SECONDS:
        longest = f"{_LONGEST_TIMEOUT_SECONDS:.0f}"
        raise ValueError(f"should be a number of seconds above 0, at most {longest}, as in 10 or 0.5")
    return seconds


def _seconds(text: str, least: float, longest: float, example: str) -> float:
    seconds = _number(text)
    if not least <= seconds <= longest:
        raise ValueError(f"should be a number of seconds from {least:.0f} to {longest:.0f}, as in {example}")
    return seconds


_remove_delay = partial(_seconds, least=MIN_REMOVE_DELAY_SECONDS, longest=MAX_REMOVE_DELAY_SECONDS, example="1800")
_sync_interval = partial(
    _seconds, least=MIN_SYNC_INTERVAL_SECONDS, longest=MAX_SYNC_INTERVAL_SECONDS, example="5 or 2.5"
)

TIMEOUT = ValueType(Form.NUMBER, _timeout, "SECONDS")
REMOVE_DELAY = ValueType(Form.NUMBER, _remove_delay, "SECONDS")
SYNC_INTERVAL = ValueType(Form.NUMBER, _sync_interval, "SECONDS")


# Addresses, URLs and hosts


def reachable_address(bind_option: str) -> ValueType[Address]:
    """
    Returns the type of an address that others reach this machine at.

    @param bind_option: the option that sets where to listen, for the error.
    """
    return ValueType(Form.TEXT, partial(Address.parse_reachable, bind_option=bind_option), "HOST:PORT")


def _addresses(text: str) -> tuple[Address, ...]:
    items = [item.strip() for item in text.split(",")]
    addresses = tuple(_reachable_item(item) for item in items if item)
    if not addresses:
        # A machine that knows of no others would begin a cluster of its own.
        raise ValueError("should be HOST:PORT or several of these with commas between them, as in h:7001,[::1]:7001")
    return addresses


def _reachable_item(text: str) -> Address:
    try:
        return Address.parse_reachable(text)
    except ValueError as error:
        raise ValueError(f"{error}, unlike {text!r}") from error


def _directory_url(text: str) -> str:
    try:
        if not _URL.fullmatch(text):
            raise ValueError(text)
        BindAddress.parse(urlsplit(text).netloc)
    except ValueError:
        example = "http://127.0.0.1:4001/v2/keys/discovery/TOKEN"
        raise ValueError(f"should be the URL of a directory, as in {example}") from None
    return text


def _origins(text: str) -> str:
    """Returns one origin or several, without the spaces between them."""
    origins = [each.strip().lower() for each in text.split(",")]
    if not all(each == "*" or _ORIGIN.fullmatch(each) for each in origins):
        raise ValueError("should be * or origins with commas between them, as in http://a.example.com:8080")
    return ",".join(origins)


def _hosts(text: str) -> str:
    """Returns one host or several, without the spaces between them."""
    hosts = [each.strip().lower() for each in text.split(",")]
    if not all(each == "*" or _is_host(each) for each in hosts):
        raise ValueError("should be * or host names with commas between them, as in etcd.example.com,etcd")
    return ",".join(hosts)


def _is_host(text: str) -> bool:
    try:
        return BindAddress.parse(text).port is None
    except ValueError:
        return False


def _domain(text: str) -> str:
    if not _is_host(text) or text.endswith("]"):
        raise ValueError("should be a domain, as in example.com")
    return text


LISTENING_ADDRESS: ValueType[Any] = ValueType(Form.TEXT, parse_listening, "HOST[:PORT]|ENDPOINT")
"""L{etcd_twisted.config.Config} adds the port of the advertised address where none was given."""

LISTENER = ValueType(Form.LIST, Listener.parse, "HOST:PORT|URL|ENDPOINT")
ADDRESSES = ValueType(Form.TEXT, _addresses, "HOST:PORT,...")
INITIAL_CLUSTER = ValueType(Form.TEXT, InitialCluster.parse, "NAME=URL,...")
DOMAIN = ValueType(Form.TEXT, _domain, "DOMAIN")
DIRECTORY_URL = ValueType(Form.TEXT, _directory_url, "URL")
CORS_ORIGINS = ValueType(Form.TEXT, _origins, "ORIGIN,...")
HOST_NAMES = ValueType(Form.TEXT, _hosts, "HOST,...")
