"""
All that the client port and the administrators' part of the peer port serve, as they themselves know it.
"""

import re
from collections.abc import Iterator

from etcd_twisted.web.admin import AdminApp
from etcd_twisted.web.app import ClientApp
from etcd_twisted.web.keys import KeyEndpoint
from etcd_twisted.web.modules.pages import ModulePages

_APPS = (ClientApp, ModulePages, AdminApp)
_PARTS = {"<member_id>": "ID", "<name>": "NAME", "<rest:name>": "KEY"}
"""What pages write for a part of a path that differs."""

_OF_KEYS = ("GET", "PUT", "POST", "DELETE")


def endpoints() -> Iterator[tuple[str, str]]:
    """Each method and path; where there is C{GET} there is C{HEAD}, which is not told."""
    for method in _OF_KEYS:
        yield method, f"{KeyEndpoint.prefix.decode()}/KEY"
    for app in _APPS:
        for rule in app.app.url_map.iter_rules():
            path = re.sub("<.*?>", lambda part: _PARTS[part[0]], rule.rule)
            for method in rule.methods - {"HEAD"}:
                yield method, path
