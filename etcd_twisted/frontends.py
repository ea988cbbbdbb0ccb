"""
What a frontend is, and the frontends that a machine has beside those built in: those that C{--frontend} asks for.

Must never start one, nor know what its options mean.
"""

import re
from collections.abc import Mapping

from twisted.application.service import IService
from twisted.plugin import getPlugins
from zope.interface import Attribute, Interface

from etcd_twisted.config import Config
from etcd_twisted.errors import ConfigError
from etcd_twisted.interfaces import IReactor, IReplica


class IFrontend(Interface):
    """
    A protocol that serves strangers from a replica: built in, or found through C{twisted.plugin} and switched on by
    C{--frontend NAME[:option=value...]}. C{docs/frontends.md} tells how to write one.
    """

    name: str = Attribute("What C{--frontend} calls it.")

    def service(  # methods of an Interface have no self
        reactor: IReactor,  # noqa: N805
        config: Config,
        options: Mapping[str, str],
        replica: IReplica,
    ) -> IService:
        """
        A service that serves C{replica} while it runs.

        Its C{startService} may return a Deferred that fires when it listens; whatever it raises or errbacks with stops
        the start of the whole machine. Its C{stopService} closes every connection.

        @param options: what stood behind the name.
        @raise ConfigError: an option can't be used.
        """


_COLON = re.compile(r"(?<!\\):")

Chosen = tuple[IFrontend, Mapping[str, str]]
"""A frontend, and the options it was given."""


def parse_frontend(text: str, source: str = "--frontend") -> tuple[str, dict[str, str]]:
    r"""
    Read C{NAME[:option=value...]}; as in endpoint strings, C{\:} stands for a colon in a value.

    @param source: how it was given, for the error.
    @raise ConfigError: it is not of that form.
    """
    name, *parts = [part.replace(r"\:", ":") for part in _COLON.split(text)]
    options = {}
    for part in parts:
        option, equals, value = part.partition("=")
        if not option or not equals:
            raise ConfigError(f"{source} {text}: {part!r} should be OPTION=VALUE")
        options[option] = value
    if not name:
        raise ConfigError(f"{source} {text!r} should be NAME[:OPTION=VALUE...]")
    return name, options


def chosen_frontends(config: Config) -> list[Chosen]:
    """
    What a configuration asks for beside what is built in, in the order it is to be started in.

    @raise ConfigError: a frontend that is not installed.
    """
    if not config.frontends:
        return []
    installed = {frontend.name: frontend for frontend in getPlugins(IFrontend)}
    chosen: list[Chosen] = []
    source = config.given_as("frontend")
    for text in config.frontends:
        name, options = parse_frontend(text, source)
        if name not in installed:
            known = ", ".join(sorted(installed)) or "none"
            raise ConfigError(f"{source} {text}: no frontend {name!r} is installed; installed are: {known}")
        chosen.append((installed[name], options))
    return chosen
