// What every page needs: the CSRF token on what HTMX sends, times by the reader's clock, a line for what happened.

const token = document.querySelector('meta[name="csrf-token"]').content;

// What a page asks by itself keeps nobody signed in.
export const UNATTENDED = { 'X-Unattended': '1' };

document.addEventListener('htmx:configRequest', (event) => {
  event.detail.headers['X-CSRF-Token'] = token;
  if (event.detail.triggeringEvent?.type === 'filmgate:changed') Object.assign(event.detail.headers, UNATTENDED);
});

/** Ask the console for JSON; a refusal becomes an Error with the console's own words. */
export async function ask(method, address, body, more = {}, options = {}) {
  const headers = { 'X-CSRF-Token': token, Accept: 'application/json', ...more };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const text = body === undefined ? undefined : JSON.stringify(body);
  const unheard = () => { // also when the connection breaks in the midst of the answer
    throw new Error(method === 'GET' ? 'The console does not answer. Try again.'
      : 'The console does not answer. It is not known whether that was done: look before you do it again.');
  };
  const response = await fetch(address, { method, headers, body: text, ...options }).catch(unheard);
  if (response.status === 204) return null;
  const isJson = response.headers.get('Content-Type')?.includes('json');
  const value = isJson ? await response.json().catch(unheard) : null;
  if (response.ok && isJson) return value;
  const words = typeof value?.detail === 'string' ? value.detail : `The console answered ${response.status}.`;
  throw Object.assign(new Error(words), { status: response.status });
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

const thisYear = new Date().getFullYear();
const DAY = { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', second: '2-digit' };

/** Show each <time datetime> by the reader's own clock: the month as a word, the year where it is another one. */
export function showTimes(root = document) {
  for (const time of root.querySelectorAll('time[datetime]:not([data-shown])')) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.valueOf())) continue;
    const year = at.getFullYear() === thisYear ? {} : { year: 'numeric' };
    time.textContent = at.toLocaleString(undefined, { ...DAY, ...year });
    time.title = time.dateTime;
    time.dataset.shown = '';
  }
}

showTimes();
document.addEventListener('htmx:afterSettle', () => showTimes()); // the target of an outer swap is the element that went
