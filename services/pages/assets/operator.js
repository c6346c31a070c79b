// The operator's console: open sales, change how they go, and see how the system is.
import { ask, follow, look, make, path, words } from './api.js';

const LOOK_MS = 2000;
const SECONDS = 120;
const STEPS = {
  preparing: [], building: ['pause', 'abort'], paused: ['resume', 'abort'], comparing: ['abort'],
  built: ['switch', 'abort'], switching: [], switched: ['undo', 'drop'], undoing: [], undone: ['switch', 'drop'],
  dropping: [],
};
const ACTIONS = {
  scheduled: ['cancel'],
  active: ['pause', 'restock', 'finish'],
  paused: ['resume', 'restock', 'finish'],
  sold_out: ['restock', 'finish'],
};

const byId = (id) => document.getElementById(id);
const promotions = new Map(); // id -> {row, parts}
let charted = null;
let drawn = { id: null }; // of which sale, from which page on, and what was granted when

// --- opening a sale ---

byId('offer').addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = event.target;
  const fields = new FormData(form);
  const body = { discount: Number(fields.get('discount')) / 100 };
  for (const name of ['coupons', 'limit_per_customer']) body[name] = Number(fields.get(name));
  for (const name of ['id', 'name']) if (fields.get(name)) body[name] = fields.get(name);
  for (const name of ['starts_at', 'finishes_at']) {
    if (fields.get(name)) body[name] = new Date(fields.get(name)).getTime();
  }
  const answer = await ask('/v1/promotions', { body });
  const done = answer.status === 201 || answer.status === 200;
  const wrong = done ? null : fieldOf(answer);
  for (const input of form.querySelectorAll('input')) {
    input.setAttribute('aria-invalid', String(input.name === wrong));
  }
  say('offer-said', done, done ? `Opened as ${answer.body.id}.` : words(answer));
  if (wrong) form.elements[wrong].focus();
  if (done) {
    form.elements.id.value = '';
    charted = answer.body.id;
    await refresh();
  }
});

// The field that a refusal is about, by its words.
function fieldOf({ body }) {
  const names = ['coupons', 'discount', 'limit_per_customer', 'starts_at', 'finishes_at', 'name', 'id'];
  return names.find((name) => new RegExp(`\\b${name}\\b`).test(body?.detail ?? '')) ?? null;
}

function say(id, good, text) {
  byId(id).className = `said ${good ? 'good' : 'bad'}`;
  byId(id).textContent = text;
}

// --- sales ---

function show(row) {
  let known = promotions.get(row.id);
  if (row.state === 'finished') {
    known?.parts.line.remove();
    promotions.delete(row.id);
  } else if (known) {
    known.row = { ...known.row, ...row };
    draw(known);
  } else {
    const cells = Array.from({ length: 5 }, () => make('td'));
    known = { row, drawn: null, parts: { line: make('tr', {}, ...cells), cells } };
    promotions.set(row.id, known);
    byId('promotions').tBodies[0].append(known.parts.line);
    charted ??= row.id;
    draw(known);
  }
  byId('promotions').hidden = promotions.size === 0;
  byId('none').hidden = promotions.size > 0;
}

function draw(known) {
  const { row, parts: { cells: [name, state, left, granted, actions] } } = known;
  const choose = make('button', { type: 'button', className: 'plain', textContent: row.name || row.id });
  choose.setAttribute('aria-label', `Chart of ${row.name || row.id}`);
  choose.addEventListener('click', () => { charted = row.id; chart(); });
  if (known.drawn === null) name.replaceChildren(choose);
  state.textContent = row.state.replace('_', ' ');
  left.textContent = `${row.remaining} of ${row.coupons}`;
  granted.textContent = String(row.coupons - row.remaining);
  if (known.drawn !== row.state) {
    known.drawn = row.state;
    actions.replaceChildren(...(ACTIONS[row.state] ?? []).map((action) => button(row.id, action)));
  }
}

function button(id, action) {
  const pressed = make('button', { type: 'button', className: 'plain', textContent: action });
  pressed.setAttribute('aria-label', `${action} ${id}`);
  if (action !== 'restock') {
    pressed.addEventListener('click', () => act(id, action));
    return make('span', {}, pressed, ' ');
  }
  const total = make('input', { size: 8 });
  total.setAttribute('aria-label', `New total of coupons of ${id}`);
  total.setAttribute('inputmode', 'numeric');
  total.placeholder = 'new total';
  pressed.addEventListener('click', () => act(id, action, { coupons: Number(total.value) }, total));
  return make('span', {}, total, ' ', pressed, ' ');
}

