#!/usr/bin/env node
// Declared canaries: the annotation trimtab/canary makes a rollout of what is published, and publishing again moves it.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const { test, run, until, Server, Subscriber, tmpdir, bin, spawn } = require('./lib.js');

let server;
const web = [];
const A = 'shop/prod/item/a', B = 'shop/prod/item/b', NEW = 'shop/prod/item/new';
const change = (id, text, canary) => ({ id, text, ...(canary === undefined ? {} : { metadata: { annotations: { 'trimtab/canary': canary } } }) });
const publish = (changes, more = {}) => server.json('POST', '/v1/commits', { changes, message: 'declared', ...more });
const get = async (id) => (await server.json('GET', `/v1/rollouts/${id}`)).rollout;
const resource = (id) => server.json('GET', `/v1/resources/${id}`);
async function fails(piece, changes) {
  const r = await server.request('POST', '/v1/commits', JSON.stringify({ changes }));
  assert(r.status >= 400, `${r.status} ${r.body}`);
  assert(String(r.body).includes(piece), `${r.body} has no "${piece}"`);
}
const have = (who, id, text) => until(`${who.map((w) => w.id)} have ${text}`, () => who.every((w) => w.text(id) === text));

test('a server with four instances', async () => {
  server = await new Server().start();
  await publish([change(A, '1'), change(B, '1')]);
  for (let i = 0; i < 4; i++) web.push(new Subscriber(server, `web-${i}`, [{ name: '', namespaces: ['shop/prod'] }], { labels: { zone: i < 2 ? 'a' : 'b' } }).open());
  await have(web, A, '1');
});

let id;
test('what is annotated goes to whom the annotation names, as one rollout', async () => {
  const r = await publish([change(A, '2', 'ids=web-0;soak=0'), change(NEW, '1', 'ids=web-0;soak=0'), change(B, '1', 'labels=zone=b')]);
  id = r.rollout;
  assert.deepStrictEqual([r.move, id], ['start', r.revision]);
  await have([web[0]], NEW, '1');
  assert.deepStrictEqual(web.map((w) => w.text(A)), ['2', '1', '1', '1']);
  const rollout = await get(id);
  assert.deepStrictEqual(rollout.candidates.map((c) => c.id), [A, NEW], 'what changes nothing is not carried, whatever its annotation says');
  assert.deepStrictEqual([rollout.plan.declared, rollout.plan.automatic, rollout.plan.auto_confirm], [true, true, false]);
  assert.strictEqual((await resource(A)).text, '1');
});

test('the same again is nothing', async () => {
  const { head } = await server.json('GET', '/v1/info');
  const r = await publish([change(A, '2', 'ids=web-0;soak=0'), change(NEW, '1', 'ids=web-0;soak=0')]);
  assert.deepStrictEqual([r.rollout, r.move, r.changes.length], [id, '', 0]);
  await until('satisfied', async () => (await get(id)).plan.steps[0].satisfied);
  assert((await server.json('GET', '/v1/info')).head <= head + 1, 'nothing but the step that was satisfied');
});

test('another annotation extends it', async () => {
  const r = await publish([change(A, '2', 'labels=zone=a'), change(NEW, '1', 'labels=zone=a')]);
  assert.deepStrictEqual([r.rollout, r.move], [id, 'extend']);
  await have(web.slice(0, 2), A, '2');
  assert.deepStrictEqual(web.map((w) => w.text(A)), ['2', '2', '1', '1']);
  assert.strictEqual((await get(id)).steps_begun, 2);
});

test('part of it, or another content, is refused like any edit of what a rollout carries', async () => {
  await fails('is carried by rollout', [change(A, '2')]);
  await fails('is carried by rollout', [change(A, '3'), change(NEW, '1')]);
  await fails('is carried by rollout', [change(A, '3', 'ids=web-3'), change(NEW, '1', 'ids=web-3')]);
  await fails('is carried by rollout', [change(A, '2'), change(NEW, '1'), change(B, '9')]);
});

