// The API as /openapi.json describes it, and a form to try each operation.
import { ask, make, words } from './api.js';

let api = null;

const resolve = (schema) => (schema?.$ref
  ? schema.$ref.split('/').slice(1).reduce((part, name) => part[name], api) : schema ?? {});
const nameOf = (schema) => schema?.$ref?.split('/').pop();

// A schema in words.
function kind(schema) {
  if (nameOf(schema)) return nameOf(schema);
  const several = schema.oneOf ?? schema.anyOf;
  if (several) return several.map(kind).join(' or ');
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(', ');
  if (schema.items) return `list of ${kind(schema.items)}`;
  const types = [schema.type ?? 'anything'].flat().join(' or ');
  const from = schema.minimum ?? (schema.exclusiveMinimum === undefined ? undefined : `more than ${schema.exclusiveMinimum}`);
  const range = [from, schema.maximum].filter((bound) => bound !== undefined).join(' to ');
  return [types, schema.format, range].filter(Boolean).join(', ');
}

// The fields of an object, those of its parts included.
function fieldsOf(schema) {
  const whole = resolve(schema);
  const own = Object.entries(whole.properties ?? {}).map(([name, field]) => [name, field, whole.required?.includes(name)]);
  return [...own, ...(whole.allOf ?? []).flatMap(fieldsOf)];
}

// What a request could look like: the examples of the fields that must be there or have one.
function example(schema) {
  const given = fieldsOf(schema).filter(([, field, needed]) => needed || field.example !== undefined);
  return Object.fromEntries(given.map(([name, field]) => [name, field.example ?? '']));
}

// Text in which `words` are code.
const marked = (text) => String(text ?? '').split('`').map((part, index) => (index % 2 ? make('code', { textContent: part }) : part));

function table(caption, heads, rows) {
  return make('div', { className: 'wide' }, make('table', {}, make('caption', { textContent: caption }),
    make('thead', {}, make('tr', {}, ...heads.map((text) => make('th', { scope: 'col', textContent: text })))),
    make('tbody', {}, ...rows.map((cells) => make('tr', {}, ...cells.map((text) => make('td', {}, ...marked(text))))))));
}

function bodyFields(schema) {
  return table('Fields of the body', ['Field', 'Kind', 'Meaning'], fieldsOf(schema).map(([name, field, needed]) =>
    [needed ? `${name} (must be there)` : name, kind(field), resolve(field).description]));
}

function answers(responses) {
  return table('Answers', ['Status', 'Body', 'Meaning'], Object.entries(responses).map(([status, { description, content }]) =>
    [status, Object.entries(content ?? {}).map(([type, { schema }]) => kind(schema ?? {}) + (type.includes('json') && !type.includes('ndjson') ? '' : ` as ${type}`)).join('; '), description]));
}

function form(method, path, operation) {
  // What is followed does not end, and a form would wait.
  const parameters = (operation.parameters ?? []).filter(({ name }) => name !== 'follow');
  const schema = operation.requestBody?.content?.['application/json']?.schema;
  const inputs = parameters.map((parameter) => {
    const input = make('input', { name: parameter.name, autocomplete: 'off' });
    if (parameter.name === 'limit') input.value = '50';
    if (parameter.in === 'path') input.value = parameter.example ?? parameter.schema?.enum?.[0] ?? '';
    return make('label', { textContent: `${parameter.name} (${parameter.in}) ` }, input);
  });
  const body = schema && make('textarea', { rows: 6, spellcheck: false, value: JSON.stringify(example(schema), null, 2) });
  const said = make('pre', { tabIndex: 0, hidden: true });
  said.setAttribute('aria-label', 'Answer');
  const send = make('button', { textContent: 'Send it' });
  const tried = make('form', {}, make('div', { className: 'row' }, ...inputs),
    ...(body ? [make('label', { textContent: 'Body ' }, body)] : []), make('p', {}, send), said);
  tried.addEventListener('submit', async (event) => {
    event.preventDefault();
    const given = new FormData(tried);
    const asked = (place) => parameters.filter((parameter) => parameter.in === place && given.get(parameter.name));
    const query = new URLSearchParams(asked('query').map(({ name }) => [name, given.get(name)])).toString();
    const url = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(given.get(name))) + (query && `?${query}`);
    const headers = Object.fromEntries(asked('header').map(({ name }) => [name, given.get(name)]));
    if (body) headers['content-type'] = 'application/json';
    said.hidden = false;
    said.textContent = 'Asking…';
    const answer = await ask(url, { method: method.toUpperCase(), headers, ...(body ? { text: body.value } : {}) });
    const told = typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body, null, 2);
    said.textContent = answer.status === 0 ? words(answer) : `${answer.status}\n${told}`;
  });
  return tried;
}

// Events go on for ever: a browser shows them, a form would wait.
const endless = (operation) => Object.keys(operation.responses[200]?.content ?? {}).includes('text/event-stream');

function section(method, path, operation) {
  const schema = operation.requestBody?.content?.['application/json']?.schema;
  const parameters = operation.parameters ?? [];
  return make('details', { id: operation.operationId, className: 'card' },
    make('summary', {}, make('code', { textContent: `${method.toUpperCase()} ${path}` }), ` ${operation.summary}`),
    ...(operation.description ? [make('p', {}, ...marked(operation.description))] : []),
    ...(parameters.length > 0 ? [table('Parameters', ['Name', 'In', 'Kind', 'Meaning'], parameters.map((parameter) =>
      [parameter.name, parameter.in, kind(parameter.schema), parameter.description]))] : []),
    ...(schema ? [bodyFields(schema)] : []),
    answers(operation.responses),
    endless(operation) ? make('p', { textContent: 'Try it with curl -N: the answer does not end.' }) : form(method, path, operation));
}

async function show() {
  const answer = await ask('/openapi.json');
  if (answer.status !== 200) return setTimeout(show, 2000);
  api = answer.body;
  const all = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method, path, operation })));
  document.getElementById('about').textContent = `Version ${api.info.version}. ${api.info.description}`;
  document.getElementById('operations').replaceChildren(...api.tags.flatMap(({ name, description }) => {
    const own = all.filter(({ operation }) => operation.tags.includes(name));
    return own.length === 0 ? [] : [make('h2', { textContent: name }), make('p', { className: 'soft', textContent: description }),
      ...own.map(({ method, path, operation }) => section(method, path, operation))];
  }));
  const wanted = document.getElementById(location.hash.slice(1));
  if (wanted) { wanted.open = true; wanted.scrollIntoView(); }
}

await show();
