#!/usr/bin/env node
// A server that goes away while somebody looks on: watch, events and rollout watch say so once, with the reason, come back
// by themselves and say that too, and tell what they can of what happened meanwhile.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const { test, run, until, Server, bin, spawn } = require('./lib.js');

let server, lost;
const following = [];
const env = (s) => ({ ...process.env, TRIMTAB_CONTEXTS: path.join(s.dir, 'contexts'), TRIMTAB_SERVER: s.address, TRIMTAB_TOKEN: s.token });
function follow(s, ...args) {
  const f = { out: '', err: '', status: undefined };
  f.child = spawn(path.join(bin, 'trimtab'), args, { env: env(s) });
  f.child.stdout.on('data', (d) => { f.out += d; });
  f.child.stderr.on('data', (d) => { f.err += d; });
  f.ended = new Promise((resolve) => f.child.on('close', (status) => { f.status = status; resolve(status); }));
  following.push(f);
  return f;
}
const count = (text, what) => text.split(what).length - 1;
const put = (name, text) => server.commit([{ id: `shop/prod/item/${name}`, text }]);

// The server is killed, serves elsewhere what `meanwhile` asks of it, and comes back where it was.
async function away(meanwhile) {
  const there = server.address;
  await server.stop('SIGKILL');
  if (meanwhile) {
    server.listen = '127.0.0.1:0';
    await server.start();
    await meanwhile();
    await server.stop();
    server.listen = there;
  }
  await server.start();
}
async function saysSoOnce(f, reason) {
  await until('it is back', () => count(f.err, 'the server is back after ') === 1);
  assert.match(f.err, reason);
  assert.strictEqual(count(f.err, 'the server is away: '), 1, f.err);
  assert(f.err.indexOf('is away') < f.err.indexOf('is back'), f.err);
}
const REASON = /^the server is away: \S.*; trying again$/m;
async function startRollout() {
  const r = await server.json('POST', '/v1/rollouts', { changes: [{ id: 'shop/prod/item/a', text: String(Date.now()) }], plan: { steps: [{ targets: [{ ids: ['web-1'] }] }] } });
  return r.rollout.id;
}

test('somebody looks at a server that will not come back', async () => {
  server = await new Server().start();
  await put('a', '1');
  const gone = await new Server().start();
  const other = server;
  server = gone;
  await put('a', '1');
  const id = String(await startRollout());
  lost = { watch: follow(gone, 'rollout', 'watch', id), short: follow(gone, 'rollout', 'watch', id, '--timeout', '3') };
  await until('both look on', () => lost.watch.out && (lost.short.out || lost.short.status === 8));
  await gone.stop('SIGKILL');
  server = other;
});

test('watch goes on where it was, and shows what was changed meanwhile', async () => {
  const w = follow(server, 'watch', 'shop/prod');
  await until('it watches', () => w.err.includes('watching from revision'));
  await put('a', '2');
  await until('a change', () => w.out.includes('item/a version 2'));
  await away(() => put('b', '1'));
  await until('what was changed meanwhile', () => w.out.includes('item/b version 1'));
  await put('c', '1');
  await until('what is changed now', () => w.out.includes('item/c version 1'));
  await saysSoOnce(w, REASON);
  assert.deepStrictEqual(w.out.split('\n').map((l) => l.split(' revision')[0]).filter(Boolean),
    ['put   shop/prod/item/a version 2', 'put   shop/prod/item/b version 1', 'put   shop/prod/item/c version 1']);
  assert.strictEqual(count(w.err, 'watching from revision'), 1, w.err);
  await away();
  await put('d', '1');
  await until('after another outage', () => w.out.includes('item/d version 1'));
  assert.strictEqual(count(w.err, 'the server is away: '), 2, w.err);
});

test('events say which revisions they do not tell any more', async () => {
  const e = follow(server, 'events', '--type', 'commit');
  const json = follow(server, 'events', '--type', 'commit', '-o', 'json');
  const both = (what) => until(what, async () => { await put('e', String(Math.random())); return e.out.includes(what) && json.out.includes(what); });
  await both('shop/prod/item/e');
  const before = e.out.length;
  const [from, to] = [(await server.json('GET', '/v1/info')).head, (await server.json('GET', '/v1/info')).head + 2];
  await away(async () => { await put('f', '1'); await put('f', '2'); });
  for (const f of [e, json]) await saysSoOnce(f, REASON);
  await until('what is missing', () => e.err.includes('come') || e.err.includes('came'));
  assert.match(e.err, new RegExp(`^revisions ${from + 1} to ${to} came meanwhile and are not told: look anew$`, 'm'));
  await put('g', '1');
  await until('events go on', () => e.out.includes('item/g') && json.out.includes('item/g'));
  assert(!e.out.slice(before).includes('item/f'), e.out);
  assert.strictEqual(count(json.out, '"hello"'), 2, 'a program sees the second hello');
});

