// The contact sheet: what each key and click means here. Who decides is always ahead of the console by a film.

import { ask, say, showTimes } from '/static/console.js';
import { help, listen } from '/static/keys.js';
import { askNote, askReject } from './asking.js';
import { BigView } from './bigview.js';
import { Blocks } from './blocks.js';
import { CHANGES, addChip, all, byHold, isOpen, mark, named, stage, staged, thumb, unstage } from './cards.js';
import { Decisions, decides } from './decisions.js';
import { addressOf, addressWith, isReturn, keepPlace, placeKept } from './place.js';
import { Selection, dragSelect } from './selection.js';
import { Strip } from './strip.js';

const sheet = document.getElementById('sheet');
const labels = JSON.parse(sheet.dataset.labels); // key -> {words, labels}
const mayDecide = sheet.dataset.decides === 'yes';

let current = null;
let selecting = null; // while the films of a block are asked for

const selection = new Selection(drawn);
const blocks = new Blocks(drawn);
const strip = new Strip(run);
const big = new BigView({
  turned: (card, operations) => { stage(card, () => operations); show(card); },
  left: closeBig,
});
const decisions = new Decisions({ back: cameBack, changed: () => strip.draw(decisions, selection) });

function drawn() {
  selection.draw();
  offer();
  strip.draw(decisions, selection);
  const astray = !current?.isConnected || current.closest('[data-closed]');
  if (astray && 'ready' in sheet.dataset) goTo(all().find(isOpen) ?? all()[0] ?? null, false);
}

// Walking

/** Make a card the current one; `seen`: bring it into sight. */
function goTo(card, seen = true) {
  if (current && current !== card) {
    delete current.dataset.current;
    current.tabIndex = -1;
  }
  current = card;
  if (!card) {
    if (big.isOpen) closeBig();
    return;
  }
  card.dataset.current = '';
  card.tabIndex = 0;
  if (seen) {
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: 'nearest', behavior: 'instant' });
  }
  if (big.isOpen) show(card);
  offer();
  addressOf({ film: card.dataset.film, big: big.isOpen });
  const cards = all();
  const at = cards.indexOf(card);
  if (cards.length - at < 20) blocks.more(card.closest('.block'));
  const coming = cards.slice(at + 1, at + 7);
  for (const next of coming) prefetch(next);
  if (big.isOpen) big.prefetch(coming.filter(isOpen).slice(0, card.dataset.proposal ? 1 : 2));
}

const fetched = new Set();
function prefetch(card) {
  for (const digest of [card.dataset.digest, card.dataset.proposal]) {
    if (!digest || fetched.has(digest)) continue;
    fetched.add(digest);
    new Image().src = thumb(digest);
  }
}

function step(by) {
  const cards = all();
  const at = cards.indexOf(current);
  goTo(cards[Math.min(Math.max(at + by, 0), cards.length - 1)] ?? null);
}

/** The nearest card one row below or above, as the eye finds it. */
function row(down) {
  if (big.isOpen || !current) return step(down ? 1 : -1);
  const from = current.getBoundingClientRect();
  const cards = all();
  if (!down) cards.reverse();
  let best = null;
  for (const card of cards.slice(cards.indexOf(current) + 1)) {
    const at = card.getBoundingClientRect();
    if (down ? at.top < from.bottom - 2 : at.bottom > from.top + 2) continue;
    if (best && at.top !== best.top) break;
    const off = Math.abs(at.left + at.width / 2 - from.left - from.width / 2);
    if (!best || off < best.off) best = { card, off, top: at.top };
  }
  if (best) goTo(best.card);
}

/** On to the next film that is held, behind these; else the first one before. */
function moveOn(cards) {
  const order = all();
  const last = Math.max(...cards.map((card) => order.indexOf(card)));
  const next = order.slice(last + 1).find(isOpen) ?? order.slice(0, last + 1).reverse().find(isOpen);
  if (next) goTo(next);
  else if (big.isOpen) closeBig();
  if (!next) blocks.list.forEach((block) => blocks.more(block));
}

