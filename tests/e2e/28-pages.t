#!/usr/bin/env node
// Lists come in pages: of instances, of what they run, of a rollout's targets, and of what a large commit changed. Each entry is on
// exactly one page, whatever comes and goes between two of them; nobody sees on a page what he may not see.
'use strict';
const assert = require('assert');
const { execFileSync } = require('child_process');
const path = require('path');
const grpc = require('@grpc/grpc-js');
const { test, run, until, Server, proto, bin } = require('./lib.js');

const COUNT = 2300;
const server = new Server(undefined, ['--lanes=4']);
const idOf = (i) => `i${String(i).padStart(4, '0')}`;
const all = Array.from({ length: COUNT }, (_, i) => idOf(i));
const known = () => all.filter((id) => !gone.has(id)).concat([...came]).sort();
const gone = new Set(), came = new Set();

const auth = () => { const m = new grpc.Metadata(); m.set('authorization', `Bearer ${server.token}`); return m; };

// An instance that has come and gone is known from then on.
let sync;
function come(id, space = 'm') {
  sync = sync || new proto.Sync(server.address, grpc.credentials.createInsecure());
  return new Promise((resolve, reject) => {
    const stream = sync.Subscribe(auth());
    stream.on('data', (f) => { if (f.welcome) stream.end(); });
    stream.on('error', reject);
    stream.on('end', resolve);
    stream.write({ hello: { protocol: 1, instance: { id, host: `h-${id}` }, scopes: [{ namespaces: [space] }], features: ['rollouts'] } });
  });
}

async function pages(url, list, each = () => {}, headers = {}) {
  const found = [], sizes = [];
  for (let after = '', next = true; next; after = next) {
    const r = await server.request('GET', `${url}${url.includes('?') ? '&' : '?'}after=${encodeURIComponent(after)}`, undefined, headers);
    assert.strictEqual(r.status, 200, String(r.body));
    const page = JSON.parse(r.body);
    found.push(...page[list]);
    sizes.push(page[list].length);
    next = page.next;
    assert(!next || next > after || list === 'resources', 'it goes on');
    await each(page);
  }
  return { found, sizes };
}

const ask = (client, method, q) => new Promise((resolve, reject) => client[method](q, auth(), (e, m) => (e ? reject(e) : resolve(m))));
const cli = (...words) => execFileSync(path.join(bin, 'trimtab'), ['--server', server.address, ...words], { env: { ...process.env, TRIMTAB_TOKEN: server.token }, maxBuffer: 64 << 20, encoding: 'utf8' });
const lines = (text) => text.split('\n').filter(Boolean);

test('instances: a page for each thousand, in order, over REST, gRPC and the command line', async () => {
  await server.start();
  await server.commit([{ id: 'm/item/x', text: '1' }, { id: 'other/item/x', text: '1' }]);
  for (let i = 0; i < COUNT; i += 8) await Promise.all(all.slice(i, i + 8).map((id) => come(id)));
  const first = await server.json('GET', '/v1/instances');
  assert.deepStrictEqual([first.instances.length, first.next], [1000, idOf(999)]);
  const { found, sizes } = await pages('/v1/instances', 'instances');
  assert.deepStrictEqual(sizes, [1000, 1000, 300]);
  assert.deepStrictEqual(found.map((i) => i.instance.id), all);
  const client = new proto.Admin(server.address, grpc.credentials.createInsecure());
  const rows = [];
  for (let after = '', next = true; next; after = next) {
    const page = await ask(client, 'Instances', { after, limit: 90 });
    assert(page.instances.length <= 90);
    rows.push(...page.instances.map((i) => i.instance.id));
    next = page.next;
  }
  assert.deepStrictEqual(rows, all);
  client.close();
  assert.deepStrictEqual(lines(cli('instances', '-o', 'name')), all);
  const document = JSON.parse(cli('instances', '-o', 'json'));
  assert.deepStrictEqual([document.instances.length, document.next || ''], [COUNT, '']);
  assert.deepStrictEqual(lines(cli('instances', 'h-i22', '-o', 'name')), all.filter((id) => id.startsWith('i22')));
  assert.deepStrictEqual((await pages('/v1/instances?limit=7&prefix=i10', 'instances')).found.map((i) => i.instance.id), all.filter((id) => id.startsWith('i10')));
  const beyond = await server.json('GET', '/v1/instances?after=zzz');
  assert.deepStrictEqual([beyond.instances.length, beyond.next], [0, '']);
});

test('who stays is on exactly one page, whoever comes and goes between them', async () => {
  let n = 0;
  const { found } = await pages('/v1/instances?limit=100', 'instances', async (page) => {
    const last = page.instances[page.instances.length - 1].instance.id, at = all.indexOf(last.slice(0, 5));
    for (const id of [last, all[at - 3], all[at + 5]].filter((x) => x && !gone.has(x))) { // the one it goes on after, too
      await until(`${id} is away`, async () => (await server.request('DELETE', `/v1/instances/${id}`)).status === 200);
      gone.add(id);
    }
    for (const id of [`${all[at]}-late`, `i000-${n++}`]) { await come(id); came.add(id); }
  });
  const ids = found.map((i) => i.instance.id), once = new Set(ids);
  assert.strictEqual(once.size, ids.length, 'nobody is there twice');
  for (const id of all.filter((x) => !gone.has(x))) assert(once.has(id), `${id} stayed and is missing`);
  assert.deepStrictEqual((await pages('/v1/instances?limit=400', 'instances')).found.map((i) => i.instance.id), known());
});

