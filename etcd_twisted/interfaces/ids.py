"""
The ids of machines and clusters: 16 lower-case hexadecimal digits.

This module must never import another of the package, so that every room can use it.
"""

import re
import secrets

_ID = re.compile(r"[0-9a-f]{16}")


def new_id() -> str:
    """Returns a random id, which no other machine or cluster has."""
    return secrets.token_hex(8)


def is_id(text: str) -> bool:
    """Returns whether a text could be the id of a machine or a cluster."""
    return _ID.fullmatch(text) is not None
