#!/usr/bin/env node
// Every route of api/openapi.json is called and its answer held against the document; every route of the server is in it.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const { execFileSync } = require('child_process');
const { test, run, Server, root, bin, Subscriber, until } = require('./lib.js');
const { document } = require('./openapi.js');

const doc = JSON.parse(fs.readFileSync(path.join(root, 'api', 'openapi.json'), 'utf8'));
let server, revision;

// What the document uses of JSON Schema.
function check(schema, value, at) {
  if (schema.$ref) return check(doc.components.schemas[schema.$ref.split('/').pop()], value, at);
  if (schema.enum) return assert(schema.enum.includes(value), `${at}: ${value} is none of ${schema.enum}`);
  switch (schema.type) {
    case 'integer': assert(Number.isInteger(value), `${at}: ${JSON.stringify(value)} is no integer`); if (schema.minimum !== undefined) assert(value >= schema.minimum, at); break;
    case 'number': assert.strictEqual(typeof value, 'number', at); break;
    case 'boolean': assert.strictEqual(typeof value, 'boolean', at); break;
    case 'string': assert.strictEqual(typeof value, 'string', at); if (schema.format === 'byte') assert.match(value, /^[A-Za-z0-9+/]*={0,2}$/, at); break;
    case 'array': assert(Array.isArray(value), at); value.forEach((v, i) => check(schema.items, v, `${at}[${i}]`)); break;
    case 'object':
      assert(value && typeof value === 'object' && !Array.isArray(value), at);
      for (const [k, v] of Object.entries(value)) {
        const known = (schema.properties || {})[k] || (typeof schema.additionalProperties === 'object' && schema.additionalProperties);
        assert(known || schema.additionalProperties !== false, `${at}.${k} is not in the document`);
        if (known) check(known, v, `${at}.${k}`);
      }
      break;
    default: assert.fail(`${at}: a schema without a type`);
  }
}

const item = 'shop/prod/item/x', n = (x) => ({ body: x === undefined ? undefined : JSON.stringify(x) });
const calls = {
  'get /v1/resources': { url: '/v1/resources?prefix=shop&content=true' },
  'get /v1/resources/{id}': { url: `/v1/resources/${item}` },
  'put /v1/resources/{id}': { url: '/v1/resources/shop/prod/item/y?message=m&dry_run=false', body: '{"a":1}' },
  'delete /v1/resources/{id}': { url: '/v1/resources/shop/prod/item/z' },
  'get /v1/contents/{id}': { url: `/v1/contents/${item}`, text: '2' },
  'post /v1/commits': { url: '/v1/commits', ...n({ changes: [{ id: 'shop/prod/item/w', text: '1', metadata: { labels: { a: 'b' } } }], message: 'm', dry_run: true }) },
  'get /v1/commits': { url: '/v1/commits?limit=5' },
  'get /v1/commits/{revision}': { url: '/v1/commits/1' },
  'get /v1/history/{id}': { url: `/v1/history/${item}?limit=5` },
  'get /v1/diff': { url: '/v1/diff?revision=1' },
  'get /v1/diff/{id}': { url: `/v1/diff/${item}?from=1&to=2` },
  'post /v1/rollback': { url: '/v1/rollback', ...n({ id: item, message: 'back', dry_run: true }) },
  'post /v1/rollouts': { url: '/v1/rollouts', ...n({ changes: [{ id: 'shop/prod/item/r', text: '1' }], message: 'm', plan: { name: 'n', steps: [{ targets: [{ labels: 'a=b', percent: 12.5 }, { networks: ['10.0.0.0/8'] }], soak_ms: 1000, criteria: { max_refused: 1 } }] } }) },
  'post /v1/orders': { url: '/v1/orders', ...n({ kind: 'pause', reason: 'm' }) },
  'post /v1/restore/release': { url: '/v1/restore/release', ...n({ reason: 'm', dry_run: true }) },
  'get /v1/orders': { url: '/v1/orders?limit=5' },
  'get /v1/rollouts': { url: '/v1/rollouts?phase=all&resource=shop/prod/item/r&limit=5' },
  'post /v1/rollouts/preview': { url: '/v1/rollouts/preview', ...n({ targets: [{ everyone: true }], resources: ['shop/prod/item/r'] }) },
  'get /v1/rollouts/{id}': { url: '/v1/rollouts/3?diff=true&limit=5' },
  'post /v1/rollouts/{id}': { url: '/v1/rollouts/3', ...n({ move: 'pause', reason: 'lunch' }) },
  'delete /v1/instances/{id}': { url: '/v1/instances/gone' },
  'get /v1/instances': { url: '/v1/instances?connected_only=false' },
  'get /v1/running': { url: `/v1/running?resource=${item}&offline=true&limit=5` },
  'get /v1/events': { url: '/v1/events?types=commit,rollout&prefix=shop/', stream: /"hello"/ },
  'get /v1/status': { url: '/v1/status?revision=1&wait_ms=0' },
  'get /v1/rights/who': { url: '/v1/rights/who?right=publish&namespace=shop/prod' },
  'get /v1/grants': { url: '/v1/grants?subject=token:ci&limit=5' },
  'get /v1/tokens': { url: '/v1/tokens?name=ci&limit=5' },
  'get /v1/info': { url: '/v1/info' },
  'get /v1/subscribe/snapshot': { url: '/v1/subscribe/snapshot?namespaces=shop/prod' },
  'get /v1/subscribe/poll': { url: '/v1/subscribe/poll?namespaces=shop/prod&instance=p1&labels=env:prod' },
  'post /v1/subscribe/poll': { url: '/v1/subscribe/poll', ...n({ wait_ms: 1000, hello: { protocol: 1, instance: { id: 'p2' }, scopes: [{ namespaces: ['shop/prod'] }] } }) },
  'get /v1/subscribe/events': { url: '/v1/subscribe/events?namespaces=shop/prod', stream: /"end"/ },
  'post /v1/subscribe/ack': { url: '/v1/subscribe/ack', ...n({ instance: 'p1', ack: { stage: 'STORED' } }) },
  'get /metrics': { url: '/metrics', text: /trimtab_revision/ },
  'get /healthz': { url: '/healthz', text: 'ok\n' },
  'get /readyz': { url: '/readyz', text: 'ready\n' },
  'get /openapi.json': { url: '/openapi.json' },
};