// Deciding

/** The films an act means: the selected ones in the sheet, else the current one. */
function meant() {
  if (!big.isOpen && selection.size) return selection.films;
  return current ? [named(current)] : [];
}

/** The buttons of the strip are those that can be pressed. */
function offer() {
  const cards = cardsOf(meant());
  strip.offer(cards.length || !current ? cards : [current]);
}

/** Another page: when all that was decided here is said. */
async function leaveFor(address) {
  await decisions.outbox.idle;
  location.assign(address);
}

function cardsOf(films) {
  return films.map((film) => byHold(film.hold)).filter(Boolean);
}

function decide(act, fields = {}, films = meant()) {
  if (!mayDecide) return void say('Your role is to look: a reviewer decides.', 'bad');
  const open = films.filter((film) => { const card = byHold(film.hold); return !card || isOpen(card); });
  if (!open.length) return void say('This film is decided; u takes the last act back.', 'bad');
  const cards = cardsOf(open);
  decisions.decide(act, open, fields);
  selection.clear();
  if (cards.length) moveOn(cards);
}

function accept() {
  const films = meant();
  const own = films.filter((film) => staged(byHold(film.hold) ?? sheet));
  if (own.length) return confirm(films);
  const ready = films.filter((film) => { const card = byHold(film.hold); return !card || card.dataset.proposal; });
  const without = films.length - ready.length;
  if (!ready.length) return void say('No fix is proposed here. r, i and f make one; p passes the film as it is.', 'bad');
  if (without) say(`${without} of these have no proposed fix and stay.`);
  decide('accept', {}, ready);
}

/** Send what was staged, films with equal operations together. */
function confirm(films = meant()) {
  const groups = Map.groupBy(
    films.filter((film) => byHold(film.hold) && staged(byHold(film.hold))),
    (film) => JSON.stringify(staged(byHold(film.hold))),
  );
  for (const [text, those] of groups) decide('correct', { operations: JSON.parse(text) }, those);
  return groups.size > 0;
}

function change(how) {
  if (!mayDecide) return void say('Your role is to look: a reviewer decides.', 'bad');
  for (const card of cardsOf(meant()).filter(isOpen)) stage(card, CHANGES[how]);
  if (current) show(current);
  offer();
}

async function reject() {
  const films = meant();
  if (!films.length) return;
  const reason = await askReject(films.length, cardsOf(films)[0]?.dataset.reject);
  if (reason) decide('reject', { reason }, films);
}

async function note() {
  const films = meant();
  if (!films.length) return;
  const text = await askNote(films.length);
  if (text) decisions.say('note', films, { note: text });
}

function label(key) {
  const said = labels[key];
  const films = meant();
  if (!said || !films.length) return;
  if (!mayDecide) return void say('Your role is to look: a reviewer decides.', 'bad');
  for (const card of cardsOf(films)) addChip(card, said.words);
  decisions.say('relabel', films, { labels: said.labels, chip: said.words });
  say(`${films.length === 1 ? 'This film' : `${films.length} films`}: ${said.words}.`);
}

/** Take back the act that one walked back to, else the last one. */
function undo() {
  if (!mayDecide) return void say('Your role is to look: a reviewer decides.', 'bad');
  const walkedTo = current?.dataset.act;
  if (walkedTo && !isOpen(current)) decisions.undoAct(Number(walkedTo), named(current));
  else decisions.undo();
}

/** An act failed, or was undone: the film is there again. */
function cameBack(cards) {
  const order = all();
  const first = cards.sort((a, b) => order.indexOf(a) - order.indexOf(b))[0];
  if (first) goTo(first);
}

// Views

function show(card) {
  if (big.isOpen && card === current) big.show(card);
}

