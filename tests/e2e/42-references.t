#!/usr/bin/env node
// What resources refer to, over every interface: it comes with them to whoever subscribes, by its id, from any namespace;
// it goes with the last of them; an agent serves both or none; a rollout of it reaches its targets and nobody else.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const { test, run, until, Server, Subscriber, tmpdir, bin, root, spawn, itemHash, element, digestBytes } = require('./lib.js');

let server, one, agent, dir;
const UP = 'net/upstream/blue', GREEN = 'net/upstream/green', KEY = 'vault/file/tls/key.pem', ROUTE = 'shop/route/home';
const scopes = [{ name: 'app', namespaces: ['shop'] }];
const route = (upstream) => ({ id: ROUTE, text: JSON.stringify({ upstream }) });
const names = (s) => [...s.held.keys()].sort();
const published = async (changes) => (await server.commit(changes)).revision;
const refused = async (status, piece, changes) => {
  const r = await server.request('POST', '/v1/commits', JSON.stringify({ changes, message: 'x' }));
  assert.strictEqual(r.status, status, String(r.body));
  assert(String(r.body).includes(piece), String(r.body));
};

test('a subscriber of one namespace gets what its resources refer to in others, through others too', async () => {
  server = await new Server(undefined, ['--bookmark_interval=200ms']).start();
  await published([
    { id: 'trimtab/kind/upstream', text: '{}' },
    { id: 'trimtab/kind/route', text: JSON.stringify({ references: [{ field: '/upstream', kind: 'upstream' }] }) },
    { id: KEY, text: 'secret 1' }, { id: 'vault/file/other', text: 'nobody asks for it' },
    { id: UP, text: '{"hosts": 1}', metadata: { depends_on: [KEY] } }, { id: GREEN, text: '{"hosts": 2}' },
  ]);
  one = new Subscriber(server, 'one', scopes).open();
  await one.at(1);
  assert.deepStrictEqual(names(one), []);
  await one.at(await published([route(UP)]));
  assert.deepStrictEqual(names(one), [`* ${UP}`, `* ${KEY}`, 'app route/home']);
  assert(!one.bad, 'the digest is that of the protocol');
});

test('what is referred to changes far away, and the change arrives', async () => {
  await one.at(await published([{ id: KEY, text: 'secret 2' }]));
  assert.strictEqual(String(one.held.get(`* ${KEY}`).content), 'secret 2');
});

test('it goes when nothing refers to it any more', async () => {
  await one.at(await published([route(GREEN)]));
  assert.deepStrictEqual(names(one), [`* ${GREEN}`, 'app route/home']);
  await one.at(await published([route(UP)]));
  assert(!one.bad);
});

test('a missing target, a cycle and the removal of what is in use are refused with their path', async () => {
  await refused(400, 'refers to net/upstream/red, which does not exist', [route('net/upstream/red')]);
  await refused(409, `${ROUTE} refers to it`, [{ id: UP, delete: true }]);
  await refused(400, `a cycle of references: ${KEY} -> ${UP} -> ${KEY}`, [{ id: KEY, text: 'x', metadata: { depends_on: [UP] } }]);
});

test('who comes back to a server that has started anew has exactly what it should', async () => {
  one.close();
  await published([route(GREEN)]);
  await server.stop();
  await server.start();
  await published([{ id: 'shop/item/x', text: '1' }]);
  one.open();
  await one.at(await published([{ id: 'shop/item/x', text: '2' }]));
  assert.deepStrictEqual(names(one), [`* ${GREEN}`, 'app item/x', 'app route/home']);
  assert(!one.bad);
  assert.strictEqual(one.welcome.mode, 'RESUME');
  await one.at(await published([route(UP)]));
});

test('a name that is reserved for it is refused in a subscription', async () => {
  const s = new Subscriber(server, 'bad', [{ name: '*', namespaces: ['shop'] }]).open();
  await until('it is refused', () => s.ended);
  assert.match(String(s.ended), /reserved/);
});

