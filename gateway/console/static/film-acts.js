// What can be done with one film, by the same keys as on the sheet (keys.js). Which acts those are the page has from
// the console's one table of state and act. A key that decides moves on to the next film that is held.

import { askActs, newRequest } from '/static/acts.js';
import { ask, say } from '/static/console.js';
import { listen } from '/static/keys.js';
import { askNote, askReject } from '/static/sheet/asking.js';

const AGAIN = new Set(['release', 'accept', 'reject']); // what the dot repeats
const USUAL = 'filmgate:reject'; // the reason that was given last, in this tab

const page = document.getElementById('film');
const { film, hold, decision } = page.dataset;
const own = { film: Number(film), hold: Number(hold) || null, decision: Number(decision) || null };
let busy = false;

/** Wire keys and buttons to the viewer of the original. */
export function actWith(viewer) {
  const does = {
    pass: () => decide('release'),
    accept: () => (touched(viewer) ? decide('correct', { operations: fix(viewer) }) : decide('accept')),
    confirm: () => touched(viewer) && decide('correct', { operations: fix(viewer) }),
    reject: () => reject(),
    note: () => note(),
    undo: () => undo(),
    repeat: () => repeat(),
    label: (key) => label(key),
    right: () => viewer.rotate(90),
    left: () => viewer.rotate(270),
    invert: () => viewer.invert(),
    flip: () => viewer.flip(),
    box: () => drawCrop(viewer),
    leave: () => { crop = null; viewer.reset(); viewer.setBox(null); },
    next: () => go(page.dataset.next),
    previous: () => go(page.dataset.previous),
    below: () => go(page.dataset.next),
    above: () => go(page.dataset.previous),
    back: () => walk(1),
    forward: () => walk(-1),
    search: () => document.getElementById('tag-search')?.focus(),
  };
  listen(does);
  page.addEventListener('click', (event) => {
    const button = event.target.closest('button[data-does]');
    if (!button) return;
    const { does: what } = button.dataset;
    if (does[what]) does[what](button.dataset.key);
    else said(what); // resend, gate-again: no key of their own
  });
}

/** A film that was turned by hand is sent as it is seen. */
let crop = null;

function touched(viewer) {
  const { rotate, invert, flip } = viewer.operations;
  return Boolean(rotate || invert || flip || crop);
}

function fix(viewer) {
  return { ...viewer.operations, crop };
}

function drawCrop(viewer) {
  say('Draw the part that stays. Escape leaves it as it is.');
  viewer.drawBox((box) => {
    if (!box) return;
    crop = [box.y0, box.x0, box.y1, box.x1];
    viewer.setBox(box, 'kept');
  });
}

/** Ask for an act; its result, or null where it was refused, in words. */
async function acted(act, fields = {}) {
  if (busy) return null;
  busy = true;
  try {
    const [result] = await askActs({ act, films: [own], ...fields, request: newRequest() });
    if (!result.ok) say(result.error, 'bad');
    return result.ok ? result : null;
  } catch (error) {
    say(error.message, 'bad');
    return null;
  } finally {
    busy = false;
  }
}

/** An act that decides: on to the next held film, where there is one. */
async function decide(act, fields) {
  if (!page.querySelector(`[data-act="${act}"]`)) {
    say('This cannot be done with the film as it stands.', 'bad');
    return;
  }
  if (!(await acted(act, fields))) return;
  if (page.dataset.hold && page.dataset.next) go(page.dataset.next);
  else location.reload();
}

async function said(act, fields) {
  const result = await acted(act, fields);
  if (result) location.reload();
}

async function reject() {
  const reason = await askReject(1, sessionStorage.getItem(USUAL));
  if (!reason) return;
  sessionStorage.setItem(USUAL, reason);
  await decide('reject', { reason });
}

async function note() {
  const words = await askNote(1);
  if (words) await said('note', { note: words });
}

async function label(key) {
  const choice = page.querySelector(`[data-label="${key}"]`);
  if (choice) await said('relabel', { labels: JSON.parse(choice.dataset.labels) });
}

/** Take back what one did last, on whichever film that was. */
async function undo() {
  if (busy) return;
  busy = true;
  try {
    const { acts } = await ask('GET', '/api/acts/mine?limit=10');
    const last = acts.find((one) => !one.undone_at && one.act !== 'undo');
    if (!last) return void say('There is nothing to undo.');
    const [result] = await askActs({ act: 'undo', acts: [last.act_id], request: newRequest() });
    if (!result.ok) return void say(result.error, 'bad');
    if (last.film === own.film) location.reload();
    else go(last.film);
  } catch (error) {
    say(error.message, 'bad');
  } finally {
    busy = false;
  }
}

async function repeat() {
  const { acts } = await ask('GET', '/api/acts/mine?limit=20');
  const last = acts.find((one) => AGAIN.has(one.act));
  if (!last) return void say('Nothing was decided yet.');
  await decide(last.act, last.detail.reason ? { reason: last.detail.reason } : {});
}

/** One's own acts, one by one: 1 back, -1 forward. Where one is stands in the address. */
async function walk(by) {
  const { acts } = await ask('GET', '/api/acts/mine?limit=200');
  const here = acts.findIndex((one) => String(one.act_id) === new URLSearchParams(location.search).get('act'));
  const next = acts[here + by];
  if (!next) return void say(by > 0 ? 'That was the first thing you did.' : 'That was the last thing you did.');
  go(next.film, `?act=${next.act_id}`);
}

function go(to, search = '') {
  if (to) location.assign(`/films/${to}${search}`);
  else say('No other film is held.');
}
