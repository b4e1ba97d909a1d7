// What a key must ask before it acts: why a film is rejected, what a note says.

/** The reason to reject with, as a code of PS3.16, or null. d and Enter take `usual`; digits take the others. */
export function askReject(count, usual) {
  const dialog = document.getElementById('rejecting');
  const choices = [...dialog.querySelectorAll('button[data-code]')];
  dialog.querySelector('[data-count]').textContent = count === 1 ? 'this film' : `these ${count} films`;
  const first = choices.find((choice) => choice.dataset.code === usual) ?? choices[0];
  for (const choice of choices) choice.toggleAttribute('data-usual', choice === first);
  return answer(dialog, (done) => {
    const onKey = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const byDigit = choices.find((choice) => choice.dataset.key === event.key);
      const choice = event.key === 'd' ? first : byDigit;
      if (!choice) return;
      event.preventDefault();
      done(choice.dataset.code);
    };
    const onClick = (event) => {
      const choice = event.target.closest('button[data-code]');
      if (choice) done(choice.dataset.code);
    };
    dialog.addEventListener('keydown', onKey);
    dialog.addEventListener('click', onClick);
    return () => {
      dialog.removeEventListener('keydown', onKey);
      dialog.removeEventListener('click', onClick);
    };
  });
}

/** The text of a note, or null. Enter keeps it, shift and Enter begin a line. */
export function askNote(count) {
  const dialog = document.getElementById('noting');
  const text = dialog.querySelector('textarea');
  text.value = '';
  dialog.querySelector('[data-count]').textContent = count === 1 ? 'this film' : `these ${count} films`;
  return answer(dialog, (done) => {
    const onKey = (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      done(text.value.trim() || null);
    };
    const onSubmit = (event) => {
      event.preventDefault();
      done(text.value.trim() || null);
    };
    const form = dialog.querySelector('form');
    text.addEventListener('keydown', onKey);
    form.addEventListener('submit', onSubmit);
    return () => {
      text.removeEventListener('keydown', onKey);
      form.removeEventListener('submit', onSubmit);
    };
  });
}

/** Open a dialog until `listen`'s done(value) is called, or it is closed: then null. */
function answer(dialog, listen) {
  const { promise, resolve } = Promise.withResolvers();
  const end = (value) => {
    stop();
    dialog.removeEventListener('click', leave);
    dialog.removeEventListener('close', closed);
    resolve(value); // before the next key, so that the decision is taken when it is heard
  };
  const stop = listen((value) => {
    end(value);
    dialog.close();
  });
  const leave = (event) => { if (event.target.closest('[data-leave]')) dialog.close(); };
  dialog.addEventListener('click', leave);
  const closed = () => { if (!dialog.open) end(null); }; // not when it was the one before, whose event comes late
  dialog.addEventListener('close', closed);
  dialog.showModal();
  dialog.querySelector('[data-usual], textarea').focus();
  return promise;
}
