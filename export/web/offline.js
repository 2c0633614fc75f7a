// Service worker: after one visit the page works without a network.
// classify.js adds what WebGPU needs, where it computes.
const CACHE = "classifier";
const FILES = [
  "./",
  "index.html",
  "classify.js",
  "ort.wasm.min.mjs",
  "ort-wasm-simd-threaded.mjs",
  "ort-wasm-simd-threaded.wasm",
  "model.onnx",
  "labels.txt",
  "preprocessing.json",
  "golden.json",
  "golden.png",
];

self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET") return;
  event.respondWith(
    fetch(event.request)
      .then(async (answer) => {
        if (answer.ok && event.request.url.startsWith(self.location.origin)) {
          (await caches.open(CACHE)).put(event.request, answer.clone());
        }
        return answer;
      })
      .catch(async (error) => {
        const kept = await caches.match(event.request, { ignoreSearch: true });
        if (kept) return kept;
        throw error;
      }),
  );
});

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)));
});
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
