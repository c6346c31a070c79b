// Forms whose errors stand beside the field that they are about.
import { make, words } from './api.js';

const NUMBER = { inputMode: 'decimal', autocomplete: 'off' };
const TIME = { type: 'datetime-local', step: 1 };
const FIELDS = {
  id: ['Id (left out: one is made)', { maxLength: 128, autocomplete: 'off' }],
  name: ['Name', { maxLength: 128, autocomplete: 'off' }],
  coupons: ['Coupons', NUMBER],
  discount: ['Off, in percent', NUMBER],
  limit_per_customer: ['Each customer at most', NUMBER],
  starts_at: ['Starts (left out: now)', TIME],
  finishes_at: ['Ends (left out: open)', TIME],
};

// A form for some fields of a sale. `send` gets what was typed, and gives the answer.
export function saleForm(prefix, names, button, values, send) {
  const said = make('p', { className: 'said' });
  said.setAttribute('role', 'status');
  const form = make('form', { noValidate: true },
    make('div', { className: 'row' }, ...names.map((name) => field(prefix, name, values[name])),
      make('button', { textContent: button })), said);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const wrong = check(form, names);
    if (show(form, wrong)) return tell(said, false, '');
    const answer = await send(typed(form, names));
    const done = answer.status === 200 || answer.status === 201;
    const named = done ? null : fieldOf(answer, names);
    show(form, named ? { [named]: inPlainWords(named, answer) } : {});
    tell(said, done, done ? 'Done.' : named ? '' : words(answer));
  });
  return form;
}

function field(prefix, name, value) {
  const [text, properties] = FIELDS[name];
  const id = `${prefix}-${name}`;
  const input = make('input', { id, name, ...properties, value: shown(name, value) });
  input.setAttribute('aria-describedby', `${id}-said`);
  const said = make('p', { id: `${id}-said`, className: 'said bad' });
  said.setAttribute('role', 'alert');
  return make('div', { className: 'field' }, make('label', { htmlFor: id, textContent: text }), input, said);
}

function shown(name, value) {
  if (value === undefined || value === null) return '';
  if (name === 'discount') return String(Math.round(value * 1000) / 10);
  return name.endsWith('_at') ? local(value) : String(value);
}

// As a field for a local time takes it.
function local(time) {
  const date = new Date(time);
  return new Date(date - date.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

// What cannot be sent at all, by field.
function check(form, names) {
  const wrong = {};
  for (const name of names) {
    const { value } = form.elements[name];
    const number = Number(value.replace(',', '.'));
    if (name === 'discount' && !(number > 0 && number <= 100)) wrong[name] = 'A number above 0, at most 100.';
    const whole = name === 'coupons' || name === 'limit_per_customer';
    if (whole && !(Number.isInteger(number) && number >= 1)) wrong[name] = 'A whole number, at least 1.';
    if (form.elements[name].validity.badInput) wrong[name] = 'Not a whole date and time.';
  }
  return wrong;
}

function typed(form, names) {
  const body = {};
  for (const name of names) {
    const value = form.elements[name].value.trim();
    if (name === 'coupons' || name === 'limit_per_customer') body[name] = Number(value);
    else if (name === 'discount') body[name] = Number((Number(value.replace(',', '.')) / 100).toFixed(6));
    else if (name.endsWith('_at')) body[name] = value === '' ? null : new Date(value).getTime();
    else if (value !== '') body[name] = value;
  }
  return body;
}

// The field that a refusal is about, by its words.
function fieldOf({ body }, names) {
  const detail = body?.detail ?? '';
  const named = names.find((name) => new RegExp(`\\b${name}\\b`).test(detail));
  return named ?? (String(body?.type).endsWith(':already-exists') && names.includes('id') ? 'id' : null);
}

function inPlainWords(name, answer) {
  if (String(answer.body?.type).endsWith(':already-exists')) return 'A sale has this id already.';
  return String(answer.body?.detail).replace(new RegExp(`\\b${name}\\b`), FIELDS[name][0].replace(/ \(.*/, ''));
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

