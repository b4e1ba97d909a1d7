// A film's values as the console sends them (/pictures/…/pixels), and the table that makes them greys.

const KEPT = 4; // films: the one on show, the next, and two of before
const kept = new Map(); // digest -> promise of values, the one used last at the end

/** The values of a film; those asked for before are at hand. An Error has words for people. */
export function valuesOf(digest) {
  const known = kept.get(digest);
  kept.delete(digest);
  const values = known ?? load(digest);
  kept.set(digest, values);
  values.catch(() => { if (kept.get(digest) === values) kept.delete(digest); });
  for (const oldest of kept.keys()) {
    if (kept.size <= KEPT) break;
    kept.delete(oldest);
  }
  return values;
}

async function load(digest) {
  const response = await fetch(`/pictures/${digest}/pixels`, { headers: { Accept: 'application/octet-stream' } })
    .catch(() => { throw new Error('The console cannot be reached. The film is safe; try again.'); });
  if (!response.ok) {
    const answer = await response.json().catch(() => null);
    throw new Error(typeof answer?.detail === 'string' ? answer.detail : `There is no picture (${response.status}).`);
  }
  const said = (name) => JSON.parse(response.headers.get(`X-${name}`));
  const [rows, columns, entries] = [said('Rows'), said('Columns'), said('Entries')];
  const [step, offset] = said('Scale');
  const body = await response.arrayBuffer();
  return {
    digest, rows, columns, entries, step, offset,
    pixels: new Uint16Array(body, 0, rows * columns), // little endian, as every machine with a browser is
    table: new Uint8Array(body, 2 * rows * columns, entries),
    windows: said('Window'),
    inverse: said('Inverse') === 1,
    padded: said('Padding') === 1,
    bits: said('Bits'),
    spacing: said('Spacing'),
  };
}

/** The lowest and the highest value, leaving out `part` of the pixels at either end. */
export function spread(values, part = 0) {
  const counts = new Uint32Array(values.entries);
  for (const number of values.pixels) counts[number] += 1;
  if (values.padded) counts[0] = 0;
  let total = 0;
  for (const count of counts) total += count;
  const end = (from, by) => {
    let passed = 0;
    for (let number = from; number >= 0 && number < counts.length; number += by) {
      passed += counts[number];
      if (passed > part * total) return number * values.step + values.offset;
    }
    return values.offset;
  };
  return [end(0, 1), end(counts.length - 1, -1)];
}

/** What the readout and a first drag begin with: the window that is, or comes near, what the film's header says. */
export function firstWindow(values) {
  const [centre, width] = values.windows[0];
  return { centre, width };
}

/**
 * The colour of each whole number as ImageData wants it: 0xAABBGGRR. Without a window it is as the film's own
 * header has it shown; with one it is linear (PS3.3 C.11.2.1.2.1). Padding stays black.
 */
export function colours(values, window, inverted) {
  const colour = new Uint32Array(values.entries);
  const turned = inverted ? 255 : 0;
  for (let number = 0; number < values.entries; number += 1) {
    let grey = values.table[number];
    if (window) {
      const value = number * values.step + values.offset;
      const share = window.width > 1
        ? (value - (window.centre - 0.5)) / (window.width - 1) + 0.5
        : (value - window.centre) / window.width + 0.5;
      grey = Math.round(255 * Math.min(1, Math.max(0, values.inverse ? 1 - share : share)));
    }
    colour[number] = 0xff000000 | (Math.abs(turned - grey) * 0x010101);
  }
  if (values.padded) colour[0] = 0xff000000;
  return colour;
}
