#!/usr/bin/env node
// The same over plain HTTP, as curl would: snapshot with ETag, long poll, server-sent events, acknowledgement by POST.
'use strict';
const assert = require('assert');
const http = require('http');
const { test, run, until, Server, spawnSync } = require('./lib.js');

const N = 1000;
let server;
const put = (i, value) => ({ id: `shop/prod/item/i${i}`, text: JSON.stringify({ value }) });
const curl = (...args) => {
  const r = spawnSync('curl', ['-s', '-H', `authorization: Bearer ${server.token}`, ...args], { encoding: 'utf8', maxBuffer: 64 << 20 });
  assert.strictEqual(r.status, 0, r.stderr);
  return r.stdout;
};
const url = (path) => `http://${server.address}${path}`;
const puts = (poll) => poll.frames.flatMap((f) => f.changes || []).flatMap((c) => c.put || []);
const drops = (poll) => poll.frames.flatMap((f) => f.changes || []).flatMap((c) => c.drop || []);
const end = (poll) => poll.frames.map((f) => f.end).filter(Boolean).pop();
const query = (cursor) => `namespaces=shop/prod&revision=${cursor.revision}&store_id=${encodeURIComponent(cursor.store)}`;

test('a snapshot has everything, and its ETag answers 304', async () => {
  server = await new Server().start();
  await server.commit(Array.from({ length: N }, (_, i) => put(i, i)));
  const first = await server.request('GET', '/v1/subscribe/snapshot?namespaces=shop/prod');
  const doc = JSON.parse(first.body);
  assert.strictEqual(doc.count, N);
  assert.strictEqual(doc.changes[0].put.length, N);
  assert.strictEqual(doc.changes[0].put.find((i) => i.id === 'shop/prod/item/i7').text, '{"value":7}');
  const again = await server.request('GET', '/v1/subscribe/snapshot?namespaces=shop/prod', undefined, { 'if-none-match': first.headers.etag });
  assert.strictEqual(again.status, 304);
  assert.strictEqual(again.body.length, 0);
  const { revision } = await server.commit([put(1, 'x')]);
  const newer = await server.request('GET', `/v1/subscribe/snapshot?namespaces=shop/prod&min_revision=${revision}`, undefined, { 'if-none-match': first.headers.etag });
  assert.strictEqual(newer.status, 200);
  assert.notStrictEqual(newer.headers.etag, first.headers.etag);
});

test('curl polls: everything, then exactly 5 items after 5 changes among 1,000', async () => {
  const first = JSON.parse(curl(url('/v1/subscribe/poll?namespaces=shop/prod&instance=curl-1&host=h')));
  assert.strictEqual(puts(first).length, N);
  const cursor = { revision: end(first).revision, store: first.frames[0].welcome.store_id };
  for (let i = 0; i < 5; i++) await server.commit([put(200 + i, 'changed')]);
  const next = JSON.parse(curl(url(`/v1/subscribe/poll?instance=curl-1&host=h&${query(cursor)}`)));
  assert.strictEqual(puts(next).length, 5);
  assert.deepStrictEqual(drops(next), []);
  const i = await server.instance('curl-1');
  assert.strictEqual(i.transport, 'http');
});

test('a poll waits, and answers when a commit comes', async () => {
  const first = JSON.parse(curl(url('/v1/subscribe/poll?namespaces=shop/prod&instance=curl-2')));
  const cursor = { revision: end(first).revision, store: first.frames[0].welcome.store_id };
  let answer;
  const waiting = server.json('GET', `/v1/subscribe/poll?instance=curl-2&wait_ms=30000&${query(cursor)}`).then((a) => { answer = a; });
  await until('the poll is under way', async () => (await server.instance('curl-2')).state !== 'offline');
  assert.strictEqual(answer, undefined);
  await server.commit([{ id: 'shop/prod/item/i9', delete: true }]);
  await waiting;
  assert.deepStrictEqual(drops(answer), ['item/i9']);
});

test('acknowledgement by POST makes it ok; a refusal shows', async () => {
  const poll = JSON.parse(curl(url('/v1/subscribe/poll?namespaces=shop/prod&instance=curl-3')));
  const e = end(poll);
  assert.strictEqual((await server.instance('curl-3')).state, 'pending');
  const ack = { revision: e.revision, stage: 'APPLIED', received_digest: e.digest, serving_digest: e.digest };
  curl('-d', JSON.stringify({ instance: 'curl-3', ack }), url('/v1/subscribe/ack'));
  assert.strictEqual((await server.instance('curl-3')).state, 'ok');
  ack.refused = [{ key: 'item/i1', code: 'INVALID', message: 'not for us' }];
  curl('-d', JSON.stringify({ instance: 'curl-3', ack }), url('/v1/subscribe/ack'));
  const i = await server.instance('curl-3');
  assert.strictEqual(i.state, 'error');
  assert.strictEqual(i.refused[0].message, 'not for us');
});

