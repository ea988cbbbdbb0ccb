"""
A web page of a stranger can do nothing through the browser of a person who reaches a machine (spec, section 2,
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
    """The stranger's page."""

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
        """Fetches a URL from the open page, and returns the outcome."""
        return str(await self.browser.run(FETCH, url, options))

    async def until_refused(self, times: int) -> None:
        """Returns when so many requests were refused."""

        async def refused() -> bool | None:
            lines = [line for line in self.log.warnings if line.startswith("Refused a browser's request")]
            return True if len(lines) >= times else None

        await self.browser.until(refused, f"{times} requests are refused")

    def assert_untouched(self) -> None:
        """Asserts that nothing was written on either port, and that no watcher waits."""
        self.assertEqual((self.replica.proposed, self.machine.replica.proposed), ([], []))
        self.assertEqual((self.replica.removed, self.machine.replica.removed), ([], []))
        self.assertEqual(self.replica.keyspace.hub.count, 0)


class OtherOriginTests(StrangersTest):
    """The page has another origin (spec, "Other client endpoints")."""

    async def test_page_of_another_origin_changes_nothing(self) -> None:
        """The server refuses what the browser sends, however the page asks and on whichever port."""
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

    async def test_page_of_another_origin_reads_nothing(self) -> None:
        """Nothing that the browser fetches gets to the page, not even as a script."""
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
    """
    A stranger's name leads to the machine, so the page has the machine's origin (spec, "Other client endpoints").
    """

    async def test_page_of_a_rebound_name_does_nothing(self) -> None:
        """The server shows no page to it, and lets it neither read nor write, whatever it leaves out."""
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
    """The page is the machine's own, by the machine's own names."""

    async def test_own_page_works(self) -> None:
        """It reads, writes and watches, and nothing is refused."""
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
