"""
L{etcd_twisted.frontends}: protocols that are plug-ins.
"""

import sys
from pathlib import Path

import twisted.plugins
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.plugin import getCache
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.config import Config
from etcd_twisted.config.loading import load_config
from etcd_twisted.errors import ConfigError
from etcd_twisted.frontends import chosen_frontends, parse_frontend
from etcd_twisted.service import EtcdService

PLUGIN = """
from twisted.application.service import Service
from zope.interface import implementer
from twisted.plugin import IPlugin
from etcd_twisted.errors import ConfigError
from etcd_twisted.frontends import IFrontend

@implementer(IPlugin, IFrontend)
class Greeter:
    name = "greeter"

    def service(self, reactor, config, options, replica):
        if set(options) - {"greeting"}:
            raise ConfigError("--frontend greeter has one option, greeting")
        made = Service()
        made.made_from = (reactor, config, options, replica)
        return made

greeter = Greeter()
"""


class ParseTests(SynchronousTestCase):
    @given(
        st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True),
        st.dictionaries(
            st.from_regex(r"[a-z]{1,8}", fullmatch=True),
            st.text().filter(lambda value: not value.endswith("\\") and "\\:" not in value),
            max_size=4,
        ),
    )
    def test_frontend_options_are_parsed(self, name: str, options: dict[str, str]) -> None:
        text = ":".join([name, *(f"{option}={value}".replace(":", r"\:") for option, value in options.items())])
        self.assertEqual(parse_frontend(text), (name, options))

    def test_malformed_frontend_is_refused(self) -> None:
        for text, word in [("dns:port", "'port'"), ("dns:=1", "'=1'"), ("", "NAME"), (":a=1", "NAME")]:
            with self.assertRaisesRegex(ConfigError, word):
                parse_frontend(text)


class ChosenTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "greeter_for_test.py").write_text(PLUGIN)
        self.patch(twisted.plugins, "__path__", [*twisted.plugins.__path__, str(directory)])
        self.addCleanup(sys.modules.pop, "twisted.plugins.greeter_for_test", None)
        self.addCleanup(getCache, twisted.plugins)

    def test_no_frontend_by_default(self) -> None:
        self.assertEqual(chosen_frontends(Config()), [])

    def test_a_plugin_is_found_and_given_its_options(self) -> None:
        ((frontend, options),) = chosen_frontends(Config(frontends=("greeter:greeting=hello",)))
        self.assertEqual((frontend.name, options), ("greeter", {"greeting": "hello"}))

    def test_the_service_makes_the_frontend_with_the_replica(self) -> None:
        clock, config = Clock(), Config(frontends=("greeter:greeting=hello",))
        service = EtcdService(clock, config, self.fail)
        made = service._frontends[-1].made_from
        self.assertEqual(made, (clock, config, {"greeting": "hello"}, service.replica))

    def test_a_frontend_that_is_not_installed_is_refused(self) -> None:
        with self.assertRaisesRegex(ConfigError, r"--frontend dns:port=53: .*'dns'.*installed are: greeter"):
            chosen_frontends(Config(frontends=("dns:port=53",)))

    def test_errors_name_the_frontend_as_it_was_given(self) -> None:
        for text, reason in [("dns:port=53", "no frontend"), ("dns:port", "'port' should be")]:
            with self.assertRaisesRegex(ConfigError, f"^ETCD_FRONTEND {text}: {reason}"):
                chosen_frontends(load_config({}, {"ETCD_FRONTEND": text}))

    def test_a_frontend_may_refuse_an_option(self) -> None:
        with self.assertRaisesRegex(ConfigError, "one option, greeting"):
            EtcdService(Clock(), Config(frontends=("greeter:x=1",)), self.fail)
