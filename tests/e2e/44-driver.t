#!/usr/bin/env node
// The driver of rollouts: steps that follow each other, soaks, rollouts that take themselves back and say why, expiry, and
// a server that is killed and goes on where it was.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const { test, run, until, Server, Subscriber } = require('./lib.js');

let server;
const web = [];
const A = 'shop/prod/item/a';
const scopes = [{ name: '', namespaces: ['shop/prod'] }];
const ids = (...n) => ({ targets: [{ ids: n.map((i) => `web-${i}`) }] });
const all = { targets: [{ everyone: true }] };
let value = 1;
async function start(plan, more = {}) {
  const r = await server.json('POST', '/v1/rollouts', { changes: [{ id: A, text: String(++value) }], plan: { automatic: true, ...plan, steps: plan.steps.map((s) => ({ soak_ms: 0, ...s })) }, message: 'try', ...more });
  return r.rollout.id;
}
const get = async (id) => (await server.json('GET', `/v1/rollouts/${id}`)).rollout;
const move = (id, name) => server.json('POST', `/v1/rollouts/${id}`, { move: name, reason: 'by hand' });
const phase = (id, p) => until(`rollout ${id} ${p}`, async () => { const r = await get(id); return r.phase === p && r; });
const moves = async (id) => (await server.json('GET', `/v1/commits?rollout=${id}&limit=100`)).commits.map((c) => c.moves[0]).reverse();
const stable = async () => (await server.json('GET', `/v1/resources/${A}`)).text;
const everybodyHas = (text) => until(`all have ${text}`, () => web.every((w) => w.text(A) === text));

test('a server with six instances', async () => {
  server = await new Server(undefined, ['--ack_late=1s', '--rollout_settle=3s', '--lost_after=5s', '--bookmark_interval=500ms']).start();
  await server.commit([{ id: A, text: '1' }]);
  for (let i = 0; i < 6; i++) web.push(new Subscriber(server, `web-${i}`, scopes).open());
  await everybodyHas('1');
});

test('an automatic rollout goes through its steps and confirms itself, each move in the log', async () => {
  const id = await start({ auto_confirm: true, steps: [ids(0), ids(1, 2), all] });
  const r = await phase(id, 'confirmed');
  assert.strictEqual(await stable(), '2');
  assert.strictEqual(r.last_move_by, 'trimtabd');
  const log = await moves(id);
  assert.deepStrictEqual(log.map((m) => m.move), ['START', 'SATISFY', 'ADVANCE', 'SATISFY', 'ADVANCE', 'SATISFY', 'CONFIRM'].map((k) => k.toLowerCase()));
  assert.match(log[1].reason, /applied by 1 of 1/);
  assert.match(log[5].reason, /applied by 6 of 6/);
  await everybodyHas('2');
});

test('without automatic nothing moves by itself, but a step becomes satisfied, and no decision is overtaken by that', async () => {
  const id = await start({ automatic: false, steps: [ids(0)] });
  const r = await until('the step is satisfied', async () => { const now = await get(id); return now.plan.steps[0].satisfied && now; });
  assert.deepStrictEqual([r.phase, r.moves], ['running', 1]);
  await server.json('POST', `/v1/rollouts/${id}`, { move: 'roll_back', expected: 1, reason: 'seen enough' });
  await everybodyHas('2');
});

test('a protected resource is confirmed once a step was satisfied', async () => {
  await server.json('PUT', '/v1/resources/trimtab/protection/shop', { namespaces: ['shop/*'], reason: 'ask the team' }).catch(() => server.commit([{ id: 'trimtab/protection/shop', text: JSON.stringify({ namespaces: ['shop/*'], reason: 'ask the team' }) }]));
  web[0].auto = false;
  const id = await start({ automatic: false, steps: [ids(0)] });
  await assert.rejects(move(id, 'confirm'), /LOCKED.*no step of rollout/);
  await until('web-0 has it', () => web[0].text(A) === String(value));
  web[0].auto = true;
  web[0].acknowledge();
  await until('the step is satisfied', async () => (await get(id)).plan.steps[0].satisfied);
  await move(id, 'confirm');
  assert.strictEqual(await stable(), String(value));
  await everybodyHas(String(value));
  await server.commit([{ id: 'trimtab/protection/shop', delete: true }]);
});

test('a refusal takes the whole rollout back, and the reason says who refused what and why', async () => {
  const before = await stable();
  const bad = String(value + 1);
  web[2].refuses = (item) => item.id === A && item.content.toString() === bad && 'nginx: unknown directive';
  const id = await start({ auto_confirm: true, steps: [ids(0), ids(1, 2), all] });
  const r = await phase(id, 'rolled_back');
  assert.strictEqual(r.last_move_by, 'trimtabd');
  assert.match(r.last_move_reason, /1 of 3 instances refuses it, 0 may: web-2: item\/a CHECK_FAILED: nginx: unknown directive/);
  assert.strictEqual(await stable(), before);
  await everybodyHas(before);
  assert(!web[5].log.some((f) => (f.changes || []).some((c) => c.put.some((i) => i.content.toString() === String(value)))), 'the last step was never begun');
  web[2].refuses = null;
});