test('the file is what the .proto files and the routes make', async () => {
  server = await new Server().start();
  for (const text of ['1', '2']) await server.json('POST', '/v1/commits', { changes: [{ id: item, text }, { id: 'shop/prod/item/z', text }] });
  const started = await server.json('POST', '/v1/rollouts', { changes: [{ id: 'shop/prod/item/s', text: '1' }], plan: { steps: [{ targets: [{ everyone: true }] }] } });
  assert.strictEqual(started.rollout.id, 3);
  const hash = `sha256:${require('crypto').createHash('sha256').update('secret').digest('hex')}`;
  await server.commit([{ id: 'trimtab/token/ci', text: JSON.stringify({ hash, note: 'n' }) },
    { id: 'trimtab/grant/ci', text: JSON.stringify({ subject: 'token:ci', role: 'publish', namespaces: ['shop'] }) }]);
  const gone = new Subscriber(server, 'gone', [{ namespaces: ['shop/prod'] }]).open();
  await gone.at(1);
  gone.close();
  await until('it has gone', async () => (await server.instance('gone')).state === 'offline');
  await server.stop(); // a restored log, for the release of what that left
  execFileSync(path.join(bin, 'trimtabd'), [`--data_dir=${server.dir}`, '--accept_loss=a test'], { stdio: 'ignore' });
  await server.start();
  assert.deepStrictEqual(doc, JSON.parse(JSON.stringify(document())));
});

test('every operation of the document is tried here', () => { // and server_routes holds it against the table of the server
  assert.deepStrictEqual(Object.keys(calls).sort(), Object.entries(doc.paths).flatMap(([url, ops]) => Object.keys(ops).map((m) => `${m} ${url}`)).sort());
});

for (const [url, ops] of Object.entries(doc.paths)) {
  for (const [method, op] of Object.entries(ops)) {
    const name = `${method} ${url}`, call = calls[name];
    test(`${name}: its answer is as the document says`, async () => {
      if (call.stream) return stream(call, op);
      const r = await server.request(method.toUpperCase(), call.url, call.body);
      assert.strictEqual(r.status, 200, r.body.toString());
      const [type, { schema }] = Object.entries(op.responses[200].content)[0];
      if (type !== '*/*') assert(r.headers['content-type'].startsWith(type), r.headers['content-type']);
      if (type === 'application/json') check(schema, JSON.parse(r.body), name);
      if (typeof call.text === 'string') assert.strictEqual(r.body.toString(), call.text);
      else if (call.text) assert.match(r.body.toString(), call.text);
      for (const q of new URL(`http://x${call.url}`).searchParams.keys()) assert(op.parameters.some((p) => p.in === 'query' && p.name === q), `parameter ${q} is not in the document`);
    });
    test(`${name}: ${op.security ? 'open to all' : 'refused without a token, with an Error'}`, async () => {
      const r = await server.request(method.toUpperCase(), call.url, call.body, { authorization: 'Bearer wrong' });
      if (op.security) return assert.strictEqual(r.status, 200);
      assert.strictEqual(r.status, 401);
      check(op.responses.default.content['application/json'].schema, JSON.parse(r.body), name);
    });
  }
}

function stream(call, op) {
  return new Promise((resolve, reject) => {
    const [host, port] = server.address.split(':');
    const q = require('http').get({ host, port, path: call.url, headers: { authorization: `Bearer ${server.token}` } }, (res) => {
      let text = '';
      res.on('data', (d) => {
        text += d;
        if (!call.stream.test(text) || !text.endsWith('\n\n')) return;
        try {
          assert.strictEqual(res.headers['content-type'], 'text/event-stream');
          for (const m of text.matchAll(/^data: (.*)$/gm)) check(op.responses[200].content['text/event-stream'].schema, JSON.parse(m[1]), 'event');
          resolve();
        } catch (e) { reject(e); }
        q.destroy();
      });
    });
    q.on('error', () => {});
  });
}

run();
