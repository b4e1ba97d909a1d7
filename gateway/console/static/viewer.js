// The viewer: a film of 16 bits on a canvas, windowed here. Used by the film's page, the sheet, labels and upload.
//
//   const viewer = new Viewer(element);          // an empty element; it gets a canvas, tools and a readout
//   await viewer.show(digest);                   // true, or false where there is no picture and words stand instead
//   viewer.rotate(90); viewer.invert(); viewer.flip(); viewer.operations  // {rotate, invert, flip}
//   viewer.setBox({x0, y0, x1, y1}, 'lungs');    // fractions of the film as it was received
//   viewer.drawBox((box) => …);                  // the next drag draws one; null: given up with Escape
//
// Drag: window and level. Wheel: zoom. Shift, middle or right button and drag: pan. Double click: fit.
// It fires `viewer:changed` on its element when turn, polarity or flip changed by hand.

import { colours, firstWindow, spread, valuesOf } from '/static/viewer-values.js';

const MOST_ZOOM = 16; // screen pixels of one of the film's
const DRAG_SPAN = 400; // pixels of drag that double a window, or move it by its width
const BARS = 2; // px, of a box

export class Viewer {
  #element; #canvas; #context; #words; #readout; #presets; #tools;
  #source = document.createElement('canvas');
  #values = null; #window = null; #turn = 0; #inverted = false; #flipped = false;
  #zoom = 1; #fitted = true; #pan = { x: 0, y: 0 };
  #box = null; #boxWords = ''; #draft = null; #drawn = null; // of drawBox
  #asked = 0; #frame = 0; #stale = true; #drag = null; #at = null;

