// The blind check: a film, a question, one key. Whether it passed is told after the answer, where it was bad.

import { askActs, newRequest } from '/static/acts.js';
import { ask, say } from '/static/console.js';
import { askNote, askReject } from '/static/sheet/asking.js';
import { Viewer } from '/static/viewer.js';

const viewer = new Viewer(document.getElementById('blind-film'));
const found = document.getElementById('blind-found');
const undoButton = document.querySelector('[data-do="undo"]');
const keyed = new Map([...document.querySelectorAll('[data-do="label"]')].map((button) => [button.dataset.key, button]));
let check = null, said = {}, last = null, busy = false;

async function show(next) {
  [check, said] = [next.check, {}];
  document.getElementById('blind-waiting').textContent = check === null ? '' : `${next.waiting} ${next.waiting === 1 ? 'film waits' : 'films wait'} for you.`;
  for (const button of document.querySelectorAll('.blind [data-do]:not([data-do="undo"])')) button.disabled = check === null;
  undoButton.disabled = last === null;
  if (check === null) {
    viewer.clear('No film waits for you. A share of the films that pass comes up here; come back tomorrow.');
    return;
  }
  await viewer.show(next.digest);
}

/** One request at a time: a key that is pressed twice answers once. */
async function once(act) {
  if (busy) return;
  busy = true;
  try {
    await act();
  } catch (error) {
    say(error.message, 'bad');
    await show(await ask('GET', '/api/blind')).catch(() => {});
  } finally { busy = false; }
}

async function answer(good, labels = {}) {
  const { rotate, invert, flip } = viewer.operations;
  const put = {};
  if (rotate) put.turned = String((360 - rotate) % 360);
  if (invert) put.polarity = 'inverted';
  if (flip) put.mirror = 'flipped';
  if (good && Object.keys(put).length) {
    say('You turned, inverted or flipped it: press n, or put it back as it was.', 'bad');
    return;
  }
  const kept = await ask('POST', `/api/blind/${check}`, { good, labels: { ...said, ...put, ...labels } });
  last = check;
  tell(kept);
  await show(await ask('GET', '/api/blind'));
}

/** A bad film that passed: what can be done about it. */
function tell(kept) {
  found.replaceChildren();
  if (kept.good || !kept.passed) { say('Kept.'); return; }
  say('Kept. This one had passed.', 'bad');
  const words = Object.assign(document.createElement('p'), { className: 'bad', textContent: `Film ${kept.film} had passed the gates. Your answer is kept as a label.` });
  const buttons = kept.acts.map(({ act, words: textContent }) => {
    const button = Object.assign(document.createElement('button'), { type: 'button', textContent });
    button.addEventListener('click', () => doWith(kept, act, buttons));
    return button;
  });
  const link = Object.assign(document.createElement('a'), { className: 'button', href: `/films/${kept.film}`, textContent: `open film ${kept.film}` });
  const bar = Object.assign(document.createElement('div'), { className: 'toolbar' });
  bar.append(...buttons, link);
  found.append(words, bar);
}

/** What an act must be told beside the film: {} where that is nothing, null where somebody thought better of it. */
async function fieldsOf(act) {
  const name = { reject: 'reason', note: 'note' }[act];
  if (!name) return {};
  const text = await (act === 'reject' ? askReject(1) : askNote(1));
  return text ? { [name]: text } : null;
}

/** One act on the film that was found: what it is, is said there. */
async function doWith({ film, hold, decision }, act, buttons) {
  const fields = await fieldsOf(act);
  if (!fields) return;
  for (const button of buttons) button.disabled = true;
  try {
    const [result] = await askActs({ act, films: [{ film, hold, decision }], ...fields, request: newRequest() });
    if (!result.ok) throw new Error(result.error);
    found.querySelector('p').textContent = `Film ${film} is ${result.state ?? 'done'} now.`;
  } catch (error) {
    for (const button of buttons) button.disabled = false;
    say(error.message, 'bad');
  }
}

const ACTS = {
  yes: () => answer(true),
  no: () => answer(false),
  later: async () => show(await ask('POST', `/api/blind/${check}/later`)),
  undo: async () => {
    const next = await ask('POST', `/api/blind/${last}/undo`);
    last = null;
    found.replaceChildren();
    say('Taken back.');
    await show(next);
  },
  label: (button) => answer(false, JSON.parse(button.dataset.labels)),
};

document.querySelector('.blind').addEventListener('click', (event) => {
  const button = event.target.closest('[data-do]');
  if (button && !button.disabled) once(() => ACTS[button.dataset.do](button));
});

const KEYS = {
  y: () => once(ACTS.yes),
  n: () => once(ACTS.no),
  s: () => once(ACTS.later),
  r: () => viewer.rotate(90),
  R: () => viewer.rotate(270),
  i: () => viewer.invert(),
  f: () => viewer.flip(),
  1: () => { said = { ...said, view: 'frontal', part: 'chest' }; say('A frontal chest: y or n?'); },
  b: () => viewer.drawBox((box) => {
    if (!box) return;
    said.lung_box = box;
    viewer.setBox(box, 'lungs');
  }),
};

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || document.querySelector('dialog[open]')) return;
  if (event.key === 'u' && last !== null) { once(ACTS.undo); return; }
  if (check === null) return;
  const act = KEYS[event.key] ?? (keyed.has(event.key) ? () => once(() => ACTS.label(keyed.get(event.key))) : null);
  if (!act) return;
  event.preventDefault();
  act();
});

once(async () => show(await ask('GET', '/api/blind')));
