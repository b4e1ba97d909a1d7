// What this person decided: sent behind the hands, undone by u, repeated by the dot, walked by the brackets.

import { ask, say } from '/static/console.js';
import { byHold, mark, removeChip, trouble, unstage } from './cards.js';
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
    this.latest = new Map(); // hold -> the last order on it: that one's answer is what its card shows
    this.last = null; // what the dot repeats: {act, fields}
    this.walked = null; // {acts, at} of the brackets
    this.said = 0; // how much was ordered so far: what was asked before then is old news
    this.outbox = new Outbox({
      answered: (order, pairs) => this.#answered(order, pairs),
      refused: (order, words) => this.#refused(order, words),
      inDoubt: (order, words) => this.#inDoubt(order, words),
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

  /** An act that leaves the films where they are: a note, a label. `fields.chip`: what the cards show of it. */
  say(act, films, fields) {
    const order = { act, films, ...fields };
    if (act !== 'gate-again') this.orders.push(order); // the gates have begun: that cannot be taken back
    this.walked = null;
    this.#push(order);
  }

  /** Take the last act back: also one that the console has not heard of yet. */
  undo() {
    const order = this.orders.pop();
    if (!order) return void say('There is nothing to undo here. [ walks through what you did before.');
    this.walked = null;
    this.#takeBack(order);
  }

  /** Take back one act of an earlier hour, on which one walked to this film. */
  undoAct(actId, film) {
    const walked = this.walked?.acts.find((one) => one.act_id === actId);
    for (const known of this.orders) {
      if (!known.acted?.some((one) => one.id === actId)) continue;
      known.films = known.films.filter((one) => one.hold !== film.hold);
      known.acted = known.acted.filter((one) => one.id !== actId);
    }
    this.orders = this.orders.filter((one) => one.films.length);
    delete byHold(film.hold).dataset.act;
    const act = walked?.act ?? 'release';
    this.#takeBack({ act, films: [film], acted: [{ film, id: actId }], walked });
  }

  /** The films are shown held at once; that it is undone is said when the ledger has it so. */
  #takeBack(order) {
    const cards = order.films.map((film) => byHold(film.hold)).filter(Boolean);
    if (decides(order.act)) for (const card of cards) mark(card, 'held', '', true);
    this.#push({ act: 'undo', films: order.films, undoes: order });
    this.back(cards);
  }

  #push(order) {
    this.said += 1;
    const act = order.undoes?.act ?? order.act;
    if (decides(act) || act === 'gate-again') for (const film of order.films) this.latest.set(film.hold, order);
    this.outbox.push(order);
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

  #answered(order, pairs) {
    const done = pairs.filter(({ result }) => result.ok).map(({ film }) => film);
    const failed = pairs.filter(({ result }) => !result.ok);
    if (order.act === 'undo') this.#undone(order, done, failed);
    else this.#acted(order, pairs, failed);
    this.changed();
  }

  #acted(order, pairs, failed) {
    const wasInDoubt = order.doubt;
    order.doubt = false;
    if (wasInDoubt && pairs.some(({ result }) => result.ok && !result.undone_at)) this.orders.push(order);
    for (const { film, result } of pairs) {
      const card = this.#cardOf(film, order);
      if (!card || !result.ok) continue;
      if (wasInDoubt) mark(card, order.act === 'gate-again' ? 'elsewhere' : 'decided', order.act);
      else card.removeAttribute('data-wait');
    }
    order.until = Math.max(0, ...order.acted.map((one) => (one.until ? Date.parse(one.until) : 0)));
    if (failed.length) this.#failed(order, failed);
    else if (wasInDoubt) say(`The console answers again: ${inNumbers(pairs.length)} ${WORDS[order.act]}.`);
  }

  /** The films come back, and the person is told why. */
  #failed(order, failed) {
    const cards = [];
    for (const { film, result } of failed) {
      const card = this.#cardOf(film, order);
      if (card) trouble(card, result.error);
      if (card) cards.push(card);
      if (order.chip) removeChip(byHold(film.hold), order.chip);
    }
    order.films = order.acted.map((one) => one.film);
    if (!order.films.length) this.orders = this.orders.filter((known) => known !== order);
    if (decides(order.act) || order.act === 'gate-again') this.tally.add(-failed.length);
    say(`${inNumbers(failed.length)} not ${WORDS[order.act]}: ${order.words}`, 'bad');
    if (cards.length) this.back(cards);
  }

  /** What the ledger took back, and what it did not: each film by itself. */
  #undone(order, done, failed) {
    const { undoes } = order;
    for (const film of done) {
      const card = this.#cardOf(film, order);
      if (card) mark(card, 'held');
      card?.removeAttribute('data-trouble');
      if (undoes.chip) removeChip(byHold(film.hold), undoes.chip);
    }
    if (undoes.walked && done.length) undoes.walked.undone_at = new Date().toISOString();
    for (const { film } of failed) this.#shut(film, order);
    const taken = done.length ? `Undone: ${inNumbers(done.length)} ${WORDS[undoes.act]}.` : '';
    const left = failed.length ? `Not undone: ${inNumbers(failed.length)}. ${order.words}` : '';
    say([taken, left].filter(Boolean).join(' '), failed.length ? 'bad' : 'good');
  }

  /** Nothing of it was done, for all of its films alike. */
  #refused(order, words) {
    if (order.act !== 'undo') {
      order.acted = [];
      this.#failed(order, order.films.map((film) => ({ film, result: { error: words } })));
    } else if (order.undoes.acted?.length) {
      this.orders.push(order.undoes); // to be tried again
      for (const film of order.films) this.#shut(film, order);
      say(`Not undone: ${words}`, 'bad');
    } else if (order.undoes.doubt) {
      for (const film of order.films.filter((one) => this.#cardOf(one, order))) {
        this.latest.set(film.hold, order.undoes); // its answer says what the card shows
        trouble(byHold(film.hold), words);
      }
      say(`Not undone: it is not known whether there is something to undo. ${words}`, 'bad');
    } else { // what it should undo failed by itself
      for (const film of order.films) this.#cardOf(film, order)?.removeAttribute('data-wait');
      say(`Nothing to undo, for it was not done: ${words}`, 'bad');
    }
    this.changed();
  }

  /** No answer came, and it may have been done all the same: that is asked until somebody can say. */
  #inDoubt(order, words) {
    const undoes = order.act === 'undo';
    const act = undoes ? order.undoes.act : order.act;
    order.doubt = true;
    this.orders = this.orders.filter((known) => known !== order);
    const cards = order.films.map((film) => this.#cardOf(film, order)).filter(Boolean);
    const told = undoes ? 'whether this was undone' : `whether this was ${WORDS[act]}`;
    for (const card of cards) trouble(card, `It is not known ${told}. The page asks until it knows.`);
    say(`It is not known ${told}: ${inNumbers(order.films.length)}. ${words}`, 'bad');
    if (!undoes && cards.length) this.back(cards);
    this.changed();
  }

  /** The card, where this order is the last one on it. */
  #cardOf(film, order) {
    return this.latest.get(film.hold) === order ? byHold(film.hold) : null;
  }

  /** What is not undone is decided still. */
  #shut(film, order) {
    const card = this.#cardOf(film, order);
    if (card) mark(card, 'decided', order.undoes.act);
  }
}

function inNumbers(films) {
  return films === 1 ? '1 film' : `${films} films`;
}
