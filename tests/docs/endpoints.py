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

_OF_AUTH = {
    "enable": ("GET", "PUT", "DELETE"),
    "users": ("GET",),
    "users/NAME": ("GET", "PUT", "DELETE"),
    "roles": ("GET",),
    "roles/NAME": ("GET", "PUT", "DELETE"),
}
"""The paths below C{/v2/auth}, which is one route."""


def endpoints() -> Iterator[tuple[str, str]]:
    """Returns each method and path. C{HEAD} exists wherever C{GET} does, and is left out."""
    for method in _OF_KEYS:
        yield method, f"{KeyEndpoint.prefix.decode()}/KEY"
    for app in _APPS:
        for rule in app.app.url_map.iter_rules():
            if rule.rule == "/v2/auth/<path:path>":
                for page, methods in _OF_AUTH.items():
                    yield from ((method, f"/v2/auth/{page}") for method in methods)
                continue
            path = re.sub("<.*?>", lambda part: _PARTS[part[0]], rule.rule)
            for method in rule.methods - {"HEAD"}:
                yield method, path
