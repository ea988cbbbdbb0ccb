"""
The configuration of a machine: L{Config}, everything that can be set, checked as a whole.

This module must never know where a value came from, except for its name in errors: only
L{etcd_twisted.config.loading} knows flags, variables and files.
"""

from collections.abc import Mapping

import attrs

from etcd_twisted.config.addresses import Address, BindAddress, Endpoint
from etcd_twisted.config.option import Option, options_of
from etcd_twisted.config.settings import Settings
from etcd_twisted.config.value_types import FILE
from etcd_twisted.errors import ConfigError

_MIN_HEARTBEATS_PER_ELECTION_TIMEOUT = 3
"""With these, a lost heartbeat is no reason for an election."""


Text = None | bool | int | float | str | list[str]
"""A value of a field, or its text; see L{Config.texts}."""


def _field(name: str) -> str:
    """Returns the name of the field that an option sets."""
    return name.replace("-", "_")


def _text(value: object) -> Text:
    if isinstance(value, tuple):
        return [str(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


@attrs.frozen
class Config(Settings):
    """
    Everything that can be set, checked and with its defaults filled in. C{Config()} is a machine with the defaults.

    A field takes a value, or a text as its option has it: C{Config(addr="127.0.0.1:4001", data_dir="machine0")}. What
    can't be used raises a L{ConfigError} with the name of the field or the option.

    @ivar sources: how options were given, by their names; see L{given_as}. Has no part in comparisons.
    @ivar without_effect: how settings of etcd were given that mean nothing here. Has no part in comparisons.
    @ivar contents: what is in files that are not read again, by the names of their options. It has no part in
        comparisons.
    """

    sources: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False, kw_only=True)
    without_effect: tuple[str, ...] = attrs.field(default=(), eq=False, repr=False, kw_only=True)
    contents: Mapping[str, bytes] = attrs.field(factory=dict, eq=False, repr=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for port in ("", "peer-"):
            self._complete_port(port)
            self._check_files(port)
        for name, port in (("also-bind-addr", ""), ("metrics-bind-addr", ""), ("also-peer-bind-addr", "peer-")):
            self._check_listeners(name, port)
        self._check_ports()
        self._check_timing()

    def _complete_port(self, port: str) -> None:
        """
        Give the address to listen on the port of the advertised address, if it has none itself.

        @param port: the beginning of the names of the port's options.
        """
        address: Address = getattr(self, _field(f"{port}addr"))
        try:
            address.check_reachable(f"--{port}bind-addr")
        except ValueError as error:
            raise ConfigError(f"{self.given(f'{port}addr')}: {error}") from error
        field = _field(f"{port}bind-addr")
        if isinstance(bind := getattr(self, field), BindAddress):
            object.__setattr__(self, field, bind.complete(address.port))  # the object is frozen

    def _check_files(self, port: str) -> None:
        """
        Check that the files of TLS that need each other are there.

        @param port: as for L{_complete_port}.
        """
        certificate, key, authority = (f"{port}{kind}-file" for kind in ("cert", "key", "ca"))
        for name, needed in ((certificate, key), (key, certificate), (authority, certificate)):
            if getattr(self, _field(name)) is not None and getattr(self, _field(needed)) is None:
                raise ConfigError(f"{self.given(name)} needs --{needed} too")

    def _check_listeners(self, name: str, port: str) -> None:
        """
        Check that TLS can be spoken, or left out, at further addresses to listen on.

        @param name: the option that sets them.
        @param port: as for L{_complete_port}.
        """
        certificate = f"{port}cert-file"
        has_certificate = getattr(self, _field(certificate)) is not None
        for listener in getattr(self, _field(name)):
            if listener.tls and not has_certificate:
                raise ConfigError(f"{self.given_as(name)} {listener} needs --{certificate} too")
            if listener.tls is False and has_certificate and port:
                raise ConfigError(f"{self.given_as(name)} {listener}: machines use TLS with each other; write https")

    def _check_ports(self) -> None:
        """Check that no two of this machine's ports are the same, as far as their texts show."""
        if self.addr.overlaps(self.peer_addr):
            raise ConfigError(
                f"{self.given('addr')} and {self.given('peer-addr')} take the same port; give one of them another"
            )
        taken: list[tuple[str, Address | Endpoint]] = []
        names = ("bind-addr", "also-bind-addr", "metrics-bind-addr", "peer-bind-addr", "also-peer-bind-addr")
        for name in names:
            value = getattr(self, _field(name))
            for where in [each.where for each in value] if isinstance(value, tuple) else [value]:
                given = f"{self.given_as(name)} {where}"
                for other, address in taken:
                    if where.overlaps(address):
                        raise ConfigError(f"{other} and {given} take the same port; give one of them another")
                taken.append((given, where))

    def _check_timing(self) -> None:
        """Check that a lost heartbeat is no reason for an election."""
        if self.peer_election_timeout < _MIN_HEARTBEATS_PER_ELECTION_TIMEOUT * self.peer_heartbeat_interval:
            election, heartbeat = self.given("peer-election-timeout"), self.given("peer-heartbeat-interval")
            raise ConfigError(
                f"{election} should be at least {_MIN_HEARTBEATS_PER_ELECTION_TIMEOUT} times {heartbeat}"
            )

    def texts(self) -> dict[str, Text]:
        """Returns all fields in a form that can be sent to another process. C{Config} of them is equal to this one."""
        return {each.field: _text(getattr(self, each.field)) for each in OPTIONS if each.field is not None}

    @property
    def client_url(self) -> str:
        """The URL of this machine that clients use."""
        return self.addr.url("https" if self.cert_file else "http")

    @property
    def peer_url(self) -> str:
        """The URL of this machine that other machines and administrators use."""
        return self.peer_addr.url("https" if self.peer_cert_file else "http")

    @property
    def origins(self) -> frozenset[str]:
        """Each origin of L{cors} by itself; C{*} stands for all."""
        return frozenset(origin for text in self.cors for origin in text.split(","))

    @property
    def hosts(self) -> frozenset[str]:
        """Each host of L{allowed_hosts} by itself; C{*} stands for all."""
        return frozenset(host for text in self.allowed_hosts for host in text.split(","))

    @property
    def forwards(self) -> bool:
        """Whether this machine, when it does not lead, asks the leader for its clients and does not redirect them."""
        return self.follower_requests == "forward"

    @property
    def pads_in_order_keys(self) -> bool:
        """Whether this machine has a new cluster name in-order keys by 20 digits."""
        return self.in_order_keys == "padded"

    def given_as(self, name: str) -> str:
        """
        Returns how the value of an option was given, for errors: C{--addr}, C{ETCD_ADDR} or C{machine0.toml: addr}.

        This is the flag if nobody gave a value. An address to listen on that follows the advertised one was given as
        that one was.

        @param name: the option's name, as in C{bind-addr}.
        """
        if name in self.sources:
            return self.sources[name]
        if name == "bind-addr" and self.bind_addr == self.addr:
            return self.given_as("addr")
        if name == "peer-bind-addr" and self.peer_bind_addr == self.peer_addr:
            return self.given_as("peer-addr")
        return f"--{name}"

    def given(self, name: str) -> str:
        """
        Returns how the value of an option was given, and the value, on one line.

        @param name: as for L{given_as}; the option's field has the same name.
        """
        value = str(getattr(self, _field(name)))
        return f"{self.given_as(name)} {value if value.isprintable() else repr(value)}"


CONFIG_FILE = Option(FILE.form, FILE.parse, FILE.metavar, "A TOML file to read settings from.", name="config")

OPTIONS: tuple[Option, ...] = (CONFIG_FILE, *options_of(Config))
"""Everything that can be set, in the order of the help text."""
