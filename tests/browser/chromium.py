"""
Chromium, driven over the WebDriver protocol (W3C WebDriver, section 6.3) by C{treq}, so that the reactor goes on.

Never leaves a process behind: the end of the test ends the browser, and whatever becomes of that, its driver; with the
driver's death the kernel ends the browser too.
"""

import base64
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from etcd_twisted.testing.ports import free_ports
from tests.processes.child import spawn
from tests.processes.client import GONE, Client

PROGRAMS = ("chromium", "chromedriver")

MISSING = [name for name in PROGRAMS if shutil.which(name) is None]

SKIP = f"not installed: {' '.join(MISSING)} (apt-get install chromium chromium-driver)" if MISSING else None
"""Why there is nothing to be driven."""

OFTEN = 0.05
"""How long to wait until the page is looked at again, in seconds."""

PATIENCE = 60.0
"""How long that goes on, in seconds."""

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""What an element's id is called (W3C WebDriver, section 12)."""

_QUIET = (
    *("--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server"),
)
"""Nothing on a screen, and nothing said to anybody but the page's own server."""

KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "End": "\ue010", "Home": "\ue011",
        "Left": "\ue012", "Up": "\ue013", "Right": "\ue014", "Down": "\ue015"}  # fmt: skip
"""Those that write nothing (W3C WebDriver, section 17.4.2)."""


def _sandbox() -> tuple[str, ...]:
    """What has Chromium do without its sandbox where it can't have one: as root, and without user namespaces."""
    possible = os.geteuid() != 0 and subprocess.run(["unshare", "--user", "true"], check=False).returncode == 0
    return () if possible else ("--no-sandbox",)


class BrowserError(Exception):
    """The driver could not do what it was asked for; the text is its own."""


class Element:
    """An element of the page."""

    def __init__(self, browser: "Browser", name: str) -> None:
        self._browser = browser
        self._name = name

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return await self._browser.command(method, f"/element/{self._name}/{path}", body)

    async def click(self) -> None:
        """Click on its middle, where nothing may be in front of it."""
        await self._ask("POST", "click", {})

    async def type(self, text: str) -> None:
        """Type into it, behind what it holds."""
        await self._ask("POST", "value", {"text": text})

    async def clear(self) -> None:
        """Have a field be empty."""
        await self._ask("POST", "clear", {})

    async def text(self) -> str:
        """What of it can be read on the screen."""
        return str(await self._ask("GET", "text"))

    async def property(self, name: str) -> Any:
        """What a script would see."""
        return await self._ask("GET", f"property/{name}")

    async def role(self) -> str:
        """What it is to somebody who can't see it."""
        return str(await self._ask("GET", "computedrole"))

    async def label(self) -> str:
        """How it is called to somebody who can't see it."""
        return str(await self._ask("GET", "computedlabel"))


class Browser:
    """One window. See the module."""

    def __init__(self, test: TestCase) -> None:
        self._test = test
        self._session = ""

    async def start(self, *flags: str) -> None:
        """
        Start the driver, and it the browser, with a profile of its own.

        @param flags: further ones of the browser.
        """
        (port,) = free_ports(1)
        directory = Path(self._test.mktemp()).resolve()
        directory.mkdir(parents=True)
        driver = spawn(self._test, [str(shutil.which("chromedriver")), f"--port={port}"], directory)
        await driver.when_printed("started successfully")
        self._client = Client(f"http://127.0.0.1:{port}")
        self._test.addCleanup(self._client.close)
        options = {"args": [*_QUIET, *flags, *_sandbox(), f"--user-data-dir={directory / 'profile'}"]}
        options["binary"] = str(shutil.which("chromium"))
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = await self._send("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{session['sessionId']}"
        self._test.addCleanup(self._send, "DELETE", self._session)

    async def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        encoded = None if body is None else msgspec.json.encode(body)
        answer = (await self._client.request(method, path, encoded)).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise BrowserError(f"{answer['error']}: {answer['message']}")
        return answer

    async def command(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One command of the protocol, for this window."""
        return await self._send(method, self._session + path, body)

    # The window

    async def open(self, url: str) -> None:
        """Go to an address, and wait until all that belongs to it is loaded."""
        await self.command("POST", "/url", {"url": url})

    async def url(self) -> str:
        """Where it is."""
        return str(await self.command("GET", "/url"))

    async def run(self, script: str, *arguments: object) -> Any:
        """Run the body of a function in the page; what it returns."""
        return await self.command("POST", "/execute/sync", {"script": script, "args": arguments})

    async def devtools(self, name: str, **parameters: object) -> Any:
        """One command of the browser's own protocol."""
        return await self.command("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    async def look(self, width: int, height: int, scheme: str, touch: bool = False) -> None:
        """Be a screen of this size, of somebody who likes it C{light} or C{dark}."""
        await self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch
        )
        await self.devtools("Emulation.setTouchEmulationEnabled", enabled=touch)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        await self.devtools("Emulation.setEmulatedMedia", features=[feature])

    async def picture(self) -> bytes:
        """The whole page, as a PNG."""
        picture = await self.devtools("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(picture["data"])

    async def complaints(self) -> list[str]:
        """What the browser had to say about the page since it was asked last: violations of policies, errors."""
        entries = await self.command("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    # What is in it

    async def find(self, selector: str) -> Element:
        """The first element that a CSS selector means, as soon as there is one."""
        return await self.until(lambda: self._find(selector), selector)

    async def _find(self, selector: str) -> Element | None:
        found = await self.command("POST", "/elements", {"using": "css selector", "value": selector})
        return Element(self, found[0][_ELEMENT]) if found else None

    async def button(self, words: str) -> Element:
        """The first button with these words on it that can be seen, as soon as there is one."""
        script = """
            const seen = [...document.querySelectorAll("button")].filter((button) => button.offsetParent !== null);
            return seen.find((button) => button.textContent === arguments[0]) ?? null;
        """

        async def found() -> Element | None:
            element = await self.run(script, words)
            return Element(self, element[_ELEMENT]) if element else None

        return await self.until(found, f"a button {words!r}")

    async def choose(self, selector: str, words: str) -> None:
        """Choose what a list of choices calls so."""
        script = "return [...document.querySelector(arguments[0]).options].find((each) => each.text === arguments[1])"
        option = await self.run(script, selector, words)
        await Element(self, option[_ELEMENT]).click()

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other, on whatever has the focus: those of L{KEYS} by name, others by letter."""
        actions = []
        for key in keys:
            value = KEYS.get(key, key)
            actions += [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
        await self.command("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    async def text(self, selector: str) -> str:
        """What of an element can be read on the screen."""
        return await (await self.find(selector)).text()

    async def shows(self, words: str, selector: str = "body") -> str:
        """Return when an element's text has these words in it; the text."""

        async def shown() -> str | None:
            text = await self.text(selector)
            return text if words in text else None

        return await self.until(shown, f"{words!r} in {selector}")

    async def until(self, probe: Any, wanted: str) -> Any:
        """What C{probe} says, as soon as that is not C{None}."""
        latest = reactor.seconds() + PATIENCE
        while reactor.seconds() < latest:
            try:
                result = await probe()
            except (*GONE, BrowserError) as error:  # the element has gone between two questions
                result, told = None, str(error)
            else:
                told = ""
            if result is not None:
                return result
            await deferLater(reactor, OFTEN, lambda: None)
        shown = await self.run("return document.body.innerText")
        raise AssertionError(f"{wanted}: not within {PATIENCE} seconds; {told}\n{shown}")
