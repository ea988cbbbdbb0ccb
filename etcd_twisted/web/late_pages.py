"""
Pages that are imported and made only when the machine serves keys, since that takes as long as a fifth of a start.

Klein, werkzeug, prometheus-client and all pages beside the keys are below the modules that L{LatePages} is made for.
This module must never import one of them, nor leave a request for a page without its answer: if one comes earlier, it
has the pages made at once. Imports that nobody waits for must never hold up the reactor, which has heartbeats to send.
Two threads must never import pages at the same time: where modules import each other, as some of werkzeug do, one of
the threads would find a module that is half imported, and fail.
"""

from collections.abc import Callable
from importlib import import_module
from threading import Lock
from typing import Generic, TypeVar

from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource

PagesType = TypeVar("PagesType", bound=Resource)

_importing = Lock()
"""A thread holds it while it imports pages. All machines of a process have the same one, as they share imports."""


class LatePages(Resource, Generic[PagesType]):
    """
    Stands for pages that may not be there yet.

    @ivar made: the pages, once they are there.
    """

    isLeaf = True  # noqa: N815  # Twisted's name

    def __init__(self, module: str, make: Callable[[], PagesType]) -> None:
        """
        @param module: the name of the module that C{make} imports.
        @param make: imports the pages and makes them. It is called once, unless it fails.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no types there
        self.made: PagesType | None = None
        self._module = module
        self._make = make

    async def load(self, reactor: IReactorThreads) -> None:
        """Import the pages in a thread, which the reactor takes turns with, and make them."""
        await deferToThreadPool(reactor, reactor.getThreadPool(), self._import)
        self.pages()

    def _import(self) -> None:
        with _importing:
            import_module(self._module)

    def pages(self) -> PagesType:
        """Returns the pages, and makes them if they are not there yet."""
        if self.made is None:
            with _importing:
                self.made = self._make()
        return self.made

    def render(self, request: IRequest) -> bytes | int:
        """See L{twisted.web.resource.IResource}."""
        answer: bytes | int = self.pages().render(request)  # type: ignore[no-untyped-call]  # Twisted has no types there
        return answer