function openBig() {
  if (!current) return;
  big.show(current);
  addressOf({ film: current.dataset.film, big: true });
  goTo(current);
}

function closeBig() {
  big.leave();
  addressOf({ film: current?.dataset.film, big: false });
  if (current) goTo(current);
}

function box() {
  if (!current || !isOpen(current) || !mayDecide) return;
  if (!big.isOpen) openBig();
  const card = current;
  say('Draw the box to keep; Escape leaves it.');
  big.drawBox((drawn) => {
    if (drawn) stage(card, () => ({ crop: [drawn.y0, drawn.x0, drawn.y1, drawn.x1] }));
    show(card);
    card.focus({ preventScroll: true });
  });
}

function leave() {
  const own = cardsOf(meant()).filter(staged);
  if (own.length) {
    for (const card of own) unstage(card);
    show(current);
  } else if (big.isOpen) closeBig();
  else selection.clear();
}

/** All of a block, or none of it where all of it is selected; what is not loaded yet, too. */
function selectBlock(block) {
  const asked = (selecting ?? Promise.resolve())
    .then(() => takeBlock(block))
    .catch((error) => { later.clear(); say(`The block is not selected, and nothing was done. ${error.message}`, 'bad'); })
    .finally(() => { if (selecting === asked) selecting = null; });
  selecting = asked;
}

/** What means the selected films waits for a block that is being selected: else it would mean one film alone. */
const later = new Set();
function whole(does) {
  return (...pressed) => {
    if (!selecting) return does(...pressed);
    const one = () => does(...pressed);
    later.add(one);
    return selecting.then(() => { if (later.delete(one)) one(); });
  };
}

async function takeBlock(block) {
  const { films } = await ask('GET', block.dataset.named);
  const cards = [...block.querySelectorAll('.film')];
  const decided = new Set(cards.filter((card) => !isOpen(card)).map((card) => Number(card.dataset.hold)));
  const open = films.filter((film) => !decided.has(film.hold));
  if (open.every((film) => selection.byHold.has(film.hold))) selection.removeNamed(open);
  else selection.addNamed(open);
}

let walking = Promise.resolve(); // one step after the other

function walk(back) {
  walking = walking.then(() => walkOne(back)).catch((error) => say(error.message, 'bad'));
}

async function walkOne(back) {
  const act = await decisions.walk(back);
  if (act === null) return void say(back ? 'You did nothing before that.' : 'This is the last thing you did.');
  if (!act.hold) return void leaveFor(`/films/${act.film}`);
  const card = byHold(act.hold) ?? (await blocks.bringBack(act.hold));
  if (isOpen(card) && decides(act.act) && !act.undone_at) mark(card, 'decided', act.act);
  card.dataset.act = act.act_id;
  goTo(card);
}

const GROUPS = ['reason', 'sender', 'device', 'accession', 'room', 'none'];
function group() {
  const at = GROUPS.indexOf(sheet.dataset.group);
  leaveFor(addressWith('group', GROUPS[(at + 1) % GROUPS.length]));
}

const handlers = {
  next: () => step(1), previous: () => step(-1), below: () => row(true), above: () => row(false),
  first: () => goTo(all()[0] ?? null), last: () => goTo(all().at(-1) ?? null),
  open: () => (big.isOpen ? closeBig() : openBig()), leave,
  back: () => walk(true), forward: () => walk(false),
  accept: whole(accept), reject: whole(reject), note: whole(note), label: whole(label), box, group,
  pass: whole(() => decide('release')),
  repeat: whole(() => (decisions.last ? decide(decisions.last.act, decisions.last.fields) : say('You decided nothing yet.'))),
  'gate-again': whole(() => decide('gate-again')),
  undo,
  confirm: whole(() => confirm() || (current && leaveFor(`/films/${current.dataset.film}`))),
  right: whole(() => change('right')), left: whole(() => change('left')),
  invert: whole(() => change('invert')), flip: whole(() => change('flip')),
  select: whole(() => { if (current) { selection.toggle(current); if (!big.isOpen) step(1); } }),
  block: () => current && selectBlock(current.closest('.block')),
  search: () => document.querySelector('#wishes input[type="search"]').focus(),
};

