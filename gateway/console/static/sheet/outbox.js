// Acts go out behind the hands: the page has moved on when the console hears of them. One request at a time and in
// order, so that an undo follows what it undoes; what gathered meanwhile and says the same goes out as one.

import { askActs, becameOf, newRequest } from '/static/acts.js';

const MOST = 500; // films in one request
const ASK_AGAIN_MS = 3_000; // what became of a request, when the console did not answer

/** An order: {act, films, ...fields of the request}, or {act: 'undo', undoes: order}. When its answer is there it has
 * `acted`, [{film, id, until}] of what was done; until then that is undefined. */
export class Outbox {
  /** answered(order, pairs): [{film, result}] for each film of it, a result as of the console.
   * refused(order, words): nothing of it was done. inDoubt(order, words): nobody can say; `answered` follows. */
  constructor({ answered, refused, inDoubt }) {
    this.answered = answered;
    this.refused = refused;
    this.inDoubt = inDoubt;
    this.waiting = [];
    this.busy = false;
    this.idle = Promise.resolve();
  }

  get isEmpty() { return !this.busy && !this.waiting.length; }

  push(order) {
    this.waiting.push(order);
    if (!this.busy) this.idle = this.#send();
    return order;
  }

  /** The page is being left: what waits goes out at once, but what is undone before it went. The undo of what is
   * under way cannot go, for nobody knows its acts yet: the browser asked before whether the page is to be left. */
  flush() {
    const undone = new Set(this.waiting.map((order) => order.undoes));
    this.waiting = this.waiting.filter((order) => !undone.has(order) && (order.act !== 'undo' || order.undoes.acted));
    while (this.waiting.length) this.#sendNext();
  }

  async #send() {
    this.busy = true;
    await Promise.resolve(); // what the same key ordered goes together
    while (this.waiting.length) await this.#sendNext().catch(reportError); // one mistake does not stop the others
    this.busy = false;
  }

  async #sendNext() {
    const orders = this.#together();
    const [first] = orders;
    const body = { ...first.act === 'undo' ? { act: 'undo' } : JSON.parse(fieldsOf(first)), request: newRequest() };
    if (first.act === 'undo') {
      const undone = first.undoes.acted ?? [];
      if (!undone.length) return void this.refused(first, first.undoes.words ?? '');
      body.acts = undone.map((one) => one.id);
      first.films = undone.map((one) => one.film);
    } else {
      body.films = orders.flatMap((order) => order.films);
    }
    let results;
    try {
      results = await askActs(body);
    } catch (error) {
      for (const order of orders) {
        order.words = error.message;
        if (error.inDoubt) this.inDoubt(order, error.message);
        else this.refused(order, error.message);
      }
      if (error.inDoubt) this.#askLater(body, orders, error);
      return;
    }
    this.#hand(orders, results);
  }

  /** The orders of the next request. */
  #together() {
    const orders = [this.waiting.shift()];
    if (orders[0].act === 'undo') return orders;
    const said = fieldsOf(orders[0]);
    let count = orders[0].films.length;
    while (this.waiting.length && this.waiting[0].act !== 'undo' && fieldsOf(this.waiting[0]) === said) {
      count += this.waiting[0].films.length;
      if (count > MOST) break;
      orders.push(this.waiting.shift());
    }
    return orders;
  }

  /** Each order its own of the results. */
  #hand(orders, results) {
    let from = 0;
    for (const order of orders) {
      const pairs = order.films.map((film, at) => ({ film, result: results[from + at] }));
      from += pairs.length;
      const done = pairs.filter(({ result }) => result.ok);
      order.acted = done.map(({ film, result }) => ({ film, id: result.act_id, until: result.until }));
      order.words = pairs.find(({ result }) => !result.ok)?.result.error ?? '';
      this.answered(order, pairs);
    }
  }

  /** Ask what became of a request until somebody can say. */
  #askLater(body, orders, error) {
    setTimeout(async () => {
      try {
        this.#hand(orders, await becameOf(body, error));
      } catch {
        this.#askLater(body, orders, error);
      }
    }, ASK_AGAIN_MS);
  }
}

/** All that an order says but its films, as text: equal texts go out together. */
function fieldsOf({ act, operations, reason, labels, note, to }) {
  return JSON.stringify({ act, operations, reason, labels, note, to });
}