test('as many may refuse as the criteria say', async () => {
  const bad = String(value + 1);
  web[2].refuses = (item) => item.id === A && item.content.toString() === bad && 'no';
  const id = await start({ auto_confirm: true, steps: [{ ...all, criteria: { max_refused: 1, min_applied: 5 } }] });
  await phase(id, 'confirmed');
  assert.match((await moves(id))[1].reason, /applied by 5 of 6/);
  web[2].refuses = null;
  web[2].acknowledge();
});

test('a failing health takes it back, one of before does not', async () => {
  const before = await stable();
  web[0].health(true, 'it was so already');
  await until('failing', async () => (await server.instance('web-0')).health?.failing);
  const id = await start({ steps: [{ ...ids(0), soak_ms: 3600000 }] });
  await until('applied', async () => (await get(id)).counts.ok === 1);
  assert.strictEqual((await get(id)).phase, 'running');
  web[0].health(true, 'GET /healthz: 500');
  const r = await phase(id, 'rolled_back');
  assert.match(r.last_move_reason, /1 of 1 instances is failing, 0 may: web-0: probe: GET \/healthz: 500/);
  await everybodyHas(before);
  web[0].health(false);
});

test('a step soaks before it is satisfied, and the picture shows how long', async () => {
  const id = await start({ auto_confirm: true, steps: [{ ...ids(0), soak_ms: 1500 }] });
  const began = Date.now();
  await until('it holds', async () => { const r = await get(id); return r.progress && r.progress.holds && /has held for \d of 1 s/.test(r.progress.waiting); });
  await phase(id, 'confirmed');
  assert(Date.now() - began >= 1400, `${Date.now() - began} ms`);
});

test('who is silent stops the advance and is not taken for an answer', async () => {
  web[1].auto = false;
  const id = await start({ steps: [ids(0, 1), all] });
  await until('silent', async () => { const r = await get(id); return r.counts.stale === 1 && /1 is silent, 0 may be/.test(r.progress?.waiting || ''); });
  assert.deepStrictEqual((await moves(id)).length, 1);
  web[1].auto = true;
  web[1].acknowledge();
  await until('the next step', async () => (await get(id)).steps_begun === 2);
  await move(id, 'roll_back');
});

test('who does not know of rollouts is a gray error, gets nothing of it, and does not count', async () => {
  const old = new Subscriber(server, 'old-1', scopes);
  old.open();
  old.close();
  const { proto, grpc } = require('./lib.js');
  const meta = new grpc.Metadata();
  meta.set('authorization', `Bearer ${server.token}`);
  const client = new proto.Sync(server.address, grpc.credentials.createInsecure());
  const stream = client.Subscribe(meta);
  const frames = [];
  stream.on('data', (f) => frames.push(f));
  stream.on('error', () => {});
  stream.write({ hello: { protocol: 1, instance: { id: 'old-2' }, scopes } });
  await until('old-2 has its first batch', () => frames.some((f) => f.end));
  const id = await start({ steps: [{ targets: [{ ids: ['web-0', 'old-2'] }] }] });
  await until('satisfied', async () => (await get(id)).plan.steps[0].satisfied);
  const r = await server.json('GET', `/v1/rollouts/${id}?state=gray_error`);
  assert.deepStrictEqual(r.instances.map((i) => [i.id, i.state]), [['old-2', 'gray_error']]);
  assert.match(r.instances[0].reason, /too old/);
  assert.strictEqual(r.rollout.counts.too_old, 1);
  assert(!frames.some((f) => (f.changes || []).some((c) => c.put.some((i) => i.content.toString() === String(value)))));
  await move(id, 'roll_back');
  stream.cancel();
  client.close();
});

test('what is held because of something else is awaited, not counted as refused', async () => {
  web[3].auto = false;
  const id = await start({ steps: [ids(3)] });
  await until('web-3 has it', () => web[3].text(A) === String(value));
  const item = [...web[3].held.values()][0];
  const { itemHash } = require('./lib.js');
  web[3].acknowledge([{ scope: '', key: 'item/a', hash: itemHash(item), code: 'HELD', message: 'held', held_by: 'item/other' }]);
  await until('it is seen', async () => /held because of item\/other/.test((await server.json('GET', `/v1/rollouts/${id}`)).instances[0].reason));
  assert.strictEqual((await get(id)).phase, 'running');
  web[3].acknowledge([{ scope: '', key: 'item/a', hash: itemHash(item), code: 'CHECK_FAILED', message: 'no' }]);
  await phase(id, 'rolled_back');
  web[3].auto = true;
  await everybodyHas(await stable());
  web[3].acknowledge();
});

