// The shop: what is on sale, one button each, and what this customer holds.
import { ask, follow, look, make, newKey, path, percent, place, when, words } from './api.js';

const REFRESH_MS = 3000;
const MOST_BYTES = 128;

const promotions = new Map(); // id -> {row, card}
const wishes = new Map(); // id -> key of what was asked for and not answered
const customer = document.getElementById('customer');
customer.value = localStorage.getItem('customer') ?? `guest-${Math.random().toString(36).slice(2, 8)}`;

function card(row) {
  const parts = {
    name: make('h3'),
    off: make('div', { className: 'off' }),
    left: make('p', { className: 'soft' }),
    bar: make('progress', { max: 1, value: 0 }),
    state: make('p'),
    grab: make('button', { type: 'button', textContent: 'Grab one' }),
    said: make('p', { className: 'said' }),
  };
  parts.said.setAttribute('role', 'status');
  parts.bar.setAttribute('aria-label', 'coupons left');
  parts.grab.addEventListener('click', () => grab(row.id, parts));
  const item = make('li', { className: 'card' }, ...Object.values(parts));
  item.dataset.id = row.id;
  return { item, ...parts };
}

function show(row) {
  let known = promotions.get(row.id);
  if (!known) {
    known = { row, card: card(row) };
    promotions.set(row.id, known);
    const list = document.getElementById('promotions');
    list.insertBefore(known.card.item, place(list.children, known.card.item, row.starts_at));
  }
  known.row = { ...known.row, ...row };
  draw(known);
  document.getElementById('none').hidden = promotions.size > 0;
}

function draw({ row, card }) {
  card.name.textContent = row.name || row.id;
  card.off.textContent = percent(row.discount ?? 0);
  card.left.textContent = `${row.remaining} of ${row.coupons} left`;
  card.bar.max = row.coupons || 1;
  card.bar.value = row.remaining;
  card.bar.textContent = card.left.textContent;
  card.state.textContent = state(row);
  card.grab.disabled = row.state !== 'active';
  card.grab.setAttribute('aria-label', `Grab one of ${row.name || row.id}`);
}

function state(row) {
  switch (row.state) {
    case 'scheduled': return `Starts ${countdown(row.starts_at)}`;
    case 'active': return row.finishes_at ? `On sale, ends ${countdown(row.finishes_at)}` : 'On sale';
    case 'paused': return 'Paused by the operator';
    case 'sold_out': return 'Sold out; it may be restocked';
    default: return row.finish_reason === 'sold_out' ? 'Over: sold out' : 'Over';
  }
}

function countdown(time) {
  const seconds = Math.ceil((new Date(time) - Date.now()) / 1000);
  if (seconds <= 0) return 'at any moment';
  if (seconds > 86400) return when(time);
  const two = (number) => String(number).padStart(2, '0');
  return `in ${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

async function grab(id, { grab, said }) {
  said.textContent = '';
  if (!named()) return;
  grab.disabled = true;
  said.className = 'said';
  said.textContent = 'Asking…';
  const answer = await ask(`/v1/promotions/${path(id)}/grabs`, { body: { customer_id: customer.value }, headers: wish(id) });
  if (answer.status === 201 || answer.status === 200 || answer.status === 409) wishes.delete(id);
  if (answer.status === 201 || answer.status === 200) {
    const { coupon_id, position } = answer.body;
    said.className = 'said good';
    said.textContent = answer.status === 201
      ? `Yours for ever: coupon ${coupon_id}.` : `You had it already: coupon ${coupon_id}.`;
    await mine(position);
  } else {
    said.className = 'said bad';
    said.textContent = words(answer);
  }
  grab.disabled = promotions.get(id)?.row.state !== 'active';
}

// Where a customer may have several, a key makes pressing again after no answer the same wish.
function wish(id) {
  if ((promotions.get(id)?.row.limit_per_customer ?? 1) < 2) return {};
  if (!wishes.has(id)) wishes.set(id, newKey());
  return { 'idempotency-key': wishes.get(id) };
}

// Whether there is a name to ask with.
function named() {
  const missing = customer.value.trim() === '';
  const long = new TextEncoder().encode(customer.value).length > MOST_BYTES;
  customer.setAttribute('aria-invalid', String(missing || long));
  document.getElementById('customer-said').textContent = missing ? 'Say who you are first.'
    : long ? `At most ${MOST_BYTES} bytes: letters beyond a to z take two or more.` : '';
  if (missing || long) customer.focus();
  return !missing && !long;
}

async function mine(after) {
  const name = customer.value;
  if (name.trim() === '') return;
  const query = after ? `?limit=100&after=${encodeURIComponent(after)}` : '?limit=100';
  const answer = await ask(`/v1/customers/${path(name)}/coupons${query}`);
  if (answer.status !== 200 || customer.value !== name) return;
  const rows = answer.body.items.map((coupon) => make('tr', {},
    make('td', { textContent: coupon.id }),
    make('td', { textContent: promotions.get(coupon.promotion_id)?.row.name || coupon.promotion_id }),
    make('td', { textContent: percent(coupon.discount) }),
    make('td', { textContent: when(coupon.grabbed_at) }),
    make('td', {}, make('a', {
      href: `/v1/events?from=${encodeURIComponent(coupon.position)}&to=${encodeURIComponent(coupon.position)}`,
      textContent: coupon.position,
    })),
  ));
  const table = document.getElementById('coupons');
  table.tBodies[0].replaceChildren(...rows);
  table.hidden = rows.length === 0;
  document.getElementById('no-coupons').hidden = rows.length > 0;
}

// What is announced or stands still is in no live event.
async function refresh() {
  const whole = await look(promotions, show);
  document.getElementById('none').hidden = promotions.size > 0 || !whole;
}

customer.addEventListener('change', () => {
  // What was said was said to somebody else.
  promotions.forEach(({ card }) => { card.said.textContent = ''; });
  document.getElementById('coupons').tBodies[0].replaceChildren(); // they were another one's
  document.getElementById('coupons').hidden = true;
  if (!named()) return;
  localStorage.setItem('customer', customer.value);
  mine();
});
localStorage.setItem('customer', customer.value);
follow((_, rows) => rows.forEach((row) => {
  if (promotions.has(row.id)) show(row); else refresh();
}));
await refresh();
await mine();
setInterval(refresh, REFRESH_MS);
setInterval(() => promotions.forEach(draw), 500);
