// How the system is: who owns what, how far the views are, rebuilds, and what cannot be read.
import { ask, make, words } from './api.js';
import { sure } from './dialog.js';
import { tell } from './form.js';

const LOOK_MS = 2000;
const STEPS = {
  preparing: [], building: ['pause', 'abort'], paused: ['resume', 'abort'], comparing: ['abort'],
  built: ['switch', 'abort'], switching: [], switched: ['undo', 'drop'], undoing: [], undone: ['switch', 'drop'],
  dropping: [],
};
const FOR_GOOD = {
  abort: 'The rebuild ends, and its new tables are deleted.', drop: 'The tables that nobody reads now are deleted: no way back to them.',
};
const byId = (id) => document.getElementById(id);

async function lookAtSystem() {
  await Promise.all([readiness(), partitions(), rebuilds(), quarantine()]);
}

async function readiness() {
  const { status, body } = await ask('/readyz');
  const parts = Object.entries(body?.not_ready ?? {}).map(([part, why]) => `${part}: ${why}`);
  byId('not-ready').hidden = status === 0 || parts.length === 0;
  const text = `Not everything can work now. ${parts.join('; ')}.`;
  // Setting it again would have it read out again.
  if (byId('not-ready').textContent !== text) byId('not-ready').textContent = text;
}

async function partitions() {
  const [progress, owners] = await Promise.all([ask('/v1/progress'), ask('/v1/owners')]);
  if (progress.status !== 200) return;
  byId('partitions').tBodies[0].replaceChildren(...progress.body.map((reached) => {
    const owner = owners.status === 200 ? owners.body[reached.partition] : null;
    const behind = reached.lag_seconds ? `${reached.lag_records}, ${reached.lag_seconds.toFixed(1)} s` : reached.lag_records;
    const cells = [owner?.node ?? '', owner?.term ?? '', reached.end, reached.next_offset, behind, reached.stopped ?? ''];
    return make('tr', {}, make('th', { scope: 'row', textContent: String(reached.partition) }),
      ...cells.map((text) => make('td', { textContent: String(text) })));
  }));
}

let steps = null;
async function rebuilds() {
  const { status, body } = await ask('/v1/rebuild');
  if (status !== 200) return;
  const { rebuild, partitions: reached, records_per_second: speed, seconds_left: left } = body;
  const all = reached.reduce((sum, { end }) => sum + end, 0);
  const done = reached.reduce((sum, { next_offset: next }) => sum + next, 0);
  byId('rebuild-bar').hidden = all === 0;
  byId('rebuild-bar').value = all === 0 ? 0 : done / all;
  byId('rebuild').textContent = rebuild === null ? 'There is no rebuild.' : [
    `Rebuild ${rebuild.number} is ${rebuild.phase}`,
    all > 0 ? `${Math.floor((100 * done) / all)} %` : '',
    speed ? `${Math.round(speed)} records/s` : '',
    speed && left ? `about ${Math.ceil(left)} s left` : '',
    rebuild.comparison ? `${rebuild.comparison.different} differences` : '',
  ].filter(Boolean).join(', ') + '.';
  offer(rebuild === null ? ['start'] : STEPS[rebuild.phase] ?? []);
}

function offer(possible) {
  if (possible.join() === steps) return;
  steps = possible.join();
  byId('rebuild-steps').replaceChildren(...possible.map((step) => {
    const pressed = make('button', { type: 'button', className: 'plain', textContent: step });
    pressed.setAttribute('aria-label', `${step} the rebuild`);
    pressed.addEventListener('click', async () => {
      if (FOR_GOOD[step] && !(await sure(`${step}? ${FOR_GOOD[step]}`, `${step} the rebuild`))) return;
      const answer = step === 'start'
        ? await ask('/v1/rebuild', { body: {} }) : await ask(`/v1/rebuild/${step}`, { method: 'POST' });
      const good = answer.status === 202;
      tell(byId('rebuild-said'), good, good ? '' : words(answer));
      await rebuilds();
    });
    return pressed;
  }));
}

async function quarantine() {
  const list = await ask('/v1/quarantine');
  if (list.status !== 200) return;
  byId('quarantine').textContent = `${list.body.unreadable} records cannot be read, ${list.body.skipped} were skipped.`;
  byId('quarantined').replaceChildren(...list.body.records.slice(0, 20).map((record) => make('li', {
    textContent: record.skipped
      ? `${record.position}: skipped by ${record.skipped.by}: ${record.skipped.reason}`
      : `${record.position}: ${record.why}`,
  })));
}

// One look after another, and nothing waits for them.
async function keepLooking() {
  await lookAtSystem().catch(() => {});
  setTimeout(keepLooking, LOOK_MS);
}
keepLooking();
