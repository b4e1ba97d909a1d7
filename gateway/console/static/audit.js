// The page Audit: an act that is undone here is undone as everywhere, and the list says so.

import { askActs, newRequest } from '/static/acts.js';
import { say } from '/static/console.js';

document.addEventListener('click', async (event) => {
  const button = event.target.closest('button[data-undo]');
  if (!button) return;
  button.disabled = true;
  try {
    const results = await askActs({ act: 'undo', acts: [Number(button.dataset.undo)], request: newRequest() });
    if (!results[0].ok) throw new Error(results[0].error);
    location.reload();
  } catch (error) {
    button.disabled = false;
    say(error.message, 'bad');
  }
});
