// The editor of rules: line numbers beside a plain textarea, and what the loader says while one types.

import { ask } from '/static/console.js';

const text = document.getElementById('policy-text');
const gutter = document.getElementById('gutter');
const verdict = document.getElementById('verdict');
const use = document.getElementById('use');
const WAIT_MS = 350; // after the last key
const before = text.value;

let fault = 0;
let lines = 0;
let timer;
let asked = 0;

/** The numbers of all lines; the one at fault is marked. */
function number() {
  const count = text.value.split('\n').length;
  if (count === lines && gutter.dataset.fault === String(fault)) return;
  lines = count;
  gutter.dataset.fault = String(fault);
  gutter.replaceChildren(...Array.from({ length: count }, (_, index) => {
    const line = document.createElement('span');
    line.textContent = `${index + 1 === fault ? '▸' : ''}${index + 1}\n`;
    if (index + 1 === fault) line.className = 'fault';
    return line;
  }));
  follow();
}

function follow() { gutter.scrollTop = text.scrollTop; }

async function check() {
  const mine = ++asked;
  try {
    const found = await ask('POST', '/api/policy/check', { text: text.value });
    if (mine !== asked) return; // a later key has asked again
    fault = found.ok ? 0 : found.line;
    verdict.className = `verdict ${found.ok ? (found.lacks.length ? 'warn' : 'good') : 'bad'}`;
    verdict.textContent = found.ok ? found.words : `Line ${found.line}: ${found.words}`;
    if (use) use.disabled = !found.ok;
  } catch (error) {
    if (mine !== asked) return;
    verdict.className = 'verdict bad';
    verdict.textContent = error.message;
  }
  number();
}

text.addEventListener('input', () => {
  number();
  clearTimeout(timer);
  timer = setTimeout(check, WAIT_MS);
});
text.addEventListener('scroll', follow);
document.getElementById('policy-form').addEventListener('submit', () => { text.dataset.sent = ''; });
window.addEventListener('beforeunload', (event) => {
  if (text.value !== before && text.dataset.sent === undefined) event.preventDefault();
});
number();
check();
