"""
Completes keys: asks a machine for what is in a directory, while a shell waits.

This module must never print anything, nor wait for long.
"""

from typing import Any

import click

from etcd_twisted.ctl.settings import Settings, endpoints_of

_PATIENT_SECONDS = 1.0


def complete_key(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """
    Returns the keys that begin with a text. A slash is behind directories, and if a directory is the only one, what is
    in it is there too, so that a shell does not take it for the end.
    """
    from etcd_twisted.client import ClientError

    settings = _settings(ctx.find_root().params)
    try:
        found = _matches(settings, incomplete)
        if len(found) == 1 and found[0].endswith("/"):
            found += _matches(settings, found[0])
    except (ClientError, ValueError):
        return []  # there is nothing to complete, and no place to say why
    return found


def _settings(options: dict[str, Any]) -> Settings:
    """Returns settings with as much of the global options as needs no question."""
    name, colon, password = (options.get("username") or "").partition(":")
    return Settings(
        endpoints_of(options.get("endpoints") or ",".join(Settings().endpoints)),
        options.get("discovery_srv"),
        credentials=(name, password) if colon else None,
        attempt_seconds=_PATIENT_SECONDS,
    )


def _matches(settings: Settings, incomplete: str) -> list[str]:
    from etcd_twisted.client import keys
    from etcd_twisted.client.answers import reading_of
    from etcd_twisted.ctl import direct

    directory = incomplete.rpartition("/")[0] or "/"
    answer = direct.ask(settings, keys.read(directory, recursive=False, sort=True, consistent=False, quorum=False))
    if answer is None:
        return []
    before = "" if incomplete.startswith("/") else "/"
    return [
        f"{node.key}/" if node.directory else node.key
        for node in reading_of(answer).nodes
        if node.key.startswith(before + incomplete)
    ]
