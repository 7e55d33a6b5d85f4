#!/usr/bin/env node
// The same over plain HTTP, as curl would: snapshot with ETag, long poll, server-sent events, acknowledgement by POST.
'use strict';
const assert = require('assert');
const http = require('http');
const { test, run, until, Server, spawnSync, itemHash } = require('./lib.js');

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
  const item = puts(poll).find((p) => p.id === 'shop/prod/item/i1');
  const hash = itemHash({ ...item, content: Buffer.from(item.text) });
  ack.refused = [{ key: 'item/i1', hash: hash.toString('base64'), code: 'INVALID', message: 'not for us' }];
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

// What the client has cannot be known from a revision: it may be of a history that a restore has taken back.
test('a cursor proves something by a mark of this start, or by the digest of what is had; else everything comes', async () => {
  const first = events('/v1/subscribe/events?namespaces=shop/prod');
  await until('the first batch', () => first.find((e) => e.frame.end));
  const { id, frame: { end: e } } = first.find((f) => f.frame.end);
  const { store_id: store } = first[0].frame.welcome;
  first.close();
  const mode = async (path, headers) => {
    const s = events(`/v1/subscribe/events?${path}`, headers);
    await until('a welcome', () => s.length);
    s.close();
    return s[0].frame.welcome.mode;
  };
  const at = `namespaces=shop/prod&revision=${e.revision}&store_id=${encodeURIComponent(store)}`;
  assert.strictEqual(await mode('namespaces=shop/prod', { 'last-event-id': id }), 'RESUME');
  assert.strictEqual(await mode('namespaces=shop/prod', { 'last-event-id': id.replace(/.$/, (c) => (c === '0' ? '1' : '0')) }), 'FULL');
  assert.strictEqual(await mode('namespaces=shop/prod', { 'last-event-id': id.replace(/-[^-]*$/, '') }), 'FULL');
  assert.strictEqual(await mode('namespaces=shop/other,shop/prod', { 'last-event-id': id }), 'FULL'); // another subscription
  assert.strictEqual(await mode(at), 'FULL');
  assert.strictEqual(await mode(`${at}&digest=${encodeURIComponent(e.digest)}`), 'RESUME');
  await server.commit([put(302, 'newer')]);
  assert.strictEqual(await mode(`${at}&digest=${encodeURIComponent(e.digest)}`), 'FULL');
  const poll = JSON.parse(curl(url(`/v1/subscribe/poll?${at}`)));
  assert.strictEqual(poll.frames[0].welcome.mode, 'FULL');
});

test('an event source that cannot acknowledge goes on getting changes', async () => {
  const s = events('/v1/subscribe/events?namespaces=shop/prod');
  await until('the first batch', () => s.find((e) => e.frame.end));
  for (const value of ['one', 'two', 'three']) {
    await server.commit([put(303, value)]);
    await until(`the change to ${value}`, () => s.some((e) => (e.frame.changes || []).some((c) => (c.put || []).some((p) => p.text === `{"value":"${value}"}`))));
  }
  s.close();
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

test('a list of few among many comes in pages that may be short, and looks only below its namespace', async () => {
  for (let i = 0; i < 4; i++) // of 10,000 changes each
    await server.commit(Array.from({ length: 10000 }, (_, k) => ({ id: `big/kind/item/n${i}.${k}`, text: '1' })));
  await server.commit([{ id: 'big/kind/item/zz', text: '1' }, { id: 'bigger/item/zz', text: '1' }]);
  const list = async (more) => server.json('GET', `/v1/resources?${more}`);
  const first = await list('prefix=big&name=z*');
  assert.deepStrictEqual(first.resources || [], []);
  assert.match(first.next, /^big\/kind\/item\/n/);
  const second = await list(`prefix=big&name=z*&after=${encodeURIComponent(first.next)}`);
  assert.deepStrictEqual(second.resources.map((r) => r.id), ['big/kind/item/zz']);
  assert.strictEqual(second.next || '', '');
  // one of shop/prod was deleted above
  for (const [prefix, n] of [['big/kin', 0], ['nothing', 0], ['bigger', 1], ['bigger/', 1], ['shop/*', N - 1]]) {
    const all = await list(`prefix=${encodeURIComponent(prefix)}&limit=2000`);
    assert.strictEqual((all.resources || []).length, n, prefix);
    assert.strictEqual(all.next || '', '');
  }
});

run();
