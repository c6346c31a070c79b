// The log, record by record: events that count and those that do not, and who took a partition over.
import { ask, make, words } from './api.js';
import { show, tell } from './form.js';

const PAGE = 50;
const byId = (id) => document.getElementById(id);
const form = byId('log');
let last = null; // the position of the last record that is shown

async function look(from) {
  const asked = new URLSearchParams({ void: 'true', fences: 'true', limit: PAGE });
  const promotion = form.elements.promotion.value.trim();
  if (from) asked.set('from', from);
  if (promotion) asked.set('promotion', promotion);
  const answer = await ask(`/v1/events?${asked}`);
  if (answer.status !== 200) {
    const field = /^promotion\b/.test(answer.body?.detail ?? '') ? 'promotion' : 'from';
    show(form, answer.status === 400 ? { [field]: answer.body.detail } : {});
    return tell(byId('log-said'), false, answer.status === 400 ? '' : words(answer));
  }
  show(form, {});
  draw(typeof answer.body === 'string' ? answer.body.trim().split('\n').filter(Boolean).map((line) => JSON.parse(line))
    : [answer.body].filter(Boolean));
}

function draw(records) {
  const rows = records.map(({ position, at, type, promotion_id: promotion, term, seq, void: isVoid, ...details }) => {
    const what = isVoid ? `${type}, void: its owner had been deposed` : type;
    const cells = [position, at ?? '', what, promotion ?? '', inWords(details), seq === undefined ? term ?? '' : `${term}, ${seq}`];
    return make('tr', { className: isVoid ? 'void' : type === 'fence' ? 'fence' : '' },
      ...cells.map((text) => make('td', { textContent: String(text) })));
  });
  byId('records').tBodies[0].replaceChildren(...rows);
  byId('records').hidden = rows.length === 0;
  last = records.at(-1)?.position ?? null;
  // Records of several partitions have no one position to go on from.
  const one = new Set(records.map(({ position }) => position.split(':')[0])).size === 1;
  byId('log-next').disabled = !(one && records.length === PAGE);
  tell(byId('log-said'), true, rows.length === 0 ? 'There are no such records.' : '');
}

const inWords = (details) => Object.entries(details).map(([name, value]) => `${name}: ${value}`).join(', ');

form.addEventListener('submit', (event) => {
  event.preventDefault();
  const from = form.elements.from.value.trim();
  look(from || (form.elements.promotion.value.trim() ? '' : '0:0'));
});
byId('log-next').addEventListener('click', () => {
  const [partition, offset] = last.split(':').map(Number);
  form.elements.from.value = `${partition}:${offset + 1}`;
  look(form.elements.from.value);
});