test('what a resource is on, and a large view of one instance, in pages', async () => {
  const { found, sizes } = await pages('/v1/running?resource=m/item/x&offline=true', 'resources');
  assert.deepStrictEqual(found.map((r) => r.instance), known());
  assert(sizes.length >= 3 && Math.max(...sizes) === 1000);
  assert.deepStrictEqual((await pages('/v1/running?resource=m/item/x&offline=true&limit=64', 'resources')).found.map((r) => r.instance), known());
  assert.deepStrictEqual(lines(cli('running', 'm/item/x', '--offline', '-o', 'name')), known());
  const rows = Array.from({ length: 1500 }, (_, i) => `large/item/n${String(i).padStart(4, '0')}`);
  await server.commit(rows.map((id) => ({ id, text: '1' })));
  await come('viewer', 'large');
  came.add('viewer');
  for (const limit of ['', '&limit=100', '&limit=333']) assert.deepStrictEqual((await pages(`/v1/running?instance=viewer${limit}`, 'resources')).found.map((r) => r.id), rows);
  assert.deepStrictEqual(lines(cli('running', '--instance', 'viewer', '-o', 'name')), rows);
  for (const after of ['nonsense', '9:item/x', `0:item/${'x'.repeat(3000)}`]) assert.strictEqual((await server.request('GET', `/v1/running?instance=viewer&after=${after}`)).status, 400, after);
});

test('targets of a rollout and of a preview, in pages', async () => {
  const started = await server.json('POST', '/v1/rollouts', { changes: [{ id: 'm/item/x', text: '2' }], plan: { steps: [{ targets: [{ percent: 90 }] }, { targets: [{ everyone: true }] }] } });
  const url = `/v1/rollouts/${started.rollout.id}`;
  const { found, sizes } = await pages(`${url}?limit=5000`, 'instances');
  assert.deepStrictEqual(sizes.map((n) => n === 1000), [true, found.length >= 2000, false].slice(0, sizes.length), 'no page has more than 1000');
  const ids = found.map((i) => i.id);
  assert.deepStrictEqual(ids, [...new Set(ids)].sort());
  assert(ids.length > 1900 && ids.length < known().length);
  assert.strictEqual(found.length, (await server.json('GET', url)).rollout.counts.targets);
  assert.deepStrictEqual((await pages(`${url}?limit=37`, 'instances')).found.map((i) => i.id), ids);
  assert.deepStrictEqual((await pages(`${url}?limit=37&state=gray_ok`, 'instances')).found, []);
  assert.deepStrictEqual(lines(cli('rollout', 'status', String(started.rollout.id), '--limit', '0', '-o', 'name')), ids);
  assert.deepStrictEqual(lines(cli('rollout', 'status', String(started.rollout.id), '--limit', '1234', '-o', 'name')), ids.slice(0, 1234));
  assert.deepStrictEqual(lines(cli('rollout', 'status', String(started.rollout.id), '-o', 'name')), ids.slice(0, 100));
  const plan = { steps: [{ targets: [{ percent: 50 }] }, { targets: [{ everyone: true }] }] };
  const whole = await server.json('POST', '/v1/rollouts/preview', { plan, resources: ['m/item/x'], limit: 1000 });
  const taken = [[], []];
  for (const step of [1, 2]) {
    for (let after = '', next = true; next; after = next) {
      const page = await server.json('POST', '/v1/rollouts/preview', { plan: { ...plan, salt: whole.salt }, resources: ['m/item/x'], limit: 41, step, after });
      assert.strictEqual((page.steps[2 - step].instances || []).length, 0);
      taken[step - 1].push(...page.steps[step - 1].instances.map((i) => i.id));
      next = page.steps[step - 1].next;
    }
    assert.strictEqual(taken[step - 1].length, whole.steps[step - 1].matched);
    assert.deepStrictEqual(taken[step - 1].slice(0, 1000), whole.steps[step - 1].instances.map((i) => i.id));
  }
  assert.deepStrictEqual([...taken[0], ...taken[1]].sort(), known().filter((id) => id !== 'viewer'));
  const shown = lines(cli('rollout', 'preview', '--percent', '50', '--step', 'all', '--resource', 'm/item/x', '--salt', whole.salt, '--limit', '0', '-o', 'name'));
  assert.deepStrictEqual(shown, [...taken[0], ...taken[1]]);
  for (const q of [{ after: 'a' }, { step: 3 }]) assert.strictEqual((await server.request('POST', '/v1/rollouts/preview', JSON.stringify({ plan, ...q }))).status, 400);
  await server.json('POST', url, { move: 'roll_back', reason: 'done' });
  assert.deepStrictEqual((await pages(`${url}?limit=100`, 'instances')).found.map((i) => i.id), ids, 'as it was at the end');
});

