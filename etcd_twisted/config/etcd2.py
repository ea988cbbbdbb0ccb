"""
The settings of etcd 2 and later that have another name here, or no meaning: what becomes of each.

Their names are flags, environment variables and TOML keys like those of options. A setting that a later version has
under an option's own name, with its meaning, is not here. This module must never leave a setting that protects
something without effect: what can't be done is refused.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import attrs

from etcd_twisted.config.addresses import Address, read_url
from etcd_twisted.config.value_types import BYTES_OR_ZERO, Form

Texts = Mapping[str, tuple[str, ...]]
"""Values as one would write them, by the names of the options that they are for."""

_TRUE = frozenset(("1", "t", "true"))
_FALSE = frozenset(("0", "f", "false"))


@attrs.frozen
class Meaning:
    """
    What a value of such a setting means.

    @ivar sets: the values of options.
    @ivar suggests: values of options that nobody sets.
    @ivar needs: options that have to be given too, each with the setting to name for it.
    @ivar excludes: options that must not be given too, each with what to do instead.
    @ivar without_effect: whether it means nothing here.
    """

    sets: Texts = attrs.field(factory=dict)
    suggests: Texts = attrs.field(factory=dict)
    needs: Mapping[str, str] = attrs.field(factory=dict)
    excludes: Mapping[str, str] = attrs.field(factory=dict)
    without_effect: bool = False


@attrs.frozen
class ForeignSetting:
    """
    A setting of etcd 2 or later.

    @ivar name: the flag without its dashes.
    @ivar form: how its value is written.
    @ivar read: returns what a value means; raises L{ValueError} with what the text should be.
    @ivar becomes: says in a few words what becomes of it.
    """

    name: str
    form: Form
    read: Callable[[str], Meaning]
    becomes: str

    @property
    def flag(self) -> str:
        """The flag with its dashes."""
        return f"--{self.name}"

    @property
    def key(self) -> str:
        """The key in a TOML file, in its spelling with underscores."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"ETCD_{self.key.upper()}"


# Another name


def _renamed(name: str, option: str, form: Form = Form.TEXT, note: str = "") -> ForeignSetting:
    def read(text: str) -> Meaning:
        return Meaning(sets={option: (text,)})

    return ForeignSetting(name, form, read, f"`--{option}`{note}")


def _quota(text: str) -> Meaning:
    if BYTES_OR_ZERO.parse(text.removeprefix("-")) == 0:
        return Meaning()
    return Meaning(sets={"quota-bytes": ("0" if text.startswith("-") else text,)})


def _hosts(text: str) -> Meaning:
    return Meaning(sets={"allowed-hosts": (text,)}) if text else Meaning()


# URLs


def _urls(text: str) -> list[tuple[bool, str]]:
    """Returns for each URL of a list whether it asks for TLS, and the address or endpoint in it."""
    urls = [each.strip() for each in text.split(",") if each.strip()]
    if not urls:
        raise ValueError("should be URLs with commas between them, as in http://127.0.0.1:2379")
    found = []
    for url in urls:
        scheme, separator, path = url.partition("://")
        if separator and path and scheme in ("unix", "unixs"):
            quoted = path.replace("\\", r"\\").replace(":", r"\:").replace("=", r"\=")
            found.append((scheme == "unixs", f"unix:address={quoted}"))
            continue
        try:
            tls, address = read_url(url)
        except ValueError as error:
            raise ValueError(
                f"should be URLs with commas between them, as in http://127.0.0.1:2379; {error}"
            ) from None
        found.append((tls, str(address)))
    for tls, where in found:
        if (not tls, where) in found:
            raise ValueError(f"should have {where} once: with https or with http")
    return found


def _schemes(port: str, urls: Iterable[tuple[bool, str]]) -> Meaning:
    """Returns what the schemes of a port's URLs ask of its certificate."""
    certificate = f"{port}cert-file"
    if any(tls for tls, _ in urls):
        return Meaning(needs={certificate: f"--{certificate}"})
    return Meaning(excludes={certificate: "write https, or leave the certificate out"})


def _advertised(port: str, text: str) -> Meaning:
    urls = _urls(text)
    first = urls[0][1]
    if first.startswith("unix:"):
        raise ValueError("should begin with an http or https URL, which others can reach")
    return attrs.evolve(_schemes(port, urls[:1]), sets={f"{port}addr": (first,)})


