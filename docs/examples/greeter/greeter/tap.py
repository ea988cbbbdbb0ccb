"""
C{twistd greeter}: the command line.
"""

from twisted.application.service import IService
from twisted.internet.endpoints import serverFromString
from twisted.python.usage import Options as CommandLine
from twisted.python.usage import UsageError

from etcd_twisted.client import Client
from greeter.service import GreeterService


class Options(CommandLine):
    """The options of C{twistd greeter}."""

    optParameters = [  # noqa: N815, RUF012  # Twisted's names and types
        ["etcd", "e", "http://127.0.0.1:4001", "The URLs of machines of the cluster, with commas between them."],
        ["port", "p", "tcp:8080:interface=127.0.0.1", "The endpoint to listen on."],
        ["address", "a", "127.0.0.1:8080", "Where others reach it."],
        ["name", "n", "greeter0", "The name of this server."],
    ]

    def postOptions(self) -> None:
        """Make the client, which checks its URLs."""
        try:
            self.client = Client(self["etcd"])
        except ValueError as error:
            raise UsageError(f"--etcd: {error}") from error


def makeService(options: Options) -> IService:
    """Returns the service that C{twistd} runs."""
    from twisted.internet import reactor  # noqa: PLC0415  # importing it installs it, which is twistd's to do

    endpoint = serverFromString(reactor, options["port"])
    service: IService = GreeterService(options.client, endpoint, options["name"], options["address"])
    return service
