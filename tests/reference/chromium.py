"""A headless Chromium, driven over its debugging pipe by the standard library alone."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

FOUND = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
"""The browser of this machine, or None."""
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--no-proxy-server",
)
_PATIENCE = 120.0


class Chromium:
    """A browser with one tab.

    `errors` are what its console and its scripts complained of, and `asked` the addresses that it asked for, since the last `open`.
    """

    def __init__(self) -> None:
        assert FOUND is not None
        self.errors: list[str] = []
        self.asked: list[str] = []
        self._number, self._session, self._rest = 0, None, b""
        self._folder = tempfile.mkdtemp()
        here_in, there_out = os.pipe()
        there_in, here_out = os.pipe()
        command = [FOUND, *_FLAGS, f"--user-data-dir={self._folder}", "about:blank"]

        def descriptors() -> None:
            # The browser reads commands from descriptor 3 and writes what it says to 4; either may be the other's place now.
            ends = fcntl.fcntl(there_in, fcntl.F_DUPFD, 10), fcntl.fcntl(there_out, fcntl.F_DUPFD, 10)
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, preexec_fn=descriptors, pass_fds=(3, 4), **quiet)
        os.close(there_in)
        os.close(there_out)
        self._in, self._out = here_in, here_out
        self._events: list[dict[str, Any]] = []
        target = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """End the browser and remove its folder."""
        self._process.terminate()
        self._process.wait(30)
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, address: str, width: int = 1280, dark: bool = False, height: int = 900) -> None:
        """Load a page at a width, light or dark, and wait until it is loaded."""
        self.errors.clear()
        self.asked.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme, media="")
        self._events.clear()
        self.call("Page.navigate", url=address)
        self._until(lambda: any(one["method"] == "Page.loadEventFired" for one in self._events), address)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str, patience: float = _PATIENCE) -> None:
        """Wait until a JavaScript expression is true."""
        self._until(lambda: bool(self.run(script)), script, patience)

    def press(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=_CODES.get(key, 0), **text)

    def picture(self, path: Path, whole: bool = True) -> None:
        """Write the page as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 12000), "scale": 1} if whole else None
        kept = {"clip": clip, "captureBeyondViewport": True} if clip else {}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png", **kept)["data"]))

    def printed(self, path: Path) -> None:
        """Write the page as PDF, as it is printed."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"]))

    def overflow(self) -> int:
        """Pixels that the page is wider than its window."""
        return int(self.run("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            for one in self._messages(1.0):
                if one.get("id") == number:
                    assert "error" not in one, one["error"]
                    return one["result"]
        raise TimeoutError(method)

    def _until(self, true: Any, what: str, patience: float = _PATIENCE) -> None:
        end = time.monotonic() + patience
        while not true():
            if time.monotonic() > end:
                raise TimeoutError(f"{what}; {self.errors}")
            list(self._messages(0.1))

    def _messages(self, patience: float) -> list[dict[str, Any]]:
        if not select.select([self._in], [], [], patience)[0]:
            return []
        *whole, self._rest = (self._rest + os.read(self._in, 1 << 20)).split(b"\0")
        found = [json.loads(one) for one in whole]
        for one in found:
            if "method" in one:
                self._events.append(one)
                self._note(one["method"], one.get("params", {}))
        return found

    def _note(self, method: str, told: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(one.get("value", one.get("description"))) for one in told["args"]))
        elif method == "Network.requestWillBeSent":
            self.asked.append(told["request"]["url"])
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")


_CODES = {"ArrowDown": 40, "Enter": 13, "Tab": 9, "Escape": 27, " ": 32}
