"""The web kit in a real browser, where Chromium and onnxruntime-web are installed."""

import contextlib
import functools
import http.server
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from chromium import CHROMIUM, Browser, Page

from hwnas.export import fill_kit, load_target
from hwnas.storage import read_json, write_json

ORT_WEB = Path(__file__).parents[2] / "node_modules" / "onnxruntime-web" / "dist"  # after `npm install onnxruntime-web`
# WebGPU computed by the processor; Chromium on servers has no other adapter
SOFTWARE_WEBGPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
NOT_OF_THE_PAGE = {"README.md", "MODEL_CARD.md", "offline.js"}


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the kit, of which a browser keeps nothing unless the page does."""

    def end_headers(self):
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *arguments):
        return


@contextlib.contextmanager
def served(folder):
    """The address of a server, which is gone at the end."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Switches -> a browser with them, started once."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    browsers = {}

    def browser(*switches):
        if switches not in browsers:
            browsers[switches] = Browser(tmp_path_factory.mktemp("profile"), *switches)
        return browsers[switches]

    yield browser
    for open_one in browsers.values():
        open_one.close()


@pytest.fixture
def browser(started):
    """One without a GPU."""
    return started("--disable-gpu")


@pytest.fixture
def webgpu_browser(started):
    return started(*SOFTWARE_WEBGPU)


@pytest.fixture
def kit(exported_folder, tmp_path):
    if not ORT_WEB.is_dir():
        pytest.skip("onnxruntime-web is not installed: npm install onnxruntime-web, in the repository's root")
    record = read_json(exported_folder / "export.json")
    return lambda precision: (
        fill_kit(
            load_target("web"), precision, exported_folder / "export", record, tmp_path / precision, ORT_WEB
        ).folder
    )


def best_of(folder):
    """The class of the golden picture."""
    logits, labels = read_json(folder / "golden.json")["logits"], (folder / "labels.txt").read_text().splitlines()
    return labels[logits.index(max(logits))]


def opened(page, address):
    """What the page's status is once it is done."""
    page.open(address)
    page.until("!['loading', undefined].includes(document.getElementById('status')?.innerText)")
    return page.text("#status")


def classified(page):
    """The likeliest class of the picture that the page was given."""
    page.until("document.getElementById('latency').innerText")
    return page.text("#classes").split()[0]


def shown(browser, folder, before=""):
    """(status, likeliest class, latency) of the golden picture."""
    page = Page(browser, before)
    with served(folder) as address:
        status = opened(page, address + "?picture=golden.png")
        assert status.startswith("ready: the golden picture is right to"), status
        return status, classified(page), page.text("#latency")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_page_computes_the_golden_picture_and_names_its_class(kit, browser, precision):
    folder = kit(precision)
    status, best, latency = shown(browser, folder)
    assert "WebGPU" not in status
    assert best == best_of(folder)
    assert re.fullmatch(r"\d+\.\d\d ms a picture, by WebAssembly", latency)


def test_the_page_says_when_its_preprocessing_is_wrong(kit, browser):
    folder = kit("fp32")
    how = read_json(folder / "preprocessing.json")
    write_json(folder / "preprocessing.json", how | {"std": [1.0, 1.0, 1.0]})
    with served(folder) as address:
        assert "the golden picture gives other values than expected" in opened(Page(browser), address)


# int8 is never computed with WebGPU
@pytest.mark.parametrize(("precision", "computer"), [("fp32", "WebGPU"), ("fp16", "WebGPU"), ("int8", "WebAssembly")])
def test_an_adapter_for_the_models_precision_is_used(kit, webgpu_browser, precision, computer):
    folder, feature = kit(precision), {"fp16": "shader-f16"}.get(precision)
    with served(folder) as address:
        page = Page(webgpu_browser)
        page.open(address)
        features = page.value("navigator.gpu?.requestAdapter().then((found) => found && [...found.features])")
    if not features or (feature and feature not in features):
        pytest.skip(f"this Chromium has no software adapter for {precision}")
    status, best, latency = shown(webgpu_browser, folder)
    assert "WebGPU is not used" not in status
    assert best == best_of(folder)
    assert latency.endswith(f" ms a picture, by {computer}")


@pytest.mark.parametrize(
    ("request_adapter", "told"),
    [
        ("async () => { throw new Error('no driver'); }", "; WebGPU is not used: no driver"),
        ("async () => ({ features: new Set(), limits: {} })", "; WebGPU is not used: "),  # and no device
        ("async () => null", ""),
    ],
)
def test_where_webgpu_fails_webassembly_computes(kit, browser, request_adapter, told):
    folder = kit("fp32")
    before = f"Object.defineProperty(navigator, 'gpu', {{ value: {{ requestAdapter: {request_adapter} }} }});"
    status, best, latency = shown(browser, folder, before)
    assert told in status
    assert ("WebGPU" in status) == bool(told)
    assert best == best_of(folder)
    assert latency.endswith(" by WebAssembly")


def test_a_picture_is_dropped_chosen_or_taken(kit, browser):
    folder = kit("fp32")
    page = Page(browser)
    with served(folder) as address:
        opened(page, address)
        assert page.text("#classes") == ""
        page.drop("#drop", folder / "labels.txt")
        page.until("document.getElementById('status').innerText.startsWith('error: ')")
        page.drop("#drop", folder / "golden.png")
        assert classified(page) == best_of(folder)
        assert page.text("#status").startswith("ready")
        for name in ("stored", "taken"):
            page.value("['classes', 'latency'].forEach((id) => document.getElementById(id).replaceChildren())")
            page.choose(f"#{name}", folder / "golden.png")
            assert classified(page) == best_of(folder)


def test_after_one_visit_the_page_works_without_its_server(kit, browser):
    folder = kit("fp32")
    page = Page(browser)
    with served(folder) as address:
        assert opened(page, address).startswith("ready")
        page.value("navigator.serviceWorker.ready.then(() => true)")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address)
    for again in (address, address + "index.html?picture=golden.png"):
        assert opened(page, again).startswith("ready")
    assert classified(page) == best_of(folder)


def test_the_service_worker_keeps_every_file_of_the_page(kit):
    folder = kit("fp32")
    listed = re.search(r"FILES = \[(.*?)\]", (folder / "offline.js").read_text(), re.DOTALL)[1]
    kept = set(re.findall(r'"([^"]+)"', listed))
    assert kept - {"./"} == {path.name for path in folder.iterdir()} - NOT_OF_THE_PAGE
