"""
Frontends: the protocols that a machine serves, and how C{--frontend} switches on those that are not built in.

This module must never start a frontend, nor know what its options mean.
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
    A protocol that serves clients from a replica. It is built in, or found through C{twisted.plugin} and switched on
    by C{--frontend NAME[:option=value...]}. C{docs/frontends.md} says how to write one.
    """

    name: str = Attribute("The name that C{--frontend} knows it by.")

    def service(  # methods of an Interface have no self
        reactor: IReactor,  # noqa: N805
        config: Config,
        options: Mapping[str, str],
        replica: IReplica,
    ) -> IService:
        """
        Returns a service that serves C{replica} while it runs.

        Its C{startService} may return a Deferred that fires when it listens. Whatever it raises or errbacks with ends
        the start of the whole machine. Its C{stopService} closes every connection.

        @param options: the options that follow the name.
        @raise ConfigError: an option can't be used.
        """


class IWorkerFrontend(IFrontend):
    """
    A frontend that runs in each worker, where a machine has workers, and in the consensus process where it has none.

    The reactor that it is given in a worker lets all workers listen at the same TCP port. So it should listen through
    that reactor, at a TCP port alone, and keep nothing that the workers would have to agree on.
    """


_COLON = re.compile(r"(?<!\\):")

ChosenFrontend = tuple[IFrontend, Mapping[str, str]]
"""A frontend and its options."""


def parse_frontend(text: str, source: str = "--frontend") -> tuple[str, dict[str, str]]:
    r"""
    Returns the name and the options in C{NAME[:option=value...]}. As in endpoint strings, C{\:} stands for a colon in
    a value.

    @param source: how the text was given, for the error.
    @raise ConfigError: the text does not have this form.
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


def chosen_frontends(config: Config) -> list[ChosenFrontend]:
    """
    Returns the frontends that a configuration switches on, in the order in which they start.

    @raise ConfigError: a frontend is not installed.
    """
    if not config.frontends:
        return []
    installed = {frontend.name: frontend for frontend in getPlugins(IFrontend)}
    chosen: list[ChosenFrontend] = []
    source = config.given_as("frontend")
    for text in config.frontends:
        name, options = parse_frontend(text, source)
        if name not in installed:
            known = ", ".join(sorted(installed)) or "none"
            raise ConfigError(f"{source} {text}: no frontend {name!r} is installed; installed are: {known}")
        chosen.append((installed[name], options))
    return chosen


def worker_frontends(config: Config) -> list[ChosenFrontend]:
    """
    Returns those of L{chosen_frontends} that workers run.

    @raise ConfigError: a frontend is not installed.
    """
    return [chosen for chosen in chosen_frontends(config) if IWorkerFrontend.providedBy(chosen[0])]
