#!/usr/bin/env node
// What instances really run, resource by resource, and the stream of everything that changes.
'use strict';
const assert = require('assert');
const fs = require('fs');
const http = require('http');
const path = require('path');
const { test, run, until, Server, Subscriber, proto, grpc, bin, itemHash } = require('./lib.js');

let server;
const subscribers = new Map();
const A = 'shop/prod/item/a', B = 'shop/prod/item/b', BASE = 'shop/base/item/b';
const scopes = [{ name: '', namespaces: ['shop/prod', 'shop/base'] }];
const running = (query) => server.json('GET', `/v1/running?${query}`);
const rows = async (query) => (await running(query)).resources.map((r) => [r.instance, r.id, r.state, r.version, r.running]);
const start = async (changes, ids) => (await server.json('POST', '/v1/rollouts', { changes, plan: { steps: [{ targets: [{ ids }] }] }, message: 'try' })).rollout.id;
const move = (id, name) => server.json('POST', `/v1/rollouts/${id}`, { move: name, reason: 'test' });
function subscribe(id) {
  const s = new Subscriber(server, id, scopes).open();
  subscribers.set(id, s);
  return s;
}

// A client of server-sent events.
function listen(query = '') {
  const events = [];
  const [host, port] = server.address.split(':');
  const q = http.get({ host, port, path: `/v1/events${query}`, headers: { authorization: `Bearer ${server.token}` } }, (res) => {
    let text = '';
    events.status = res.statusCode;
    res.on('data', (d) => {
      text += d;
      for (let at; (at = text.indexOf('\n\n')) >= 0; text = text.slice(at + 2)) {
        const data = text.slice(0, at).split('\n').find((l) => l.startsWith('data: '));
        if (data) events.push(JSON.parse(data.slice(6)));
      }
    });
    res.on('end', () => { events.ended = true; });
    res.on('error', () => { events.ended = true; });
  });
  q.on('error', () => { events.ended = true; });
  events.close = () => q.destroy();
  return events;
}
const seen = (what, events, fits) => until(what, () => events.find(fits));

test('a server with instances', async () => {
  server = await new Server(undefined, ['--ack_late=1s']).start();
  await server.commit([{ id: A, text: '1' }, { id: BASE, text: '1' }]);
  for (const id of ['one', 'two']) subscribe(id);
  await until('all are ok', async () => (await server.json('GET', '/v1/instances')).instances.filter((i) => i.state === 'ok').length === 2);
});

test('of one instance: everything in its view, and which layer it is from; page by page', async () => {
  assert.deepStrictEqual(await rows('instance=one'), [['one', A, 'ok', 1, 1], ['one', BASE, 'ok', 1, 1]]);
  const page = await running('instance=one&limit=1');
  assert.deepStrictEqual(page.resources.map((r) => r.id), [A]);
  assert.strictEqual(page.info.instance.id, 'one');
  const rest = await running(`instance=one&limit=1&after=${encodeURIComponent(page.next)}`);
  assert.deepStrictEqual([rest.resources.map((r) => r.id), rest.next], [[BASE], '']);
});

test('of one resource: who has it, and who has another in its place', async () => {
  assert.deepStrictEqual(await rows(`resource=${BASE}`), [['one', BASE, 'ok', 1, 1], ['two', BASE, 'ok', 1, 1]]);
  const { revision } = await server.commit([{ id: B, text: '2' }]);
  await Promise.all([...subscribers.values()].map((s) => s.at(revision)));
  assert.deepStrictEqual(await rows(`resource=${BASE}`), []);
  await until('applied', async () => (await rows(`resource=${B}`)).every((r) => r[2] === 'ok'));
  assert.deepStrictEqual((await rows(`resource=${B}&limit=1`)), [['one', B, 'ok', 1, 1]]);
});

test('gray ok, gray error with what is still in use, and ok for everybody else', async () => {
  const two = subscribers.get('two');
  two.auto = false;
  const id = await start([{ id: A, text: '2' }], ['one', 'two']);
  await until('two has it', () => two.text(A) === '2');
  await until('one runs it', async () => (await rows(`resource=${A}`))[0][2] === 'gray_ok');
  const [state, ...versions] = (await rows(`resource=${A}`))[1].slice(2);
  assert(['pending', 'stale'].includes(state), state); // stale already where the machine is slow
  assert.deepStrictEqual(versions, [2, 0]);
  await until('two is late', async () => (await rows(`resource=${A}`))[1][2] === 'stale');
  const item = [...two.held.values()].find((i) => i.id === A);
  two.acknowledge([{ scope: '', key: 'item/a', hash: itemHash(item), code: 'CHECK_FAILED', message: 'no such pool', serving_version: 1 }]);
  await until('two refused it', async () => (await rows(`resource=${A}`))[1][2] === 'gray_error');
  const row = (await running(`resource=${A}`)).resources[1];
  assert.deepStrictEqual([row.version, row.running, row.rollout, row.reason], [2, 1, id, 'CHECK_FAILED: no such pool']);
  assert.deepStrictEqual((await rows('instance=two')).map((r) => r[2]), ['gray_error', 'ok'], 'the other one is as it should be');
  await move(id, 'roll_back');
  two.auto = true;
  two.acknowledge();
  await until('back', async () => (await rows(`resource=${A}`)).every((r) => r[2] === 'ok' && r[4] === 1));
});

