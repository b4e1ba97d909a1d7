// An act is asked for until its answer is there. Each request has an id that the ledger keeps with what came of it:
// asked once more, it is not done twice; and where no answer comes at all, the ledger can be asked what became of it.

import { ask } from '/static/console.js';

const RESTS_MS = [500, 1000, 2000]; // before it is asked again
const LONGEST_KEPT = 60_000; // characters; a browser ends longer requests with the page

/** An id that no other request has. */
export function newRequest() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is only there over HTTPS
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Ask for {act, films or acts, request, ...}: an answer for each, in their order. A request that is under way when
 * the page is left still arrives. The Error is `inDoubt` where nobody can say what became of it. */
export async function askActs(body) {
  const keepalive = JSON.stringify(body).length < LONGEST_KEPT;
  for (const rest of [...RESTS_MS, null]) {
    try {
      return (await ask('POST', '/api/acts', body, {}, { keepalive })).results;
    } catch (error) {
      if (!isDoubtful(error)) throw error;
      if (rest === null) return becameOf(body, error);
      await new Promise((resolve) => { setTimeout(resolve, rest); });
    }
  }
}

/** What became of a request, of which `error` is all that is known: results as it would have had. */
export async function becameOf(body, error) {
  let acts;
  try {
    ({ acts } = await ask('GET', `/api/acts/mine?request=${body.request}`));
  } catch (another) {
    throw Object.assign(new Error(isDoubtful(another) ? error.message : another.message), { inDoubt: true });
  }
  const words = error.status ? error.message : 'The console did not answer, and it was not done.';
  const found = new Map(acts.map((act) => [body.act === 'undo' ? act.detail.undoes : act.film, act]));
  return (body.films?.map((one) => one.film) ?? body.acts).map((wanted) => {
    const act = found.get(wanted);
    if (!act) return { film: body.films ? wanted : null, ok: false, error: words };
    return { film: act.film, ok: true, act_id: act.act_id, state: null, until: act.until, undone_at: act.undone_at };
  });
}

/** Not a refusal: the network, a proxy, a ledger that was busy, a mistake. It may have been done all the same. */
function isDoubtful(error) {
  return error.status === undefined || error.status >= 500;
}