/** A button of the strip says the id of a key. */
function run(id) {
  if (id === 'help') help(handlers);
  else handlers[id]?.();
}

listen(handlers);
document.getElementById('keys').addEventListener('click', () => help(handlers));

// Mouse

sheet.addEventListener('click', (event) => {
  const button = event.target.closest('button.whole');
  if (button) return void selectBlock(button.closest('.block'));
  const card = event.target.closest('.film');
  if (!card) return void (event.target.closest('button') || selection.clear());
  if (event.shiftKey) selection.range(card);
  else if (event.ctrlKey || event.metaKey) selection.beside(card);
  else selection.anchorAt(card);
  goTo(card);
});
sheet.addEventListener('dblclick', (event) => { if (event.target.closest('.film')) openBig(); });
dragSelect(sheet, selection);

// What is asked for: the form is the address.

const wishes = document.getElementById('wishes');
wishes.addEventListener('change', (event) => { if (event.target.matches('select')) wishes.requestSubmit(); });
wishes.addEventListener('formdata', (event) => {
  for (const [name, value] of [...event.formData]) if (!value) event.formData.delete(name);
});
wishes.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') (current ?? document.getElementById('main')).focus();
});

// Live

let missed = false; // something changed while our own acts were under way: it is looked for when they are answered

document.body.addEventListener('filmgate:changed', async () => {
  if (missed) return;
  if (!decisions.isQuiet) missed = true;
  while (!decisions.isQuiet) await decisions.outbox.idle;
  missed = false;
  const before = decisions.said;
  await blocks.refresh(() => decisions.said !== before).catch(() => {}); // the pulse says when the console is away
});

// Place

function remember() {
  const cards = all();
  const at = cards.indexOf(current);
  keepPlace({
    hold: current?.dataset.hold ?? null,
    following: cards.slice(at + 1, at + 30).map((card) => card.dataset.hold),
    scroll: scrollY,
    selected: selection.films,
    closed: blocks.list.filter((block) => block.hasAttribute('data-closed')).map((block) => block.dataset.key),
    loaded: Object.fromEntries(blocks.list.map((block) => [block.dataset.key, block.querySelectorAll('.film').length])),
  });
}

async function takeUp() {
  const asked = new URL(location.href).searchParams;
  const kept = placeKept();
  for (const block of blocks.list) {
    if (kept?.closed.includes(block.dataset.key)) blocks.fold(block, true);
    const loaded = Math.min(kept?.loaded[block.dataset.key] ?? 0, 600);
    const more = loaded - block.querySelectorAll('.film').length;
    if (more > 0) await blocks.more(block, more);
  }
  if (kept) selection.addNamed(kept.selected);
  const before = kept && [kept.hold, ...kept.following].map((hold) => hold && byHold(hold)).find(Boolean);
  const linked = !(kept && isReturn()) && all().find((card) => card.dataset.film === asked.get('film'));
  if (kept) scrollTo({ top: kept.scroll, behavior: 'instant' });
  const where = linked || before || all()[0] || null;
  const same = Boolean(kept) && where?.dataset.hold === kept.hold; // it is where it was: nothing is to be moved
  goTo(where, !same && Boolean(linked || before));
  where?.focus({ preventScroll: true });
  if (asked.get('view') === 'big' && current) openBig();
  sheet.dataset.ready = '';
  drawn();
}

addEventListener('pagehide', () => {
  decisions.outbox.flush();
  remember();
});
addEventListener('beforeunload', (event) => { if (!decisions.isQuiet) event.preventDefault(); });
history.scrollRestoration = 'manual';
showTimes();
takeUp();
