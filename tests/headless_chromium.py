"""Pages as a person sees them: Chromium without a window, spoken to by its DevTools protocol.

It opens no address but this machine's: every other name is told not to exist. As a program it takes a picture of the
newest artifact of a key, for the README:

    python tests/headless_chromium.py http://127.0.0.1:4200 faq-report docs/images/report.png
"""

from __future__ import annotations

import base64
import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

# Names that Linux distributions and macOS's Homebrew give it.
NAMES = ("chromium", "chromium-browser", "google-chrome")
START_SECONDS = 60.0
"""For the browser to come up on a busy machine."""
PAGE_SECONDS = 60.0
"""For a page to show what is waited for."""
# The browser and all of its processes end when the input closes: when the tests are done with it, or were killed.
_UNTIL_INPUT_ENDS = ("sh", "-c", '"$@" <&- & read -r _; kill -9 "-$$"', "sh")

_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # which root may not use; nothing but pages of this machine is opened
    "--disable-dev-shm-usage",  # a container's may be too small
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-port=0",
)


# Long lists hold what is near their window only, and fetch more as one comes to their end; then it begins anew.
_SCROLL = """for (const e of document.querySelectorAll('*')) if (e.scrollHeight > e.clientHeight) {
  const before = e.scrollTop; e.scrollTop += 400; if (e.scrollTop === before) e.scrollTop = 0 }"""


@functools.cache
def installed() -> str | None:
    """Where Chromium is; None if it is not installed. It is asked, for some systems have a stub of that name."""
    for program in filter(None, map(shutil.which, NAMES)):
        if subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0:
            return program
    return None


class Page:
    """One tab."""

    def __init__(self, connection: ClientConnection, session: str) -> None:
        self._connection, self._session = connection, session
        self._numbers = itertools.count(1_000)

    def open(self, url: str) -> None:
        """Go to an address; what the page fetches afterwards is waited for by `wait_for`."""
        self.call("Page.navigate", url=url)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result; events that come meanwhile are of no interest."""
        number = next(self._numbers)
        return _call(self._connection, number, method, parameters, self._session)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def text(self) -> str:
        """What can be read on the page."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def wait_for(self, *texts: str, seconds: float = PAGE_SECONDS) -> str:
        """The page's text once all of these have been on it, however wrapped; it is scrolled through for them.

        Raises:
            AssertionError: They are not, in time; with what it shows instead.
        """
        end, missing = time.monotonic() + seconds, list(texts)
        while True:
            shown = " ".join(self.text().split())
            missing = [text for text in missing if text not in shown]
            if not missing:
                return shown
            if time.monotonic() > end:
                raise AssertionError(f"{missing} not on the page after {seconds:.0f} s: {shown[:4_000]}")
            time.sleep(0.2)
            self.evaluate(_SCROLL)

    def click(self, text: str) -> None:
        """Click the innermost element that says just this."""
        script = (
            "(() => {const found = [...document.querySelectorAll('body *')]"
            f".filter(e => e.innerText && e.innerText.trim() === {json.dumps(text)});"
            "if (found.length) found.at(-1).click(); return found.length > 0})()"
        )
        assert self.evaluate(script), f"nothing says {text!r}"

    def size(self, width: int, height: int) -> None:
        """Lay the page out for a window of so many pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def picture(self, path: Path) -> None:
        """Save what the window shows as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser() -> Iterator[Page]:
    """An empty tab of a browser of its own, with an empty profile."""
    program = installed()
    assert program, "Chromium is not installed"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [*_UNTIL_INPUT_ENDS, program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            with connect(_address(Path(profile), process), max_size=None, proxy=None) as connection:
                target = _call(connection, 1, "Target.createTarget", {"url": "about:blank"})["targetId"]
                attached = _call(connection, 2, "Target.attachToTarget", {"targetId": target, "flatten": True})
                page = Page(connection, attached["sessionId"])
                page.size(1_400, 1_000)
                yield page
        finally:
            # All of its processes: a renderer may outlive the browser by a moment and write into the profile.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """Where the browser listens; it writes that into its profile."""
    note, end = profile / "DevToolsActivePort", time.monotonic() + START_SECONDS
    while True:
        lines = note.read_text().split() if note.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        assert process.poll() is None, f"Chromium ended with code {process.returncode}"
        assert time.monotonic() < end, f"Chromium does not listen after {START_SECONDS:.0f} s"
        time.sleep(0.05)


def _call(
    connection: ClientConnection, number: int, method: str, parameters: dict[str, Any], session: str | None = None
) -> dict[str, Any]:
    command = {"id": number, "method": method, "params": parameters}
    connection.send(json.dumps(command | ({"sessionId": session} if session else {})))
    while True:
        reply = json.loads(connection.recv(timeout=PAGE_SECONDS))
        if reply.get("id") == number:
            assert "error" not in reply, f"{method}: {reply['error']}"
            return dict(reply["result"])


if __name__ == "__main__":
    site, key, file = sys.argv[1:]
    query = json.dumps({"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC", "limit": 1}).encode()
    request = urllib.request.Request(f"{site}/api/artifacts/filter", query, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        (artifact,) = json.load(reply)
    with browser() as page:
        page.size(1_280, 1_080)
        page.open(f"{site}/artifacts/artifact/{artifact['id']}")
        page.wait_for(artifact["description"], "Cost", "Flow Run", "Start Time")
        page.evaluate("for (const e of document.querySelectorAll('*')) e.scrollTop = 0")
        time.sleep(1.0)  # for what is still fading in
        page.picture(Path(file))