test('watch says when the server has another history', async () => {
  const w = follow(server, 'watch', 'shop/prod');
  await until('it watches', () => w.err.includes('watching from revision'));
  const other = new Server();
  for (const file of ['admin.token', 'tokens'])
    if (fs.existsSync(path.join(server.dir, file))) fs.copyFileSync(path.join(server.dir, file), path.join(other.dir, file));
  other.listen = server.address;
  await server.stop('SIGKILL');
  await other.start();
  assert.strictEqual(other.token, server.token);
  await until('it says so', () => w.err.includes('cannot tell what changed meanwhile'));
  await until('and looks anew', () => count(w.err, 'watching from revision') === 2);
  await other.commit([{ id: 'shop/prod/item/z', text: '1' }]);
  await until('changes of that', () => w.out.includes('item/z version 1'));
  await other.stop('SIGKILL');
  await server.start();
});

test('a watch proves to a server with an older copy of its data that records are missing', async () => {
  const copy = `${server.dir}-copy`, there = server.address;
  await server.stop();
  fs.cpSync(server.dir, copy, { recursive: true });
  await server.start();
  const w = follow(server, 'watch', 'shop/prod');
  await until('it watches', () => w.err.includes('watching from revision'));
  await put('lost', '1');
  await until('it has seen it', () => w.out.includes('item/lost version 1'));
  const head = (await server.json('GET', '/v1/info')).head;
  await server.stop('SIGKILL');
  fs.rmSync(server.dir, { recursive: true });
  fs.renameSync(copy, server.dir);
  server.listen = there;
  await server.start();
  await until('the server knows', async () => (await server.json('GET', '/v1/info')).lost_revision === head);
});

test('a credential that holds no more ends it', async () => {
  const e = follow(server, 'events');
  await until('it listens', async () => { await put('h', String(Math.random())); return e.out.includes('item/h'); });
  const other = await new Server(undefined).start();
  const there = server.address;
  await other.stop();
  await server.stop('SIGKILL');
  other.listen = there;
  await other.start();
  const status = await e.ended;
  await other.stop();
  await server.start();
  assert.strictEqual(status, 4);
});

test('rollout watch goes on after an outage, to the true end', async () => {
  const id = await startRollout();
  const w = follow(server, 'rollout', 'watch', String(id));
  await until('it watches', () => w.out.includes('running'));
  await away(() => server.json('POST', `/v1/rollouts/${id}`, { move: 'pause', reason: 'while away' }));
  await saysSoOnce(w, REASON);
  await until('the new picture', () => w.out.includes('paused'));
  await server.json('POST', `/v1/rollouts/${id}`, { move: 'roll_back', reason: 'enough' });
  assert.strictEqual(await w.ended, 7, w.err);
  const over = await startRollout();
  const x = follow(server, 'rollout', 'watch', String(over));
  await until('it watches', () => x.out.includes('running'));
  await away(() => server.json('POST', `/v1/rollouts/${over}`, { move: 'roll_back', reason: 'while nobody looked' }));
  assert.strictEqual(await x.ended, 7, x.err);
  assert.match(x.err, /while nobody looked/);
});

test('who finds no server at first is told so at once', async () => {
  const nowhere = { ...server, address: lost && '127.0.0.1:1', token: 'x' };
  for (const args of [['watch', 'shop/prod'], ['events'], ['rollout', 'watch', '1']]) {
    const f = follow(nowhere, ...args);
    assert.strictEqual(await f.ended, 9, args.join(' '));
    assert(!f.err.includes('trying again'), f.err);
  }
});

test('rollout watch gives up when its time is over, or after a minute without a server', async () => {
  assert.strictEqual(await lost.short.ended, 8);
  assert.match(lost.short.err, /has not ended yet/);
  assert.strictEqual(await until('a minute is over', () => lost.watch.status), 9);
  assert.strictEqual(count(lost.watch.err, 'the server is away: '), 1);
  for (const f of following) f.child.kill('SIGKILL');
});

run();
