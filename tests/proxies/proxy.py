"""
nginx and HAProxy as processes, with the configurations that the page about proxies shows.

Only the ports, the paths of certificates and, where a test wants it, the time-outs differ from the page's. This module
must never leave a process behind.
"""

import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import TestCase

from etcd_twisted.testing.child_process import ChildProcess, spawn
from etcd_twisted.testing.ports import free_ports
from tests.certificates import Authority
from tests.docs.pages import blocks
from tests.processes.child import SOURCE
from tests.processes.cluster import until

PAGE = SOURCE / "docs" / "proxies.md"

_LONG_TIMEOUT = re.compile(r"\b1h\b")
_PATH = ":/usr/sbin:/sbin"


class Proxy(ABC):
    """
    A proxy in front of machines.

    @ivar url: where it serves clients.
    @ivar authority: whom they trust.
    """

    program: str
    package: str
    language: str
    child: ChildProcess

    def __init__(self, test: TestCase, ports: Sequence[int]) -> None:
        """
        @param ports: the client ports of three machines.
        """
        self._test = test
        self._machine_ports = ports
        self.directory = Path(test.mktemp()).resolve()
        self.directory.mkdir()
        self.authority = Authority(self.directory)
        (self._port,) = free_ports(1)
        self.url = f"https://127.0.0.1:{self._port}"

    @classmethod
    def missing(cls) -> str | None:
        """Returns why a test is skipped, or None if the program is there."""
        return None if cls.path() else f"{cls.program} is not installed (apt-get install {cls.package})"

    @classmethod
    def path(cls) -> str | None:
        """Returns where the program is: among those of administrators, which users may not have on their path."""
        return shutil.which(cls.program) or shutil.which(cls.program, path=_PATH)

    def configuration(self, idle_seconds: int | None = None) -> str:
        """
        Returns the page's configuration.

        @param idle_seconds: in place of the page's time-outs for quiet watches.
        """
        (text,) = blocks(PAGE, self.language)
        shown = ("4443", "4001", "4002", "4003")
        for port, own in zip(shown, (self._port, *self._machine_ports), strict=True):
            self._test.assertEqual(text.count(f"127.0.0.1:{port}"), 1, text)
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{own}")
        text = re.sub(r"/etc/\w+/(?=etcd\.)", f"{self.directory}/", text)
        if idle_seconds is not None:
            text, count = _LONG_TIMEOUT.subn(f"{idle_seconds}s", text)
            self._test.assertGreater(count, 0)
        return text

    @abstractmethod
    def command(self, configuration: str) -> list[str | Path]:
        """Writes what the program needs. Returns the command that runs it."""

    async def start(self, idle_seconds: int | None = None) -> None:
        """Starts the process, and returns when it takes connections."""
        certificate, key = self.authority.certificate("etcd")
        (self.directory / "etcd.pem").write_bytes(self.certificate_file(certificate.read_bytes(), key.read_bytes()))
        command = self.command(self.configuration(idle_seconds))
        self.child = spawn(reactor, command, self.directory)
        self._test.addCleanup(self.child.stop)
        await until(self._takes_connections, f"{self.program} takes connections")

    @abstractmethod
    def certificate_file(self, certificate: bytes, key: bytes) -> bytes:
        """Returns what is in the file of the certificate. The key is in a file of its own anyway."""

    async def _takes_connections(self) -> bool | None:
        if self.child.status is not None:
            raise RuntimeError(f"{self.program} has ended with status {self.child.status}: {self.child.errors}")
        try:
            connected = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self._port), Protocol())
        except ConnectError:
            return None
        connected.transport.abortConnection()
        return True


class Nginx(Proxy):
    """nginx, in one process, with the files that it wants in the test's directory."""

    program = package = language = "nginx"

    def certificate_file(self, certificate: bytes, key: bytes) -> bytes:  # noqa: ARG002  # see Proxy
        return certificate

    def command(self, configuration: str) -> list[str | Path]:
        (self.directory / "etcd.conf").write_text(configuration)
        paths = "".join(
            f"{kind}_temp_path {self.directory}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        main = self.directory / "nginx.conf"
        main.write_text(
            f"daemon off;\nmaster_process off;\npid {self.directory}/nginx.pid;\nerror_log stderr;\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{paths}include {self.directory}/etcd.conf;\n}}\n"
        )
        return [str(self.path()), "-p", self.directory, "-e", "stderr", "-c", main]


class HaProxy(Proxy):
    """HAProxy, in one process."""

    program = package = language = "haproxy"

    def certificate_file(self, certificate: bytes, key: bytes) -> bytes:
        return certificate + key

    def command(self, configuration: str) -> list[str | Path]:
        (self.directory / "haproxy.cfg").write_text(configuration)
        return [str(self.path()), "-db", "-f", self.directory / "haproxy.cfg"]
