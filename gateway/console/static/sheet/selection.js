// Which films are selected: by x, click, ctrl-click, shift-range, by drawing a frame, or a whole block at once.
// Films of a block that are not loaded yet can be selected too: what is kept is how an act names them.

import { all, named } from './cards.js';

export class Selection {
  /** changed(): called after each change. */
  constructor(changed) {
    this.byHold = new Map(); // hold -> {film, hold, decision}
    this.changed = changed;
    this.anchor = null;
  }

  get size() { return this.byHold.size; }
  get films() { return [...this.byHold.values()]; }
  has(card) { return this.byHold.has(Number(card.dataset.hold)); }

  toggle(card, on = !this.has(card)) {
    this.put([card], on);
    this.anchor = card;
    this.changed();
  }

  /** A plain click: nothing is selected, and a range begins here. */
  anchorAt(card) {
    this.anchor = card;
    this.clear();
  }

  /** A click with ctrl: this one too, beside the one that was clicked before. */
  beside(card) {
    if (!this.size && this.anchor?.isConnected && this.anchor !== card) this.put([this.anchor], true);
    this.toggle(card);
  }

  only(cards) {
    this.byHold.clear();
    this.put(cards, true);
    this.changed();
  }

  add(cards) {
    this.put(cards, true);
    this.changed();
  }

  addNamed(films) {
    for (const film of films) this.byHold.set(film.hold, film);
    this.changed();
  }

  removeNamed(films) {
    for (const film of films) this.byHold.delete(film.hold);
    this.changed();
  }

  clear() {
    if (!this.size) return;
    this.byHold.clear();
    this.changed();
  }

  /** From the anchor to this card, in the order of the sheet. */
  range(card) {
    const cards = all();
    const ends = [cards.indexOf(this.anchor), cards.indexOf(card)].sort((a, b) => a - b);
    this.only(cards.slice(Math.max(ends[0], 0), ends[1] + 1));
  }

  put(cards, on) {
    for (const card of cards) {
      const film = named(card);
      if (on && card.dataset.state === 'held') this.byHold.set(film.hold, film);
      else this.byHold.delete(film.hold);
    }
  }

  /** Show it: aria-selected says it to those who listen, and to the style sheet. */
  draw() {
    for (const card of document.querySelectorAll('#sheet .film')) {
      card.setAttribute('aria-selected', String(this.has(card)));
    }
  }
}

const FARTHER_THAN_A_CLICK = 6; // pixels

/** Draw a frame with the mouse to select what it touches; with ctrl it adds. */
export function dragSelect(sheet, selection) {
  let from = null;
  let before = [];
  const frame = document.createElement('div');
  frame.className = 'frame-drawn';

  sheet.addEventListener('pointerdown', (event) => {
    if (event.button !== 0 || event.pointerType === 'touch' || event.target.closest('button, a, input')) return;
    from = { x: event.pageX, y: event.pageY, id: event.pointerId };
    before = event.ctrlKey || event.metaKey ? selection.films : [];
  });
  sheet.addEventListener('dragstart', (event) => event.preventDefault()); // a picture is not dragged out
  sheet.addEventListener('pointermove', (event) => {
    if (!from) return;
    const across = event.pageX - from.x;
    const down = event.pageY - from.y;
    if (!frame.isConnected) {
      if (Math.hypot(across, down) < FARTHER_THAN_A_CLICK) return;
      sheet.setPointerCapture(from.id);
      document.body.append(frame);
    }
    frame.style.left = `${Math.min(from.x, event.pageX)}px`;
    frame.style.top = `${Math.min(from.y, event.pageY)}px`;
    frame.style.width = `${Math.abs(across)}px`;
    frame.style.height = `${Math.abs(down)}px`;
    const drawn = frame.getBoundingClientRect();
    selection.byHold = new Map(before.map((film) => [film.hold, film]));
    selection.add(all().filter((card) => touches(card.getBoundingClientRect(), drawn)));
  });
  const end = (event) => {
    const drew = frame.isConnected;
    frame.remove();
    from = null;
    if (drew) sheet.addEventListener('click', swallow, { capture: true, once: true });
    if (drew) setTimeout(() => sheet.removeEventListener('click', swallow, { capture: true }));
    if (drew && sheet.hasPointerCapture(event.pointerId)) sheet.releasePointerCapture(event.pointerId);
  };
  sheet.addEventListener('pointerup', end);
  sheet.addEventListener('pointercancel', end);
}

function swallow(event) {
  event.stopPropagation(); // the click that ends a frame means no card
}

function touches(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}
