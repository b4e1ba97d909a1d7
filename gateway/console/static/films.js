// The list of films: a patient's numbers are shown when a person asks, and that they were is kept.
import { ask, say } from './console.js';

document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-reveal]');
  if (!button) return;
  const row = button.closest('[data-film]');
  try {
    const numbers = await ask('POST', '/api/reveal', { film: Number(button.dataset.reveal) });
    for (const field of row.querySelectorAll('[data-field]')) field.textContent = numbers[field.dataset.field];
    for (const other of row.querySelectorAll('[data-reveal]')) other.remove();
    say(`The numbers of film ${row.dataset.film} are shown. It is in the audit that you asked.`);
  } catch (error) {
    say(`The numbers of film ${row.dataset.film} were not shown. ${error.message}`, 'bad');
  }
});