  constructor(element, { tools = true } = {}) {
    this.#element = element;
    element.classList.add('viewer');
    this.#canvas = add(element, 'canvas', { tabIndex: 0 });
    this.#canvas.setAttribute('role', 'application');
    this.#canvas.setAttribute('aria-label', 'Film. Plus and minus zoom, 0 fits, Shift and arrows move, Control and arrows change the window.');
    this.#context = this.#canvas.getContext('2d', { alpha: false });
    this.#words = add(element, 'p', { className: 'viewer-words', hidden: true });
    this.#words.setAttribute('role', 'status');
    this.#tools = add(element, 'div', { className: 'viewer-tools', hidden: !tools });
    this.#tools.setAttribute('role', 'group');
    this.#tools.setAttribute('aria-label', 'Picture');
    this.#addTools();
    this.#readout = add(element, 'output', { className: 'viewer-readout' });
    this.#listen();
    new ResizeObserver(() => this.#draw()).observe(element);
  }

  /** Whether turn, polarity or flip differ from the film as it was received; as the acts take them. */
  get operations() { return { rotate: this.#turn, invert: this.#inverted, flip: this.#flipped }; }

  /** What is on show; null without a film. */
  get digest() { return this.#values?.digest ?? null; }

  /** Window centre and width in the film's own values. */
  get window() { return this.#values && { ...(this.#window ?? firstWindow(this.#values)) }; }

  /** Load this film's values before somebody looks at it. */
  prefetch(digest) { valuesOf(digest).catch(() => {}); }

  /** Show a film as its header has it shown, turned and inverted by `operations`; whether there was a picture. */
  async show(digest, { rotate = 0, invert = false, flip = false } = {}) {
    const asked = (this.#asked += 1);
    this.#element.setAttribute('aria-busy', 'true');
    try {
      const values = await valuesOf(digest);
      if (asked !== this.#asked) return false; // another one was asked for meanwhile
      [this.#values, this.#turn, this.#inverted, this.#flipped] = [values, rotate, invert, flip];
      [this.#box, this.#draft, this.#drawn] = [null, null, null];
      this.#words.hidden = true;
      this.#listPresets();
      this.#useWindow(null);
      this.fit();
      return true;
    } catch (error) {
      if (asked === this.#asked) this.clear(error.message);
      return false;
    } finally {
      if (asked === this.#asked) this.#element.removeAttribute('aria-busy');
    }
  }

  /** No film; `words` say why. */
  clear(words = '') {
    this.#asked += 1;
    this.#values = null;
    this.#element.removeAttribute('aria-busy');
    this.#words.textContent = words;
    this.#words.hidden = !words;
    this.#readout.textContent = '';
    this.#draw();
  }

  /** Turn what is seen clockwise. The film is turned first and flipped then, whatever came first by hand. */
  rotate(degrees = 90) {
    this.#turn = (this.#turn + (this.#flipped ? 360 - degrees : degrees) + 720) % 360;
    this.#changed();
  }

  invert() { this.#inverted = !this.#inverted; this.#stale = true; this.#changed(); }

  /** Left becomes right. */
  flip() { this.#flipped = !this.#flipped; this.#changed(); }

  /** Turn, polarity and flip as given, without telling anybody. */
  setOperations({ rotate = 0, invert = false, flip = false }) {
    [this.#turn, this.#inverted, this.#flipped, this.#stale] = [rotate, invert, flip, true];
    this.#draw();
  }

  fit() { this.#fitted = true; this.#pan = { x: 0, y: 0 }; this.#draw(); }

  /** As it was received and as its header has it shown. */
  reset() {
    [this.#turn, this.#inverted, this.#flipped] = [0, false, false];
    this.#useWindow(null);
    this.fit();
    this.#changed();
  }

  setWindow(centre, width) { this.#useWindow({ centre, width: Math.max(width, Math.abs(this.#values?.step ?? 1)) }); }

  /** Zoom by a factor about a place of the canvas (CSS pixels), else its middle. */
  zoom(factor, x = this.#canvas.clientWidth / 2, y = this.#canvas.clientHeight / 2) {
    if (!this.#values) return;
    const least = Math.min(this.#fitting(), 1) / 4;
    const zoom = Math.min(MOST_ZOOM, Math.max(least, this.#zoom * factor));
    const by = zoom / this.#zoom;
    const [fromX, fromY] = [x - this.#canvas.clientWidth / 2, y - this.#canvas.clientHeight / 2];
    this.#pan = { x: fromX - (fromX - this.#pan.x) * by, y: fromY - (fromY - this.#pan.y) * by };
    [this.#zoom, this.#fitted] = [zoom, false];
    this.#draw();
  }

  /** Mark a place: a box in fractions of the film as it was received, or null. */
  setBox(box, words = '') { [this.#box, this.#boxWords] = [box, words]; this.#draw(); }

  /** Let a person draw one: `callback` gets the box, or null when Escape was pressed. */
  drawBox(callback) {
    this.#drawn = callback;
    this.#element.classList.add('viewer-drawing');
    this.#canvas.focus();
  }

  // Tools

  #addTools() {
    const tool = (words, label, does) => {
      const button = add(this.#tools, 'button', { type: 'button', textContent: words, title: label });
      button.setAttribute('aria-label', label);
      button.addEventListener('click', does);
    };
    this.#presets = add(this.#tools, 'select', { title: 'Window' });
    this.#presets.setAttribute('aria-label', 'Window');
    this.#presets.addEventListener('change', () => this.#preset(this.#presets.value));
    tool('↶', 'Turn to the left', () => this.rotate(270));
    tool('↷', 'Turn to the right', () => this.rotate(90));
    tool('⇋', 'Flip left and right', () => this.flip());
    tool('◐', 'Invert', () => this.invert());
    tool('−', 'Smaller', () => this.zoom(1 / 1.4));
    tool('+', 'Larger', () => this.zoom(1.4));
    tool('1:1', 'One pixel of the screen for each of the film', () => this.zoom(1 / devicePixelRatio / this.#zoom));
    tool('Fit', 'Fit the film into the window', () => this.fit());
    tool('Reset', 'As it was received', () => this.reset());
  }

  #listPresets() {
    this.#presets.replaceChildren();
    const choice = (value, words) => add(this.#presets, 'option', { value, textContent: words });
    choice('sent', 'As sent');
    this.#values.windows.forEach(([centre, width], number) => {
      choice(`window ${number}`, `${short(centre)} / ${short(width)}`);
    });
    choice('full', 'Full range');
    choice('most', '1–99 %');
    choice('own', 'By hand');
  }

  #preset(name) {
    const values = this.#values;
    if (!values || name === 'own') return;
    if (name === 'sent') this.#useWindow(null, name);
    else if (name.startsWith('window ')) {
      const [centre, width] = values.windows[Number(name.slice(7))];
      this.#useWindow({ centre, width }, name);
    } else {
      const [low, high] = spread(values, name === 'most' ? 0.01 : 0);
      this.#useWindow({ centre: (low + high) / 2, width: Math.max(high - low, Math.abs(values.step)) }, name);
    }
  }

  #useWindow(window, preset = window ? 'own' : 'sent') {
    this.#window = window;
    this.#presets.value = preset;
    this.#stale = true;
    this.#draw();
  }

  #changed() {
    this.#draw();
    this.#element.dispatchEvent(new CustomEvent('viewer:changed', { bubbles: true, detail: this.operations }));
  }

  // Hands

  #listen() {
    const canvas = this.#canvas;
    canvas.addEventListener('pointerdown', (event) => this.#pressed(event));
    canvas.addEventListener('pointermove', (event) => this.#moved(event));
    canvas.addEventListener('pointerup', (event) => this.#let(event));
    canvas.addEventListener('pointercancel', () => { [this.#drag, this.#draft] = [null, null]; this.#draw(); });
    canvas.addEventListener('pointerleave', () => { this.#at = null; this.#read(); });
    canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    canvas.addEventListener('dblclick', () => this.fit());
    canvas.addEventListener('wheel', (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 0.05 : 0.0015)), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener('keydown', (event) => { if (this.#key(event)) { event.preventDefault(); event.stopPropagation(); } });
  }

  #pressed(event) {
    if (!this.#values || event.button > 2) return;
    event.preventDefault();
    this.#canvas.focus({ preventScroll: true });
    this.#canvas.setPointerCapture(event.pointerId);
    const kind = this.#drawn && event.button === 0 ? 'box' : event.button || event.shiftKey ? 'pan' : 'window';
    this.#drag = { kind, x: event.offsetX, y: event.offsetY, window: this.window, pan: this.#pan };
  }

  #moved(event) {
    this.#at = this.#onFilm(event.offsetX, event.offsetY);
    const drag = this.#drag;
    if (!drag) return void this.#read();
    const [right, down] = [event.offsetX - drag.x, event.offsetY - drag.y];
    if (drag.kind === 'pan') {
      [this.#pan, this.#fitted] = [{ x: drag.pan.x + right, y: drag.pan.y + down }, false];
      this.#draw();
    } else if (drag.kind === 'box') {
      this.#draft = this.#between(drag.x, drag.y, event.offsetX, event.offsetY);
      this.#draw();
    } else if (right || down) {
      const { centre, width } = drag.window;
      this.setWindow(centre + (down / DRAG_SPAN) * width, width * 2 ** (right / DRAG_SPAN * 2));
    }
  }

  #let() {
    const [drag, draft] = [this.#drag, this.#draft];
    [this.#drag, this.#draft] = [null, null];
    if (drag?.kind === 'box' && draft && draft.x1 - draft.x0 > 0.005 && draft.y1 - draft.y0 > 0.005) this.#give(draft);
    this.#draw();
  }

  #give(box) {
    const callback = this.#drawn;
    this.#drawn = null;
    this.#element.classList.remove('viewer-drawing');
    if (box) this.setBox(box);
    callback(box);
  }

  /** Whether the key was one of ours. */
  #key(event) {
    if (event.key === 'Escape' && this.#drawn) { this.#draft = null; this.#give(null); this.#draw(); return true; }
    if (!this.#values || event.altKey || event.metaKey) return false;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (arrow && event.shiftKey) {
      [this.#pan, this.#fitted] = [{ x: this.#pan.x - 40 * arrow[0], y: this.#pan.y - 40 * arrow[1] }, false];
      this.#draw();
      return true;
    }
    if (arrow && event.ctrlKey) {
      const { centre, width } = this.window;
      this.setWindow(centre + arrow[1] * width * 0.05, width * 1.1 ** arrow[0]);
      return true;
    }
    if (event.ctrlKey) return false;
    if (event.key === '+' || event.key === '=') { this.zoom(1.25); return true; }
    if (event.key === '-') { this.zoom(0.8); return true; }
    if (event.key === '0') { this.fit(); return true; }
    return false;
  }

  // Places

  #sideways() { return this.#turn % 180 !== 0; }

  #fitting() {
    const { rows, columns } = this.#values;
    const [wide, tall] = this.#sideways() ? [rows, columns] : [columns, rows];
    return Math.min(this.#canvas.clientWidth / wide, this.#canvas.clientHeight / tall);
  }

  /** From the film's pixels to the canvas's CSS pixels. */
  #matrix() {
    const { rows, columns } = this.#values;
    return new DOMMatrix()
      .translate(this.#canvas.clientWidth / 2 + this.#pan.x, this.#canvas.clientHeight / 2 + this.#pan.y)
      .scale(this.#zoom * (this.#flipped ? -1 : 1), this.#zoom)
      .rotate(this.#turn)
      .translate(-columns / 2, -rows / 2);
  }

  #onFilm(x, y) {
    return this.#values && this.#matrix().inverse().transformPoint({ x, y });
  }

  /** The box between two places of the canvas, in fractions of the film. */
  #between(x, y, otherX, otherY) {
    const { rows, columns } = this.#values;
    const [one, other] = [this.#onFilm(x, y), this.#onFilm(otherX, otherY)];
    const within = (a, size) => Math.min(1, Math.max(0, a / size));
    const [left, right] = [within(one.x, columns), within(other.x, columns)].sort((a, b) => a - b);
    const [top, bottom] = [within(one.y, rows), within(other.y, rows)].sort((a, b) => a - b);
    return { x0: left, y0: top, x1: right, y1: bottom };
  }

  // Drawing, once a frame

  #draw() {
    if (!this.#frame) this.#frame = requestAnimationFrame(() => { this.#frame = 0; this.#paint(); });
  }

  #paint() {
    const [canvas, context, ratio] = [this.#canvas, this.#context, devicePixelRatio];
    const [wide, tall] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== wide || canvas.height !== tall) [canvas.width, canvas.height] = [wide, tall];
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = '#000';
    context.fillRect(0, 0, wide, tall);
    if (!this.#values || !wide || !tall) return;
    if (this.#stale) this.#colour();
    if (this.#fitted) this.#zoom = this.#fitting();
    const matrix = new DOMMatrix().scale(ratio).multiply(this.#matrix());
    context.setTransform(matrix);
    context.imageSmoothingEnabled = this.#zoom * ratio < 3;
    context.imageSmoothingQuality = this.#drag ? 'low' : 'medium';
    context.drawImage(this.#source, 0, 0);
    context.setTransform(1, 0, 0, 1, 0, 0);
    if (this.#box) this.#outline(matrix, this.#box, '#ffd166', this.#boxWords, ratio);
    if (this.#draft) this.#outline(matrix, this.#draft, '#7cc4ff', '', ratio);
    this.#read();
    this.#element.dataset.shown = this.#values.digest;
  }

  /** The film in greys, at its own size. */
  #colour() {
    const { rows, columns, pixels } = this.#values;
    const colour = colours(this.#values, this.#window, this.#inverted);
    if (this.#source.width !== columns || this.#source.height !== rows) {
      [this.#source.width, this.#source.height] = [columns, rows];
    }
    const context = this.#source.getContext('2d', { alpha: false });
    const image = context.createImageData(columns, rows);
    const painted = new Uint32Array(image.data.buffer);
    for (let at = 0; at < painted.length; at += 1) painted[at] = colour[pixels[at]];
    context.putImageData(image, 0, 0);
    this.#stale = false;
  }

  #outline(matrix, box, colour, words, ratio) {
    const { rows, columns } = this.#values;
    const one = matrix.transformPoint({ x: box.x0 * columns, y: box.y0 * rows });
    const other = matrix.transformPoint({ x: box.x1 * columns, y: box.y1 * rows });
    const [left, top] = [Math.min(one.x, other.x), Math.min(one.y, other.y)];
    const context = this.#context;
    context.lineWidth = BARS * ratio;
    context.strokeStyle = colour;
    context.strokeRect(left, top, Math.abs(one.x - other.x), Math.abs(one.y - other.y));
    if (!words) return;
    context.font = `${12 * ratio}px system-ui, sans-serif`;
    context.fillStyle = colour;
    context.fillText(words, left + 4 * ratio, Math.max(12 * ratio, top - 5 * ratio));
  }

  #read() {
    if (!this.#values) return;
    const { centre, width } = this.window;
    const { rows, columns, pixels, step, offset, bits } = this.#values;
    const parts = [`C ${short(centre)}  W ${short(width)}`, `${Math.round(this.#zoom * devicePixelRatio * 100)} %`, `${bits} bits`];
    const [x, y] = this.#at ? [Math.floor(this.#at.x), Math.floor(this.#at.y)] : [-1, -1];
    if (x >= 0 && y >= 0 && x < columns && y < rows) {
      parts.push(`value ${short(pixels[y * columns + x] * step + offset)}`);
    }
    this.#readout.textContent = parts.join(' · ');
  }
}

function add(parent, name, values = {}) {
  const child = document.createElement(name);
  Object.assign(child, values);
  parent.append(child);
  return child;
}

/** A value in few digits. */
function short(value) {
  return Math.abs(value) >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}
