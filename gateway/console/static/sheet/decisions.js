// What this person decided: sent behind the hands, undone by u, repeated by the dot, walked by the brackets.

import { ask, say } from '/static/console.js';
import { byHold, mark, trouble, unstage } from './cards.js';
import { Outbox } from './outbox.js';
import { Tally } from './tally.js';

const LEAVES = new Set(['release', 'accept', 'correct']); // these wait ten seconds before anybody is sent the film
const DECIDES = new Set([...LEAVES, 'reject']);

/** Whether an act says what becomes of the film. */
export function decides(act) {
  return DECIDES.has(act);
}

const WORDS = {
  release: 'passed', accept: 'corrected', correct: 'corrected', reject: 'rejected', 'gate-again': 'gated again',
  note: 'noted', relabel: 'labelled',
};

export class Decisions {
  /** back(cards): these are held again. changed(): something to show. */
  constructor({ back, changed }) {
    this.back = back;
    this.changed = changed;
    this.tally = new Tally();
    this.orders = []; // what can be undone, the last one at the end
    this.last = null; // what the dot repeats: {act, fields}
    this.walked = null; // {acts, at} of the brackets
    this.said = 0; // how much was ordered so far: what was asked before then is old news
    this.outbox = new Outbox({
      done: (order, results) => this.#done(order, results),
      failed: (order, results, words) => this.#failed(order, results, words),
    });
  }

  /** Nothing is on its way to the console. */
  get isQuiet() { return this.outbox.isEmpty; }

  /** Decide on films: they are shown decided at once. */
  decide(act, films, fields) {
    for (const film of films) {
      const card = byHold(film.hold);
      if (!card) continue;
      mark(card, act === 'gate-again' ? 'elsewhere' : 'decided', act, true);
      delete card.dataset.act; // of an earlier decision that was walked back to
      unstage(card);
    }
    this.last = { act, fields };
    this.tally.add(films.length);
    this.say(act, films, fields);
  }

  /** An act that leaves the films where they are: a note, a label. */
  say(act, films, fields) {
    const order = { act, films, ...fields, at: Date.now() };
    if (act !== 'gate-again') this.orders.push(order); // the gates have begun: that cannot be taken back
    this.walked = null;
    this.said += 1;
    this.outbox.push(order);
    this.changed();
  }

  /** Take the last act back: also one that the console has not heard of yet. */
  undo() {
    const order = this.orders.pop();
    if (!order) return void say('There is nothing to undo here. [ walks through what you did before.');
    this.walked = null;
    this.said += 1;
    const cards = order.films.map((film) => byHold(film.hold)).filter(Boolean);
    for (const card of cards) mark(card, 'held');
    this.outbox.push({ act: 'undo', undoes: [order] });
    if (WORDS[order.act]) say(`Undone: ${inNumbers(order.films.length)} ${WORDS[order.act]}.`, 'good');
    this.back(cards);
    this.changed();
  }

  /** Take back one act of an earlier hour. */
  undoAct(actId, film) {
    const known = this.orders.find((order) => order.actIds?.includes(actId));
    const order = { act: known?.act ?? 'release', films: [film], actIds: [actId] };
    if (known) known.films = known.films.filter((one) => one.hold !== film.hold);
    if (known) known.actIds = known.actIds.filter((one) => one !== actId);
    this.orders = this.orders.filter((one) => one.films.length);
    const card = byHold(film.hold);
    mark(card, 'held');
    delete card.dataset.act;
    this.said += 1;
    this.outbox.push({ act: 'undo', undoes: [order] });
    say('Undone: the film is held again.', 'good');
    this.changed();
  }

  /** The order that leaves last, and how many seconds are left to undo it; null when none waits. */
  get leaving() {
    const now = Date.now();
    const waiting = this.orders.filter((order) => LEAVES.has(order.act) && order.until > now);
    if (!waiting.length) return null;
    const films = waiting.reduce((sum, order) => sum + order.films.length, 0);
    const next = Math.max(...waiting.map((order) => order.until));
    return { films, seconds: Math.ceil((next - now) / 1000) };
  }

  /** What the last act was, in words. */
  get lastWords() {
    const order = this.orders.at(-1);
    return order ? `${inNumbers(order.films.length)} ${WORDS[order.act]}` : '';
  }

  /** One's own acts, one by one, back or forward: the act, or null at the end. */
  async walk(back) {
    if (!this.walked) {
      await this.outbox.idle;
      this.walked = { acts: (await ask('GET', '/api/acts/mine?limit=50')).acts, at: -1 };
    }
    const { acts } = this.walked;
    const at = this.walked.at + (back ? 1 : -1);
    if (at < 0) return null;
    if (at >= acts.length) {
      const last = acts.at(-1);
      const more = last ? (await ask('GET', `/api/acts/mine?limit=50&before=${last.act_id}`)).acts : [];
      if (!more.length) return null;
      acts.push(...more);
    }
    this.walked.at = at;
    return acts[at];
  }

  #done(order, results) {
    if (order.act === 'undo') {
      this.changed();
      return;
    }
    results.forEach((result, at) => {
      const card = byHold(order.films[at].hold);
      if (result.ok) card?.removeAttribute('data-wait');
    });
    const untils = results.filter((result) => result.until).map((result) => Date.parse(result.until));
    order.until = untils.length ? Math.max(...untils) : 0;
    this.changed();
  }

  /** The films come back, and the person is told why. */
  #failed(order, results, words) {
    if (order.act === 'undo') {
      const error = words || results.find((result) => !result.ok)?.error;
      for (const undone of order.undoes) for (const film of undone.films) this.#shut(film, undone.act);
      say(`Not undone: ${error}`, 'bad');
      return;
    }
    const failed = order.films.filter((_, at) => !results[at]?.ok);
    const error = words || results.find((result) => !result.ok)?.error;
    const cards = [];
    for (const film of failed) {
      const at = order.films.indexOf(film);
      const card = byHold(film.hold);
      if (card && WORDS[order.act] && !['note', 'relabel'].includes(order.act)) {
        trouble(card, results[at]?.error ?? words);
        cards.push(card);
      }
    }
    order.films = order.films.filter((film) => !failed.includes(film));
    if (!order.films.length) this.orders = this.orders.filter((known) => known !== order);
    this.tally.add(-failed.length);
    say(`${inNumbers(failed.length)} not ${WORDS[order.act]}: ${error}`, 'bad');
    if (cards.length) this.back(cards);
    this.changed();
  }

  #shut(film, act) {
    const card = byHold(film.hold);
    if (card) mark(card, 'decided', act);
  }
}

function inNumbers(films) {
  return films === 1 ? '1 film' : `${films} films`;
}
