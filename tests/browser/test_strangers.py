"""
What a web page of a stranger can do by the browser of somebody who reaches a machine: nothing (spec, section 2,
"Strangers' web pages").
"""

import json
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import Site

from etcd_twisted.testing.raft_peer import FIRST
from tests.browser.chromium import OFTEN, SKIP
from tests.browser.served import PageTest
from tests.logs.lines import Log
from tests.peer.machines import MachineOnSockets

STRANGER, REBOUND, ALLOWED = "stranger.example", "rebound.example", "dashboard.example"

FETCH = """
    const ask = async (url, options) => {
        try {
            const answer = await fetch(url, options);
            return answer.type === "opaque" ? "opaque" : `${answer.status} ${await answer.text()}`;
        } catch (error) {
            return "blocked";
        }
    };
    return ask(...arguments);
"""

SUBMIT = """
    const [action, fields] = arguments;
    const frame = Object.assign(document.createElement("iframe"), { name: "target" });
    const form = Object.assign(document.createElement("form"), { method: "POST", action, target: "target" });
    for (const [name, value] of Object.entries(fields)) {
        form.append(Object.assign(document.createElement("input"), { name, value }));
    }
    document.body.append(frame, form);
    form.submit();
"""


class _Page(Resource):
    """The stranger's."""

    isLeaf = True  # noqa: N815  # Twisted's name

    def render_GET(self, _request: object) -> bytes:
        return b"<!DOCTYPE html><title>A stranger's page</title><body>"


class StrangersTest(PageTest):
    """
    A client port that is also called C{dashboard.example}, a peer port, and a browser for which every name leads here.

    @ivar stranger: the stranger's page.
    """

    settings = {"allowed_hosts": (ALLOWED,)}  # noqa: RUF012
    flags = (f"--host-resolver-rules=MAP {STRANGER} 127.0.0.1, MAP {REBOUND} 127.0.0.1, MAP {ALLOWED} 127.0.0.1",)
    skip = SKIP

    async def setUp(self) -> None:
        await super().setUp()
        self.log = Log(self)
        self.machine = MachineOnSockets(FIRST, "machine1")
        self.addCleanup(self.machine.stop)
        await self.machine.start()
        site: Any = Site(_Page())
        site.noisy = False
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(site)
        self.addCleanup(port.stopListening)
        self.stranger = f"http://{STRANGER}:{port.getHost().port}/"

    async def fetch(self, url: str, **options: object) -> str:
        """What the page that is open is told."""
        return str(await self.browser.run(FETCH, url, options))

    async def until_refused(self, times: int) -> None:
        """Return when so many requests were refused."""

        async def refused() -> bool | None:
            lines = [line for line in self.log.warnings if line.startswith("Refused a browser's request")]
            return True if len(lines) >= times else None

        await self.browser.until(refused, f"{times} requests are refused")

    def assert_untouched(self) -> None:
        """Nothing was written on either port, and nobody waits."""
        self.assertEqual((self.replica.proposed, self.machine.replica.proposed), ([], []))
        self.assertEqual((self.replica.removed, self.machine.replica.removed), ([], []))
        self.assertEqual(self.replica.keyspace.hub.count, 0)


class OtherOriginTests(StrangersTest):
    """A page of another origin (spec, "Other client endpoints")."""

    async def test_changes(self) -> None:
        """However it asks, on whichever port: what the browser does send is refused, and nothing is written."""
        client, peer = f"http://127.0.0.1:{self.port}", self.machine.url
        await self.browser.open(self.stranger)
        refused = 0
        for url in (f"{client}/v2/keys/queue", f"{client}/mod/v2/lock/mine?ttl=60", f"{client}/v2/members"):
            options = {"method": "POST", "mode": "no-cors", "body": "value=hacked"}
            for more in ({}, {"credentials": "include"}, {"referrerPolicy": "no-referrer"}):
                self.assertEqual(await self.fetch(url, **options, **more), "opaque")
                refused += 1
            self.assertEqual(await self.fetch(url, method="POST", body="value=hacked"), "blocked")
            refused += 1
            await self.browser.run(SUBMIT, url, {"value": "hacked", "ttl": "60"})
            refused += 1
            await self.until_refused(refused)
        for method in ("PUT", "DELETE"):
            for url in (f"{client}/v2/keys/k?value=hacked", f"{client}/mod/v2/leader/k?name=n&ttl=60&timeout=0",
                        f"{peer}/v2/admin/config", f"{peer}/v2/admin/machines/machine0"):  # fmt: skip
                self.assertEqual(await self.fetch(url, method=method), "blocked")
        await self.browser.run(SUBMIT, f"{peer}/v2/admin/config", {"activeSize": "3"})
        await self.until_refused(refused + 1)
        self.assert_untouched()

    async def test_reads(self) -> None:
        """Nothing that is read gets to the page, not even as a script."""
        self.set("/secret", "1")
        await self.browser.open(self.stranger)
        client = f"http://127.0.0.1:{self.port}"
        for path in ("/v2/keys/secret", "/metrics", "/v2/members"):
            self.assertEqual(await self.fetch(client + path), "blocked")
            self.assertEqual(await self.fetch(client + path, mode="no-cors"), "opaque")
            outcome = await self.browser.command(
                "POST",
                "/execute/async",
                {
                    "script": """
                        const [src, done] = arguments;
                        const end = (event) => done(event.type);
                        document.body.append(
                            Object.assign(document.createElement("script"), { src, onload: end, onerror: end }));
                    """,
                    "args": [client + path],
                },
            )
            self.assertEqual(outcome, "error")


class ReboundNameTests(StrangersTest):
    """A stranger's name that leads to the machine, and so makes it one origin (spec, "Other client endpoints")."""

    async def test_nothing(self) -> None:
        """No page is shown, nothing can be read, whatever the page leaves out, and nothing written."""
        self.set("/secret", "1")
        self.replica.proposed.clear()
        for base, paths in (
            (f"http://{REBOUND}:{self.port}", ("/mod/dashboard/", "/v2/keys/secret", "/metrics", "/v2/members")),
            (self.machine.url.replace("127.0.0.1", REBOUND), ("/v2/admin/machines", "/v2/admin/config")),
        ):
            for path in paths:
                await self.browser.open(base + path)
                self.assertIn("--allowed-hosts", await self.browser.run("return document.body.innerText"))
                for headers in ({}, {"Accept-Language": "", "User-Agent": "curl", "Accept": "*/*"}):
                    options = {"headers": headers, "referrerPolicy": "no-referrer", "credentials": "omit"}
                    for method in ("GET", "POST", "PUT", "DELETE"):
                        status, body = (await self.fetch(path, method=method, **options)).split(" ", 1)
                        self.assertEqual((status, list(json.loads(body))), ("403", ["message"]))
        self.assert_untouched()


class OwnNameTests(StrangersTest):
    """The machine's own page, by the machine's own names."""

    async def test_page_works(self) -> None:
        """It reads and writes, watches, and is refused nothing."""
        for name in (ALLOWED, "localhost", "127.0.0.1"):
            self.set("/k", "old")
            await self.browser.open("about:blank")
            await self.browser.open(f"http://{name}:{self.port}/mod/dashboard/#keys/k")
            await self.browser.shows("Type", ".facts")
            field = await self.browser.find(".panel textarea:read-write")
            await field.clear()
            await field.type(f"by {name}")
            await (await self.browser.button("Save")).click()
            while self.value("/k") != f"by {name}":
                await deferLater(reactor, OFTEN, lambda: None)
        self.assertEqual(self.log.warnings, [])
        self.assertEqual(await self.browser.complaints(), [])