function events(path, headers = {}) {
  const seen = [];
  const [host, port] = server.address.split(':');
  const q = http.get({ host, port, path, headers: { authorization: `Bearer ${server.token}`, ...headers } }, (res) => {
    let text = '';
    seen.status = res.statusCode;
    res.on('data', (d) => {
      text += d;
      for (let at; (at = text.indexOf('\n\n')) >= 0; text = text.slice(at + 2)) {
        const event = {};
        for (const line of text.slice(0, at).split('\n')) event[line.slice(0, line.indexOf(':'))] = line.slice(line.indexOf(':') + 2);
        if (event.data) seen.push({ id: event.id, frame: JSON.parse(event.data) });
      }
    });
  });
  q.on('error', () => {});
  seen.close = () => q.destroy();
  return seen;
}

test('server-sent events: everything, then changes, and a cut stream goes on from its last id', async () => {
  const path = '/v1/subscribe/events?namespaces=shop/prod&instance=sse-1';
  const a = events(path);
  await until('the first batch', () => a.find((e) => e.frame.end));
  assert.strictEqual(a.status, 200);
  const id = a.find((e) => e.frame.end).id;
  const end1 = a.find((e) => e.frame.end).frame.end;
  await server.json('POST', '/v1/subscribe/ack', { instance: 'sse-1', ack: { revision: end1.revision, stage: 'STORED', received_digest: end1.digest } });
  const before = a.length;
  await server.commit([put(300, 'live')]);
  await until('the change', () => a.slice(before).some((e) => (e.frame.changes || []).some((c) => (c.put || []).some((p) => p.text === '{"value":"live"}'))));
  a.close();
  await server.commit([put(301, 'while away')]);
  const b = events(path, { 'last-event-id': id });
  await until('the rest', () => b.find((e) => e.frame.end));
  const got = b.flatMap((e) => e.frame.changes || []).flatMap((c) => c.put || []).map((p) => p.id).sort();
  assert.deepStrictEqual(got, ['shop/prod/item/i300', 'shop/prod/item/i301']);
  assert.strictEqual(b[0].frame.welcome.mode, 'RESUME');
  b.close();
});

test('metrics count, health and readiness answer without a token', async () => {
  const metrics = (await server.request('GET', '/metrics')).body.toString();
  assert.match(metrics, /^trimtab_resources 999$/m);
  assert.match(metrics, /^trimtab_commits_total \d+$/m);
  for (const path of ['/healthz', '/readyz']) assert.strictEqual(spawnSync('curl', ['-s', '-o', '/dev/null', '-w', '%{http_code}', url(path)]).stdout.toString(), '200');
});

test('commits_total counts what came into the log: no dry run, no repeated request, nothing that was refused', async () => {
  const counted = async () => Number(/^trimtab_commits_total (\d+)$/m.exec((await server.request('GET', '/metrics')).body.toString())[1]);
  const before = await counted();
  await Promise.all(Array.from({ length: 20 }, (_, i) => server.commit([put(600 + i, 'together')])));
  assert.strictEqual(await counted() - before, 20, 'many at once are as many as they are');
  const body = { changes: [put(630, 'once')], request_id: 'the-same-twice' };
  await server.json('POST', '/v1/commits', body);
  await server.json('POST', '/v1/commits', body);
  assert.strictEqual(await counted() - before, 21);
  await server.json('POST', '/v1/commits', { changes: [put(631, 'tried')], dry_run: true });
  await assert.rejects(server.commit([{ ...put(630, 'refused'), expected_version: 77 }]));
  assert.strictEqual(await counted() - before, 21);
});

test('the server drains: it ends by itself, and what was acknowledged is there again', async () => {
  const { revision } = await server.commit([put(400, 'last')]);
  await server.stop();
  assert.strictEqual(server.child.exitCode, 0);
  await server.start();
  assert.strictEqual((await server.json('GET', '/v1/info')).head, revision);
  assert.strictEqual((await server.request('GET', '/v1/contents/shop/prod/item/i400')).body.toString(), '{"value":"last"}');
});

test('a snapshot shows an instance its side of a rollout, and stable to who gives none', async () => {
  await server.json('POST', '/v1/rollouts', { changes: [put(3, 'candidate')], plan: { steps: [{ targets: [{ ids: ['curl-9'] }] }] }, message: 'try' });
  const value = async (who) => JSON.parse((await server.request('GET', `/v1/subscribe/snapshot?namespaces=shop/prod${who}`)).body).changes[0].put.find((i) => i.id === 'shop/prod/item/i3').text;
  assert.strictEqual(await value('&instance=curl-9'), '{"value":"candidate"}');
  assert.strictEqual(await value('&instance=curl-8'), '{"value":3}');
  assert.strictEqual(await value(''), '{"value":3}');
});

run();