test('a snapshot over HTTP has it too, and its digest proves it', async () => {
  const r = await server.request('GET', '/v1/subscribe/snapshot?namespaces=shop&scope=app');
  const s = JSON.parse(r.body);
  assert.deepStrictEqual(s.changes.map((c) => c.scope), ['*', 'app']);
  let sum = 0n, n = 0;
  for (const c of s.changes)
    for (const item of c.put) {
      sum += element(c.scope, itemHash({ ...item, content: Buffer.from(item.text) }));
      n++;
    }
  assert.strictEqual(s.digest, digestBytes(sum).toString('base64'));
  assert.strictEqual(Number(s.count), n);
  assert.strictEqual(r.headers.etag, `"${digestBytes(sum).toString('hex')}"`);
  const poll = await server.json('GET', '/v1/subscribe/poll?namespaces=shop&instance=poller&wait_ms=0');
  const scopesOf = poll.frames.flatMap((f) => (f.changes || []).map((c) => c.scope || ''));
  assert.deepStrictEqual(scopesOf, ['*', '']);
});

test('a candidate that is only referred to reaches its target, and nobody else hears of it', async () => {
  const gray = new Subscriber(server, 'gray', scopes).open();
  const plain = new Subscriber(server, 'plain', scopes).open();
  await until('both have all', () => gray.cursor && plain.cursor && gray.held.size === plain.held.size && gray.held.size === 4);
  const before = plain.log.length;
  const { rollout } = await server.json('POST', '/v1/rollouts', { message: 'try', changes: [{ id: KEY, text: 'secret 3' }],
    plan: { steps: [{ targets: [{ ids: ['gray'] }] }] } });
  await until('the target has it', () => String(gray.held.get(`* ${KEY}`).content) === 'secret 3');
  const second = await server.json('POST', '/v1/rollouts', { message: 'try', changes: [
    { ...route(UP), metadata: { depends_on: ['new/item/n'] } }, { id: 'new/item/n', text: '7' }],
    plan: { steps: [{ targets: [{ ids: ['gray'] }] }] } });
  await until('and what a candidate refers to', () => gray.held.has('* new/item/n'));
  await server.json('POST', `/v1/rollouts/${second.rollout.id}`, { move: 'roll_back', reason: 'no' });
  await until('until it is taken back', () => !gray.held.has('* new/item/n'));
  await server.json('POST', `/v1/rollouts/${rollout.id}`, { move: 'roll_back', reason: 'no' });
  await until('all of it', () => String(gray.held.get(`* ${KEY}`).content) === 'secret 2');
  assert(!gray.bad && !plain.bad);
  assert(plain.log.slice(before).every((f) => !f.end && !f.part && !(f.changes || []).length), 'only bookmarks');
  assert.deepStrictEqual(names(gray), names(plain));
  gray.close();
  plain.close();
});

test('the C library shows what a program asked for, and not what that refers to elsewhere', async () => {
  await published([{ id: 'lib/item/own', text: '1', metadata: { depends_on: ['else/item/deep'] } }, { id: 'else/item/deep', text: '2' }]);
  const build = process.env.TRIMTAB_BUILD || path.join(root, 'build', 'release');
  const probe = spawn(path.join(build, 'tests', 'helpers', 'sdk_probe'), [server.address, server.token, 'sdk-1', 'lib']);
  let text = '';
  probe.stdout.on('data', (d) => { text += d; });
  await until('it is ready', () => text.includes('ready'));
  probe.stdin.write('own\ndeep\n');
  await until('it answers', () => /value own int 1 .*\n(.*\n)*value deep /.test(text));
  assert.match(text, /value deep int -1 /);
  assert.doesNotMatch(text, /change deep/);
  await until('it says that all is well', async () => { const i = await server.instance('sdk-1'); return i && i.state === 'ok'; });
  const ended = new Promise((r) => probe.once('exit', r));
  probe.stdin.end();
  assert.strictEqual(await ended, 0);
});

