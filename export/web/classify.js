// Classifies pictures in the page with onnxruntime-web. Nothing leaves the device.
import * as wasm from "./ort.wasm.min.mjs";

const TOP = 3;
const TIMED_RUNS = 10;
const NAMES = { webgpu: "WebGPU", wasm: "WebAssembly" };
// Loaded where there is a GPU: they are twice as large, and slower without one.
const WEBGPU = "./ort.webgpu.min.mjs";
const WEBGPU_FILES = [WEBGPU, "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"];
// What of a GPU a model of this precision needs; int8 models would be floats with extra work there.
const GPU_FEATURES = { fp32: [], fp16: ["shader-f16"] };
// Of which onnxruntime-web's kernels want as much as there is.
const GPU_LIMITS = [
  "maxBindGroups",
  "maxBufferSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
  "maxComputeWorkgroupStorageSize",
  "maxComputeWorkgroupsPerDimension",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
];

/** Pixels (RGBA, side x side) -> normalised values (3, side, side), as preprocessing.json says. */
export function normalised(pixels, side, how) {
  const values = new Float32Array(3 * side * side);
  for (let channel = 0; channel < 3; channel++) {
    for (let i = 0; i < side * side; i++) {
      values[channel * side * side + i] = (pixels[4 * i + channel] / 255 - how.mean[channel]) / how.std[channel];
    }
  }
  return values;
}

/** The largest difference, relative to the largest expected value. */
export function relativeError(found, expected) {
  let difference = 0;
  let largest = 0;
  expected.forEach((value, i) => {
    difference = Math.max(difference, Math.abs(found[i] - value));
    largest = Math.max(largest, Math.abs(value));
  });
  return difference / largest;
}

export function softmax(logits) {
  const largest = Math.max(...logits);
  const exponentials = Array.from(logits, (x) => Math.exp(x - largest));
  const sum = exponentials.reduce((a, b) => a + b, 0);
  return exponentials.map((x) => x / sum);
}

/** Pixels of the picture's centred square, resized and cut. */
function pixelsOf(bitmap, how) {
  const size = how.resize_shorter_side_px;
  const side = how.center_crop_px;
  const shorter = Math.min(bitmap.width, bitmap.height);
  const canvas = new OffscreenCanvas(size, size);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  const left = (bitmap.width - shorter) / 2;
  const top = (bitmap.height - shorter) / 2;
  context.drawImage(bitmap, left, top, shorter, shorter, 0, 0, size, size);
  const margin = Math.floor((size - side) / 2);
  return context.getImageData(margin, margin, side, side).data;
}

async function bitmapOf(url) {
  const answer = await fetch(url);
  return createImageBitmap(await answer.blob(), { colorSpaceConversion: "none" });
}

/**
 * A GPU for models of this precision, or undefined; throws where there is an adapter that gives no device.
 * Asked for here, because onnxruntime-web never comes back where its own question is refused. An adapter that is
 * software is no GPU: WebAssembly is far faster.
 */
async function gpuDevice(precision) {
  const requiredFeatures = GPU_FEATURES[precision];
  const adapter = requiredFeatures && (await navigator.gpu?.requestAdapter());
  if (!adapter || adapter.info?.isFallbackAdapter || !requiredFeatures.every((feature) => adapter.features.has(feature))) return undefined;
  const requiredLimits = Object.fromEntries(GPU_LIMITS.map((name) => [name, adapter.limits[name]]));
  return adapter.requestDevice({ requiredFeatures, requiredLimits });
}

/** Puts files where offline.js looks for them. */
async function keepOffline(files) {
  const cache = await caches.open("classifier");
  for (const file of files) if (!(await cache.match(file))) await cache.add(file);
}

