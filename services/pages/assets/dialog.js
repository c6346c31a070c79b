// Asks before what cannot be taken back.
import { make } from './api.js';

// Whether it is wanted. Escape, and whatever else closes the question, means no.
export function sure(question, yes) {
  const keep = make('button', { className: 'plain', textContent: 'Keep it as it is', value: '' });
  const text = make('p', { id: 'question', textContent: question });
  const form = make('form', { method: 'dialog' }, text,
    make('div', { className: 'row' }, keep, make('button', { textContent: yes, value: 'yes' })));
  const dialog = make('dialog', {}, form);
  dialog.setAttribute('aria-labelledby', 'question');
  document.body.append(dialog);
  dialog.showModal();
  keep.focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    });
  });
}