def _listened(port: str, advertised: str, text: str) -> Meaning:
    """
    The port listens at the first URL with TLS, or else at the first one; the others are further ones.

    @param advertised: the setting that says where others reach the port.
    """
    urls = _urls(text)
    first = next((each for each in urls if each[0]), urls[0])
    others = [
        f"{'https' if tls else 'http'}://{at}" if at[:5] != "unix:" else at for tls, at in urls if at != first[1]
    ]
    sets: dict[str, tuple[str, ...]] = {f"{port}bind-addr": (first[1],)}
    if others:
        sets[f"also-{port}bind-addr"] = tuple(others)
    meaning = attrs.evolve(_schemes(port, urls), sets=sets)
    if first[1].startswith("unix:") or Address.parse(first[1]).is_unspecified:
        return attrs.evolve(meaning, needs={**meaning.needs, f"{port}addr": f"--{advertised}"})
    return attrs.evolve(meaning, suggests={f"{port}addr": (first[1],)})


def _measured(text: str) -> Meaning:
    urls = _urls(text)
    where = tuple(at if at[:5] == "unix:" else f"{'https' if tls else 'http'}://{at}" for tls, at in urls)
    return Meaning(sets={"metrics-bind-addr": where})


# Switches, and what is chosen from a few texts


def _is_on(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise ValueError("should be true or false")
    return text.lower() in _TRUE


def _client_certificates(port: str, text: str) -> Meaning:
    return Meaning(needs={f"{port}ca-file": f"--{port}trusted-ca-file"}) if _is_on(text) else Meaning()


def _debug(text: str) -> Meaning:
    return Meaning(sets={"verbosity": ("1",)}) if _is_on(text) else Meaning()


def _log_level(text: str) -> Meaning:
    return Meaning(sets={"verbosity": ("1",)}) if text.lower() == "debug" else Meaning()


def _only(allowed: str, otherwise: str, text: str) -> Meaning:
    if text.lower() != allowed:
        raise ValueError(f"should be {allowed}: {otherwise}")
    return Meaning()


def _always(text: str) -> Meaning:
    return Meaning(without_effect=not _is_on(text))


def _exit(text: str) -> Meaning:
    return Meaning(without_effect=text != "exit")


def _off(otherwise: str, text: str) -> Meaning:
    if _is_on(text):
        raise ValueError(f"should be false: {otherwise}")
    return Meaning()


def _absent(otherwise: str, text: str) -> Meaning:
    if text:
        raise ValueError(f"should be left out: {otherwise}")
    return Meaning()


def _nothing(_: str) -> Meaning:
    return Meaning(without_effect=True)


def _refused(name: str, otherwise: str, switch: bool = False) -> ForeignSetting:
    read = partial(_off if switch else _absent, otherwise)
    return ForeignSetting(name, Form.SWITCH if switch else Form.TEXT, read, f"refused: {otherwise}")


def _without_effect(*names: str, form: Form = Form.TEXT) -> tuple[ForeignSetting, ...]:
    return tuple(ForeignSetting(name, form, _nothing, "no effect") for name in names)


FOREIGN_SETTINGS: tuple[ForeignSetting, ...] = (
    ForeignSetting(
        "listen-client-urls",
        Form.TEXT,
        partial(_listened, "", "advertise-client-urls"),
        "`--bind-addr` and `--also-bind-addr`",
    ),
    ForeignSetting("advertise-client-urls", Form.TEXT, partial(_advertised, ""), "`--addr`, by the first URL"),
    ForeignSetting(
        "listen-peer-urls",
        Form.TEXT,
        partial(_listened, "peer-", "initial-advertise-peer-urls"),
        "`--peer-bind-addr` and `--also-peer-bind-addr`",
    ),
    ForeignSetting(
        "initial-advertise-peer-urls", Form.TEXT, partial(_advertised, "peer-"), "`--peer-addr`, by the first URL"
    ),
    ForeignSetting("listen-metrics-urls", Form.TEXT, _measured, "`--metrics-bind-addr`"),
    _renamed("heartbeat-interval", "peer-heartbeat-interval", Form.WHOLE),
    _renamed("election-timeout", "peer-election-timeout", Form.WHOLE),
    _renamed("trusted-ca-file", "ca-file", note="; clients then need a certificate"),
    _renamed("peer-trusted-ca-file", "peer-ca-file", note="; machines then need a certificate"),
    ForeignSetting(
        "client-cert-auth", Form.SWITCH, partial(_client_certificates, ""), "needs `--trusted-ca-file`, which does it"
    ),
    ForeignSetting(
        "peer-client-cert-auth",
        Form.SWITCH,
        partial(_client_certificates, "peer-"),
        "needs `--peer-trusted-ca-file`, which does it",
    ),
    ForeignSetting(
        "quota-backend-bytes", Form.WHOLE, _quota, "`--quota-bytes`; 0 is the default, less than 0 any size"
    ),
    ForeignSetting("host-whitelist", Form.TEXT, _hosts, "`--allowed-hosts`"),
    ForeignSetting("debug", Form.SWITCH, _debug, "`--verbosity` 1"),
    ForeignSetting("log-level", Form.TEXT, _log_level, "`debug` is `--verbosity` 1, all others are the default"),
    ForeignSetting(
        "proxy",
        Form.TEXT,
        partial(_only, "off", "any machine of a cluster answers for all; leave it out, or use a proxy for HTTP"),
        "`off`; any machine of a cluster answers for all",
    ),
    ForeignSetting("enable-v2", Form.SWITCH, _always, "`true` is always so, `false` has no effect"),
    ForeignSetting("pre-vote", Form.SWITCH, _always, "`true` is always so, `false` has no effect"),
    ForeignSetting("discovery-fallback", Form.TEXT, _exit, "`exit` is always so, `proxy` has no effect"),
    _refused("force-new-cluster", "docs/backup.md says how to go on with the data of one machine", switch=True),
    _refused("auto-tls", "give a certificate, with --cert-file and --key-file", switch=True),
    _refused("peer-auto-tls", "give a certificate, with --peer-cert-file and --peer-key-file", switch=True),
    _refused("client-crl-file", "lists of revoked certificates are not read"),
    _refused("peer-crl-file", "lists of revoked certificates are not read"),
    _refused("client-cert-allowed-hostname", "every client with a certificate of --trusted-ca-file may connect"),
    _refused("peer-cert-allowed-cn", "every machine with a certificate of --peer-trusted-ca-file may connect"),
    _refused("peer-cert-allowed-hostname", "every machine with a certificate of --peer-trusted-ca-file may connect"),
    _refused("config-file", "files of etcd are YAML; --config names a file of TOML"),
    _refused("discovery-proxy", "the discovery service is asked directly"),
    _refused("discovery-srv-name", "the records are _etcd-server._tcp and _etcd-server-ssl._tcp"),
    *_without_effect(
        "wal-dir", "max-snapshots", "max-wals", "backend-batch-interval", "backend-batch-limit",
        "max-txn-ops", "max-concurrent-streams", "grpc-keepalive-min-time", "grpc-keepalive-interval",
        "grpc-keepalive-timeout", "auto-compaction-retention", "auto-compaction-mode", "cipher-suites", "auth-token",
        "auth-token-ttl", "bcrypt-cost", "metrics", "logger", "log-outputs",
        "log-package-levels", "proxy-failure-wait", "proxy-refresh-interval", "proxy-dial-timeout",
        "proxy-write-timeout", "proxy-read-timeout", "experimental-auto-compaction-retention",
        "experimental-corrupt-check-time", "experimental-enable-v2v3", "experimental-backend-bbolt-freelist-type",
        "experimental-compaction-batch-limit", "experimental-watch-progress-notify-interval",
        "experimental-warning-apply-duration", "unsupported-arch",
    ),
    *_without_effect(
        "strict-reconfig-check", "initial-election-tick-advance", "enable-pprof",
        "experimental-v3demo", "experimental-initial-corrupt-check", "experimental-enable-lease-checkpoint",
        "experimental-peer-skip-client-san-verification", "unsafe-no-fsync", "socket-reuse-address",
        "socket-reuse-port", form=Form.SWITCH,
    ),
)  # fmt: skip
"""All of them, for etcd 2.0 to 3.5, in the order in which people are shown them."""
