"""A headless Chromium, driven by its own protocol."""

import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import contextmanager

import pytest


@contextmanager
def browser(profile):
    """A page of a Chromium of its own; the test is skipped where there is none.

    Args:
        profile: a folder for what it keeps.
    """
    websocket = pytest.importorskip("websocket", reason="needs websocket-client")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--remote-debugging-port=0",
        "--window-size=1300,900",
    ]
    process = subprocess.Popen(
        [program, *options, "--remote-allow-origins=*", f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        file = profile / "DevToolsActivePort"
        wait_for(lambda: file.exists() and file.read_text().count("\n"))
        port = file.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            target = next(t for t in json.load(answer) if t["type"] == "page")
        socket = websocket.create_connection(target["webSocketDebuggerUrl"], timeout=300)
        try:
            yield Page(socket)
        finally:
            socket.close()
    finally:
        process.terminate()
        process.wait(timeout=120)


class Page:
    """What a person could do on a page, and see."""

    def __init__(self, socket):
        self._socket, self._number = socket, 0

    def ask(self, method, **params):
        """The answer to a command of the protocol."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, url):
        """Go to a page, and wait until it is there."""
        self.ask("Page.navigate", url=url)
        wait_for(lambda: self.look("document.readyState === 'complete' && location.href !== 'about:blank'"))

    def look(self, expression):
        """The value of an expression on the page."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key):
        """Press a key."""
        text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        code = {"windowsVirtualKeyCode": 13} if key == "Enter" else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, **text, **code)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, **code)

    def write(self, text):
        """Type into what has the focus."""
        self.ask("Input.insertText", text=text)


def wait_for(condition, seconds=300):
    """Wait until something is true; the machine may be busy with other things."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found
