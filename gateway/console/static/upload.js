// The upload page: files go up in pieces under the sha256 of their content, so that a broken connection or a
// reload goes on where it stopped. What came of each is asked for while somebody waits for it.

import { ask, say } from '/static/console.js';

const PIECE = 4 << 20; // bytes, shelf.PIECE_BYTES
const AT_ONCE = 2; // files on their way
const LOOK_MS = 1000; // between two looks at what waits
const FIRST_PAUSE_MS = 500, LONGEST_PAUSE_MS = 15000; // after a broken connection
const WORDS = { reading: 'reading', waiting: 'waiting', uploading: 'uploading', queued: 'queued', examining: 'examining', refused: 'not taken', failed: 'failed' };

const token = document.querySelector('meta[name="csrf-token"]').content;
const list = document.getElementById('file-list');
const answer = document.getElementById('answer');
const rows = new Map(); // key -> what is known of a file; the key is its sha256, before that a number
const waiting = [];
let number = 0, underWay = 0, chosen = new URLSearchParams(location.search).get('file');

// Choosing

const drop = document.getElementById('drop');
const inputs = { files: document.getElementById('files'), folder: document.getElementById('folder') };
document.getElementById('choose-files').addEventListener('click', () => inputs.files.click());
document.getElementById('choose-folder').addEventListener('click', () => inputs.folder.click());
for (const input of Object.values(inputs)) {
  input.addEventListener('change', () => { take([...input.files]); input.value = ''; });
}
for (const name of ['dragenter', 'dragover']) {
  document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add('over'); });
}
document.addEventListener('dragleave', (event) => { if (!event.relatedTarget) drop.classList.remove('over'); });
document.addEventListener('drop', async (event) => {
  event.preventDefault();
  drop.classList.remove('over');
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = entries.length ? (await Promise.all(entries.map(filesBelow))).flat() : [...event.dataTransfer.files];
  take(files);
});

/** All files of what was dropped; a folder gives its entries some at a time. */
async function filesBelow(entry) {
  if (entry.isFile) return [await new Promise((good, bad) => entry.file(good, bad))];
  const reader = entry.createReader(), found = [];
  for (;;) {
    const some = await new Promise((good, bad) => reader.readEntries(good, bad));
    if (!some.length) break;
    found.push(...some);
  }
  return (await Promise.all(found.map(filesBelow))).flat();
}

function take(files) {
  for (const file of files.filter((one) => !one.name.startsWith('.'))) {
    const key = `n${number += 1}`;
    rows.set(key, { key, name: file.webkitRelativePath || file.name, size: file.size, state: 'waiting', offset: 0 });
    waiting.push([key, file]);
  }
  draw();
  for (let free = AT_ONCE - underWay; free > 0; free -= 1) work();
}

// Sending

async function work() {
  if (!waiting.length) return;
  underWay += 1;
  const [key, file] = waiting.shift();
  try {
    await send(key, file);
  } catch (error) {
    change(key, { state: 'failed', error: error.message });
  }
  underWay -= 1;
  look();
  work();
}

async function send(key, file) {
  change(key, { state: 'reading' });
  const bytes = await file.arrayBuffer();
  const sha256 = [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const row = rows.get(key);
  const announced = await patiently(row, () => ask('POST', '/api/uploads', { files: [{ name: row.name.slice(-1000), size: file.size, sha256 }] }));
  rows.delete(key); // the same content under two names is one file
  let known = keep(announced.uploads[0]);
  while (known.state === 'uploading') {
    const offset = known.offset;
    known = keep(await patiently(rows.get(sha256), () => put(sha256, offset, bytes.slice(offset, offset + PIECE))));
  }
}

async function put(sha256, offset, piece) {
  const response = await fetch(`/api/uploads/${sha256}?offset=${offset}`, { method: 'PUT', headers: { 'X-CSRF-Token': token, 'Content-Type': 'application/octet-stream', Accept: 'application/json' }, body: piece });
  const value = await response.json().catch(() => null);
  if (response.ok) return value;
  if (response.status === 409) return { ...rows.get(sha256), offset: Number(response.headers.get('X-Offset')) };
  throw Object.assign(new Error(value?.detail ?? `The console answered ${response.status}.`), { final: response.status < 500 });
}

/** Try until the console answers: what breaks is the connection, not the file. */
async function patiently(row, attempt) {
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
    try {
      const value = await attempt();
      if (row) row.trouble = '';
      return value;
    } catch (error) {
      if (!(error instanceof TypeError) && error.final !== false) throw error; // TypeError: fetch had no answer
      if (row) row.trouble = 'no connection; it goes on by itself';
      draw();
      await new Promise((good) => setTimeout(good, pause));
    }
  }
}

// Looking

