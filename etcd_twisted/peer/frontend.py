"""
The peer port as a frontend.
"""

from collections.abc import Mapping
from typing import Any

from twisted.application.service import IService
from zope.interface import implementer

from etcd_twisted.config import Config
from etcd_twisted.http.service import HttpService
from etcd_twisted.interfaces import IFrontend, IReplica
from etcd_twisted.peer.admin import AdminApp


@implementer(IFrontend)
class PeerFrontend:
    """Serves administrators from the replica."""

    name = "peer"