test('without the annotation it is confirmed, and the annotation is not kept', async () => {
  const dry = await publish([change(A, '2'), change(NEW, '1')], { dry_run: true });
  assert.deepStrictEqual([dry.rollout, dry.move, dry.revision], [id, 'confirm', 0]);
  const r = await publish([change(A, '2'), change(NEW, '1')]);
  assert.deepStrictEqual([r.rollout, r.move], [id, 'confirm']);
  await have(web, A, '2');
  await have(web, NEW, '1');
  assert.strictEqual((await get(id)).phase, 'confirmed');
  const a = await resource(A);
  assert.deepStrictEqual([a.text, (a.metadata || {}).annotations || {}], ['2', {}]);
});

test('what is stable, without the annotation, takes it back: created things are gone, deleted ones are back', async () => {
  const start = await publish([{ ...change(A, '5', 'all') }, { id: NEW, delete: true, metadata: { annotations: { 'trimtab/canary': 'all' } } }]);
  await have(web, A, '5');
  await until('it is gone', () => web.every((w) => w.text(NEW) === undefined));
  const r = await publish([change(A, '2'), change(NEW, '1')]);
  assert.deepStrictEqual([r.rollout, r.move], [start.rollout, 'roll_back']);
  await have(web, A, '2');
  await have(web, NEW, '1');
});

test('a refusal takes it back without anybody', async () => {
  web[3].refuses = (item) => item.id === A && item.content.toString() === '6' && 'no';
  const r = await publish([change(A, '6', 'ids=web-3;soak=1h')]);
  await until('it was rolled back', async () => (await get(r.rollout)).phase === 'rolled_back');
  web[3].refuses = null;
});

const patched = (id, text, canary) => ({ id, text, patch: { set: { annotations: { 'trimtab/canary': canary } } } });
test('a patch of the annotation leaves other metadata as it is; metadata that is given replaces it, also when it is empty', async () => {
  await publish([{ id: B, text: '1', metadata: { labels: { tier: 'core' }, description: 'bees' } }]);
  let r = await publish([patched(B, '2', 'ids=web-1')]);
  await have([web[1]], B, '2');
  const held = () => [...web[1].held.values()].find((i) => i.id === B);
  assert.deepStrictEqual(held().metadata.labels, { tier: 'core' });
  await publish([change(B, '2')]);
  let b = await resource(B);
  assert.deepStrictEqual([b.metadata.description, b.metadata.labels, b.metadata.annotations || {}], ['bees', { tier: 'core' }, {}]);
  assert.strictEqual((await get(r.rollout)).phase, 'confirmed');
  r = await publish([{ id: B, text: '2', metadata: { labels: {}, annotations: { 'trimtab/canary': 'ids=web-1' } } }]);
  assert.strictEqual(r.move, 'start', 'the metadata alone is a change');
  await until('the label is gone', () => !Object.keys((held().metadata || {}).labels || {}).length);
  r = await publish([{ id: B, text: '2', metadata: { labels: {} } }]);
  assert.strictEqual(r.move, 'confirm');
  b = await resource(B);
  assert.deepStrictEqual([((b.metadata || {}).labels) || {}, (b.metadata || {}).description || ''], [{}, '']);
});

test('of a whole tree only what differs counts: what a rollout carries as before stands beside another change', async () => {
  const start = await publish([change(A, '20', 'ids=web-0'), change(B, '2')]);
  assert.strictEqual(start.move, 'start');
  let r = await publish([change(A, '20', 'ids=web-0'), change(B, '3')]);
  assert.deepStrictEqual([r.rollout, r.changes.map((c) => c.action)], [0, ['unchanged', 'updated']]);
  await have(web, B, '3');
  assert.strictEqual(web[0].text(A), '20');
  r = await publish([change(A, '20', 'ids=web-0'), change(B, '4', 'ids=web-1')]);
  assert.strictEqual(r.move, 'start', 'a rollout of its own, of what is not carried yet');
  assert.deepStrictEqual((await get(r.rollout)).candidates.map((c) => c.id), [B]);
  const dry = await publish([change(A, '20', 'ids=web-0'), change(B, '4', 'ids=web-1')], { dry_run: true });
  assert.deepStrictEqual([dry.dry_run, dry.revision], [true, 0]);
  await server.json('POST', `/v1/rollouts/${r.rollout}`, { move: 'roll_back', reason: 'seen' });
  await server.json('POST', `/v1/rollouts/${start.rollout}`, { move: 'roll_back', reason: 'seen' });
  const stable = (await resource(A)).text;
  const again = await publish([change(A, '21', 'ids=web-0')]);
  await fails('is to be taken back', [change(A, stable), change(B, '5')]);
  await server.json('POST', `/v1/rollouts/${again.rollout}`, { move: 'roll_back', reason: 'seen' });
});

