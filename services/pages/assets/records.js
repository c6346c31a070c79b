// The log, record by record: events that count and those that do not, and who took a partition over.
import { ask, make, words } from './api.js';
import { show, tell } from './form.js';

const PAGE = 50;
const byId = (id) => document.getElementById(id);
const form = byId('log');
let shown = null; // what was asked for, and the position of the last record that is shown

async function look(from, promotion, goesOn = false) {
  const asked = new URLSearchParams({ void: 'true', fences: 'true', limit: PAGE });
  if (from) asked.set('from', from);
  if (promotion) asked.set('promotion', promotion);
  const answer = await ask(`/v1/events?${asked}`);
  // The last page was full to its end.
  if (goesOn && answer.status === 400) return draw([], null);
  if (answer.status !== 200) {
    const field = /^promotion\b/.test(answer.body?.detail ?? '') ? 'promotion' : 'from';
    show(form, answer.status === 400 ? { [field]: answer.body.detail } : {});
    byId('records').hidden = true; // they are no answer to this
    return tell(byId('log-said'), false, answer.status === 400 ? '' : words(answer));
  }
  show(form, {});
  // Of one partition there is a position to go on from.
  const one = promotion !== '' || /^\d+:\d+$/.test(from);
  draw(typeof answer.body === 'string' ? answer.body.trim().split('\n').filter(Boolean).map((line) => JSON.parse(line))
    : [answer.body].filter(Boolean), one ? { promotion } : null);
}

function draw(records, asked) {
  const rows = records.map(({ position, at, type, promotion_id: promotion, term, seq, void: isVoid, ...details }) => {
    const what = isVoid ? `${type}, void: its owner had been deposed` : type;
    const cells = [position, at ?? '', what, promotion ?? '', inWords(details), seq === undefined ? term ?? '' : `${term}, ${seq}`];
    return make('tr', { className: isVoid ? 'void' : type === 'fence' ? 'fence' : '' },
      ...cells.map((text) => make('td', { textContent: String(text) })));
  });
  byId('records').tBodies[0].replaceChildren(...rows);
  byId('records').hidden = rows.length === 0;
  shown = asked && records.length === PAGE ? { ...asked, last: records.at(-1).position } : null;
  byId('log-next').disabled = shown === null;
  tell(byId('log-said'), true, rows.length === 0 ? asked?.promotion ? 'There are no records of such a sale. A sale is named by its id.' : 'There are no such records.'
    : records.length === PAGE && shown === null ? `The first ${PAGE}, by time. A position or a promotion gives the rest, page by page.` : '');
}

const inWords = (details) => Object.entries(details).map(([name, value]) => `${name}: ${value}`).join(', ');

form.addEventListener('submit', (event) => {
  event.preventDefault();
  const promotion = form.elements.promotion.value.trim();
  look(form.elements.from.value.trim(), promotion);
});
byId('log-next').addEventListener('click', () => {
  const [partition, offset] = shown.last.split(':').map(Number);
  form.elements.from.value = `${partition}:${offset + 1}`;
  look(form.elements.from.value, shown.promotion, true);
});
