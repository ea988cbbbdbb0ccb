"""
The endpoints of the client port and of the administrators' part of the peer port, as the servers know them.
"""

import re
from collections.abc import Iterator

from etcd_twisted.web.admin import AdminApp
from etcd_twisted.web.app import ClientApp
from etcd_twisted.web.keys import KeyEndpoint
from etcd_twisted.web.modules.pages import ModulePages

_APPS = (ClientApp, ModulePages, AdminApp)
_PARTS = {"<member_id>": "ID", "<name>": "NAME", "<rest:name>": "KEY"}
"""The word that pages write for a variable part of a path."""

_OF_KEYS = ("GET", "PUT", "POST", "DELETE")


def endpoints() -> Iterator[tuple[str, str]]:
    """Returns each method and path. C{HEAD} exists wherever C{GET} does, and is left out."""
    for method in _OF_KEYS:
        yield method, f"{KeyEndpoint.prefix.decode()}/KEY"
    for app in _APPS:
        for rule in app.app.url_map.iter_rules():
            path = re.sub("<.*?>", lambda part: _PARTS[part[0]], rule.rule)
            for method in rule.methods - {"HEAD"}:
                yield method, path
