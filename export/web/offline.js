// Service worker: what was fetched once is there without a network.
const CACHE = "classifier";

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
        const kept = await caches.match(event.request);
        if (kept) return kept;
        throw error;
      }),
  );
});

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
