// The one key map: of the sheet, of the big view, of many films at once, and of the Film page.
// A page says what each act does (`listen`); which key that is, is said here alone. The help (?) is drawn from it.

/** id: what a page's handler is called. keys: as KeyboardEvent.key has them. decides: such a key also moves on. */
export const KEYS = [
  { id: 'next', keys: ['j', 'ArrowRight'], part: 'Walk', words: 'next film' },
  { id: 'previous', keys: ['k', 'ArrowLeft'], part: 'Walk', words: 'film before' },
  { id: 'below', keys: ['ArrowDown'], part: 'Walk', words: 'film below; in the big view the next' },
  { id: 'above', keys: ['ArrowUp'], part: 'Walk', words: 'film above; in the big view the one before' },
  { id: 'first', keys: ['Home'], part: 'Walk', words: 'first film' },
  { id: 'last', keys: ['End'], part: 'Walk', words: 'last film that is loaded' },
  { id: 'open', keys: [' '], part: 'Walk', words: 'big view, and back' },
  { id: 'leave', keys: ['Escape'], part: 'Walk', words: 'take back what is staged, then leave the big view, then select nothing' },
  { id: 'back', keys: ['['], part: 'Walk', words: 'walk back through what you did, and open it again' },
  { id: 'forward', keys: [']'], part: 'Walk', words: 'walk forward through what you did' },

  { id: 'accept', keys: ['a'], part: 'Decide', words: 'accept the proposed fix, or send the one you made', decides: true },
  { id: 'pass', keys: ['p'], part: 'Decide', words: 'pass as it is: release to AI', decides: true },
  { id: 'reject', keys: ['d'], part: 'Decide', words: 'reject: the reason by its digit, d again for the first', decides: true },
  { id: 'repeat', keys: ['.'], part: 'Decide', words: 'the last decision once more, on this film', decides: true },
  { id: 'undo', keys: ['u'], part: 'Decide', words: 'undo the last act' },
  { id: 'confirm', keys: ['Enter'], part: 'Decide', words: 'send the fix you made; without one, open the Film page', decides: true },

  { id: 'right', keys: ['r'], part: 'Fix', words: 'turn right by 90°' },
  { id: 'left', keys: ['R'], part: 'Fix', words: 'turn left by 90°' },
  { id: 'invert', keys: ['i'], part: 'Fix', words: 'exchange black and white' },
  { id: 'flip', keys: ['f'], part: 'Fix', words: 'flip left and right' },
  { id: 'box', keys: ['b'], part: 'Fix', words: 'draw the box to crop to' },

  { id: 'label', keys: ['1', '2', '3', '4', '5', '6', '7', '8', '9'], shown: '1–9', part: 'Say', words: 'name the view or part' },
  { id: 'note', keys: ['n'], part: 'Say', words: 'write a note' },

  { id: 'select', keys: ['x'], part: 'Many at once', words: 'select this film, or not' },
  { id: 'block', keys: ['X'], part: 'Many at once', words: 'select all of this block' },
  { id: 'group', keys: ['g'], part: 'Many at once', words: 'group by the next: reason, sender, device, accession' },
  { id: 'search', keys: ['/'], part: 'Many at once', words: 'search' },
  { id: 'help', keys: ['?'], part: 'Many at once', words: 'these keys' },
];

const SHOWN = { ' ': 'space', ArrowRight: '→', ArrowLeft: '←', ArrowDown: '↓', ArrowUp: '↑', Escape: 'esc', R: '⇧ r', X: '⇧ x' };
const BY_KEY = new Map(KEYS.flatMap((entry) => entry.keys.map((key) => [key, entry])));

/** How a key is written for people. */
export function shown(key) {
  return SHOWN[key] ?? key;
}

/** The entry of a key, or undefined: not ours, somebody writes, or the browser is meant. */
export function entryOf(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return undefined;
  const at = event.target instanceof Element ? event.target : null;
  if (at?.closest('input, textarea, select, [contenteditable], dialog')) return undefined;
  const own = event.key === ' ' || event.key === 'Enter'; // what a button or link under the focus takes itself
  if (own && at?.closest('button, a[href], summary')) return undefined;
  return BY_KEY.get(event.key);
}

/** Call handlers[id](key) for each key of the map that `handlers` knows; the end of it is returned. */
export function listen(handlers) {
  const heard = (event) => {
    const entry = entryOf(event);
    if (!entry || document.querySelector('dialog[open]')) return;
    const handler = handlers[entry.id] ?? (entry.id === 'help' ? () => help(handlers) : undefined);
    if (!handler) return;
    event.preventDefault();
    if (event.repeat && (entry.decides || entry.id === 'undo')) return; // a key that is held down decides once
    handler(event.key, event);
  };
  document.addEventListener('keydown', heard);
  return () => document.removeEventListener('keydown', heard);
}

/** The key map as a dialog: those keys that work here. */
export function help(handlers) {
  const dialog = document.createElement('dialog');
  dialog.className = 'wide keys';
  dialog.setAttribute('aria-labelledby', 'keys-title');
  const title = Object.assign(document.createElement('h2'), { id: 'keys-title', textContent: 'Keys' });
  const parts = document.createElement('div');
  parts.className = 'parts';
  for (const part of new Set(KEYS.map((entry) => entry.part))) {
    const entries = KEYS.filter((entry) => entry.part === part && (entry.id === 'help' || handlers[entry.id]));
    if (entries.length) parts.append(partOf(part, entries));
  }
  const words = document.createElement('p');
  words.className = 'soft';
  words.textContent = 'The same keys in the sheet, in the big view and, where films are selected, on all of them. A key that decides also moves on.';
  const close = Object.assign(document.createElement('button'), { textContent: 'Close', autofocus: true });
  const foot = document.createElement('div');
  foot.className = 'toolbar';
  foot.append(close);
  dialog.append(title, parts, words, foot);
  close.addEventListener('click', () => dialog.close());
  dialog.addEventListener('keydown', (event) => { if (event.key === '?') dialog.close(); });
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function partOf(part, entries) {
  const section = document.createElement('section');
  const list = document.createElement('dl');
  for (const entry of entries) {
    const term = document.createElement('dt');
    const keys = entry.shown ? [entry.shown] : entry.keys.map(shown);
    for (const key of keys) term.append(Object.assign(document.createElement('kbd'), { textContent: key }), ' ');
    list.append(term, Object.assign(document.createElement('dd'), { textContent: entry.words }));
  }
  section.append(Object.assign(document.createElement('h3'), { textContent: part }), list);
  return section;
}
