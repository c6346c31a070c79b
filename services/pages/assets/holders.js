// Who holds the coupons of a sale, in the order in which they were granted.
import { ask, make, path, when, words } from './api.js';

const PAGE = 100;
const byId = (id) => document.getElementById(id);
let shown = null; // {id, cursor}

export async function showHolders(id, name) {
  byId('holders-title').textContent = `Who holds what: ${name}`;
  byId('holders').tBodies[0].replaceChildren();
  shown = { id, cursor: null };
  await more();
  byId('holders-title').scrollIntoView({ block: 'nearest' });
}

async function more() {
  const asked = shown;
  const { id, cursor } = asked;
  byId('more-holders').disabled = true;
  const after = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`;
  const answer = await ask(`/v1/promotions/${path(id)}/coupons?limit=${PAGE}${after}`);
  if (shown !== asked) return; // another sale, or the same once more, was asked for since
  byId('more-holders').disabled = false;
  const good = answer.status === 200;
  if (good) {
    shown.cursor = answer.body.next;
    byId('holders').tBodies[0].append(...answer.body.items.map((coupon) => make('tr', {},
      make('th', { scope: 'row', textContent: coupon.id }),
      ...[coupon.customer_id, when(coupon.grabbed_at), coupon.position].map((text) => make('td', { textContent: text })))));
  }
  const rows = byId('holders').tBodies[0].rows.length;
  byId('holders').hidden = rows === 0;
  byId('holders-none').hidden = good && rows > 0;
  byId('holders-none').textContent = good ? 'Nobody holds a coupon of it yet.' : words(answer);
  byId('more-holders').hidden = shown.cursor === null;
}
byId('more-holders').addEventListener('click', more);