let timer = 0;
async function look() {
  clearTimeout(timer);
  try {
    const { uploads } = await ask('GET', '/api/uploads');
    const here = new Set(uploads.map((one) => one.sha256));
    for (const [key, row] of rows) if (row.sha256 && !here.has(key) && row.state !== 'refused') rows.delete(key);
    uploads.forEach(keep);
  } catch (error) {
    say(error instanceof TypeError ? 'The console does not answer. Your files are kept here; it goes on by itself.' : error.message, 'bad');
  }
  if ([...rows.values()].some((row) => row.state === 'queued' || row.state === 'examining')) timer = setTimeout(look, LOOK_MS);
}

function keep(upload) {
  const before = rows.get(upload.sha256);
  const row = { ...before, ...upload, key: upload.sha256 };
  rows.set(row.key, row);
  draw();
  if (row.key === chosen && before && before.state !== row.state) open(row.key);
  return row;
}

function change(key, values) {
  Object.assign(rows.get(key) ?? {}, values);
  draw();
}

// Drawing

function draw() {
  const kept = new Map([...list.children].map((item) => [item.dataset.key, item]));
  for (const [key, item] of kept) if (!rows.has(key)) item.remove();
  for (const row of rows.values()) {
    const item = kept.get(row.key) ?? list.appendChild(made(row));
    item.toggleAttribute('data-chosen', row.key === chosen);
    item.dataset.state = row.state;
    const line = item.querySelector('.line');
    line.className = `line ${row.error ? 'bad' : 'soft'}`;
    line.textContent = row.trouble || words(row);
    const progress = item.querySelector('progress');
    progress.hidden = row.state !== 'uploading';
    progress.value = row.size ? row.offset / row.size : 0;
  }
  const all = [...rows.values()], done = all.filter((row) => row.state === 'done').length;
  const failed = all.filter((row) => row.error).length;
  document.getElementById('upload-bar').hidden = !all.length;
  document.getElementById('upload-counts').textContent = `${done} of ${all.length} examined${failed ? `, ${failed} failed` : ''}`;
}

function words(row) {
  if (row.error) return row.error;
  if (row.state === 'done') return row.words;
  if (row.state === 'uploading') return `uploading, ${Math.floor(100 * row.offset / row.size)} % of ${(row.size / 1048576).toFixed(1)} MiB`;
  return WORDS[row.state] ?? row.state;
}

function made(row) {
  const item = document.createElement('li');
  item.dataset.key = row.key;
  const button = item.appendChild(Object.assign(document.createElement('button'), { type: 'button', className: 'open' }));
  button.appendChild(Object.assign(document.createElement('b'), { textContent: row.name, title: row.name }));
  button.appendChild(Object.assign(document.createElement('span'), { className: 'line soft' }));
  button.appendChild(Object.assign(document.createElement('progress'), { max: 1, hidden: true })).setAttribute('aria-label', `${row.name}, uploaded`);
  button.addEventListener('click', () => open(item.dataset.key));
  const remove = item.appendChild(Object.assign(document.createElement('button'), { type: 'button', className: 'remove', textContent: '×' }));
  remove.setAttribute('aria-label', `Remove ${row.name}`);
  remove.addEventListener('click', () => forget(item.dataset.key));
  return item;
}

async function open(key) {
  if (!rows.get(key)?.sha256) return;
  chosen = key;
  history.replaceState(null, '', `?file=${key}`);
  draw();
  if (rows.get(key).state === 'refused') { answer.replaceChildren(Object.assign(document.createElement('p'), { className: 'bad', textContent: rows.get(key).error })); return; }
  await htmx.ajax('GET', `/upload/${key}`, { target: answer, swap: 'innerHTML' });
}

async function forget(key) {
  const row = rows.get(key);
  try {
    if (row.sha256 && row.state !== 'refused') await ask('DELETE', `/api/uploads/${key}`);
  } catch (error) { say(error.message, 'bad'); return; }
  rows.delete(key);
  draw();
}

document.getElementById('forget-all').addEventListener('click', async () => {
  try {
    await ask('DELETE', '/api/uploads');
  } catch (error) { say(error.message, 'bad'); return; }
  rows.clear();
  waiting.length = 0;
  draw();
  say('All your files are deleted here.');
});

answer.addEventListener('click', async (event) => {
  const again = event.target.closest('[data-again]');
  if (!again) return;
  try {
    keep(await ask('POST', `/api/uploads/${again.dataset.again}/again`));
    look();
  } catch (error) { say(error.message, 'bad'); }
});

/** Leaving gives up what is not here yet; what is queued is examined anyway. */
addEventListener('beforeunload', (event) => {
  if (underWay || waiting.length) event.preventDefault();
});

look();
