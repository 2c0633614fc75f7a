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
# the page takes no software adapter for a GPU, unless told that it is none
AS_GPU = "Object.defineProperty(GPUAdapterInfo.prototype, 'isFallbackAdapter', { value: false });"
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


def shown_by(page, address):
    """(status, likeliest class, latency) of the golden picture."""
    status = opened(page, address + "?picture=golden.png")
    assert status.startswith("ready: the golden picture is right to"), status
    return status, classified(page), page.text("#latency")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_page_computes_the_golden_picture_and_names_its_class(kit, browser, precision):
    folder = kit(precision)
    with served(folder) as address:
        status, best, latency = shown_by(Page(browser), address)
    assert "WebGPU" not in status
    assert best == best_of(folder)
    assert re.fullmatch(r"\d+\.\d\d ms a picture, by WebAssembly", latency)


def test_the_page_says_when_its_preprocessing_is_wrong(kit, browser):
    folder = kit("fp32")
    how = read_json(folder / "preprocessing.json")
    write_json(folder / "preprocessing.json", how | {"std": [1.0, 1.0, 1.0]})
    with served(folder) as address:
        assert "the golden picture gives other values than expected" in opened(Page(browser), address)


@pytest.fixture
def gpu_page(webgpu_browser):
    """A script that runs first -> a page with an adapter that passes for a GPU."""

    def page(before="", feature=None):
        found = Page(webgpu_browser, AS_GPU + before)
        found.open("chrome://version")  # where the script is not run, and WebGPU is there
        features = found.value("navigator.gpu?.requestAdapter().then((found) => found && [...found.features])")
        if not features or (feature and feature not in features):
            pytest.skip(f"this Chromium has no software adapter{' with ' * bool(feature)}{feature or ''}")
        return found

    return page


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "feature"), [("fp32", None), ("fp16", "shader-f16")])
def test_webgpu_computes_where_there_is_an_adapter_also_offline(kit, gpu_page, precision, feature):
    folder, page = kit(precision), gpu_page(feature=feature)
    with served(folder) as address:
        found = [shown_by(page, address)]
        page.value("navigator.serviceWorker.ready.then(() => true)")
        last = load_target("web").optional[precision][-1]
        page.until(f"caches.match('{last}').then(Boolean)")
    found.append(shown_by(page, address))
    for status, best, latency in found:
        assert "WebGPU is not used" not in status
        assert best == best_of(folder)
        assert latency.endswith(" ms a picture, by WebGPU")


def test_int8_and_software_adapters_are_left_to_webassembly(kit, gpu_page, webgpu_browser):
    for precision, page in (("int8", gpu_page()), ("fp32", Page(webgpu_browser))):
        folder = kit(precision)
        with served(folder) as address:
            status, best, latency = shown_by(page, address)
        assert "WebGPU" not in status
        assert best == best_of(folder)
        assert latency.endswith(" by WebAssembly")


DEVICE = (
    "const given = GPUAdapter.prototype.requestDevice;"
    "GPUAdapter.prototype.requestDevice = async function (wish) {{ {} }};"
)


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("throw new Error('no driver');", "; WebGPU is not used: no driver"),
        ("const lost = await given.call(this, wish); lost.destroy(); return lost;", "; WebGPU is not used: "),
    ],
)
def test_where_a_device_fails_webassembly_computes(kit, gpu_page, device, told):
    folder, page = kit("fp32"), gpu_page(DEVICE.format(device))
    with served(folder) as address:
        status, best, latency = shown_by(page, address)
    assert told in status
    assert best == best_of(folder)
    assert latency.endswith(" by WebAssembly")


def test_without_the_files_of_webgpu_webassembly_computes(kit, gpu_page):
    folder, page = kit("fp32"), gpu_page()
    for name in load_target("web").optional["fp32"]:
        (folder / name).unlink()
    with served(folder) as address:
        status, best, latency = shown_by(page, address)
    assert "; WebGPU is not used: Failed to fetch" in status
    assert best == best_of(folder)
    assert latency.endswith(" by WebAssembly")


@pytest.mark.slow
def test_where_webgpu_computes_other_values_webassembly_computes(kit, gpu_page):
    folder = kit("fp32")
    runtime = folder / load_target("web").optional["fp32"][0]
    # the same runtime, with every logit's sign turned
    wrong = "const { env, Tensor, InferenceSession: Right } = await import('./right.mjs'); export { env, Tensor };"
    wrong += "export const InferenceSession = { create: async (...wish) => { const right = await Right.create(...wish);"
    wrong += " return { inputNames: right.inputNames, outputNames: right.outputNames, release: () => right.release(),"
    wrong += " run: async (feeds) => { const found = await right.run(feeds), name = right.outputNames[0];"
    wrong += " return { [name]: { data: found[name].data.map((x) => -x) } }; } }; } };"
    runtime.rename(folder / "right.mjs")
    runtime.write_text(wrong)
    page = gpu_page()
    with served(folder) as address:
        status, best, latency = shown_by(page, address)
    assert "; WebGPU is not used: the golden picture gives other values than expected" in status
    assert best == best_of(folder)
    assert latency.endswith(" by WebAssembly")


@pytest.mark.parametrize(
    ("request_adapter", "told"),
    [("async () => { throw new Error('no driver'); }", "; WebGPU is not used: no driver"), ("async () => null", "")],
)
def test_where_no_adapter_comes_webassembly_computes(kit, browser, request_adapter, told):
    folder = kit("fp32")
    page = Page(
        browser, f"Object.defineProperty(navigator, 'gpu', {{ value: {{ requestAdapter: {request_adapter} }} }});"
    )
    with served(folder) as address:
        status, best, latency = shown_by(page, address)
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
    webgpu = set(load_target("web").optional["fp32"])  # classify.js keeps those itself
    assert kept - {"./"} == {path.name for path in folder.iterdir()} - NOT_OF_THE_PAGE - webgpu
