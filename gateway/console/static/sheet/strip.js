// The strip at the foot: what can be done with what is selected, the seconds in which undo costs nothing, films an hour.

import { isOpen, staged } from './cards.js';

/** The state of a film as the table of acts calls it. */
function stateOf(card) {
  if (isOpen(card)) return card.dataset.proposal ? 'held, with a correction ready' : 'held';
  return card.dataset.state === 'decided' ? 'going out' : 'released';
}

export class Strip {
  /** run(id): a button was pressed; ids are those of the key map, and of acts without a key. */
  constructor(run) {
    this.strip = document.getElementById('strip');
    this.can = JSON.parse(this.strip.dataset.can); // state -> acts, of the one table
    this.strip.addEventListener('click', (event) => {
      const button = event.target.closest('button[data-does]');
      if (button && !button.disabled) run(button.dataset.does);
    });
    this.timer = 0;
  }

  /** Only what the table has for one of these cards at least can be pressed. */
  offer(cards) {
    const acts = new Set(cards.flatMap((card) => this.can[stateOf(card)]));
    for (const button of this.strip.querySelectorAll('[data-acts]')) {
      const [first, ...others] = button.dataset.acts.split(' ');
      const able = acts.has(first) || (others.length > 0 && cards.some(staged));
      if (button.disabled === able) button.disabled = !able;
    }
  }

  draw(decisions, selection) {
    const leaving = decisions.leaving;
    const [chosen, last, rate] = ['chosen', 'last', 'rate'].map((name) => this.strip.querySelector(`[data-${name}]`));
    const put = (place, words) => { if (place.textContent !== words) place.textContent = words; };
    put(chosen, selection.size ? `${selection.size} selected` : '');
    const words = decisions.lastWords;
    put(last, [leaving && `${leaving.films} ${leaving.films === 1 ? 'goes' : 'go'} out in ${leaving.seconds} s`, words].filter(Boolean).join(' · '));
    this.strip.querySelector('[data-does="undo"]').disabled = !words;
    put(rate, decisions.tally.anHour === null ? '' : `${decisions.tally.anHour.toLocaleString('en')} films an hour`);
    clearTimeout(this.timer);
    if (words || decisions.tally.anHour !== null) this.timer = setTimeout(() => this.draw(decisions, selection), 1000);
  }
}
