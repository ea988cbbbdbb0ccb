"""
Keys as paths.

This module must never look at what a key holds.
"""

from etcd_twisted.client import keys

normal_key = keys.normal_key
"""Spells a key as requests do. What a recipe compares with the keys of answers must be spelt so."""


def is_at_or_below(key: str, directory: str) -> bool:
    """Returns whether a key is another one, or lies in it at any depth."""
    return key == directory or key.startswith(directory.rstrip("/") + "/")


def is_hidden(key: str, directory: str) -> bool:
    """Returns whether listings and watches of a directory leave out a key in it."""
    return "/_" in key[len(directory.rstrip("/")) :]


def parent(key: str) -> str:
    """Returns the directory that a key is in."""
    return key.rpartition("/")[0] or "/"
