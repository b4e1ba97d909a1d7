// The big view: the current film as large as the window lets it be, beside it what would be sent instead, and the why.
// The thumbnail stands at once; the values for window and level come behind it and cover it.

import { Viewer } from '/static/viewer.js';
import { showTimes } from '/static/console.js';
import { applyTo, inWords, staged, thumb } from './cards.js';

const big = document.getElementById('big');
const REST_MS = 120; // a film that is passed by sooner is shown by its thumbnail

export class BigView {
  /** staged(card, operations): the viewer's own tools turned it. left(): closed by its button. */
  constructor({ turned, left }) {
    this.card = null;
    this.timer = 0;
    this.original = new Pane(big.querySelector('[data-pane="original"]'));
    this.fix = new Pane(big.querySelector('[data-pane="fix"]'), { tools: false });
    this.original.element.addEventListener('viewer:changed', (event) => turned(this.card, event.detail));
    big.querySelector('[data-leave]').addEventListener('click', left);
  }

  get isOpen() { return !big.hidden; }

  show(card) {
    big.hidden = false;
    document.body.toggleAttribute('data-big', true);
    const other = this.card !== card;
    this.card = card;
    const { digest, proposal } = card.dataset;
    const box = card.dataset.box ? JSON.parse(card.dataset.box) : null;
    this.original.show(digest, staged(card), cropOf(staged(card)) ?? box, staged(card)?.crop ? 'kept' : 'lungs');
    const both = Boolean(proposal) && !staged(card);
    this.fix.element.closest('figure').hidden = !both;
    if (both) this.fix.show(proposal, undefined);
    this.original.caption(staged(card) ? `yours: ${inWords(staged(card))}` : 'as received');
    this.fix.caption(both ? `proposed fix: ${card.querySelector('.fix .caption').dataset.words}` : '');
    if (other) this.#why(card);
  }

  leave() {
    big.hidden = true;
    document.body.toggleAttribute('data-big', false);
    this.card = null;
  }

  /** Draw the box to crop to; `done` gets it in fractions of the film as received, or null. */
  drawBox(done) {
    this.original.viewer.drawBox(done);
  }

  /** Have the values of these at hand, once somebody rests on a film: who flies by needs thumbnails alone. */
  prefetch(cards) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      for (const card of cards) this.original.prefetch(card.dataset.digest);
    }, REST_MS);
  }

  #why(card) {
    const place = big.querySelector('[data-why]');
    const details = card.querySelector('template').content.cloneNode(true);
    place.replaceChildren(details);
    showTimes(place);
    const state = place.querySelector('[data-state-words]');
    if (state) state.textContent = card.querySelector('.verdict').textContent;
  }
}

/** The crop that is staged, as a box. */
function cropOf(operations) {
  if (!operations?.crop) return null;
  const [y0, x0, y1, x1] = operations.crop;
  return { x0, y0, x1, y1 };
}

/** A picture with its thumbnail beneath. */
class Pane {
  constructor(element, options = {}) {
    this.element = element.querySelector('.viewing');
    this.under = element.querySelector('img');
    this.words = element.querySelector('figcaption');
    this.viewer = new Viewer(this.element, options);
    this.shown = null;
    this.timer = 0;
  }

  caption(words) { this.words.textContent = words; }

  show(digest, operations, box = null, words = '') {
    applyTo(this.under, operations);
    if (this.shown === digest) {
      this.viewer.setOperations(operations ?? {});
      this.viewer.setBox(box, words);
      return;
    }
    this.shown = digest;
    this.under.src = thumb(digest);
    this.element.classList.add('waits');
    clearTimeout(this.timer);
    this.timer = setTimeout(async () => { // not for a film that is passed by at once
      if (!(await this.viewer.show(digest, operations ?? {})) && this.shown !== digest) return;
      this.viewer.setBox(box, words);
      this.element.classList.remove('waits');
    }, REST_MS);
  }

  prefetch(digest) { this.viewer.prefetch(digest); }
}