test('what a rollout deletes is shown as gray where it is gone, and as ok where it is not', async () => {
  const id = await start([{ id: B, delete: true }], ['one']);
  await until('one lost it', async () => (await rows(`resource=${BASE}`)).length === 1);
  await until('one says so', async () => (await rows(`resource=${BASE}`))[0][2] === 'ok');
  const two = await until('it is known of two that nothing is new', async () => (await rows(`resource=${B}`)).find((r) => r[0] === 'two' && r[2] !== 'pending'));
  assert.deepStrictEqual(two, ['two', B, 'ok', 1, 1]);
  await move(id, 'roll_back');
});

test('a failing health makes what a rollout brought a gray error, and nothing else', async () => {
  const id = await start([{ id: A, text: '3' }], ['one']);
  await until('one runs it', async () => (await rows(`resource=${A}`))[0][2] === 'gray_ok');
  subscribers.get('one').health(true, '500');
  await until('gray error', async () => (await rows(`resource=${A}`))[0][2] === 'gray_error');
  assert.deepStrictEqual((await rows('instance=one')).map((r) => r[2]), ['gray_error', 'ok']);
  subscribers.get('one').health(false);
  await move(id, 'roll_back');
});

test('what is only referred to is shown too, behind the scopes', async () => {
  await server.commit([{ id: 'lib/item/x', text: '1' }, { id: 'lib/item/y', text: '1', metadata: { depends_on: ['lib/item/x'] } }]);
  await server.commit([{ id: 'shop/prod/item/user', text: '1', metadata: { depends_on: ['lib/item/y'] } }]);
  await until('one has all', async () => (await rows('instance=one')).filter((r) => r[2] === 'ok').length === 5);
  const all = await running('instance=one');
  assert.deepStrictEqual(all.resources.slice(3).map((r) => [r.scope, r.id, r.state, r.running]), [['*', 'lib/item/x', 'ok', 1], ['*', 'lib/item/y', 'ok', 1]]);
  assert.deepStrictEqual(await rows('resource=lib/item/x'), [['one', 'lib/item/x', 'ok', 1, 1], ['two', 'lib/item/x', 'ok', 1, 1]]);
  const page = await running('instance=one&limit=4');
  assert.deepStrictEqual((await rows(`instance=one&after=${encodeURIComponent(page.next)}`)).map((r) => r[1]), ['lib/item/y']);
  await server.commit([{ id: 'shop/prod/item/user', delete: true }]);
  await until('both lost them', async () => (await rows('resource=lib/item/x')).length === 0);
});

test('an offline instance is shown when it is asked for', async () => {
  const gone = subscribe('zero');
  await until('zero is ok', async () => (await server.instance('zero'))?.state === 'ok');
  gone.close();
  await until('zero is offline', async () => (await server.instance('zero')).state === 'offline');
  assert(!(await rows(`resource=${A}`)).some((r) => r[0] === 'zero'));
  assert.deepStrictEqual((await rows(`resource=${A}&offline=true`)).find((r) => r[0] === 'zero').slice(2), ['offline', 4 - 3, 0]);
});

test('questions that make no sense are refused', async () => {
  for (const [query, status] of [['', 400], ['instance=one&resource=a/item/b', 400], ['instance=nobody', 404], ['resource=nonsense', 400], ['instance=one&after=x', 400], ['instance=one&after=9:item/a', 400]])
    assert.strictEqual((await server.request('GET', `/v1/running?${query}`)).status, status, query);
  assert.strictEqual((await server.request('GET', '/v1/events?types=commit,weather')).status, 400);
});

test('commits, rollouts and instances are told as they change, by server-sent events', async () => {
  const events = listen();
  await seen('hello', events, (e) => e.type === 'hello');
  const { revision } = await server.commit([{ id: A, text: '7' }]);
  const commit = await seen('the commit', events, (e) => e.commit);
  assert.deepStrictEqual([commit.commit.revision, commit.commit.resources, commit.commit.resource_count], [revision, [A], 1]);
  assert(Math.abs(Date.parse(commit.time) - Date.now()) < 60000);
  const id = await start([{ id: A, text: '8' }], ['one']);
  await seen('the commit of the start', events, (e) => e.commit && e.commit.rollouts && e.commit.rollouts.includes(id));
  await seen('the rollout', events, (e) => e.rollout && e.rollout.id === id);
  await seen('that one has it', events, (e) => e.rollout && e.rollout.id === id && e.rollout.counts.ok === 1);
  subscribers.get('one').health(true, 'oh no');
  await seen('the failing instance', events, (e) => e.instance && e.instance.instance.id === 'one' && e.instance.health && e.instance.health.failing);
  await seen('the failing target', events, (e) => e.rollout && e.rollout.counts.failing === 1);
  await move(id, 'roll_back');
  await seen('the end', events, (e) => e.rollout && e.rollout.id === id && e.rollout.phase === 'rolled_back');
  subscribe('three');
  await seen('the new instance', events, (e) => e.instance && e.instance.instance.id === 'three' && e.instance.state === 'ok');
  subscribers.get('three').close();
  await seen('that it left', events, (e) => e.instance && e.instance.instance.id === 'three' && e.instance.state === 'offline');
  subscribers.get('one').health(false);
  events.close();
});

