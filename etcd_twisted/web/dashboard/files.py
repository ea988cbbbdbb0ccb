"""
The files of the dashboard's page, as responses.

They are read once and kept in memory: all of them together are smaller than a picture. A browser caches them and asks
each time whether they are still the same, so that a page never runs with files of two versions.

This module must never send anything but the files that came with the package, nor let the page run or load anything
else.
"""

import hashlib
from importlib import resources

import attrs
from werkzeug.http import parse_etags

from etcd_twisted.httpd.responses import Response, json_message

INDEX = "index.html"
"""The page itself."""

_PACKAGE = "etcd_twisted.web.dashboard"

_TYPES = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}

# What the page may do: load the files that are served beside it, and send requests to the same machine.
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_FIELDS = (
    b"Content-Type: %s\r\n"
    b"Content-Security-Policy: " + _POLICY + b"\r\n"
    b"Referrer-Policy: no-referrer\r\n"
    b"Cache-Control: no-cache\r\n"
    b'ETag: "%s"\r\n'
)


@attrs.frozen
class _File:
    """
    A file of the page.

    @ivar tag: a hash of the content.
    @ivar fields: see L{Response}.
    """

    tag: str
    fields: bytes
    content: bytes


class Files:
    """All files of the page."""

    def __init__(self) -> None:
        page = resources.files(_PACKAGE).joinpath("page")
        self._files = {each.name: _file(each.name, each.read_bytes()) for each in page.iterdir()}

    def response(self, name: str, known: str | None) -> Response:
        """
        Returns the response with a file, or that the file has not changed, or that there is no such file.

        @param name: the name of the file; empty for the page itself.
        @param known: the header C{If-None-Match} of the request.
        """
        file = self._files.get(name or INDEX)
        if file is None:
            return json_message(404, "Not Found")
        status = 304 if parse_etags(known).contains_weak(file.tag) else 200
        return Response(status, file.fields, file.content)  # a 304 has no content, but says how long it would be


def _file(name: str, content: bytes) -> _File:
    tag = hashlib.sha256(content).hexdigest()[:32]
    kind = _TYPES[name[name.rindex(".") :]]
    return _File(tag, _FIELDS % (kind, tag.encode()), content)
