// The blocks of the sheet and their pages: more as one comes near, new films at the end of their block, and nothing
// that somebody looks at or points at is moved by either.

import { UNATTENDED, ask, showTimes } from '/static/console.js';
import { all, byHold, decidedElsewhere, heldAgain, isOpen } from './cards.js';

const sheet = document.getElementById('sheet');

export class Blocks {
  /** changed(): after cards came or a block was closed. */
  constructor(changed) {
    this.changed = changed;
    this.pointer = null;
    this.near = new IntersectionObserver((seen) => {
      for (const entry of seen) if (entry.isIntersecting) this.more(entry.target.closest('.block'));
    }, { rootMargin: '800px 0px' });
    sheet.addEventListener('pointermove', (event) => { this.pointer = { x: event.clientX, y: event.clientY }; });
    sheet.addEventListener('pointerleave', () => { this.pointer = null; });
    sheet.addEventListener('click', (event) => {
      const button = event.target.closest('button.fold');
      if (button) this.fold(button.closest('.block'));
    });
    this.watch();
  }

  get list() { return [...sheet.querySelectorAll('.block')]; }

  watch() {
    for (const more of sheet.querySelectorAll('.more')) this.near.observe(more);
  }

  fold(block, closed = !block.hasAttribute('data-closed')) {
    block.toggleAttribute('data-closed', closed);
    block.querySelector('button.fold')?.setAttribute('aria-expanded', String(!closed));
    block.querySelector('.films').hidden = closed;
    this.changed();
  }

  /** Load the next page of a block; true when something came. `least` cards, where a place is taken up again. */
  async more(block, least = 0) {
    const end = block.querySelector('.more');
    if (!end || end.dataset.busy !== undefined || block.hasAttribute('data-closed')) return false;
    end.dataset.busy = '';
    const address = new URL(end.dataset.next, location.origin);
    if (least) address.searchParams.set('limit', String(least));
    const came = await fetchCards(address);
    const fresh = came.cards.filter((card) => !byHold(card.dataset.hold));
    showTimes(came.root);
    end.before(...fresh);
    this.near.unobserve(end);
    if (came.next) {
      end.dataset.next = came.next;
      delete end.dataset.busy;
      this.near.observe(end); // asked anew: it may still be in sight
    } else {
      end.remove();
    }
    this.changed();
    return fresh.length > 0;
  }

  /** Load pages until a hold is there, or its block ends. */
  async until(block, isThere, loaded) {
    const least = loaded - block.querySelectorAll('.film').length;
    if (least > 0) await this.more(block, Math.min(least, 600));
    for (let page = 0; page < 3 && !isThere(); page += 1) if (!(await this.more(block))) return;
  }

  /** The card of a hold that is not on the sheet, in a block of its own at the end. */
  async bringBack(hold) {
    const { cards: [card] } = await fetchCards(`/quarantine/card?hold=${hold}`);
    showTimes(card);
    let mine = document.querySelector('#sheet .block[data-key="mine"]');
    if (!mine) {
      mine = document.createElement('section');
      mine.className = 'block';
      mine.dataset.key = 'mine';
      mine.setAttribute('aria-label', 'What you decided before');
      mine.innerHTML = '<header><b>What you decided before</b></header><div class="films" role="listbox" aria-multiselectable="true" aria-label="What you decided before"></div>';
      sheet.append(mine);
    }
    mine.querySelector('.films').append(card);
    return card;
  }

  /** What changed in the ledger: new films come at the end of their block, decided ones are marked,
   * and so are those on which a decision was undone elsewhere; unless isOld(): this person decided meanwhile, and knows better. */
  async refresh(isOld) {
    const cards = all();
    const newest = Math.max(0, ...[...sheet.querySelectorAll('.film')].map((card) => Number(card.dataset.hold)));
    const holds = cards.filter(isOpen).map((card) => Number(card.dataset.hold)).slice(-2000);
    const wishes = Object.fromEntries(new URLSearchParams(sheet.dataset.wishes));
    const closed = cards.filter((card) => !isOpen(card)).map((card) => Number(card.dataset.hold)).slice(-2000);
    const look = await ask('POST', '/api/quarantine/look', { wishes, newest, holds, closed }, UNATTENDED);
    for (const again of isOld() ? [] : look.back) {
      const card = byHold(again.hold);
      if (card && card.dataset.decision === String(again.decision)) heldAgain(card);
    }
    for (const gone of isOld() ? [] : look.gone) {
      const card = byHold(gone.hold);
      if (card && !card.hasAttribute('data-wait')) decidedElsewhere(card, gone.words);
    }
    this.#counts(look);
    if (look.html) this.#unmoved(() => this.#arrived(look.html));
    return look;
  }

  #counts(look) {
    const put = (place, count) => {
      place.textContent = count;
      place.nextElementSibling.textContent = count === 1 ? 'film' : 'films';
    };
    for (const place of document.querySelectorAll('[data-total]')) place.textContent = look.total;
    for (const block of this.list) {
      const count = look.counts[block.dataset.key];
      const place = block.querySelector('.count');
      if (place && block.dataset.key in look.counts) put(place, count);
      else if (place && block.dataset.key !== 'mine') put(place, 0);
    }
  }

  #arrived(html) {
    const root = document.createElement('template');
    root.innerHTML = html;
    showTimes(root.content);
    for (const fresh of root.content.querySelectorAll('.block')) {
      const known = this.list.find((block) => block.dataset.key === fresh.dataset.key);
      const cards = [...fresh.querySelectorAll('.film')].filter((card) => !byHold(card.dataset.hold));
      if (!cards.length) continue;
      for (const card of cards) card.dataset.fresh = '';
      if (!known) sheet.append(fresh);
      else if (!known.querySelector('.more')) known.querySelector('.films').append(...cards);
    }
    document.getElementById('none')?.setAttribute('hidden', '');
    this.changed();
  }

  /** Do something to the sheet; what is under the pointer, else the current film, stays where it is seen. */
  #unmoved(change) {
    const pointed = this.pointer && document.elementFromPoint(this.pointer.x, this.pointer.y)?.closest('.film');
    const kept = pointed ?? sheet.querySelector('.film[data-current]') ?? firstInSight();
    const before = kept?.getBoundingClientRect().top;
    change();
    const moved = kept ? kept.getBoundingClientRect().top - before : 0;
    if (moved) scrollBy({ top: moved, behavior: 'instant' });
  }
}

function firstInSight() {
  return all().find((card) => card.getBoundingClientRect().bottom > 100);
}

/** A page of cards as the console renders them: {cards, next, root}. */
export async function fetchCards(address) {
  const response = await fetch(address, { headers: { Accept: 'text/html' } });
  if (!response.ok) throw new Error(`The console answered ${response.status}.`);
  const root = document.createElement('template');
  root.innerHTML = await response.text();
  return {
    root: root.content,
    cards: [...root.content.querySelectorAll('.film')],
    next: root.content.querySelector('.more')?.dataset.next ?? null,
  };
}
