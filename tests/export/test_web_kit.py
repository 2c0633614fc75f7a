"""The web kit in a real browser, where Chromium and onnxruntime-web are installed."""

import functools
import http.server
import json
import queue
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from hwnas.export import fill_kit, load_target
from hwnas.storage import read_json, write_json

ORT_WEB = Path(__file__).parents[2] / "node_modules" / "onnxruntime-web" / "dist"  # after `npm install onnxruntime-web`
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ANSWER_S = 60
# Posts what the page shows once it is done; put into the page by the server of the test.
OBSERVER = b"""<script>
const timer = setInterval(() => {
  const text = (id) => document.getElementById(id).innerText;
  if (text("status") === "loading") return;
  clearInterval(timer);
  const shown = { status: text("status"), classes: text("classes"), latency: text("latency") };
  fetch("/answer", { method: "POST", body: JSON.stringify(shown) });
}, 50);
</script></body>"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the kit, and hears what the page shows."""

    def __init__(self, *arguments, answers, **options):
        self.answers = answers
        super().__init__(*arguments, **options)

    def do_GET(self):
        if not self.path.startswith("/index.html"):
            super().do_GET()
            return
        page = self.translate_path("/index.html")
        with open(page, "rb") as file:  # noqa: PTH123 the base class speaks of strings
            content = file.read().replace(b"</body>", OBSERVER)
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self):
        self.answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments):
        return


def shown_by_chromium(kit, profile):
    """What the page says of the golden picture."""
    answers = queue.Queue()
    handler = functools.partial(Handler, directory=str(kit), answers=answers)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/index.html?picture=golden.png"
        switches = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        browser = subprocess.Popen([CHROMIUM, *switches, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return answers.get(timeout=ANSWER_S)
        finally:
            browser.terminate()
            browser.wait()
            server.shutdown()


@pytest.fixture
def kit(exported_folder, tmp_path):
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    if not ORT_WEB.is_dir():
        pytest.skip("onnxruntime-web is not installed: npm install onnxruntime-web, in the repository's root")
    record = read_json(exported_folder / "export.json")
    return lambda precision: (
        fill_kit(
            load_target("web"), precision, exported_folder / "export", record, tmp_path / precision, ORT_WEB
        ).folder
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_page_computes_the_golden_picture_and_names_its_class(kit, tmp_path, precision):
    folder = kit(precision)
    found = shown_by_chromium(folder, tmp_path / "profile")
    assert found["status"].startswith("ready: the golden picture is right to"), found
    logits, labels = read_json(folder / "golden.json")["logits"], (folder / "labels.txt").read_text().splitlines()
    assert found["classes"].splitlines()[0].startswith(labels[logits.index(max(logits))] + " ")
    assert found["latency"].endswith("ms a picture")


def test_the_page_says_when_its_preprocessing_is_wrong(kit, tmp_path):
    folder = kit("fp32")
    how = read_json(folder / "preprocessing.json")
    write_json(folder / "preprocessing.json", how | {"std": [1.0, 1.0, 1.0]})
    found = shown_by_chromium(folder, tmp_path / "profile")
    assert "the golden picture gives other values than expected" in found["status"]
