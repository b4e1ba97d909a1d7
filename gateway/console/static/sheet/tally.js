// How many films an hour, counted over the last minutes in which somebody decided.

const WINDOW_MS = 5 * 60_000;
const LEAST_MS = 5_000;
const KEPT = 'filmgate.tally';

export class Tally {
  constructor() {
    this.decided = JSON.parse(sessionStorage.getItem(KEPT) ?? '[]'); // [at ms, films]
  }

  add(films) {
    this.decided.push([Date.now(), films]);
    this.#forget();
    sessionStorage.setItem(KEPT, JSON.stringify(this.decided));
  }

  /** Films an hour, or null before there is anything to say. */
  get anHour() {
    this.#forget();
    const films = this.decided.reduce((sum, [, count]) => sum + count, 0);
    if (!films) return null;
    const over = Math.max(Date.now() - this.decided[0][0], LEAST_MS);
    return Math.round((films / over) * 3_600_000);
  }

  #forget() {
    const from = Date.now() - WINDOW_MS;
    this.decided = this.decided.filter(([at]) => at >= from);
  }
}
