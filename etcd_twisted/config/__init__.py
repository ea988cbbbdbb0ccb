"""
What can be set, and how: flags over the environment over a TOML file over the defaults.

This package must never open a port or a data directory: whoever opens these finds out whether they can be used.
"""

from etcd_twisted.config.addresses import Address, Endpoint
from etcd_twisted.config.config import Config
from etcd_twisted.config.loading import load_config

__all__ = ["Address", "Config", "Endpoint", "load_config"]