async function act(id, action, body, input) {
  const options = body === undefined ? { method: 'POST' } : { body };
  const answer = await ask(`/v1/promotions/${path(id)}/${action}`, options);
  const done = answer.status === 200;
  input?.setAttribute('aria-invalid', String(!done));
  say('sales-said', done, done ? `${action}: done for ${id}.` : `${action} of ${id}: ${words(answer)}`);
  if (done) {
    if (input) input.value = '';
    const now = await ask(`/v1/promotions/${path(id)}?after=${encodeURIComponent(answer.body.position)}`);
    if (now.status === 200) show(now.body);
  }
}

async function refresh() {
  const whole = await look(promotions, show);
  byId('none').hidden = promotions.size > 0 || !whole;
}

// --- the chart ---

const plot = new globalThis.uPlot({
  width: byId('chart').clientWidth || 600,
  height: 200,
  legend: { show: false },
  scales: { y: { range: (_, low, high) => [0, Math.max(5, high)] } },
  series: [{}, { label: 'granted', stroke: '#b3261e', fill: '#b3261e33', width: 2 }],
  axes: [{ stroke: '#888' }, { stroke: '#888' }],
}, [[], []], byId('chart'));
addEventListener('resize', () => plot.setSize({ width: byId('chart').clientWidth, height: 200 }));

async function chart() {
  if (charted === null) return;
  if (drawn.id !== charted) drawn = { id: charted, cursor: null, granted: new Map() };
  const { granted } = drawn;
  // Pages that are full do not change.
  for (let next = drawn.cursor; ; ) {
    const cursor = next === null ? '' : `&cursor=${encodeURIComponent(next)}`;
    const answer = await ask(`/v1/promotions/${path(drawn.id)}/timeline?limit=1000${cursor}`);
    if (answer.status !== 200) return;
    for (const { second, granted: count } of answer.body.items) {
      granted.set(new Date(second).getTime() / 1000, count);
    }
    if (answer.body.next === null) break;
    next = drawn.cursor = answer.body.next;
  }
  const last = Math.floor(Date.now() / 1000);
  const times = Array.from({ length: SECONDS }, (_, index) => last - SECONDS + 1 + index);
  plot.setData([times, times.map((time) => granted.get(time) ?? 0)]);
  const row = promotions.get(charted)?.row;
  byId('chart-title').textContent = `Granted per second: ${row?.name || charted}`;
}

// --- the system ---

async function lookAtSystem() {
  const progress = await ask('/v1/progress');
  if (progress.status === 200) {
    byId('partitions').tBodies[0].replaceChildren(...progress.body.map((reached) => make('tr', {},
      ...[reached.partition, reached.end, reached.next_offset, reached.lag_records, reached.stopped ?? '']
        .map((text) => make('td', { textContent: String(text) })))));
  }
  const { status, body } = await ask('/v1/rebuild');
  if (status === 200) rebuild(body);
  const list = await ask('/v1/quarantine');
  if (list.status === 200) {
    byId('quarantine').textContent = `${list.body.unreadable} records cannot be read, ${list.body.skipped} were skipped.`;
    byId('quarantined').replaceChildren(...list.body.records.slice(0, 20).map((record) => make('li', {
      textContent: record.skipped
        ? `${record.position}: skipped by ${record.skipped.by}: ${record.skipped.reason}`
        : `${record.position}: ${record.why}`,
    })));
  }
}

let steps = '';
function rebuild({ rebuild, partitions, records_per_second: speed }) {
  const all = partitions.reduce((sum, reached) => sum + reached.end, 0);
  const done = partitions.reduce((sum, reached) => sum + reached.next_offset, 0);
  byId('rebuild').textContent = rebuild === null ? 'There is no rebuild.'
    : `Rebuild ${rebuild.number} is ${rebuild.phase}${all > 0 ? `, ${Math.floor(100 * done / all)} %` : ''}`
      + `${speed ? `, ${Math.round(speed)} records/s` : ''}.`
      + `${rebuild.comparison ? ` ${rebuild.comparison.different} differences.` : ''}`;
  const possible = rebuild === null ? ['start'] : STEPS[rebuild.phase] ?? [];
  if (possible.join() === steps) return;
  steps = possible.join();
  byId('rebuild-steps').replaceChildren(...possible.map((step) => {
    const pressed = make('button', { type: 'button', className: 'plain', textContent: step });
    pressed.setAttribute('aria-label', `${step} the rebuild`);
    pressed.addEventListener('click', async () => {
      const answer = step === 'start'
        ? await ask('/v1/rebuild', { body: {} }) : await ask(`/v1/rebuild/${step}`, { method: 'POST' });
      const good = answer.status === 202;
      say('rebuild-said', good, good ? `${step}: begun.` : words(answer));
      await lookAtSystem();
    });
    return pressed;
  }));
}

follow((_, rows) => rows.forEach(show));
await refresh();
await Promise.all([lookAtSystem(), chart()]);
setInterval(refresh, LOOK_MS);
setInterval(lookAtSystem, LOOK_MS);
setInterval(chart, 1000);
