#!/usr/bin/env node
// Several lanes: whichever connection somebody comes by, there is one server behind it. Each request here has a connection of its
// own, so that it comes to another lane than the one before.
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const net = require('net');
const path = require('path');
const { test, run, until, Server, proto, grpc, Subscriber } = require('./lib.js');

const LANES = 4, STREAMS = 12;
const scopes = [{ name: 's', namespaces: ['a'] }];
let server, n = 0;

const metric = async (name) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec((await server.request('GET', '/metrics')).body)[1]);
const put = () => server.commit([{ id: 'a/item/x', text: String(++n) }]);
const snapshot = async (query = '') => JSON.parse((await server.request('GET', `/v1/subscribe/snapshot?namespaces=a${query}`)).body);

// A stream on a connection of its own.
function stream(id, hello = {}, token = server.token) {
  const client = new proto.Sync(server.address, grpc.credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  const meta = new grpc.Metadata();
  meta.set('authorization', `Bearer ${token}`);
  const s = { stream: client.Subscribe(meta), frames: [], error: null };
  s.stream.on('data', (f) => s.frames.push(f));
  s.stream.on('error', (e) => { s.error = e; });
  s.stream.on('end', () => { s.error = s.error || new Error('ended'); });
  s.stream.write({ hello: { protocol: 1, instance: { id, boot_id: Buffer.from([1]) }, scopes, ...hello } });
  s.close = () => { s.stream.cancel(); client.close(); };
  s.end = () => until(`${id} is served`, () => { if (s.error) throw s.error; return s.frames.find((f) => f.end); });
  return s;
}

test('connections are shared out evenly among the lanes', async () => {
  server = await new Server(undefined, [`--lanes=${LANES}`, '--bookmark_interval=200ms']).start();
  assert.strictEqual(await metric('trimtab_lanes'), LANES);
  await put();
});

test('what a commit is answered with is there for the next request, in whichever lane', async () => {
  for (let i = 0; i < 100; i++) {
    const { revision } = await put();
    const [s, r] = await Promise.all([snapshot(), server.json('GET', '/v1/resources/a/item/x')]);
    assert(s.revision >= revision, `${s.revision} ${revision}`);
    assert.strictEqual(s.changes[0].put[0].text, String(n));
    assert.strictEqual(r.text, String(n));
    const tag = (await server.request('GET', '/v1/resources/a/item/x')).headers.etag;
    const changed = await server.request('PUT', '/v1/resources/a/item/x', String(++n), { 'if-match': tag });
    assert.strictEqual(changed.status, 200, String(changed.body));
  }
});

test('subscribers in all lanes get every change, and a commit is waited for over all of them', async () => {
  const subscribers = [];
  for (let i = 0; i < STREAMS; i++) subscribers.push(new Subscriber(server, `i${i}`, scopes).open());
  await until('all are there', async () => (await server.json('GET', '/v1/info')).instances === STREAMS);
  for (let i = 0; i < 20; i++) {
    const { revision } = await put();
    const s = await server.json('GET', `/v1/status?revision=${revision}&wait_ms=60000`);
    assert.strictEqual(s.concerned, STREAMS);
    assert.strictEqual(s.applied, STREAMS, JSON.stringify(s.waiting));
  }
  for (const s of subscribers) s.close();
  await until('all have gone', async () => (await server.json('GET', '/v1/info')).instances === 0);
});

test('who comes back with a cursor right behind a commit goes on from there, in whichever lane', async () => {
  for (let i = 0; i < 40; i++) {
    const first = stream('back');
    const { end } = await first.end();
    const { store_id } = first.frames[0].welcome;
    first.close();
    await put();
    const { digest, revision } = await snapshot();
    const cursor = { store_id, revision, digest: Buffer.from(digest, 'base64'), count: 1 };
    const again = stream('back', { cursor });
    assert.strictEqual((await again.end()).end.mode, 'RESUME', `${end.revision} ${revision}`);
    again.close();
  }
  assert.strictEqual(await metric('trimtab_records_lost_total'), 0);
});

test('a newer stream of an instance ends the older one in another lane', async () => {
  let last = stream('moving');
  await last.end();
  for (let i = 0; i < 2 * LANES; i++) {
    const next = stream('moving');
    await next.end();
    await until('the older one has ended', () => last.error);
    last = next;
  }
  assert.notStrictEqual((await server.instance('moving')).state, 'offline');
  last.close();
  await until('it has gone', async () => (await server.instance('moving')).state === 'offline');
});

test('polls of an instance find its session whichever connection they come by', async () => {
  const poll = (cursor) => server.json('POST', '/v1/subscribe/poll', { hello: { protocol: 1, instance: { id: 'poller' }, scopes, ...cursor }, wait_ms: 30000 });
  let answer = await poll({});
  const { store_id } = answer.frames[0].welcome;
  let at = answer.frames.find((f) => f.end).end;
  for (let i = 0; i < 3 * LANES; i++) {
    await put();
    answer = await poll({ cursor: { store_id, revision: at.revision, digest: at.digest, count: 1 } });
    at = answer.frames.find((f) => f.end).end;
    assert(!answer.frames.some((f) => f.welcome), 'a session of its own');
    assert.strictEqual(answer.frames.flatMap((f) => f.changes || []).flatMap((c) => c.put || []).length, 1);
    await server.json('POST', '/v1/subscribe/ack', { instance: 'poller', ack: { stage: 'APPLIED', revision: at.revision, received_digest: at.digest, serving_digest: at.digest } });
    await until('its word is heard', async () => (await server.instance('poller')).serving_revision === at.revision);
  }
});

test('events are heard in all lanes, each once and in order', async () => {
  const ears = [];
  for (let i = 0; i < LANES; i++) {
    const ear = { text: '' };
    ear.request = http.request({ host: server.address.split(':')[0], port: server.address.split(':')[1], path: '/v1/events?types=commit', agent: false,
      headers: { authorization: `Bearer ${server.token}` } }, (r) => r.on('data', (d) => { ear.text += d; }));
    ear.request.on('error', () => {});
    ear.request.end();
    ears.push(ear);
  }
  await until('all are welcomed', () => ears.every((e) => e.text.includes('event: hello')));
  const revisions = [];
  for (let i = 0; i < 20; i++) revisions.push((await put()).revision);
  const heard = (e) => [...e.text.matchAll(/"commit":\{"revision":(\d+)/g)].map((m) => Number(m[1]));
  await until('all have heard the last', () => ears.every((e) => heard(e).includes(revisions[19])));
  for (const e of ears) { assert.deepStrictEqual(heard(e), revisions); e.request.destroy(); }
});

test('rights that are taken away end the streams of all lanes', async () => {
  const secret = crypto.randomBytes(16).toString('hex'), file = path.join(server.dir, 'tokens'), tokens = fs.readFileSync(file, 'utf8');
  fs.writeFileSync(file, `${tokens}gone agent ${crypto.createHash('sha256').update(secret).digest('hex')}\n`);
  server.child.kill('SIGHUP');
  await until('the token is known', async () => (await server.request('GET', '/v1/subscribe/snapshot?namespaces=a', undefined, { authorization: `Bearer ${secret}` })).status === 200);
  const streams = [];
  for (let i = 0; i < STREAMS; i++) streams.push(stream(`r${i}`, {}, secret));
  for (const s of streams) await s.end();
  fs.writeFileSync(file, tokens);
  server.child.kill('SIGHUP');
  await until('all have ended', () => streams.every((s) => s.error));
  for (const s of streams) assert.strictEqual(s.error.code, grpc.status.UNAVAILABLE, s.error.message);
});

test('all lanes drain, and the server ends by itself', async () => {
  const streams = [];
  for (let i = 0; i < STREAMS; i++) streams.push(stream(`d${i}`));
  for (const s of streams) await s.end();
  await server.stop();
  assert.strictEqual(server.child.exitCode, 0, fs.readFileSync(path.join(server.dir, 'log'), 'utf8').slice(-2000));
  await until('all have ended', () => streams.every((s) => s.error));
  await server.start();
  assert.strictEqual((await server.json('GET', '/v1/resources/a/item/x')).text, String(n));
});

test('what is made beside the loops is the same as what is made on them, on every lane', async () => {
  const other = await new Server(undefined, ['--lanes=4']).start();
  const large = 'x'.repeat(200 << 10), ids = Array.from({ length: 150 }, (_, i) => `l/file/f${String(i).padStart(3, '0')}`);
  const document = { changes: [...ids.map((id) => ({ id, text: id })), { id: 'l/file/large', text: large }], message: 'large' };
  assert.strictEqual((await other.json('POST', '/v1/commits', document)).changes.length, ids.length + 1);
  const auth = new grpc.Metadata();
  auth.set('authorization', `Bearer ${other.token}`);
  for (let round = 0; round < 8; round++) { // connections of their own, which come to every lane
    const all = await other.json('GET', '/v1/resources?prefix=l');
    const pages = [];
    for (let after = ''; ;) {
      const page = await other.json('GET', `/v1/resources?prefix=l&limit=20&after=${after}`);
      pages.push(...page.resources);
      after = page.next;
      if (!after) break;
    }
    assert.deepStrictEqual(all.resources, pages);
    assert.deepStrictEqual(all.resources.map((r) => r.id).sort(), [...ids, 'l/file/large'].sort());
    const one = await other.request('GET', '/v1/resources/l/file/large');
    assert.strictEqual(JSON.parse(one.body).text, large);
    assert.strictEqual((await other.request('GET', '/v1/resources/l/file/large', undefined, { 'if-none-match': one.headers.etag })).status, 304);
    assert.strictEqual(String((await other.request('GET', '/v1/contents/l/file/large')).body), large);
    const client = new proto.Admin(other.address, grpc.credentials.createInsecure());
    const ask = (method, q) => new Promise((resolve, reject) => client[method](q, auth, (e, m) => (e ? reject(e) : resolve(m))));
    assert.strictEqual((await ask('Get', { id: 'l/file/large' })).text, large);
    assert.deepStrictEqual((await ask('List', { prefix: 'l' })).resources.map((r) => r.id), all.resources.map((r) => r.id));
    client.close();
    const bad = await other.request('POST', '/v1/commits', `{"changes": [\n{"id": "l/file/x", "text": "${large}"},\n nonsense]}`);
    assert.strictEqual(bad.status, 400);
    assert.strictEqual(JSON.parse(bad.body).line, 3);
    assert.strictEqual((await other.request('GET', '/v1/resources?prefix=l&after=nonsense')).status, 400);
    for (const dry_run of [false, true]) { // a content that is large is looked at elsewhere, and told of alike
      const told = await Promise.all(['', ' '.repeat(300 << 10)].map((more) => other.request('POST', '/v1/commits', JSON.stringify({ dry_run, changes: [{ id: 'l/file/x.json', text: `{\n "a": }${more}` }] }))));
      assert.deepStrictEqual(told.map((t) => t.status), [400, 400]);
      assert.deepStrictEqual(JSON.parse(told[1].body), JSON.parse(told[0].body));
      assert.strictEqual(JSON.parse(told[0].body).line, 2);
    }
    const text = `${large.slice(1)}${round}`, change = { changes: [{ id: 'l/file/large', text }] };
    const tried = await other.json('POST', '/v1/commits', { ...change, dry_run: true }), [result] = tried.changes;
    assert.deepStrictEqual([tried.dry_run, result.action, result.diff.includes(`+${text}`)], [true, 'updated', true]);
    assert.strictEqual(String((await other.request('GET', '/v1/contents/l/file/large')).body), large);
  }
  for (let i = 0; i < 12; i++) { // who does not wait for the answer leaves nothing behind
    const [host, port] = other.address.split(':');
    const socket = net.connect(+port, host, () => { socket.write(`GET /v1/resources?content=true HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${other.token}\r\n\r\n`); setImmediate(() => socket.destroy()); });
    const text = JSON.stringify({ changes: [{ id: 'l/file/y', text: large }] });
    const late = net.connect(+port, host, () => { late.write(`POST /v1/commits HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${other.token}\r\nContent-Length: ${text.length}\r\n\r\n${text}`, () => late.destroy()); });
    await Promise.all([socket, late].map((s) => new Promise((r) => s.on('close', r))));
  }
  await other.json('GET', '/v1/resources?prefix=l');
  await other.stop();
  assert.strictEqual(other.child.exitCode, 0);
});

run();
