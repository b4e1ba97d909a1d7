// The page of one film: its viewers, the lungs' box, the search in the tags, the UIDs.

import { say } from '/static/console.js';
import { actWith } from '/static/film-acts.js';
import { Viewer } from '/static/viewer.js';

const viewers = {};
for (const element of document.querySelectorAll('[data-viewer]')) {
  viewers[element.dataset.viewer] = new Viewer(element);
  viewers[element.dataset.viewer].show(element.dataset.digest);
}

actWith(viewers.original);

const lungs = document.querySelector('.film-lungs');
lungs?.addEventListener('click', () => {
  const shown = lungs.getAttribute('aria-pressed') !== 'true';
  lungs.setAttribute('aria-pressed', String(shown));
  viewers.original.setBox(shown ? JSON.parse(lungs.dataset.box) : null, 'lungs');
});

document.getElementById('film').addEventListener('click', async (event) => {
  const copy = event.target.closest('#copy-uids');
  if (!copy) return;
  try {
    await navigator.clipboard.writeText(copy.dataset.uids);
    say('The UIDs are on the clipboard.');
  } catch {
    say(copy.dataset.uids); // no clipboard without TLS or loopback; so they can be marked and copied
  }
});

/** Show the tags in which all words stand. What is masked stays so, and is not found. */
function sift(words) {
  const sought = words.toLowerCase().split(/\s+/).filter(Boolean);
  let any = false;
  for (const row of document.querySelectorAll('.film-tag-list tr')) {
    const text = row.textContent.toLowerCase();
    row.hidden = !sought.every((word) => text.includes(word));
    any ||= !row.hidden;
  }
  document.getElementById('tag-none').hidden = any;
}

document.getElementById('header-part').addEventListener('input', (event) => {
  if (event.target.id === 'tag-search') sift(event.target.value);
});
