// One card of the sheet: whose film it is, what is staged for it, how it stands.

export const NOTHING = Object.freeze({ rotate: 0, invert: false, flip: false, crop: null });

const stagedByHold = new Map(); // hold -> operations that were keyed and not sent yet

/** All cards that can be walked to, in order. */
export function all() {
  return [...document.querySelectorAll('#sheet .block:not([data-closed]) .film')];
}

export function byHold(hold) {
  return document.getElementById(`h${hold}`);
}

/** The film as an act names it: with the hold and the decision that the person saw. */
export function named(card) {
  const { film, hold, decision } = card.dataset;
  return { film: Number(film), hold: hold ? Number(hold) : null, decision: decision ? Number(decision) : null };
}

export function isOpen(card) {
  return card.dataset.state === 'held';
}

export function thumb(digest) {
  return `/pictures/${digest}/thumb.jpg`;
}

export function staged(card) {
  return stagedByHold.get(card.dataset.hold);
}

/** Stage `change(operations)` for a card, and show the picture as it would be. */
export function stage(card, change) {
  const operations = { ...(staged(card) ?? NOTHING) };
  Object.assign(operations, change(operations));
  const nothing = !operations.rotate && !operations.invert && !operations.flip && !operations.crop;
  if (nothing) stagedByHold.delete(card.dataset.hold);
  else stagedByHold.set(card.dataset.hold, operations);
  drawStaged(card);
}

export function unstage(card) {
  stagedByHold.delete(card.dataset.hold);
  drawStaged(card);
}

// The film is turned first and flipped then, whatever came first by hand; a key always acts on what one sees.
export const CHANGES = {
  right: ({ rotate, flip }) => ({ rotate: (rotate + (flip ? 270 : 90)) % 360 }),
  left: ({ rotate, flip }) => ({ rotate: (rotate + (flip ? 90 : 270)) % 360 }),
  invert: ({ invert }) => ({ invert: !invert }),
  flip: ({ flip }) => ({ flip: !flip }),
};

/** Operations in words: "turned 90°, inverted". */
export function inWords(operations) {
  const words = [
    operations.crop && 'cropped',
    operations.rotate && `turned ${operations.rotate}°`,
    operations.invert && 'inverted',
    operations.flip && 'flipped',
  ];
  return words.filter(Boolean).join(', ');
}

/** Classes that show a picture with the operations applied. */
export function applyTo(picture, operations) {
  for (const turn of [90, 180, 270]) picture.classList.toggle(`turn-${turn}`, operations?.rotate === turn);
  picture.classList.toggle('inverted', Boolean(operations?.invert));
  picture.classList.toggle('flipped', Boolean(operations?.flip));
}

function drawStaged(card) {
  const operations = staged(card);
  const frame = card.querySelector('.frame.fix') ?? card.querySelector('.frame');
  const picture = frame.querySelector('.pic');
  const img = picture.querySelector('img');
  const proposal = frame.classList.contains('fix') ? card.dataset.proposal : null;
  if (proposal) img.src = thumb(operations ? card.dataset.digest : proposal);
  applyTo(picture, operations);
  const caption = frame.querySelector('.caption');
  caption.textContent = operations ? `yours: ${inWords(operations)}` : caption.dataset.words ?? '';
  card.toggleAttribute('data-staged', Boolean(operations));
}

const VERDICTS = {
  release: 'passed', accept: 'fix accepted', correct: 'fix sent', reject: 'rejected', 'gate-again': 'gated again',
};

/** How the card stands: held, or decided with words; `wait` while the console has not answered yet. */
export function mark(card, state, act, wait = false) {
  card.dataset.state = state;
  card.toggleAttribute('data-wait', wait);
  const line = card.querySelector('.verdict');
  line.textContent = state === 'held' ? '' : VERDICTS[act] ?? act ?? state;
  if (state !== 'held') card.removeAttribute('data-trouble');
}

/** An act that failed: the film is as it was, and the card says why. */
export function trouble(card, words) {
  mark(card, 'held');
  card.dataset.trouble = '';
  card.querySelector('.verdict').textContent = words;
}

/** Close a card on which somebody else decided. */
export function decidedElsewhere(card, words) {
  if (!isOpen(card)) return;
  unstage(card);
  mark(card, 'elsewhere', words);
}

/** Open a card whose decision somebody undid elsewhere: in another tab, or an admin. */
export function heldAgain(card) {
  if (isOpen(card) || card.hasAttribute('data-wait')) return;
  mark(card, 'held');
  delete card.dataset.act;
}

export function removeChip(card, words) {
  for (const chip of card?.querySelectorAll('.labels .chip') ?? []) if (chip.textContent === words) chip.remove();
}

export function addChip(card, words) {
  const chips = card.querySelector('.labels');
  if ([...chips.children].some((chip) => chip.textContent === words)) return;
  chips.append(Object.assign(document.createElement('span'), { className: 'chip good', textContent: words }));
}
