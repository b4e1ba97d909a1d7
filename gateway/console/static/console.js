// What every page needs: the CSRF token on what HTMX sends, times by the reader's clock, a line for what happened.

const token = document.querySelector('meta[name="csrf-token"]').content;

document.addEventListener('htmx:configRequest', (event) => {
  event.detail.headers['X-CSRF-Token'] = token;
});

/** Ask the console for JSON; a refusal becomes an Error with the console's own words. */
export async function ask(method, address, body) {
  const headers = { 'X-CSRF-Token': token, Accept: 'application/json' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const response = await fetch(address, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await response.text();
  const value = text ? JSON.parse(text) : null;
  if (!response.ok) throw new Error(value?.detail ?? `The console answered ${response.status}.`);
  return value;
}

let silence;

/** Say what happened in the line at the foot of the page, which screen readers read. Bad news stay longer. */
export function say(words, kind = 'info') {
  const line = document.getElementById('said');
  line.textContent = words;
  line.dataset.kind = kind;
  clearTimeout(silence);
  silence = setTimeout(() => { line.textContent = ''; }, kind === 'bad' ? 12_000 : 5_000);
}

/** Dark or light, remembered by a cookie so that the next page comes in it without a flash. */
function switchTheme(event) {
  const theme = document.documentElement.dataset.theme === 'light' ? 'dark' : 'light';
  document.documentElement.dataset.theme = theme;
  event.currentTarget.textContent = theme === 'light' ? 'Dark' : 'Light';
  document.cookie = `theme=${theme}; path=/; max-age=31536000; SameSite=Strict`;
}

document.getElementById('theme')?.addEventListener('click', switchTheme);

/** Show each <time datetime> by the reader's own clock. */
export function showTimes(root = document) {
  for (const time of root.querySelectorAll('time[datetime]:not([data-shown])')) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.valueOf())) continue;
    time.textContent = at.toLocaleString(undefined, { dateStyle: 'short', timeStyle: 'medium' });
    time.title = time.dateTime;
    time.dataset.shown = '';
  }
}

showTimes();
document.addEventListener('htmx:afterSwap', (event) => showTimes(event.detail.target));
