// The operator's console: open sales, change how they go, and see how the system is.
import { ask, follow, look, make, newKey, path, percent, place, when, words } from './api.js';
import { isWhole, saleForm, tell, WHOLE_SAID } from './form.js';
import { MOST, sendCrowd } from './crowd.js';
import { sure } from './dialog.js';
import { watch, watched, remaining } from './charts.js';
import { showHolders } from './holders.js';
import './records.js';
import './system.js';

const LOOK_MS = 2000;
const ACTIONS = {
  scheduled: ['change', 'cancel'],
  active: ['crowd', 'pause', 'restock', 'change', 'finish'],
  paused: ['resume', 'restock', 'change', 'finish'],
  sold_out: ['restock', 'change', 'finish'],
};
const ALL = ['watch', 'holders', 'crowd', 'pause', 'resume', 'restock', 'change', 'finish', 'cancel'];
const STATES = { active: 'on sale', sold_out: 'sold out' };
const FOR_GOOD = { finish: 'It is over for good, and nobody gets a coupon any more.', cancel: 'It is over for good, before it has begun.' };
const NEW = ['id', 'name', 'coupons', 'discount', 'limit_per_customer', 'starts_at', 'finishes_at'];
const BEFORE = ['name', 'coupons', 'discount', 'limit_per_customer', 'starts_at', 'finishes_at'];

// Their roles are said, because a phone shows them as no table.
const CELLS = ['sale', 'state', 'left', 'granted', 'do'];

const byId = (id) => document.getElementById(id);
const promotions = new Map(); // id -> {row, drawn, lines, cells}
let inputs = 0;

// What was asked for and not answered: pressing again is the same wish, and makes one sale.
let wish = { text: null, key: null };
function keyOf(body) {
  const text = JSON.stringify(body);
  if (wish.text !== text) wish = { text, key: newKey() };
  return wish.key;
}

byId('offer').append(saleForm({
  names: NEW,
  button: 'Open it',
  values: { coupons: 50, discount: 0.5, limit_per_customer: 1 },
  send: async (body) => {
    const given = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
    const answer = await ask('/v1/promotions', { body: given, headers: { 'idempotency-key': keyOf(given) } });
    if (answer.status >= 200 && answer.status < 500 && answer.status !== 429) wish = { text: null, key: null };
    if (answer.status === 201 || answer.status === 200) {
      watch(answer.body.id, given.name ?? answer.body.id);
      await seen(answer);
    }
    return answer;
  },
}));

// Shows a sale as an answer has made it.
async function seen({ body: { id, position } }) {
  const now = await ask(`/v1/promotions/${path(id)}?after=${encodeURIComponent(position)}`);
  if (now.status === 200) show(now.body);
}

function show(row) {
  let known = promotions.get(row.id);
  if (row.state === 'finished') {
    known?.lines.remove();
    promotions.delete(row.id);
    if (known) finished();
  } else if (known) {
    known.row = { ...known.row, ...row };
    draw(known);
  } else {
    const cells = CELLS.map((name, n) => make(n === 0 ? 'th' : 'td', { role: n === 0 ? 'rowheader' : 'cell', className: name }));
    const lines = make('tbody', { role: 'rowgroup' }, make('tr', { role: 'row' }, ...cells));
    const said = make('p', { className: 'said' });
    said.setAttribute('role', 'status');
    known = { row, drawn: null, lines, cells, said };
    promotions.set(row.id, known);
    byId('promotions').insertBefore(lines, place(byId('promotions').tBodies, lines, row.starts_at));
    draw(known);
    if (watched() === null) watch(row.id, row.name);
  }
  remaining(row.id, row.remaining);
  byId('promotions').hidden = promotions.size === 0;
  byId('none').hidden = promotions.size > 0;
}

function draw(known) {
  const { row, cells: [sale, state, left, granted, actions] } = known;
  const terms = termsOf(row);
  if (known.drawn !== row.name + terms) {
    known.drawn = row.name + terms;
    sale.replaceChildren(...nameOf(row), make('div', { className: 'soft', textContent: terms }));
  }
  // Made once: what somebody types there stays when the state changes.
  if (actions.childElementCount === 0) actions.append(...ALL.map((action) => button(known, action)), known.said);
  for (const action of actions.querySelectorAll('.action')) {
    action.hidden = !['watch', 'holders'].includes(action.dataset.action) && !(ACTIONS[row.state] ?? []).includes(action.dataset.action);
  }
  state.textContent = STATES[row.state] ?? row.state;
  left.textContent = `${row.remaining} of ${row.coupons}`;
  granted.textContent = String(row.coupons - row.remaining);
}

// As far as they are known: what is told live has not all of them.
function termsOf({ discount, limit_per_customer: limit, starts_at: start, finishes_at: end, state }) {
  const parts = [discount && percent(discount), limit && `${limit} per customer`,
    state === 'scheduled' && start && `starts ${when(start)}`, end && `ends ${when(end)}`];
  return parts.filter(Boolean).join(', ');
}

function nameOf(row) {
  return row.name && row.name !== row.id ? [row.name, make('div', { className: 'soft', textContent: row.id })] : [row.id];
}

