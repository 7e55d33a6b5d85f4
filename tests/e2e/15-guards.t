#!/usr/bin/env node
// Guards of the server: whose an instance id is, whose rights have gone, which names the machine has, and requests that
// are larger than they look. Each case ends with an ordinary publish that must work.
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const { test, run, until, Server, proto, grpc } = require('./lib.js');

let server, n = 0;
const scopes = [{ name: 's', namespaces: ['a'] }];

async function publishWorks() { assert((await server.commit([{ id: 'ordinary/item/x', text: String(++n) }])).revision > 0); }

// Tokens beside the first one, taken over by the signal.
const tokens = new Map();
async function setTokens(roles) {
  const file = path.join(server.dir, 'tokens');
  const lines = fs.readFileSync(file, 'utf8').split('\n').filter((l) => /^(#|admin )/.test(l));
  for (const [name, role] of Object.entries(roles)) {
    if (!tokens.has(name)) tokens.set(name, crypto.randomBytes(16).toString('hex'));
    lines.push(`${name} ${role} ${crypto.createHash('sha256').update(tokens.get(name)).digest('hex')}`);
  }
  fs.writeFileSync(file, lines.join('\n') + '\n', { mode: 0o600 });
  const log = path.join(server.dir, 'log');
  const before = fs.statSync(log).size;
  server.child.kill('SIGHUP');
  await until('the tokens are read', () => fs.readFileSync(log, 'utf8').slice(before).includes('reloaded'));
}

// A stream that says hello and keeps what comes.
function subscribe(token, id, boot = 1) {
  const client = new proto.Sync(server.address, grpc.credentials.createInsecure());
  const meta = new grpc.Metadata();
  meta.set('authorization', `Bearer ${token}`);
  const s = { stream: client.Subscribe(meta), frames: [], error: null };
  s.stream.on('data', (f) => s.frames.push(f));
  s.stream.on('error', (e) => { s.error = e; });
  s.stream.on('end', () => { s.error = s.error || new Error('ended'); });
  s.hello = (over = {}) => { s.stream.write({ hello: { protocol: 1, instance: { id, boot_id: Buffer.from([boot]) }, scopes, ...over } }); return s; };
  s.close = () => { s.stream.cancel(); client.close(); };
  s.served = () => until(`${id} is served`, () => { if (s.error) throw s.error; return s.frames.some((f) => f.end); });
  s.failed = () => until(`${id} is refused`, () => s.error);
  return s;
}

test('a commit with more changes than fit and something to prune is refused', async () => {
  await server.commit([{ id: 'p/item/left', text: '1' }]);
  for (const count of [10001, 10002, 10003, 20000]) {
    const changes = Array.from({ length: count }, (_, i) => ({ id: `p/item/i${i}`, text: '1' }));
    const r = await server.request('POST', '/v1/commits', JSON.stringify({ changes, prune: ['p'] }));
    assert.strictEqual(r.status, 413, String(r.body));
  }
  await publishWorks();
});

test('pruning one namespace twice is pruning it once', async () => {
  const body = { changes: [{ id: 'p/item/new', text: '1' }], prune: ['p', 'p'] };
  const refused = await server.request('POST', '/v1/commits', JSON.stringify(body));
  assert.strictEqual(refused.status, 422, String(refused.body));
  assert.match(String(refused.body), /prune_confirmed/);
  const r = await server.json('POST', '/v1/commits', { ...body, prune_confirmed: true });
  assert.strictEqual(r.changes.length, 2, JSON.stringify(r));
  await publishWorks();
});

test('a poll without an instance is answered', async () => {
  await server.commit([{ id: 'a/item/x', text: '1' }]);
  for (let i = 0; i < 20; i++) {
    const r = await server.json('POST', '/v1/subscribe/poll', { hello: { protocol: 1, scopes }, wait_ms: 1000 });
    assert(r.frames.some((f) => f.end), JSON.stringify(r));
  }
  await publishWorks();
});

test('another credential does not take over the id of a connected instance', async () => {
  await setTokens({ one: 'agent', two: 'agent' });
  const first = subscribe(tokens.get('one'), 'owned').hello();
  await first.served();
  const thief = subscribe(tokens.get('two'), 'owned', 2).hello();
  const e = await thief.failed();
  assert.strictEqual(e.code, grpc.status.PERMISSION_DENIED, e.message);
  const r = await server.request('POST', '/v1/subscribe/poll', JSON.stringify({ hello: { protocol: 1, instance: { id: 'owned' }, scopes } }), { authorization: `Bearer ${tokens.get('two')}` });
  assert.strictEqual(r.status, 403, String(r.body));
  assert.strictEqual(first.error, null);
  assert.strictEqual((await server.instance('owned')).identity, 'one');
  first.close();
  await until('the first has gone', async () => (await server.instance('owned')).state === 'offline');
  const heir = subscribe(tokens.get('two'), 'owned', 2).hello();
  assert.strictEqual((await heir.failed()).code, grpc.status.PERMISSION_DENIED);
  await publishWorks();
});

test('an id stays its credential\'s over a rotation and a restart, and goes to another one when it is forgotten', async () => {
  tokens.delete('one');
  await setTokens({ one: 'agent', two: 'agent' });
  const again = subscribe(tokens.get('one'), 'owned', 3).hello();
  await again.served();
  assert.strictEqual((await server.request('DELETE', '/v1/instances/owned')).status, 423);
  again.close();
  await until('it has gone', async () => (await server.instance('owned')).state === 'offline');
  await server.stop();
  await server.start();
  await until('it is known again', async () => server.instance('owned'));
  const thief = subscribe(tokens.get('two'), 'owned', 4).hello();
  assert.strictEqual((await thief.failed()).code, grpc.status.PERMISSION_DENIED);
  const denied = await server.request('DELETE', '/v1/instances/owned', undefined, { authorization: `Bearer ${tokens.get('two')}` });
  assert.strictEqual(denied.status, 403, String(denied.body));
  assert.strictEqual((await server.request('DELETE', '/v1/instances/owned')).status, 200);
  assert.strictEqual((await server.request('DELETE', '/v1/instances/owned')).status, 404);
  const heir = subscribe(tokens.get('two'), 'owned', 5).hello();
  await heir.served();
  assert.strictEqual((await server.instance('owned')).identity, 'two');
  heir.close();
  await publishWorks();
});

test('hosts of one credential are told apart by their secret; who lost it has the id again when the old stream is gone, and that is shown', async () => {
  const secret = Buffer.from('s'.repeat(48)), other = Buffer.from('t'.repeat(48));
  const first = subscribe(tokens.get('one'), 'host-1', 1).hello({ secret });
  await first.served();
  for (const wrong of [{ secret: other }, {}]) {
    const e = await subscribe(tokens.get('one'), 'host-1', 2).hello(wrong).failed();
    assert.strictEqual(e.code, grpc.status.ALREADY_EXISTS, e.message);
  }
  const word = (over) => server.request('POST', '/v1/subscribe/ack', JSON.stringify({ instance: 'host-1', health: { failing: true, reason: 'forged' }, ...over }), { authorization: `Bearer ${tokens.get('one')}` });
  assert.strictEqual((await word({})).status, 403);
  assert.strictEqual((await word({ secret: other.toString('base64') })).status, 403);
  assert(!(await server.instance('host-1')).health);
  assert.strictEqual((await word({ secret: secret.toString('base64') })).status, 200);
  await until('its own word counts', async () => ((await server.instance('host-1')).health || {}).failing);
  const back = subscribe(tokens.get('one'), 'host-1', 1).hello({ secret }); /* takes its place at once */
  await back.served();
  assert(!(await server.instance('host-1')).taken_over);
  back.close();
  await until('it has gone', async () => (await server.instance('host-1')).state === 'offline');
  const lost = subscribe(tokens.get('one'), 'host-1', 3).hello({ secret: other });
  await lost.served();
  await until('it is shown', async () => (await server.instance('host-1')).taken_over);
  assert(fs.readFileSync(path.join(server.dir, 'log'), 'utf8').includes('instance_taken_over'));
  assert(!JSON.stringify(await server.instance('host-1')).includes(other.toString('base64')));
  lost.close();
  await publishWorks();
});

test('a hello that is refused does not end the stream that the instance has', async () => {
  const good = subscribe(server.token, 'kept').hello();
  await good.served();
  const bad = subscribe(server.token, 'kept', 2).hello({ scopes: [] });
  assert.strictEqual((await bad.failed()).code, grpc.status.INVALID_ARGUMENT);
  const old = subscribe(server.token, 'kept', 3).hello({ protocol: 77 });
  await old.failed();
  assert.strictEqual(good.error, null);
  assert.strictEqual((await server.instance('kept')).state !== 'offline', true);
  good.close();
  await publishWorks();
});

test('two that keep replacing each other under one id: the newcomer is refused and that is shown', async () => {
  let current = subscribe(server.token, 'twins', 0).hello(), refused = null, replaced = 0;
  await current.served();
  for (let i = 1; i < 20 && !refused; i++) {
    const next = subscribe(server.token, 'twins', i % 2).hello();
    await until('taken or refused', () => next.error || next.frames.some((f) => f.end));
    if (next.error) refused = next.error;
    else { await current.failed(); current = next; replaced++; }
  }
  assert(refused, 'never refused');
  assert.strictEqual(refused.code, grpc.status.ALREADY_EXISTS, refused.message);
  assert.match(refused.message, /replac/);
  assert.strictEqual(replaced, 5);
  assert.strictEqual(current.error, null);
  assert(fs.readFileSync(path.join(server.dir, 'log'), 'utf8').includes('instance_contested'));
  current.close();
  await publishWorks();
});

test('one program that connects again and again is not taken for two', async () => {
  let current = subscribe(server.token, 'restless', 7).hello();
  await current.served();
  for (let i = 0; i < 12; i++) {
    const next = subscribe(server.token, 'restless', 7).hello();
    await next.served();
    current.close();
    current = next;
  }
  current.close();
  await publishWorks();
});

test('streams of a token that is taken away end, others go on', async () => {
  await setTokens({ one: 'agent', two: 'agent' });
  const goes = subscribe(tokens.get('one'), 'goes').hello(), stays = subscribe(tokens.get('two'), 'stays').hello();
  await goes.served();
  await stays.served();
  await setTokens({ one: 'none', two: 'agent' });
  assert.strictEqual((await goes.failed()).code, grpc.status.UNAVAILABLE);
  assert.strictEqual(stays.error, null);
  stays.close();
  await publishWorks();
});

test('host names that only begin like this machine are not this machine', async () => {
  for (const host of ['localhost.evil.example', '127.evil.example', '127.0.0.1.evil.example:80', 'unix.evil.example', '[::1].evil.example', 'localhostx']) {
    const r = await server.request('GET', '/v1/info', undefined, { host });
    assert.strictEqual(r.status, 403, host);
  }
  for (const host of ['localhost', 'localhost:7700', 'LOCALHOST:1', '127.0.0.1', '127.1.2.3:80', '[::1]', '[::1]:7700']) {
    const r = await server.request('GET', '/v1/info', undefined, { host });
    assert.strictEqual(r.status, 200, host);
  }
});

test('an inventory of names that cannot be is refused', async () => {
  for (const entry of [{ scope: 's', key: `item/${'x'.repeat(70000)}` }, { scope: 's'.repeat(5000), key: 'item/x' }]) {
    const s = subscribe(server.token, 'liar').hello({ cursor: { store_id: Buffer.alloc(16), revision: 1, count: 1 } });
    await until('it is asked', () => s.frames.some((f) => f.ask_inventory));
    s.stream.write({ inventory: { entries: [{ ...entry, hash: Buffer.alloc(32) }], last: true } });
    assert.strictEqual((await s.failed()).code, grpc.status.INVALID_ARGUMENT);
  }
  await publishWorks();
});

test('a subscriber sends no larger documents than its part needs', async () => {
  const body = JSON.stringify({ hello: { protocol: 1, scopes, instance: { id: 'large', host: 'x'.repeat(5 << 20) } } });
  for (const url of ['/v1/subscribe/poll', '/v1/subscribe/ack']) {
    const r = await server.request('POST', url, body).catch((e) => e); // the answer may come before all was written
    assert(r.status === 413 || ['EPIPE', 'ECONNRESET'].includes(r.code), String(r.status || r));
  }
  const hello = { protocol: 1, scopes, instance: { id: 'large', host: 'x'.repeat(300 << 10) } };
  assert.strictEqual((await server.request('POST', '/v1/subscribe/poll', JSON.stringify({ hello }))).status, 413);
  await publishWorks();
});

test('the differences of a dry run are bounded together', async () => {
  const id = (i) => `big/file/${i}`;
  for (let k = 0; k < 4; k++) await server.commit(Array.from({ length: 8 }, (_, i) => ({ id: id(8 * k + i), text: `${'x'.repeat(99)}\n`.repeat(10000) })));
  const r = await server.json('POST', '/v1/commits', { changes: Array.from({ length: 32 }, (_, i) => ({ id: id(i), delete: true })), dry_run: true });
  assert.strictEqual(r.changes.length, 32);
  assert(r.changes[0].diff.length > 1000000);
  assert(r.changes.reduce((sum, c) => sum + c.diff.length, 0) < 20 << 20);
  assert.match(r.changes[31].diff, /too large to show/);
  await publishWorks();
});

test('a version that never is, as a condition, is refused', async () => {
  const r = await server.request('PUT', '/v1/resources/a/item/never', '1', { 'if-match': '"0"' });
  assert.strictEqual(r.status, 412, String(r.body));
  const n = await server.request('PUT', '/v1/resources/a/item/never?based_on=0', '1');
  assert.strictEqual(n.status, 400, String(n.body));
});

test('one backup at a time: while one is not read another is refused, and when it has gone the next one is made', async () => {
  for (let i = 0; i < 3; i++) await server.commit([{ id: `large/file/f${i}`, content: crypto.randomBytes(6 << 20).toString('base64') }]);
  const meta = new grpc.Metadata();
  meta.set('authorization', `Bearer ${server.token}`);
  const backup = () => {
    const client = new proto.Admin(server.address, grpc.credentials.createInsecure());
    const b = { stream: client.Backup({}, meta), bytes: 0, error: null, close: () => { b.stream.cancel(); client.close(); } };
    b.stream.on('error', (e) => { b.error = e; });
    return b;
  };
  const first = backup();
  first.stream.once('data', () => { first.stream.pause(); first.has_begun = true; });
  await until('the first is being sent', () => first.has_begun);
  const second = backup();
  second.stream.on('data', () => {});
  await until('the second is refused', () => second.error);
  assert.match(second.error.message, /another backup/);
  first.close();
  await until('one is made again', async () => {
    const next = backup();
    next.stream.on('data', (part) => { next.bytes += part.data.length; });
    next.stream.on('end', () => { next.is_whole = true; });
    await until('it has ended', () => next.is_whole || next.error);
    next.close();
    return !next.error && next.bytes > 18 << 20;
  });
});

test('a server that is told to stop does not wait for those who wait', async () => {
  const waits = [server.request('GET', '/v1/resources/a/item/x?min_revision=999999'),
    server.request('GET', '/v1/subscribe/snapshot?namespaces=a&min_revision=999999'),
    server.request('GET', '/v1/subscribe/poll?namespaces=nothing-here&instance=waiting&wait_ms=50000')];
  const idle = subscribe(server.token, 'silent').hello();
  await idle.served();
  const r = await server.commit([{ id: 'a/item/x', text: '12345' }]);
  waits.push(server.request('GET', `/v1/status?revision=${r.revision}&wait_ms=60000`));
  await until('they wait', async () => (await server.instance('waiting')));
  const asked = async () => Number((await server.request('GET', '/metrics')).body.toString().match(/^trimtab_requests_rest_total (\d+)$/m)[1]);
  let before = await asked(); // this one is counted, and so is each that follows
  waits.push(server.request('GET', '/v1/resources/a/item/x?min_revision=999999'));
  await until('the last of them is under way', async () => (await asked()) > ++before);
  await server.stop();
  const answers = await Promise.all(waits.map((w) => w.catch((e) => e)));
  assert.deepStrictEqual(answers.map((a) => a.status), [503, 503, 200, 200, 503], JSON.stringify(answers.map(String)));
  assert.strictEqual(server.child.exitCode, 0, `${server.child.exitCode} ${server.child.signalCode}`);
});

(async () => {
  server = await new Server().start();
  await publishWorks();
  run();
})();
