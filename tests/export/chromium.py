"""A headless Chromium, spoken to in the protocol of its developer tools over pipes: no driver, no port."""

import json
import queue
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ANSWER_S = 60
# the protocol is spoken on descriptors 3 and 4
SHELL = ["sh", "-c", 'exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1']


class Browser:
    """Runs until it is closed. switches: further ones of the command line."""

    def __init__(self, profile: Path, *switches: str) -> None:
        own = ["--headless", "--no-sandbox", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        self.process = subprocess.Popen(
            [*SHELL, str(CHROMIUM), *own, *switches], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.sent = 0
        self.answers: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        kept = b""
        while chunk := self.process.stdout.read1(1 << 16):
            *messages, kept = (kept + chunk).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:  # the others are events
                    self.answers.put(message)

    def call(self, method: str, page: str | None = None, **parameters: Any) -> dict[str, Any]:
        """What the browser, or a page by its session, answers. RuntimeError with its reason where it refuses."""
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": parameters} | ({"sessionId": page} if page else {})
        self.process.stdin.write(json.dumps(message).encode() + b"\0")
        self.process.stdin.flush()
        while (answer := self.answers.get(timeout=ANSWER_S))["id"] != self.sent:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def close(self) -> None:
        self.process.stdin.close()  # which ends it
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Page:
    """One in a profile of its own. before: a script that runs before those of the page."""

    def __init__(self, browser: Browser, before: str = "") -> None:
        self.browser = browser
        context = browser.call("Target.createBrowserContext")["browserContextId"]
        target = browser.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=before)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.call(method, self.session, **parameters)

    def value(self, expression: str) -> Any:
        """Of JavaScript, awaited. RuntimeError where it throws."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"].get("description", "it threw"))
        return found["result"].get("value")

    def until(self, expression: str) -> Any:
        """Its value, as soon as that is true. TimeoutError where it never is."""
        end_s = time.monotonic() + ANSWER_S
        while time.monotonic() < end_s:
            if found := self.value(expression):
                return found
            time.sleep(0.05)
        raise TimeoutError(f"{expression} stayed false for {ANSWER_S} s; the page shows {self.text('body')!r}")

    def text(self, selector: str) -> str:
        return self.value(f"document.querySelector({json.dumps(selector)}).innerText")

    def open(self, address: str) -> None:
        failed = self.call("Page.navigate", url=address).get("errorText")
        if failed:
            raise RuntimeError(f"{address}: {failed}")

    def choose(self, selector: str, *files: Path) -> None:
        """Gives files to an input, as a person does who picks them."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in files])

    def drop(self, selector: str, file: Path) -> None:
        """Drags a file of this machine over the middle of an element, and lets it go there."""
        box = self.value(
            f"(() => {{ const box = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=box[0], y=box[1], data=data)
