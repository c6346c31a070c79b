// Forms whose errors stand beside the field that they are about.
import { make, words } from './api.js';

const NUMBER = { inputMode: 'decimal', autocomplete: 'off' };
const TIME = { type: 'datetime-local', step: 1 };
const FIELDS = {
  id: ['Id (left out: one is made)', { maxLength: 128, autocomplete: 'off' }],
  name: ['Name', { maxLength: 128, autocomplete: 'off' }],
  coupons: ['Coupons', NUMBER],
  discount: ['Off, in percent', NUMBER],
  limit_per_customer: ['Coupons per customer, at most', NUMBER],
  starts_at: ['Starts (left out: now)', TIME],
  finishes_at: ['Ends (left out: open)', TIME],
};
const WHOLE = ['coupons', 'limit_per_customer'];
const MOST = 4294967295;
export const WHOLE_SAID = `A whole number from 1 to ${MOST}, in digits alone.`;
let made = 0;

// A form for some fields of a sale. `send` gets the fields as the API takes them, those left empty as null, and gives
// the answer. Of a form with `before`, a sale as it is, only what was changed is sent.
export function saleForm({ names, button, values, before = false, send }) {
  const said = make('p', { className: 'said' });
  said.setAttribute('role', 'status');
  made += 1;
  const prefix = before ? `change-${made}` : 'offer';
  const form = make('form', { noValidate: true },
    make('div', { className: 'row' }, ...names.map((name) => field(prefix, name, values[name])),
      make('button', { textContent: button })), said);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const sent = before ? names.filter((name) => form.elements[name].value !== form.elements[name].defaultValue) : names;
    if (show(form, check(form, names, sent, before))) return tell(said, false, '');
    if (sent.length === 0) return tell(said, false, 'Nothing was changed.');
    tell(said, true, 'Asking…');
    const answer = await send(typed(form, sent));
    const done = answer.status === 200 || answer.status === 201;
    const named = done ? null : fieldOf(answer, names);
    show(form, named ? { [named]: inPlainWords(named, answer) } : {});
    const open = answer.status === 201 ? 'It is open, or opens at its time.' : 'It was open already: nothing is new.';
    tell(said, done, done ? `${shownName(form)} ${before ? 'Done.' : open}`.trim() : named ? '' : words(answer));
    if (done && !before) clear(form);
    if (done && before) sent.forEach((name) => { form.elements[name].defaultValue = form.elements[name].value; });
  });
  return form;
}

function shownName(form) {
  const name = form.elements.name?.value.trim();
  return name ? `“${name}”:` : '';
}

// What belongs to one sale alone: pressing again would open another one like it.
function clear(form) {
  for (const name of ['id', 'name', 'starts_at', 'finishes_at']) form.elements[name].value = '';
}

function field(prefix, name, value) {
  const [text, properties] = FIELDS[name];
  const id = `${prefix}-${name}`;
  const input = make('input', { id, name, ...properties, defaultValue: shown(name, value) });
  input.setAttribute('aria-describedby', `${id}-said`);
  const said = make('p', { id: `${id}-said`, className: 'said bad' });
  said.setAttribute('role', 'alert');
  return make('div', { className: 'field' }, make('label', { htmlFor: id, textContent: text }), input, said);
}

function shown(name, value) {
  if (value === undefined || value === null) return '';
  if (name === 'discount') return String(exact(value * 100));
  return name.endsWith('_at') ? local(value) : String(value);
}

// Without what a product of binary fractions adds.
const exact = (number) => Number(number.toPrecision(12));

// As a field for a local time takes it.
function local(time) {
  const date = new Date(time);
  return new Date(date - date.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

const percent = (text) => Number(text.trim().replace(',', '.'));

// What cannot be sent at all, by field.
function check(form, all, names, before) {
  const wrong = {};
  for (const name of all.filter((name) => form.elements[name].validity.badInput)) wrong[name] = 'Not a whole date and time.';
  for (const name of names) {
    const { value } = form.elements[name];
    const year = Number(value.slice(0, value.indexOf('-')));
    if (name === 'discount' && !(percent(value) > 0 && percent(value) <= 100)) wrong[name] = 'A number above 0, at most 100.';
    if (WHOLE.includes(name) && !isWhole(value)) wrong[name] = WHOLE_SAID;
    if (name === 'name' && !before && value.trim() === '') wrong[name] = 'Give it a name: customers see it.';
    if (name.endsWith('_at') && value !== '' && (year < 1970 || year > 9000)) wrong[name] = 'A year from 1970 to 9000.';
    if (before && ['name', 'starts_at'].includes(name) && value.trim() === '') wrong[name] = 'This cannot be left out any more.';
  }
  return wrong;
}

export const isWhole = (text) => /^\d+$/.test(text.trim()) && Number(text) >= 1 && Number(text) <= MOST;

function typed(form, names) {
  return Object.fromEntries(names.map((name) => {
    const value = form.elements[name].value.trim();
    if (value === '') return [name, null];
    if (WHOLE.includes(name)) return [name, Number(value)];
    if (name === 'discount') return [name, exact(percent(value) / 100)];
    return [name, name.endsWith('_at') ? new Date(value).getTime() : value];
  }));
}

// The field that a refusal is about: the first that its words name.
function fieldOf({ status, body }, names) {
  if (status === 409) return String(body?.type).endsWith(':already-exists') && names.includes('id') ? 'id' : null;
  if (status !== 400) return null;
  const places = names.map((name) => [String(body?.detail).search(new RegExp(`\\b${name}\\b`)), name]);
  return places.filter(([place]) => place >= 0).sort(([one], [other]) => one - other)[0]?.[1] ?? null;
}

function inPlainWords(name, answer) {
  if (answer.status === 409) return 'A sale has this id already.';
  const plain = (field) => FIELDS[field][0].replace(/ \(.*/, '');
  return String(answer.body?.detail).replace(/\b[a-z]+(_[a-z]+)*\b/g, (word) => (word === name || word === 'starts_at' || word === 'finishes_at' ? plain(word) : word));
}

// Puts what is wrong beside the fields; whether anything is.
export function show(form, wrong) {
  let first = null;
  for (const input of form.querySelectorAll('input')) {
    const text = wrong[input.name] ?? '';
    input.setAttribute('aria-invalid', String(text !== ''));
    const said = document.getElementById(`${input.id}-said`);
    if (said) said.textContent = text;
    if (text !== '') first ??= input;
  }
  first?.focus();
  return first !== null;
}

export function tell(element, good, text) {
  element.className = `said ${good ? 'good' : 'bad'}`;
  element.textContent = text;
}
