"""A headless Chromium that opens a page from a file, driven through its debugging pipe without a further package."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# No sandbox, as tests run as root in containers; and nothing that Chromium does of its own accord in the background.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--metrics-recording-only",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
    "--hide-scrollbars",
)


def find_chromium() -> str | None:
    """The browser's path, None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class View:
    """A page that is open: what it said and asked for, and ways to look at it."""

    browser: "Chromium"
    session: str
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression; it is evaluated by the debugger, whatever the page allows itself."""
        result = self.browser.call("Runtime.evaluate", {"expression": expression, "returnByValue": True}, self.session)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, condition: str) -> None:
        """Returns when a JavaScript condition holds; fails when it does not within 20 seconds."""
        look = f"const look = () => ({condition}) ? done(true) : setTimeout(look, 20); look(); setTimeout(done, 20000)"
        assert self.promised(look) is True, (condition, self.messages)

    def promised(self, code: str) -> Any:
        """Runs JavaScript and waits until it calls `done`; what that was given."""
        params = {"expression": f"new Promise((done) => {{ {code} }})", "awaitPromise": True}
        return self.browser.call("Runtime.evaluate", params, self.session)["result"].get("value")

    def mouse(self, kind: str, at: tuple[float, float], **more: object) -> None:
        """An event of the mouse at a place in the window: `Moved`, `Pressed`, `Released` or `Wheel`."""
        params = {"type": f"mouse{kind}", "x": at[0], "y": at[1], **more}
        self.browser.call("Input.dispatchMouseEvent", params, self.session)

    def click(self, at: tuple[float, float]) -> None:
        """A click of the left button at a place in the window."""
        for kind in ("Pressed", "Released"):
            self.mouse(kind, at, button="left", clickCount=1)

    def emulate(self, scheme: str, media: str = "") -> None:
        """Sets the colour scheme and the medium that the page is told of."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.call("Emulation.setEmulatedMedia", {"media": media, "features": features}, self.session)

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """Writes a PNG of the page, or of the window."""
        taken = self.browser.call("Page.captureScreenshot", {"captureBeyondViewport": whole}, self.session)
        path.write_bytes(base64.b64decode(taken["data"]))

    def hear(self, method: str, params: Mapping[str, Any]) -> None:
        """Notes what a test asks about of the events of this page."""
        if method == "Runtime.exceptionThrown":
            self.messages.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.messages.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.messages.append(str(params["args"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])


class Chromium:
    """A running browser; each page that it opens has a width, a height and a colour scheme."""

    def __init__(self, reader: int, writer: int) -> None:
        self._reader, self._writer = os.fdopen(reader, "rb"), os.fdopen(writer, "wb")
        self._number, self._views = 0, dict[str, View]()

    def call(self, method: str, params: Mapping[str, Any] | None = None, session: str | None = None) -> dict[str, Any]:
        """Sends a command of the DevTools protocol and waits for its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": dict(params or {})}
        self._send(message | ({"sessionId": session} if session else {}))
        while True:
            received = self._receive()
            if received.get("id") == self._number:
                assert "error" not in received, received
                result: dict[str, Any] = received["result"]
                return result
            self._hear(received)

    def open(self, page: Path, width: int, height: int = 900, scheme: str = "light", media: str = "") -> View:
        """Opens a page and waits until it is loaded."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        view = self._views[session] = View(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session=session)
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", metrics, session)
        view.emulate(scheme, media)
        self.call("Page.navigate", {"url": page.resolve().as_uri()}, session)
        while True:
            received = self._receive()
            self._hear(received)
            if received.get("method") == "Page.loadEventFired" and received.get("sessionId") == session:
                return view

    def _send(self, message: Mapping[str, Any]) -> None:
        self._writer.write(json.dumps(message).encode() + b"\0")
        self._writer.flush()

    def _receive(self) -> dict[str, Any]:
        parts = bytearray()
        while (byte := self._reader.read(1)) != b"\0":
            if not byte:
                raise EOFError("the browser has ended")
            parts += byte
        message: dict[str, Any] = json.loads(parts)
        return message

    def _hear(self, message: Mapping[str, Any]) -> None:
        if (view := self._views.get(message.get("sessionId", ""))) and "method" in message:
            view.hear(message["method"], message["params"])


@contextmanager
def chromium(path: str, profile: Path) -> Iterator[Chromium]:
    """Starts a browser with a profile of its own, and ends it."""
    to_browser, from_browser = os.pipe(), os.pipe()

    def connect() -> None:  # the browser reads from descriptor 3 and writes to 4
        ends = os.dup(to_browser[0]), os.dup(from_browser[1])
        os.dup2(ends[0], 3)
        os.dup2(ends[1], 4)

    process = subprocess.Popen(
        [path, *FLAGS, f"--user-data-dir={profile}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,
        preexec_fn=connect,
    )
    os.close(to_browser[0])
    os.close(from_browser[1])
    browser = Chromium(from_browser[0], to_browser[1])
    try:
        yield browser
    finally:
        process.terminate()
        process.wait(timeout=30)
