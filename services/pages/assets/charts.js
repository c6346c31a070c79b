// How one sale goes, second by second: what was answered, how fast, and what is left.
import { ask, path } from './api.js';

const SECONDS = 120;
const HEIGHT = 160;
const COLOURS = { granted: '#2e7d4f', refused: '#c2571a', failed: '#8e24aa', repeated: '#3f6fb5' };

const byId = (id) => document.getElementById(id);
let sale = null; // {id, name, left: [[time, remaining]]}

function plot(id, colours) {
  const axis = { stroke: '#888', grid: { stroke: '#8883' } };
  const clock = (_, times) => times.map((time) => new Date(time * 1000).toTimeString().slice(0, 8));
  const drawn = new globalThis.uPlot({
    width: byId(id).clientWidth || 320,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { y: { range: (_, low, high) => [0, Math.max(5, high * 1.1)] } },
    series: [{}, ...colours.map((colour) => ({ stroke: colour, fill: `${colour}22`, width: 2, spanGaps: false, points: { show: id === 'latency', size: 4 } }))],
    axes: [{ ...axis, values: clock, space: 70 }, { ...axis, size: 60 }],
  }, [[], ...colours.map(() => [])], byId(id));
  addEventListener('resize', () => drawn.setSize({ width: byId(id).clientWidth, height: HEIGHT }));
  return drawn;
}
const plots = {
  answers: plot('answers', [COLOURS.granted, COLOURS.refused, COLOURS.failed, COLOURS.repeated]),
  latency: plot('latency', [COLOURS.granted, COLOURS.refused]),
  remaining: plot('remaining', [COLOURS.granted]),
};

export const watched = () => sale?.id ?? null;

export function watch(id, name) {
  if (sale?.id !== id) sale = { id, name, left: [] };
  byId('watched').textContent = `Live: ${name}`;
  draw();
}

// Takes note of what is left of a sale.
export function remaining(id, left) {
  if (sale?.id !== id || left === undefined) return;
  sale.left.push([Date.now() / 1000, left]);
  if (sale.left.length > 2000) sale.left.shift();
}

async function draw() {
  if (sale === null) return;
  const { id, left } = sale;
  const answer = await ask(`/v1/promotions/${path(id)}/traffic`);
  if (answer.status !== 200 || sale.id !== id) return;
  const seconds = new Map(answer.body.seconds.map((second) => [new Date(second.second).getTime() / 1000, second]));
  // By the server's clock. The second that is still counted would look like a drop.
  const last = new Date(answer.body.now).getTime() / 1000 - 1;
  const times = Array.from({ length: SECONDS }, (_, index) => last - SECONDS + 1 + index);
  const of = (take, none) => times.map((time) => (seconds.has(time) ? take(seconds.get(time)) : none));
  const counts = ['granted', 'refused', 'failed', 'repeated'].map((name) => of((second) => second[name], 0));
  plots.answers.setData([times, ...counts]);
  plots.latency.setData([times, of((second) => second.p50_ms, null), of((second) => second.p99_ms, null)]);
  const now = Date.now() / 1000;
  const recent = left.filter(([time]) => time > now - SECONDS);
  plots.remaining.setData([[now - SECONDS, ...recent.map(([time]) => time), now],
    [null, ...recent.map(([, count]) => count), left.at(-1)?.[1] ?? null]]);
  tellNow(seconds.get(last), left.at(-1)?.[1]);
}

function tellNow(second, left) {
  const answered = second
    ? `${second.granted} granted, ${second.refused} refused, ${second.repeated} repeated and ${second.failed} failed in the last second; `
      + `half took at most ${second.p50_ms.toFixed(1)} ms, 99 of 100 at most ${second.p99_ms.toFixed(1)} ms`
    : 'No grabs in the last second';
  byId('now').textContent = `${answered}${left === undefined ? '' : `; ${left} left`}.`;
}

setInterval(draw, 1000);