test('a listener gets what it asked for, by gRPC too', async () => {
  const some = listen('?types=commit&prefix=shop/base/');
  const client = new proto.Admin(server.address, grpc.credentials.createInsecure());
  const meta = new grpc.Metadata();
  meta.set('authorization', `Bearer ${server.token}`);
  const stream = client.Events({ types: ['commit', 'rollout'] }, meta), all = [];
  let failure;
  stream.on('data', (e) => all.push(e));
  stream.on('error', (e) => { failure = e; });
  await seen('hello', all, (e) => e.type === 'hello');
  await seen('hello', some, (e) => e.type === 'hello');
  await server.commit([{ id: B, text: '5' }]);
  const { revision } = await server.commit([{ id: BASE, text: '5' }]);
  await seen('both', all, (e) => e.commit && e.commit.revision === revision);
  await seen('its own', some, (e) => e.commit && e.commit.revision === revision);
  assert.deepStrictEqual(some.map((e) => e.type), ['hello', 'commit']);
  assert(all.filter((e) => e.type === 'commit').length >= 2 && !all.some((e) => e.type === 'instance'));
  const bad = await new Promise((resolve) => { const s = client.Events({ types: ['weather'] }, meta); s.on('data', () => {}); s.on('error', resolve); });
  assert.strictEqual(bad.code, grpc.status.INVALID_ARGUMENT);
  some.close();
  stream.cancel();
  await until('the stream ended', () => failure);
  client.close();
});

test('who does not read loses events, is told so, and costs no memory', async () => {
  const events = listen('?types=commit');
  await seen('hello', events, (e) => e.type === 'hello');
  const net = require('net');
  const [host, port] = server.address.split(':');
  const slow = net.connect({ host, port: Number(port) });
  let read = '';
  slow.write(`GET /v1/events?types=commit HTTP/1.1\r\nhost: ${server.address}\r\nauthorization: Bearer ${server.token}\r\n\r\n`);
  await until('it listens', async () => new Promise((r) => slow.once('data', (d) => { read += d; r(read.includes('hello')); })));
  slow.pause();
  const many = Array.from({ length: 100 }, (_, i) => `${'x'.repeat(200)}-${i}`);
  let last;
  for (let i = 0; i < 400; i++) last = (await server.commit(many.map((name) => ({ id: `shop/many/item/${name}`, text: String(i) })))).revision;
  await seen('the other one has all', events, (e) => e.commit && e.commit.revision === last);
  assert.strictEqual(events.filter((e) => e.commit).length, 400);
  slow.on('data', (d) => { read += d; });
  slow.resume();
  await until('it is told', () => read.includes('event: lost'));
  slow.destroy();
  events.close();
});

test('a listener whose right to read is taken away is ended, and so is everybody when the server stops', async () => {
  const file = path.join(server.dir, 'tokens'), kept = fs.readFileSync(file);
  const events = listen();
  await seen('hello', events, (e) => e.type === 'hello');
  await server.stop();
  await until('it ended', () => events.ended);
  assert.strictEqual(String(fs.readFileSync(file)), String(kept));
  await server.start();
  for (const s of ['one', 'two']) subscribers.get(s).open();
});

test('the command line shows what runs, and follows events', async () => {
  const token = path.join(server.dir, 'cli-token');
  fs.writeFileSync(token, server.token, { mode: 0o600 });
  const flags = ['--server', `http://${server.address}`, '--token-file', token];
  const { spawn } = require('child_process');
  const cli = (...args) => new Promise((resolve) => {
    const c = spawn(path.join(bin, 'trimtab'), [...flags, ...args]);
    let out = '';
    c.stdout.on('data', (d) => { out += d; });
    c.stderr.on('data', (d) => { out += d; });
    c.on('exit', (code) => resolve({ code, out }));
  });
  await until('both are back', async () => (await server.json('GET', '/v1/instances')).instances.filter((i) => i.state === 'ok').length === 2);
  const one = await cli('running', '--instance', 'one');
  assert.strictEqual(one.code, 0, one.out);
  assert.match(one.out, /^RESOURCE +STATE +VERSION +RUNNING +ROLLOUT +REASON$/m);
  assert.match(one.out, new RegExp(`^${A} +ok +(\\d+) +\\1`, 'm'));
  assert.match((await cli('running', A)).out, /^one +ok/m);
  assert.strictEqual((await cli('running')).code, 2);
  const child = spawn(path.join(bin, 'trimtab'), [...flags, 'events', '--type', 'commit'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (d) => { out += d; });
  const lines = await until('a commit is printed', async () => {
    await server.commit([{ id: B, text: String(Date.now()) }]);
    return out.includes('\n') && out;
  });
  child.kill();
  assert.match(lines, new RegExp(`^commit \\d+ ${B}$`, 'm'));
});

run();
