"""Chromium by its own protocol, over a pipe: no driver and no port. Its network leads nowhere."""

from __future__ import annotations

import base64
import json
import os
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --remote-debugging-pipe --hide-scrollbars "
    "--proxy-server=127.0.0.1:9 --host-resolver-rules='MAP * ~NOTFOUND'"
)


class Page:
    """A tab, and everything that it asked for and complained of."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._rest, self._number, self.session = to, back, b"", 0, ""
        self.events: list[dict[str, Any]] = []

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """A command and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            for told in self._read():
                if told.get("id") == self._number:
                    assert "error" not in told, told
                    return told["result"]
        raise TimeoutError(method)

    def _read(self) -> list[dict[str, Any]]:
        if not select.select([self._back], [], [], 1.0)[0]:
            return []
        self._rest += os.read(self._back, 1 << 20)
        *whole, self._rest = self._rest.split(b"\0")
        told = [json.loads(one) for one in whole]
        self.events += [one for one in told if "method" in one]
        return told

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False) -> float:
        """Open a file; returns the seconds until it says that it is drawn."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = "dark" if dark else "light"
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        start = time.monotonic()
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=path.as_uri())
        while time.monotonic() < start + 60:
            if self.js("document.body && document.body.dataset.drawn") == "yes":
                return float(self.js("performance.now()")) / 1000
        raise TimeoutError("the page was not drawn")

    def js(self, code: str) -> Any:
        """The value of an expression."""
        told = self.send("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def key(self, name: str) -> None:
        """Press a key."""
        code = {"ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "ArrowUp": 38, "Tab": 9, "Enter": 13}[name]
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if name == "Enter" and kind == "keyDown" else {}
            self.send("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **text)

    def screenshot(self, path: Path) -> None:
        """A picture of what is seen."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))

    def complaints(self) -> list[Any]:
        """Errors and everything that the page said on the console."""
        bad = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [one for one in self.events if one["method"] in bad]

    def requests(self) -> list[str]:
        """Addresses that it asked for, its own file and what lies in it aside."""
        asked = [one["params"]["request"]["url"] for one in self.events if one["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith(("file:", "data:", "about:", "blob:"))]


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A browser with one tab; its profile is in ``folder``."""
    read_in, write_in = os.pipe()
    read_out, write_out = os.pipe()
    profile = shlex.quote(f"--user-data-dir={folder / 'profile'}")
    command = f"exec {CHROMIUM} {FLAGS} {profile} 3<&{read_in} 4>&{write_out}"
    process = subprocess.Popen(
        ["bash", "-c", command], pass_fds=(read_in, write_out), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    os.close(read_in)
    os.close(write_out)
    try:
        page = Page(write_in, read_out)
        target = page.send("Target.createTarget", url="about:blank")["targetId"]
        page.session = page.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.send(f"{domain}.enable")
        yield page
    finally:
        process.kill()
        process.wait()
        os.close(write_in)
        os.close(read_out)
