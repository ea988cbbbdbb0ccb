"""
The reference of the page about the client library is whole, and its example without a file of its own runs.

L{tests.pages.test_pages} runs all other examples, and L{tests.types.test_pages} checks their types.
"""

import inspect
import re
import textwrap
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted import client as library
from etcd_twisted.client import client as client_module
from etcd_twisted.client import recipes
from etcd_twisted.client.sender import Timeouts
from etcd_twisted.testing import Reply, StubAgent
from tests.client.test_srv import Names
from tests.docs.pages import blocks
from tests.docs.test_links import anchors
from tests.processes.child import SOURCE

PAGE = SOURCE / "docs" / "client.md"
TEXT = PAGE.read_text()

_PREFIXES = {
    library.Client: "",
    library.Statistics: "statistics.",
    library.Admin: "admin.",
    library.Auth: "auth.",
    library.Watch: "",
}
"""The classes that the reference has whole, each with what stands before the names of its methods."""

_MADE_BY_PROGRAMS = (
    recipes.Lock,
    recipes.Semaphore,
    recipes.Election,
    recipes.Queue,
    recipes.PriorityQueue,
    recipes.Registration,
    recipes.Mirror,
    recipes.Cache,
    recipes.Barrier,
    recipes.Gate,
)


def signature(function: Any) -> str:
    """Returns how a page shows the parameters of a method: without types, and without what all requests take."""
    parameters = [
        each.replace(annotation=each.empty)
        for name, each in inspect.signature(function).parameters.items()
        if name != "self" and not (name == "timeout_seconds" and each.kind is each.KEYWORD_ONLY)
    ]
    text = str(inspect.Signature(parameters))
    return text.replace("'", '"')


def methods(cls: type) -> dict[str, Any]:
    """Returns the public methods of a class and of its bases."""
    found = {name: function for name, function in inspect.getmembers(cls, inspect.isfunction) if name[0] != "_"}
    return {name: function for name, function in found.items() if function.__module__.startswith("etcd_twisted")}


class ReferenceTests(SynchronousTestCase):
    """These tests compare the reference with the library."""

    def test_every_public_name_is_there(self) -> None:
        for package in (library, recipes):
            missing = [name for name in package.__all__ if not re.search(rf"`(?:class )?{name}[`(]|`{name}s", TEXT)]
            self.assertEqual(
                [name for name in missing if name not in {"Admin", "Auth", "Statistics"}], [], package.__name__
            )

    def test_every_method_is_there(self) -> None:
        """So are its parameters and their defaults."""
        shown = set(re.findall(r"`([\w.]+\([^`]*\))`", TEXT))
        self.assertIn("delete(key)", shown)
        for cls, prefix in _PREFIXES.items():
            wanted = {f"{prefix}{name}{signature(function)}" for name, function in methods(cls).items()}
            self.assertEqual(wanted - shown, set(), cls.__name__)

    def test_every_recipe_is_there(self) -> None:
        """Its row has how it is made, and its methods."""
        for cls in _MADE_BY_PROGRAMS:
            made = f"{cls.__name__}{signature(cls.__init__)}"
            rows = [line for line in TEXT.splitlines() if line.startswith(f"| `{made}` |")]
            self.assertEqual(len(rows), 1, made)

    def test_methods_of_recipes_are_there(self) -> None:
        _, _, section = TEXT.partition("### Recipes by method\n")
        for name in recipes.__all__:
            cls = getattr(recipes, name)
            if issubclass(cls, Exception):
                continue
            for method, function in methods(cls).items():
                self.assertIn(f"`{method}{signature(function)}`", section, name)

    def test_options_of_the_client(self) -> None:
        names = [name for name in inspect.signature(library.Client).parameters if name != "timeouts"]
        self.assertEqual([name for name in names if f"\n| `{name}` |" not in TEXT], [])
        self.assertIn(f"`{Timeouts()!r}`", TEXT)
        extra = set(inspect.signature(library.Client.from_srv).parameters) - {*names, "timeouts"}
        self.assertEqual(extra, {"domain", "resolver"})

    def test_contents(self) -> None:
        """The tour at the beginning names each part."""
        linked = set(re.findall(r"\]\(#([\w-]+)\)", TEXT.partition("## Connect")[0]))
        parts = {each.lower().replace(" ", "-") for each in re.findall(r"^## (.*)$", TEXT, re.MULTILINE)}
        self.assertEqual(parts - linked, {"what-it-logs"})
        self.assertLessEqual(linked, anchors(PAGE))


class ExampleTests(SynchronousTestCase):
    def test_dns(self) -> None:
        """The example that looks a domain up."""
        (code,) = [block for block in blocks(PAGE, "python") if not block.startswith("# ")]
        names_known = Names({"_etcd-client._tcp": [(0, 0, "a.example.com", 4001)]})
        self.patch(client_module, "default_resolver", lambda _: names_known)
        agent = StubAgent(**{"a.example.com": Reply.of("/message", "Hello world")})
        made: list[Any] = []

        class Client(library.Client):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                made.append(list(arguments[0]))
                super().__init__(*arguments, **options | {"agent": agent, "reactor": agent.clock})

        names: dict[str, Any] = {"Client": Client}
        exec(f"async def example():\n{textwrap.indent(code, '    ')}    return reading", names)
        reading = self.successResultOf(ensureDeferred(names["example"]()))
        self.assertEqual(reading.value, "Hello world")
        self.assertEqual(made, [["http://a.example.com:4001"]])