const names = Array.from({ length: 2500 }, (_, i) => `${i % 2 ? 'd' : 'e'}/file/f${String(i).padStart(4, '0')}`);
const content = (id, n) => `${id} ${n}\n${'the same\n'.repeat(60)}${n}\n`;
const headers = (text) => [...text.matchAll(/^\+\+\+ (.*)@\d+$/gm)].map((m) => m[1]);
let large;

test('what a large commit changed comes in parts, each change in one of them', async () => {
  await server.commit(names.map((id) => ({ id, text: content(id, 1) })));
  large = (await server.commit(names.map((id) => ({ id, text: content(id, 'x'.repeat(700)) })))).revision;
  const parts = [];
  for (let after = '', next = true; next; after = next) {
    const page = await server.json('GET', `/v1/diff?revision=${large}&after=${after}`);
    assert(page.differs && page.diff.length < (3 << 20) / 2);
    parts.push(page.diff);
    next = page.next;
  }
  assert(parts.length > 3, `${parts.length} parts`);
  assert.deepStrictEqual(headers(parts.join('')), names);
  assert.strictEqual(cli('diff', '--revision', String(large)), parts.join(''));
  assert.strictEqual(JSON.parse(cli('diff', '--revision', String(large), '-o', 'json')).diff, parts.join(''));
  const client = new proto.Admin(server.address, grpc.credentials.createInsecure());
  const few = await ask(client, 'Diff', { revision: large, limit: 3, after: names[9] });
  client.close();
  assert.deepStrictEqual([headers(few.diff), few.next], [names.slice(10, 13), names[12]]);
  for (const q of [`revision=${large}&after=d/file/none`, `revision=${large}&after=nonsense`]) assert.strictEqual((await server.request('GET', `/v1/diff?${q}`)).status, 400, q);
  assert.strictEqual((await server.request('GET', `/v1/diff/${names[0]}?limit=1`)).status, 400);
});

test('a change that is too large to show is named, and the others are shown', async () => {
  const big = (c) => Array.from({ length: 90000 }, (_, i) => `${c}${i}${'.'.repeat(24)}`).join('\n');
  await server.commit([{ id: 'b/file/a', text: '1' }, { id: 'b/file/big', text: big('a') }, { id: 'b/file/z', text: '1' }]);
  const { revision } = await server.commit([{ id: 'b/file/a', text: '2' }, { id: 'b/file/big', text: big('b') }, { id: 'b/file/z', text: '2' }]);
  const text = cli('diff', '--revision', String(revision));
  assert.match(text, /\+\+\+ b\/file\/big@2\n\(too large to show\)\n/);
  assert.deepStrictEqual(headers(text), ['b/file/a', 'b/file/big', 'b/file/z']);
});

test('pages show nobody what he may not see', async () => {
  const secret = 'a'.repeat(64), hash = `sha256:${require('crypto').createHash('sha256').update(secret).digest('hex')}`;
  await server.commit([{ id: 'trimtab/token/few', text: JSON.stringify({ hash }) },
    { id: 'trimtab/grant/few', text: JSON.stringify({ subject: 'token:few', role: 'view', namespaces: ['d', 'rare'] }) }]);
  for (const id of ['r1', 'i0500-r', 'r3']) { await come(id, 'rare'); came.add(id); }
  const few = { authorization: `Bearer ${secret}` };
  assert.deepStrictEqual((await pages('/v1/instances?limit=2', 'instances', undefined, few)).found.map((i) => i.instance.id), ['i0500-r', 'r1', 'r3']);
  const diffs = [];
  for (let after = '', next = true; next; after = next) {
    const page = JSON.parse((await server.request('GET', `/v1/diff?revision=${large}&limit=400&after=${after}`, undefined, few)).body);
    diffs.push(page.diff);
    next = page.next;
  }
  assert.deepStrictEqual(headers(diffs.join('')), names.filter((id) => id.startsWith('d/')));
  assert.strictEqual((await server.request('GET', '/v1/running?resource=m/item/x', undefined, few)).status, 403);
  assert.deepStrictEqual((await pages('/v1/running?resource=rare/item/x&offline=true&limit=1', 'resources', undefined, few)).found, []);
  assert.strictEqual((await server.request('GET', '/v1/running?instance=i0001', undefined, few)).status, 404);
});

test('a long history is followed by the command line', async () => {
  for (let i = 0; i < 1100; i++) await server.commit([{ id: 'hist/item/x', text: String(i) }]);
  const document = JSON.parse(cli('history', 'hist/item/x', '--limit', '1050', '-o', 'json'));
  assert.deepStrictEqual(document.versions.map((v) => v.version), Array.from({ length: 1050 }, (_, i) => 1100 - i));
  assert.strictEqual(JSON.parse(cli('history', 'hist/item/x', '--limit', '5000', '-o', 'json')).versions.length, 1100);
});

run();
