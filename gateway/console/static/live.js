// The pulse: asks once a second, while this tab is seen, whether the ledger has changed, and says so on the body:
// `filmgate:changed`. Parts of pages reload themselves by it (hx-trigger="filmgate:changed from:body").
// One small request a second and not a stream: ten tabs of one browser share six connections (HTTP/1.1).

const EVERY_MS = 1000;
const REST_MS = 2500; // after one change, before the next is told: a gateway that receives changes all the time

let seen; // the number at the last answer; undefined before the first
let untold = false;
let toldAt = -REST_MS;
let timer;
let lost = false;

async function look() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    const response = await fetch('/api/pulse', { headers: { Accept: 'application/json' } });
    if (response.status === 401 || response.redirected) return; // signed out: the next click leads to the door
    if (!response.ok) throw new Error(String(response.status));
    const { seq } = await response.json();
    if (seen !== undefined && seq !== seen) untold = true;
    seen = seq;
    connected(true);
  } catch {
    connected(false);
  }
  if (untold && performance.now() - toldAt >= REST_MS) {
    untold = false;
    toldAt = performance.now();
    document.body.dispatchEvent(new CustomEvent('filmgate:changed', { bubbles: true }));
  }
  timer = setTimeout(look, EVERY_MS);
}

/** Say once that the console is away, and once that it is back; what changed meanwhile is fetched. */
function connected(is) {
  if (is === !lost) return;
  lost = !is;
  document.documentElement.toggleAttribute('data-lost', lost);
  const line = document.getElementById('said');
  line.dataset.kind = lost ? 'bad' : 'info';
  line.textContent = lost
    ? 'The console does not answer. What this page shows may be old; films are received and gated without it.'
    : 'The console answers again.';
  if (!lost) untold = true;
}

document.addEventListener('visibilitychange', () => { if (!document.hidden) look(); });
look();
