// What both pages share: asking the API, and saying so when it does not answer.

const WORDS = {
  'sold-out': 'Sold out: every coupon has been given.',
  'limit-reached': 'You hold as many coupons of this sale as one customer may.',
  'not-started': 'It has not started yet.',
  'finished': 'It is over.',
  'paused': 'It is paused. Try again once it goes on.',
  'overloaded': 'Too many people are waiting. Nothing was decided; try again in a second.',
  'unavailable': 'It takes no requests at this moment. Nothing was decided; try again.',
  'outcome-unknown': 'Nobody knows yet whether that was done. Try again: it is not done twice.',
  'invalid-identifier': 'This name cannot be used: 1 to 128 bytes without control characters.',
  'starting': 'The server is starting. Try again in a moment.',
};

// The answer as {status, body}; status 0 where nobody answers. `body` is sent as JSON, `text` as it is.
export async function ask(path, options = {}) {
  let request = null;
  // One that stands still refuses nobody, and answers nobody.
  const begun = Date.now();
  const silent = setTimeout(() => { if (heard < begun) outage(true); }, SILENT_MS);
  try {
    const { text: written, ...rest } = options;
    const sent = options.body === undefined ? { ...rest, body: written } : {
      ...rest,
      method: options.method ?? 'POST',
      headers: { 'content-type': 'application/json', ...options.headers },
      body: JSON.stringify(options.body),
    };
    request = new Request(path, sent); // which throws where a header is none
    const answer = await fetch(request);
    heard = Date.now();
    const text = await answer.text();
    let body = null;
    try { body = text === '' ? null : JSON.parse(text); } catch { body = text; }
    outage(false);
    return { status: answer.status, body };
  } catch (error) {
    if (request === null) return { status: 0, body: `This cannot be sent: ${error.message}` };
    outage(true);
    return { status: 0, body: null };
  } finally {
    clearTimeout(silent);
  }
}

const SILENT_MS = 4000;
let heard = 0; // when the server answered anything last
const SILENCE = 'The server does not answer. Nothing is known; try again.';
const AGAIN = 'The server answers again. Whether that was done is not known; try again.';

export function outage(is) {
  const banner = document.getElementById('outage');
  const over = !is && !banner.hidden;
  banner.hidden = !is;
  if (!over) return;
  for (const said of document.querySelectorAll('.said')) {
    if (said.textContent.includes(SILENCE)) said.textContent = said.textContent.replace(SILENCE, AGAIN);
  }
}

// What a problem means, for a person.
export function words({ status, body }) {
  if (status === 0 && body) return body;
  if (status === 0) return SILENCE;
  const name = String(body?.type ?? '').split(':').pop();
  const said = WORDS[name] ?? body?.title ?? `The answer was ${status}`;
  return WORDS[name] || !body?.detail ? said : `${said}. ${body.detail}`;
}

// An element with properties, attributes and children; texts stay texts.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value; else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// The newest first.
export function place(list, element, startsAt) {
  element.dataset.startsAt = startsAt ?? '';
  const later = [...list].find((other) => (other.dataset.startsAt ?? '') < element.dataset.startsAt);
  return later ?? null;
}

export function when(time) {
  return new Date(time).toLocaleString(undefined, {
    year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit',
  });
}

export function percent(discount) {
  return `${Math.round(discount * 100000) / 1000} % off`;
}

// Tells a request that is sent again from another wish.
export const newKey = () => crypto.getRandomValues(new Uint32Array(4)).join('-');

export function path(...parts) {
  return parts.map(encodeURIComponent).join('/');
}

// Calls `take` with {name, rows} for whatever is told of the sales as they go; again after an outage.
export function follow(take) {
  const events = new EventSource('/v1/live');
  events.addEventListener('all', (event) => take('all', JSON.parse(event.data)));
  events.addEventListener('message', (event) => take('some', JSON.parse(event.data)));
  events.addEventListener('open', () => outage(false));
  events.addEventListener('error', () => {
    outage(true);
    if (events.readyState === EventSource.CLOSED) {
      setTimeout(() => follow(take), 1000);
    }
  });
}

// Shows all sales that are not over, and those of `known` (id -> {row}) that have left the lists since. Whether
// all could be asked.
export async function look(known, show) {
  const seen = new Set();
  let whole = true;
  for (const state of ['active', 'paused', 'sold_out', 'scheduled']) {
    const answer = await ask(`/v1/promotions?state=${state}&limit=100`);
    whole &&= answer.status === 200;
    for (const row of answer.body?.items ?? []) {
      seen.add(row.id);
      show(row);
    }
  }
  for (const [id, { row }] of known) {
    if (whole && !seen.has(id) && row.state !== 'finished') {
      const answer = await ask(`/v1/promotions/${path(id)}`);
      if (answer.status === 200) show(answer.body);
    }
  }
  return whole;
}
