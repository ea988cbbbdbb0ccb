"""
The service: a port, a registration, and the client that both use.
"""

from klein import Klein
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.server import Site

from etcd_twisted.client import Client, ClientError, KeyNotFound
from etcd_twisted.client.recipes import Registration

GREETING = "/greeter/greeting"


class Greeter:
    """The web page that greets its visitors."""

    app = Klein()

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    @app.route("/")
    async def greet(self, request: IRequest) -> str:
        """Read the greeting at each request, so that it is always the newest one."""
        try:
            greeting = (await self._client.get(GREETING)).value
        except KeyNotFound:
            greeting = "Hello"
        except ClientError as error:
            request.setResponseCode(503)
            return f"The cluster does not answer: {error}\n"
        return f"{greeting} from {self._name}\n"


class GreeterService(Service):
    """
    Serves, and is registered as C{/services/greeter/NAME} for as long as it does.

    It is registered when the port is open, and no longer when the port is closed: so that nobody is sent to a port
    that is not there.
    """

    _log = Logger()

    def __init__(self, client: Client, endpoint: IStreamServerEndpoint, name: str, address: str) -> None:
        """
        @param client: is closed when this stops.
        @param endpoint: the port.
        @param address: where others reach the port.
        """
        self._client = client
        self._endpoint = endpoint
        self._name = name
        self._address = address
        self._registration = Registration(client, f"/services/greeter/{name}", address, ttl_seconds=10)
        self._port: IListeningPort | None = None
        self._starting: Deferred[None] | None = None

    def startService(self) -> None:
        """Open the port, and register."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._not_started)

    async def _start(self) -> None:
        site = Site(Greeter(self._client, self._name).app.resource())
        self._port = await self._endpoint.listen(site)
        await self._registration.open()
        self._log.info("{name} serves clients at {address}", name=self._name, address=self._address)

    def _not_started(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("{name} can't start", failure, name=self._name)

    def stopService(self) -> "Deferred[None]":
        """Deregister, close the port, and close the client."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        starting = self._starting
        if starting is not None:
            starting.cancel()
            await starting
        try:
            await self._registration.close()
        except ClientError as error:
            self._log.warn("The registration is left to expire: {error}", error=error)
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        await self._client.close()
