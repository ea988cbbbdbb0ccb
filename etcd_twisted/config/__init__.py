"""
The configuration of a machine: flags take precedence over the environment, a TOML file and the defaults.

This package must never open a port or a data directory: the code that opens these checks whether they can be used.
"""

from etcd_twisted.config.addresses import Address, Endpoint
from etcd_twisted.config.config import Config
from etcd_twisted.config.loading import load_config

__all__ = ["Address", "Config", "Endpoint", "load_config"]