function button(known, action) {
  const { id } = known.row;
  const pressed = make('button', { type: 'button', className: 'plain', textContent: action });
  pressed.setAttribute('aria-label', `${action} ${id}`);
  const asked = {
    restock: ['new total', `New total of coupons of ${id}`, ''], crowd: ['customers', `Customers who want a coupon of ${id}`, '500'],
  };
  const input = asked[action] && make('input', { size: 7, placeholder: asked[action][0], value: asked[action][2], inputMode: 'numeric' });
  input?.setAttribute('aria-label', asked[action][1]);
  input?.addEventListener('input', () => refuse(input, '', false));
  pressed.addEventListener('click', () => ({
    watch: () => watch(id, nameById(id)),
    holders: () => showHolders(id, nameById(id)),
    change: () => change(known, pressed),
    crowd: () => crowd(id, input, pressed),
    restock: () => restock(id, input),
    finish: () => end(id, action),
    cancel: () => end(id, action),
  }[action] ?? (() => act(id, action)))());
  const whole = make('span', { className: 'action' }, ...(input ? [input] : []), pressed, ...(input ? [wrong(input)] : []));
  whole.dataset.action = action;
  return whole;
}

// Where what is wrong with an input is said.
function wrong(input) {
  const said = make('span', { id: `wrong-${(inputs += 1)}`, className: 'said bad' });
  said.setAttribute('role', 'alert');
  input.setAttribute('aria-describedby', said.id);
  return said;
}

// Not to be taken back, so it is asked for twice.
async function end(id, action) {
  const asked = action[0].toUpperCase() + action.slice(1);
  if (await sure(`${asked} “${nameById(id)}”? ${FOR_GOOD[action]}`, `${asked} it`)) await act(id, action);
}

async function restock(id, input) {
  const possible = isWhole(input.value);
  refuse(input, possible ? '' : `${WHOLE_SAID} It is the new total.`);
  if (possible) await act(id, 'restock', { coupons: Number(input.value) }, input);
}

const nameById = (id) => promotions.get(id)?.row.name || id;

// Beside the sale while it is listed.
function tellOf(id, name, good, text) {
  const said = promotions.get(id)?.said;
  tell(said ?? byId('sales-said'), good, said ? text : `${name}: ${text}`);
}

async function act(id, action, body, input) {
  const name = nameById(id);
  tellOf(id, name, true, `${action}: asking…`);
  const answer = await ask(`/v1/promotions/${path(id)}/${action}`, body === undefined ? { method: 'POST' } : { body });
  const done = answer.status === 200;
  // About what was typed, or about the sale.
  const beside = input && answer.status === 400;
  if (input) refuse(input, beside ? answer.body.detail : '');
  if (done && input) input.value = '';
  if (done) await seen(answer);
  tellOf(id, name, done, done ? `${action}: it is so.` : beside ? '' : `${action}: ${words(answer)}`);
}

function refuse(input, text, focus = true) {
  input.setAttribute('aria-invalid', String(text !== ''));
  byId(input.getAttribute('aria-describedby')).textContent = text;
  if (text !== '' && focus) input.focus();
}

// A form below the sale; what was typed stays until it is accepted or put away.
function change(known, pressed) {
  const open = known.lines.rows[1];
  pressed.setAttribute('aria-expanded', String(!open));
  if (open) return open.remove();
  const { row } = known;
  const form = saleForm({
    names: row.state === 'scheduled' ? BEFORE : ['finishes_at'],
    button: 'Change it',
    values: row,
    before: true,
    send: async (body) => {
      const answer = await ask(`/v1/promotions/${path(row.id)}`, { method: 'PATCH', body });
      if (answer.status === 200) await seen(answer);
      return answer;
    },
  });
  form.setAttribute('aria-label', `Change ${row.id}`);
  known.lines.append(make('tr', { role: 'row' }, make('td', { role: 'cell', colSpan: 5 }, form)));
  form.querySelector('input').focus();
}

async function crowd(id, input, pressed) {
  const customers = Number(input.value);
  const possible = Number.isInteger(customers) && customers >= 1 && customers <= MOST;
  refuse(input, possible ? '' : `A whole number of customers, from 1 to ${MOST}.`);
  if (!possible) return;
  const name = nameById(id);
  pressed.disabled = true;
  watch(id, name);
  tellOf(id, name, true, 'crowd: it comes from this page, and ends where the page is left.');
  await sendCrowd(id, customers, (good, text) => tellOf(id, name, good, text));
  pressed.disabled = false;
}

// --- sales that are over ---

let cursor = null;
let over = [];
async function finished(more = false) {
  if (!byId('finished').open) return;
  const answer = await ask(`/v1/promotions?state=finished&limit=1000${more ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);
  if (answer.status !== 200) return;
  cursor = answer.body.next;
  // The list is in the order of the partitions.
  over = [...(more ? over : []), ...answer.body.items].sort((one, other) => new Date(other.starts_at) - new Date(one.starts_at));
  const rows = over.map((row) => make('tr', {}, make('th', { scope: 'row' }, ...nameOf(row)),
    ...[row.finish_reason.replace('_', ' '), `${row.coupons - row.remaining} of ${row.coupons}`, when(row.starts_at)]
      .map((text) => make('td', { textContent: text }))));
  byId('finished').querySelector('tbody').replaceChildren(...rows);
  byId('more-finished').hidden = cursor === null;
}
byId('finished').addEventListener('toggle', () => finished());
byId('more-finished').addEventListener('click', () => finished(true));

async function refresh() {
  const whole = await look(promotions, show);
  byId('none').hidden = promotions.size > 0 || !whole;
}

follow((_, rows) => rows.forEach(show));
await refresh();
setInterval(refresh, LOOK_MS);
