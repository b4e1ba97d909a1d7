// Acts go out behind the hands: the page has moved on when the console hears of them. One request at a time and in
// order, so that an undo follows what it undoes; what gathered meanwhile and says the same goes out as one.

import { ask } from '/static/console.js';

const MOST = 500; // films in one request
const TRIES = 3; // where the ledger was busy, which changes nothing
const REST_MS = 700;

/** An order: {act, films, ...fields of the request}; its results come back to `done` and `failed`. */
export class Outbox {
  /** done(order, results), failed(order, results, words): results in the order of order.films. */
  constructor({ done, failed }) {
    this.done = done;
    this.failed = failed;
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

  async #send() {
    this.busy = true;
    await Promise.resolve(); // what the same key ordered goes together
    while (this.waiting.length) await this.#sendNext();
    this.busy = false;
  }

  async #sendNext() {
    const orders = [this.waiting.shift()];
    const said = fieldsOf(orders[0]);
    let count = orders[0].films?.length ?? 0;
    while (this.waiting.length && orders[0].act !== 'undo' && fieldsOf(this.waiting[0]) === said) {
      count += this.waiting[0].films.length;
      if (count > MOST) break;
      orders.push(this.waiting.shift());
    }
    const body = { ...JSON.parse(said) };
    if (body.act === 'undo') {
      body.acts = orders[0].undoes.flatMap((order) => order.actIds ?? []);
      if (!body.acts.length) {
        this.done(orders[0], []); // what it undoes had failed by itself
        return;
      }
    } else {
      body.films = orders.flatMap((order) => order.films);
    }
    try {
      const { results } = await patiently(body);
      let from = 0;
      for (const order of orders) {
        const own = results.slice(from, from + (order.films?.length ?? results.length));
        from += own.length;
        order.actIds = own.filter((result) => result.ok).map((result) => result.act_id);
        if (own.some((result) => !result.ok)) this.failed(order, own, '');
        if (own.some((result) => result.ok) || body.act === 'undo') this.done(order, own);
      }
    } catch (error) {
      for (const order of orders) this.failed(order, [], error.message);
    }
  }
}

/** The console's answer; a busy ledger (503) is asked again. */
async function patiently(body) {
  for (let left = TRIES - 1; ; left -= 1) {
    try {
      return await ask('POST', '/api/acts', body);
    } catch (error) {
      if (error.status !== 503 || !left) throw error;
      await new Promise((resolve) => { setTimeout(resolve, REST_MS); });
    }
  }
}

/** All that an order says but its films, as text: equal texts go out together. */
function fieldsOf({ act, operations, reason, labels, note, to }) {
  return JSON.stringify({ act, operations, reason, labels, note, to });
}