class Classifier {
  /** Computes with WebGPU where that gives the golden values, else with WebAssembly; throws where neither does. */
  static async load() {
    const json = (url) => fetch(url).then((answer) => answer.json());
    const own = new Classifier();
    own.how = await json("preprocessing.json");
    own.golden = await json("golden.json");
    own.labels = (await (await fetch("labels.txt")).text()).trimEnd().split("\n");
    own.model = new Uint8Array(await (await fetch(own.golden.model)).arrayBuffer());
    own.note = "";
    try {
      const device = await gpuDevice(own.golden.precision);
      if (device) {
        await own.compute(await import(WEBGPU), { name: "webgpu", device });
        keepOffline(WEBGPU_FILES).catch(() => undefined); // WebAssembly is kept in any case
        return own;
      }
    } catch (error) {
      own.note = `; WebGPU is not used: ${error.message ?? error}`;
      await own.session?.release().catch(() => undefined); // it may be what failed
    }
    await own.compute(wasm, { name: "wasm" });
    return own;
  }

  /** Makes a session of this provider in this build of the runtime, and checks it. */
  async compute(ort, provider) {
    ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;
    ort.env.wasm.numThreads = 1; // more need headers that not every server sends
    this.ort = ort;
    this.computer = NAMES[provider.name];
    this.session = await ort.InferenceSession.create(this.model, { executionProviders: [provider] });
    this.goldenError = await this.checkGolden();
  }

  /** The logits, when they are there: also after work on a GPU. */
  async run(tensor) {
    const found = await this.session.run({ [this.session.inputNames[0]]: tensor });
    return found[this.session.outputNames[0]].data;
  }

  tensorOf(bitmap) {
    const side = this.how.center_crop_px;
    return new this.ort.Tensor("float32", normalised(pixelsOf(bitmap, this.how), side, this.how), [1, 3, side, side]);
  }

  /** Throws where this browser computes something else than the machine that exported the model. */
  async checkGolden() {
    const found = await this.run(this.tensorOf(await bitmapOf(this.golden.image)));
    const error = relativeError(found, this.golden.logits);
    if (!(error <= this.golden.max_relative_error)) {
      throw new Error(`the golden picture gives other values than expected: ${error.toPrecision(2)} relative`);
    }
    return error;
  }

  async classify(bitmap) {
    const tensor = this.tensorOf(bitmap);
    const shares = softmax(await this.run(tensor));
    const start = performance.now();
    for (let i = 0; i < TIMED_RUNS; i++) await this.run(tensor);
    const latencyMs = (performance.now() - start) / TIMED_RUNS;
    const best = shares.map((share, i) => [share, this.labels[i]]).sort((a, b) => b[0] - a[0]).slice(0, TOP);
    return { best, latencyMs };
  }
}

async function show(classifier, source) {
  const image = document.getElementById("shown");
  image.src = source;
  image.hidden = false;
  const { best, latencyMs } = await classifier.classify(await bitmapOf(source));
  const rows = best.map(([share, label]) => {
    const row = document.createElement("li");
    row.textContent = `${label} ${(100 * share).toFixed(1)} %`;
    return row;
  });
  document.getElementById("classes").replaceChildren(...rows);
  document.getElementById("latency").textContent = `${latencyMs.toFixed(2)} ms a picture, by ${classifier.computer}`;
}

function listen(classifier, ready, report) {
  const drop = document.getElementById("drop");
  let last = Promise.resolve(); // one picture after the other: a session computes one at a time
  const take = ([file]) => {
    if (!file) return;
    const source = URL.createObjectURL(file);
    last = last.then(() => show(classifier, source)).then(ready, report);
  };
  for (const id of ["stored", "taken"]) {
    document.getElementById(id).addEventListener("change", (event) => {
      take(event.target.files);
      event.target.value = ""; // the same picture again is a change, too
    });
  }
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer.files);
  });
}

async function main() {
  const status = document.getElementById("status");
  const report = (error) => (status.textContent = `error: ${error.message}`);
  try {
    if ("serviceWorker" in navigator) await navigator.serviceWorker.register("offline.js").catch(() => undefined);
    const classifier = await Classifier.load();
    const right = `ready: the golden picture is right to ${classifier.goldenError.toExponential(1)}${classifier.note}`;
    const ready = () => (status.textContent = right);
    const asked = new URLSearchParams(location.search).get("picture");
    if (asked) await show(classifier, asked);
    listen(classifier, ready, report);
    ready();
  } catch (error) {
    report(error);
  }
}

main();
