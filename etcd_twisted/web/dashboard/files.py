"""
The files of the dashboard's page, as answers.

They are read once and held in memory: together they are smaller than a picture. A browser keeps them and asks each
time whether they are still the same, so that a page never runs with files of two versions.

Must never answer with anything but the files that came with the package, nor let the page run or load what is not one
of them.
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

# What a page from here may do: nothing but load what is served beside it, and ask the machine that it came from.
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
    One of them.

    @ivar tag: changes with the content.
    @ivar fields: see L{Response}.
    """

    tag: str
    fields: bytes
    content: bytes


class Files:
    """All of them, by name."""

    def __init__(self) -> None:
        page = resources.files(_PACKAGE).joinpath("page")
        self._files = {each.name: _file(each.name, each.read_bytes()) for each in page.iterdir()}

    def answer(self, name: str, known: str | None) -> Response:
        """
        A file; that it has not changed, if the browser has it; or that there is none.

        @param name: empty for the page itself.
        @param known: the request's C{If-None-Match}.
        """
        file = self._files.get(name or INDEX)
        if file is None:
            return json_message(404, "Not Found")
        status = 304 if parse_etags(known).contains_weak(file.tag) else 200
        return Response(status, file.fields, file.content)  # a 304 says how long the content would be, and has none


def _file(name: str, content: bytes) -> _File:
    tag = hashlib.sha256(content).hexdigest()[:32]
    kind = _TYPES[name[name.rindex(".") :]]
    return _File(tag, _FIELDS % (kind, tag.encode()), content)
