"""
The machines that a new one is told of, by C{--peers} and C{--peers-file}: those that it asks to let it in.

Must never look a name up: who is there is found out by whoever connects to them.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.errors import ConfigError


def seeds(config: Config) -> list[str]:
    """
    The peer URLs of C{--peers}, then those of C{--peers-file}, each once, without this machine's own.

    @raise ConfigError: the file can't be used.
    """
    addresses = [*config.peers]
    if config.peers_file is not None:
        addresses += read_peers_file(config.peers_file, config.given_as("peers-file"))
    scheme = urlsplit(config.peer_url).scheme
    return [address.url(scheme) for address in _others(addresses, config.peer_addr)]


def read_peers_file(path: Path, given_as: str) -> list[Address]:
    """
    The addresses in a file: with commas between them or each on a line, with a comment after a C{#}.

    @param given_as: how the file was given, as in C{--peers-file}.
    @raise ConfigError: it can't be read, has something else in it, or nothing; one line that names it, and the line.
    """
    file = f"{given_as} {path if str(path).isprintable() else repr(str(path))}"
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        remedy = "name a file with the peer addresses of the cluster's machines, or leave it out"
        raise ConfigError(f"{file}: can't be read: {error.strerror}; {remedy}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 text, at byte {error.start}; save it as UTF-8") from error
    addresses = list(_addresses(text, file))
    if not addresses:
        # Or the machine would take itself for the first one.
        raise ConfigError(f"{file}: has no address in it; write the peer addresses of the cluster's machines there")
    return addresses


def _addresses(text: str, file: str) -> Iterator[Address]:
    for number, line in enumerate(text.splitlines(), 1):
        for item in line.partition("#")[0].split(","):
            written = item.strip()
            if written:
                try:
                    yield Address.parse_reachable(written)
                except ValueError as error:
                    raise ConfigError(f"{file}: line {number}: {written!r}: {error}") from error


def _others(addresses: Iterable[Address], own: Address) -> Iterator[Address]:
    """Each address once, and this machine's own not at all. A host name may differ in case, or have a last dot."""
    seen = {_plain(own)}
    for address in addresses:
        if _plain(address) not in seen:
            seen.add(_plain(address))
            yield address


def _plain(address: Address) -> tuple[str, int]:
    return address.host.removesuffix(".").lower(), address.port