test('paused it does not go on and its soak stands still, but it still takes itself back', async () => {
  let id = await start({ auto_confirm: true, steps: [{ ...ids(0), soak_ms: 1000 }] });
  await move(id, 'pause');
  await until('applied', async () => (await get(id)).counts.ok === 1);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const r = await get(id);
  assert.deepStrictEqual([r.phase, r.plan.steps[0].satisfied], ['paused', false]);
  await move(id, 'resume');
  await phase(id, 'confirmed');
  const before = await stable();
  id = await start({ auto_confirm: true, steps: [{ ...ids(0), soak_ms: 3600000 }] });
  await until('applied', async () => (await get(id)).counts.ok === 1);
  await move(id, 'pause');
  web[0].health(true, 'bad');
  assert.match((await phase(id, 'rolled_back')).last_move_reason, /1 of 1 instances is failing/);
  web[0].health(false);
  await everybodyHas(before);
});

test('it expires when its time is over, also while it is paused', async () => {
  const before = await stable();
  const id = await start({ automatic: false, steps: [ids(0)] }, { expires_in_ms: 1500 });
  await move(id, 'pause');
  const r = await phase(id, 'expired');
  assert.match(r.last_move_reason, /time was over/);
  await everybodyHas(before);
});

test('after kill -9 the server goes on: the soak is kept, and it waits for those who were there', async () => {
  const id = await start({ auto_confirm: true, steps: [{ ...ids(0, 1), soak_ms: 4000 }, all] });
  await until('it has soaked for a while', async () => ((await get(id)).progress?.held_ms || 0) > 1000);
  await server.stop('SIGTERM'); // says goodbye, so that the soak is kept to the last moment
  await server.start();
  const alone = web.slice(1);
  web[0].open();
  await until('web-0 is back', async () => (await server.instance('web-0'))?.state === 'ok');
  let r = await get(id);
  assert.strictEqual(r.plan.steps[0].satisfied, false);
  await until('it waits for web-1', async () => /1 of 2 instances had applied it and is away/.test((await get(id)).progress?.waiting || ''));
  for (const w of alone) w.open();
  r = await until('it holds again', async () => { const now = await get(id); return now.progress?.holds && now; });
  assert(r.progress.held_ms >= 1000, `${r.progress.held_ms} ms were kept`);
  await server.stop('SIGKILL');
  await server.start();
  for (const w of web) w.open();
  await phase(id, 'confirmed');
  assert.strictEqual(await stable(), String(value));
  await everybodyHas(String(value));
  const log = await moves(id);
  assert.deepStrictEqual(log.map((m) => m.move), ['start', 'satisfy', 'advance', 'satisfy', 'confirm'], 'no move twice');
});

test('a target that had applied it and never comes back after a restart is missed, then lost, and takes the rollout back', async () => {
  const before = await stable();
  const id = await start({ auto_confirm: true, steps: [{ ...ids(0, 1), soak_ms: 3000 }] });
  await until('kept', async () => (await get(id)).progress?.holds);
  web[1].close();
  await until('away at once', async () => { const r = await get(id); return r.counts.away === 1 && /had applied it and is away/.test(r.progress?.waiting || ''); });
  await server.stop('SIGTERM');
  await server.start();
  for (const w of web) if (w !== web[1]) w.open();
  await until('away still', async () => { const m = await server.json('GET', `/v1/rollouts/${id}?state=away`); return m.instances.length === 1 && m.instances[0].id === 'web-1'; });
  const r = await phase(id, 'rolled_back');
  assert.match(r.last_move_reason, /1 of 2 instances had applied it and is lost, 0 may: web-1/);
  assert.strictEqual(await stable(), before);
  web[1].open();
  await everybodyHas(before);
});

test('as many may be lost as the criteria say', async () => {
  const id = await start({ auto_confirm: true, steps: [{ ...ids(0, 1), soak_ms: 500, criteria: { max_lost: 1 } }] });
  await until('it holds', async () => (await get(id)).counts.ok === 2);
  await move(id, 'pause');
  web[1].close();
  await until('away', async () => (await get(id)).counts.away === 1);
  await assert.rejects(move(id, 'confirm'), /REFUSED.*1 of 2 instances had applied it and is away.*--force/);
  await move(id, 'resume');
  await phase(id, 'confirmed');
  web[1].open();
  await everybodyHas(String(value));
});

test('the command line draws progress and ends with the truth', async () => {
  const { bin, spawnSync } = require('./lib.js');
  const file = path.join(server.dir, 'token-for-cli');
  fs.writeFileSync(file, server.token, { mode: 0o600 });
  web[4].refuses = (item) => item.id === A && item.content.toString() === '666' && 'will not\n\u001b[2Jever';
  const child = await new Promise((resolve) => {
    const c = require('child_process').spawn(path.join(bin, 'trimtab'), ['--server', `http://${server.address}`, '--token-file', file,
      'rollout', 'start', A, '--value', '666', '--id', 'web-4', '--auto', '-m', 'try', '--watch'], { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    c.stdout.on('data', (d) => { out += d; });
    c.stderr.on('data', (d) => { out += d; });
    c.on('exit', (code) => resolve({ code, out }));
  });
  assert.strictEqual(child.code, 7, child.out);
  assert.match(child.out, /rolled_back by trimtabd: 1 of 1 instances refuses it, 0 may: web-4: item\/a CHECK_FAILED: will not ␛\[2Jever/);
  assert(!child.out.includes('\u001b'), 'what an instance says does not reach the terminal as a command');
  assert(spawnSync);
});

run();
