// Where one was: kept in this tab's session for each address of the sheet, so that a reload changes nothing.

const KEPT = 'filmgate.sheet';

function here() {
  const address = new URLSearchParams(location.search);
  for (const own of ['film', 'view']) address.delete(own);
  return address.toString();
}

/** What was kept for this address: {hold, following, scroll, selected, closed, loaded}, or null. */
export function placeKept() {
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? 'null');
  return kept?.address === here() ? kept : null;
}

export function keepPlace(place) {
  sessionStorage.setItem(KEPT, JSON.stringify({ address: here(), ...place }));
}

/** Whether one came back to the page (reload, back, forward) and followed no link. Its address may lag behind the keys. */
export function isReturn() {
  return performance.getEntriesByType('navigation')[0]?.type !== 'navigate';
}

let timer;

/** The current film and the big view stand in the address, so that it can be handed on; a moment after the last key. */
export function addressOf(place) {
  clearTimeout(timer); // browsers refuse an address that changes twenty times a second
  timer = setTimeout(write, 120, place);
}

function write({ film, big }) {
  const address = new URL(location.href);
  if (film) address.searchParams.set('film', film);
  else address.searchParams.delete('film');
  if (big) address.searchParams.set('view', 'big');
  else address.searchParams.delete('view');
  if (address.href !== location.href) history.replaceState(null, '', address);
}

/** The other address of the sheet with one of its words changed. */
export function addressWith(name, value) {
  const address = new URL(location.href);
  if (value) address.searchParams.set(name, value);
  else address.searchParams.delete(name);
  return address.href;
}
