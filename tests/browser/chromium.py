"""
Chromium, driven over the WebDriver protocol (W3C WebDriver, section 6.3) by C{treq}, so that the reactor goes on.

Must never leave a process behind: the end of the test ends the browser, and its driver in any case, and with the
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
"""The reason why no browser can be driven."""

OFTEN = 0.05
"""How long to wait before looking at the page again, in seconds."""

LONGEST_WAIT_SECONDS = 60.0
"""How long to keep looking, in seconds."""

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The name of an element's id (W3C WebDriver, section 12)."""

_QUIET = (
    *("--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server"),
)
"""These make the browser show nothing on a screen, and send nothing except to the page's own server."""

KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "End": "\ue010", "Home": "\ue011",
        "Left": "\ue012", "Up": "\ue013", "Right": "\ue014", "Down": "\ue015"}  # fmt: skip
"""The keys that write no character (W3C WebDriver, section 17.4.2)."""


def _sandbox() -> tuple[str, ...]:
    """Returns the flags for a Chromium that cannot have a sandbox, as for root or without user namespaces."""
    possible = os.geteuid() != 0 and subprocess.run(["unshare", "--user", "true"], check=False).returncode == 0
    return () if possible else ("--no-sandbox",)


class BrowserError(Exception):
    """The driver could not do what it was asked to do. The text is the driver's own."""


class Element:
    """An element of the page."""

    def __init__(self, browser: "Browser", name: str) -> None:
        self._browser = browser
        self._name = name

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return await self._browser.command(method, f"/element/{self._name}/{path}", body)

    async def click(self) -> None:
        """Clicks on its middle, which no other element may cover."""
        await self._ask("POST", "click", {})

    async def type(self, text: str) -> None:
        """Types into it, after its present text."""
        await self._ask("POST", "value", {"text": text})

    async def clear(self) -> None:
        """Clears a field."""
        await self._ask("POST", "clear", {})

    async def text(self) -> str:
        """Returns its text as it can be read on the screen."""
        return str(await self._ask("GET", "text"))

    async def property(self, name: str) -> Any:
        """Returns a property as a script sees it."""
        return await self._ask("GET", f"property/{name}")

    async def role(self) -> str:
        """Returns its role for a screen reader."""
        return str(await self._ask("GET", "computedrole"))

    async def label(self) -> str:
        """Returns its name for a screen reader."""
        return str(await self._ask("GET", "computedlabel"))


class Browser:
    """One window of a browser. See the module."""

    def __init__(self, test: TestCase) -> None:
        self._test = test
        self._session = ""

    async def start(self, *flags: str) -> None:
        """
        Starts the driver, which starts the browser with a profile of its own.

        @param flags: further flags of the browser.
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
        """Sends one command of the protocol for this window."""
        return await self._send(method, self._session + path, body)

    # The window.

    async def open(self, url: str) -> None:
        """Goes to an address, and waits until everything on the page is loaded."""
        await self.command("POST", "/url", {"url": url})

    async def url(self) -> str:
        """Returns the address."""
        return str(await self.command("GET", "/url"))

    async def run(self, script: str, *arguments: object) -> Any:
        """Runs the body of a function in the page, and returns its result."""
        return await self.command("POST", "/execute/sync", {"script": script, "args": arguments})

    async def devtools(self, name: str, **parameters: object) -> Any:
        """Sends one command of the browser's own protocol."""
        return await self.command("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    async def look(self, width: int, height: int, scheme: str, touch: bool = False) -> None:
        """Gives the window the size of a screen, and a preference for C{light} or C{dark} colors."""
        await self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch
        )
        await self.devtools("Emulation.setTouchEmulationEnabled", enabled=touch)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        await self.devtools("Emulation.setEmulatedMedia", features=[feature])

    async def picture(self) -> bytes:
        """Returns the whole page as a PNG."""
        picture = await self.devtools("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(picture["data"])

    async def complaints(self) -> list[str]:
        """Returns the browser's messages about the page since the last call: violations of policies, and errors."""
        entries = await self.command("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    # The content.

    async def find(self, selector: str) -> Element:
        """Returns the first element that a CSS selector matches, as soon as there is one."""
        return await self.until(lambda: self._find(selector), selector)

    async def _find(self, selector: str) -> Element | None:
        found = await self.command("POST", "/elements", {"using": "css selector", "value": selector})
        return Element(self, found[0][_ELEMENT]) if found else None

    async def button(self, words: str) -> Element:
        """Returns the first visible button with these words, as soon as there is one."""
        script = """
            const seen = [...document.querySelectorAll("button")].filter((button) => button.offsetParent !== null);
            return seen.find((button) => button.textContent === arguments[0]) ?? null;
        """

        async def found() -> Element | None:
            element = await self.run(script, words)
            return Element(self, element[_ELEMENT]) if element else None

        return await self.until(found, f"a button {words!r}")

    async def choose(self, selector: str, words: str) -> None:
        """Chooses the option of this name from a list."""
        script = "return [...document.querySelector(arguments[0]).options].find((each) => each.text === arguments[1])"
        option = await self.run(script, selector, words)
        await Element(self, option[_ELEMENT]).click()

    async def press(self, *keys: str) -> None:
        """
        Presses keys one after the other on the element that has the focus: those of L{KEYS} by name, others by letter.
        """
        actions = []
        for key in keys:
            value = KEYS.get(key, key)
            actions += [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
        await self.command("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    async def text(self, selector: str) -> str:
        """Returns the text of an element as it can be read on the screen."""
        return await (await self.find(selector)).text()

    async def shows(self, words: str, selector: str = "body") -> str:
        """Returns an element's text when it has these words in it."""

        async def shown() -> str | None:
            text = await self.text(selector)
            return text if words in text else None

        return await self.until(shown, f"{words!r} in {selector}")

    async def until(self, probe: Any, wanted: str) -> Any:
        """Returns the result of C{probe} as soon as that is not C{None}."""
        latest = reactor.seconds() + LONGEST_WAIT_SECONDS
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
        raise AssertionError(f"{wanted}: not within {LONGEST_WAIT_SECONDS} seconds; {told}\n{shown}")
