"""
The global options, as values: which machines to ask, as whom, and for how long.

This module must never connect to anything.
"""

import re
import sys

import attrs
import click

DEFAULT_ENDPOINTS = ("http://127.0.0.1:2379", "http://127.0.0.1:4001")
"""The client ports of etcd 2 and of etcd 0.4."""

_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")


@attrs.frozen
class Settings:
    """
    What the global options say.

    @ivar endpoints: URLs of machines.
    @ivar discovery_srv: the domain whose SRV records name the machines, in place of C{endpoints}; or C{None}.
    @ivar ca_file: the authorities that machines' certificates must come from, or C{None} for those of the system.
    @ivar cert_file: the client's certificate, or C{None}.
    @ivar key_file: the key of that certificate, or C{None}.
    @ivar credentials: a user's name and password, or C{None}.
    @ivar sync: whether to ask the machines for the others of their cluster.
    @ivar attempt_seconds: how long a connection, and one machine over a read, may take.
    @ivar total_seconds: how long a request may take in all.
    """

    endpoints: tuple[str, ...] = DEFAULT_ENDPOINTS
    discovery_srv: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    credentials: tuple[str, str] | None = None
    sync: bool = True
    attempt_seconds: float = 2.0
    total_seconds: float = 5.0


def duration(_ctx: click.Context, _param: click.Parameter, text: str) -> float:
    """
    Returns the seconds of a time such as C{500ms}, C{5s} or C{1m30s}, as etcdctl takes it, or of a number of seconds.

    @raise click.BadParameter: it is neither.
    """
    parts = _PART.findall(text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        parts = [(text, "s")] if re.fullmatch(r"\d+(\.\d+)?", text) else []
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)
    if seconds <= 0:
        raise click.BadParameter(f"{text!r} is no duration; write for example 5s, 500ms or 1m30s")
    return seconds


def endpoints_of(text: str) -> tuple[str, ...]:
    """
    Returns the URLs in a comma-separated list.

    @raise click.BadParameter: there are none.
    """
    endpoints = tuple(filter(None, (each.strip() for each in text.split(","))))
    if not endpoints:
        raise click.BadParameter("it names no machine; write for example http://127.0.0.1:4001")
    return endpoints


def credentials_of(username: str, prompt: str = "Password") -> tuple[str, str]:
    """
    Returns a user's name and password. A password that is not given behind a colon is asked for, in a terminal; else
    it is the next line of the standard input.
    """
    name, colon, password = username.partition(":")
    if not name:
        raise click.BadParameter(f"{username!r} has no name; write NAME or NAME:PASSWORD")
    return name, password if colon else ask_password(prompt)


def ask_password(prompt: str, confirm: bool = False) -> str:
    """
    Returns a password that is typed in a terminal, which does not show it; else the next line of the standard input.

    @param confirm: whether it is asked for twice, since nobody can see a mistake.
    """
    if sys.stdin.isatty():
        password: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
        return password
    return sys.stdin.readline().rstrip("\n")
