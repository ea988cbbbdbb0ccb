"""
L{etcd_twisted.web.late_pages}: pages that are made when they are needed.
"""

from threading import Event
from typing import cast

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.python.threadable import isInIOThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.test.requesthelper import DummyRequest

from etcd_twisted.interfaces import IReactor
from etcd_twisted.waiters import next_turn
from etcd_twisted.web import late_pages
from etcd_twisted.web.late_pages import LatePages


class Pages(Resource):
    """Answers with what it is called."""

    def render(self, request: object) -> bytes:  # noqa: ARG002  # it is for all
        return b"the pages"


class LoadTests(TestCase):
    async def test_the_module_is_imported_beside_the_reactor(self) -> None:
        """The reactor has other things to do meanwhile. The pages are made on its own thread."""
        on_its_thread: list[tuple[str, bool]] = []
        self.patch(late_pages, "import_module", lambda name: on_its_thread.append((name, isInIOThread())))

        def make() -> Pages:
            on_its_thread.append(("made", isInIOThread()))
            return Pages()  # type: ignore[no-untyped-call]  # Twisted has no types there

        late = LatePages("some.module", make)
        await late.load(cast(IReactor, reactor))
        self.assertEqual(on_its_thread, [("some.module", False), ("made", True)])
        self.assertIsNot(late.made, None)

    async def test_a_request_waits_for_what_is_being_imported(self) -> None:
        """Otherwise two threads import the same modules at the same time, and one of them may find half of one."""
        await next_turn(cast(IReactor, reactor))  # it runs then, and so do its threads
        importing, requested = Event(), Event()
        imported: list[bool] = []

        def import_slowly(_name: str) -> None:
            importing.set()
            requested.wait()
            imported.append(True)

        def make() -> Pages:
            self.assertEqual(imported, [True])
            return Pages()  # type: ignore[no-untyped-call]  # Twisted has no types there

        self.patch(late_pages, "import_module", import_slowly)
        late = LatePages("some.module", make)
        loading = ensureDeferred(late.load(cast(IReactor, reactor)))
        importing.wait()
        requested.set()
        self.assertEqual(late.render(DummyRequest([b"version"])), b"the pages")  # type: ignore[no-untyped-call]
        await loading


class LatePagesTests(SynchronousTestCase):
    def test_the_first_request_has_them_made(self) -> None:
        """All requests are answered, and the pages are made once."""
        made: list[Pages] = []

        def make() -> Pages:
            made.append(Pages())  # type: ignore[no-untyped-call]  # Twisted has no types there
            return made[-1]

        late = LatePages("tests.web.test_late_pages", make)
        self.assertIs(late.made, None)
        answers = [late.render(DummyRequest([b"version"])) for _ in range(2)]  # type: ignore[no-untyped-call]
        self.assertEqual(answers, [b"the pages"] * 2)
        self.assertEqual(made, [late.made])

    def test_pages_that_cannot_be_made_are_an_error_each_time(self) -> None:
        """Each request for the pages raises the error."""

        def make() -> Pages:
            raise ImportError("no module named klein")

        late = LatePages("tests.web.test_late_pages", make)
        for _ in range(2):
            self.assertRaises(ImportError, late.pages)