test('an annotation that makes no sense, and several that differ, are told', async () => {
  await fails('does not say whom it is for', [change(A, '7', '')]);
  await fails('a step has no', [change(A, '7', 'nonsense=1')]);
  await fails('no percentage', [change(A, '7', 'percent=200')]);
  await fails('cannot have a count', [change(A, '7', 'count=3')]);
  await fails('has another annotation trimtab/canary', [change(A, '7', 'all'), change(B, '7', 'ids=web-0;soak=0')]);
  await fails('has another annotation trimtab/canary', [change(A, '7', 'all'), change(B, '7')]);
});

test('an override publishes, whatever is annotated', async () => {
  const r = await publish([change(A, '8', 'ids=web-0;soak=0')], { override: 'fire' });
  assert.strictEqual(r.rollout, 0);
  const a = await resource(A);
  assert.deepStrictEqual([a.text, (a.metadata || {}).annotations || {}], ['8', {}]);
});

test('the command line: a put, and a file tree as export wrote it', async () => {
  const token = path.join(server.dir, 'cli-token'), dir = tmpdir();
  fs.writeFileSync(token, server.token, { mode: 0o600 });
  const cli = (...args) => new Promise((resolve) => {
    const c = spawn(path.join(bin, 'trimtab'), ['--server', `http://${server.address}`, '--token-file', token, ...args]);
    let out = '';
    c.stdout.on('data', (d) => { out += d; });
    c.stderr.on('data', (d) => { out += d; });
    c.on('exit', (code) => resolve({ code, out }));
  });
  const put = await cli('put', A, '--value', '9', '--annotation', 'trimtab/canary=hosts=nowhere*;ids=web-2', '-m', 'try');
  assert.strictEqual(put.code, 0, put.out);
  assert.match(put.out, /^start rollout \d+: trimtab rollout watch \d+$/m);
  assert.match((await cli('put', A, '--value', '9', '-m', 'good')).out, /^confirm rollout/m);
  const tree = path.join(dir, 'tree');
  let r = await cli('export', 'shop/prod', tree);
  assert.strictEqual(r.code, 0, r.out);
  const files = fs.readdirSync(tree, { recursive: true, withFileTypes: true }).filter((f) => f.isFile()).map((f) => path.join(f.path || f.parentPath, f.name));
  const index = files.find((f) => /\.json$/.test(f) && fs.readFileSync(f, 'utf8').includes(B));
  assert(index, files.join(' '));
  const write = (text, canary) => {
    const doc = JSON.parse(fs.readFileSync(index));
    const entries = Array.isArray(doc) ? doc : Object.values(doc).find(Array.isArray);
    const entry = entries.find((e) => e.id === B);
    entry.metadata = { ...entry.metadata, annotations: canary ? { 'trimtab/canary': canary } : {} };
    fs.writeFileSync(index, JSON.stringify(doc));
    fs.writeFileSync(files.find((f) => f.endsWith(path.join('item', 'b'))), text);
  };
  write('77', 'labels=zone=b');
  r = await cli('import', tree, '-m', 'from git');
  assert.match(r.out, /^start rollout \d+/m, r.out);
  await have(web.slice(2), B, '77');
  assert.strictEqual(web[0].text(B), '3');
  assert.match((await cli('import', tree, '-m', 'from git')).out, /carries just this already/);
  write('77', null);
  r = await cli('import', tree, '-m', 'from git');
  assert.match(r.out, /^confirm rollout \d+/m, r.out);
  await have(web, B, '77');
  fs.rmSync(dir, { recursive: true, force: true });
});

run();