const target = (name) => { try { return fs.readFileSync(path.join(dir, 'target', name), 'utf8'); } catch { return null; } };
const seen = async () => server.instance('agent-1');

test('an agent takes it for granted, writes no file of it, and reports that all is well', async () => {
  dir = tmpdir();
  fs.writeFileSync(path.join(dir, 'check'), '#!/bin/sh\ncd "$1" && ! grep -rl BAD .\n', { mode: 0o755 });
  fs.writeFileSync(path.join(dir, 'agent.conf'), `servers = ${server.address}
token_file = ${server.dir}/admin.token
data_dir = ${dir}/data
instance_id = agent-1
admin_listen =
[scope "site"]
namespaces = site
[files "t"]
scope = site
target = ${dir}/target
check = ${dir}/check {stage}
`);
  await published([{ id: 'site/file/a.conf', text: 'a1', metadata: { depends_on: [KEY] } }, { id: 'site/file/b.conf', text: 'b1' }]);
  agent = spawn(path.join(bin, 'trimtab-agent'), [`--config_file=${dir}/agent.conf`], { stdio: ['ignore', 'ignore', fs.openSync(path.join(dir, 'log'), 'a')] });
  await until('the files are there', () => target('a.conf') === 'a1' && target('b.conf') === 'b1');
  await until('all is well', async () => { const i = await seen(); return i && i.state === 'ok'; });
  assert.deepStrictEqual(fs.readdirSync(path.join(dir, 'target')).sort(), ['a.conf', 'b.conf']);
  assert.strictEqual(Number((await seen()).expected_count || 3), 3);
});

test('a refusal holds what is referred to, and what refers to it, at the last good', async () => {
  // a.conf refers to b.conf from now on, and the key changes with it; b.conf does not pass its check.
  await published([{ id: 'site/file/b.conf', text: 'BAD' }]);
  await until('it is refused', async () => { const i = await seen(); return i.refused && i.refused.length === 1; });
  await published([{ id: 'site/file/a.conf', text: 'a2', metadata: { depends_on: [GREEN, 'site/file/b.conf'] } }]);
  const list = await until('those that depend on it are held', async () => { const i = await seen(); return i.refused && i.refused.length > 2 && i.refused; });
  const of = (scope, key) => list.find((r) => (r.scope || '') === scope && r.key === key);
  assert.strictEqual(of('site', 'file/b.conf').code, 'CHECK_FAILED');
  assert.strictEqual(of('site', 'file/a.conf').code, 'HELD');
  assert.strictEqual(of('site', 'file/a.conf').held_by, 'file/b.conf');
  assert.strictEqual(of('*', GREEN).code, 'HELD', 'what only the held one refers to');
  assert.strictEqual(of('*', KEY).held_by, 'file/b.conf', 'what is served refers to it: it stays');
  assert.strictEqual(target('a.conf'), 'a1');
});

test('a restart without the server serves the same, and mending the fault serves all of it', async () => {
  const digest = (await seen()).serving_digest;
  const ended = new Promise((r) => agent.once('exit', r));
  agent.kill('SIGKILL');
  await ended;
  agent = spawn(path.join(bin, 'trimtab-agent'), [`--config_file=${dir}/agent.conf`], { stdio: ['ignore', 'ignore', fs.openSync(path.join(dir, 'log'), 'a')] });
  await until('it says the same', async () => { const i = await seen(); return i && i.state !== 'offline' && i.refused && i.refused.length > 2 && i.serving_digest === digest; });
  await published([{ id: 'site/file/b.conf', text: 'b3' }]);
  await until('both are there', () => target('a.conf') === 'a2' && target('b.conf') === 'b3');
  await until('all is well', async () => (await seen()).state === 'ok');
  agent.kill('SIGTERM');
  one.close();
  fs.rmSync(dir, { recursive: true, force: true });
});

run();
