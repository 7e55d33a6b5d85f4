#!/usr/bin/env node
// Gray release over every interface: start, preview, extend, pause, confirm, roll back; locks, protection and overrides;
// numbers that are not used again; and the log of commits as the audit of all of it.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const { test, run, until, Server, Subscriber, grpc, proto, tmpdir, bin, spawn, spawnSync } = require('./lib.js');

let server, admin, dir;
const instances = [];
const A = 'shop/prod/item/a', B = 'shop/prod/item/b';

async function fails(status, code, piece, method, url, body) {
  const r = await server.request(method, url, body === undefined ? undefined : JSON.stringify(body));
  const e = JSON.parse(r.body);
  assert.strictEqual(r.status, status, `${r.status} ${r.body}`);
  assert.strictEqual(e.code, code);
  assert(`${e.message} ${e.hint} ${e.place}`.includes(piece), `"${e.message} ${e.hint}" has no "${piece}"`);
  return e;
}
const plan = (...steps) => ({ steps: steps.map((targets) => ({ targets: [].concat(targets) })) });
const start = (changes, p, more = {}) => server.json('POST', '/v1/rollouts', { changes, plan: p, message: 'try', ...more });
const move = (id, name, more = {}) => server.json('POST', `/v1/rollouts/${id}`, { move: name, reason: `${name} it`, ...more });
const rollout = (id, query = '') => server.json('GET', `/v1/rollouts/${id}${query}`);
const stable = async (id) => (await server.json('GET', `/v1/resources/${id}`));
const rpc = (method, q) => new Promise((resolve, reject) => {
  const meta = new grpc.Metadata();
  meta.set('authorization', `Bearer ${server.token}`);
  admin[method](q, meta, (e, m) => (e ? reject(e) : resolve(m)));
});

test('a server with ten instances', async () => {
  server = await new Server().start();
  dir = tmpdir();
  admin = new proto.Admin(server.address, grpc.credentials.createInsecure());
  await server.commit([{ id: A, text: '1' }, { id: B, text: '1' }]);
  for (let i = 0; i < 10; i++) {
    const s = new Subscriber(server, `web-${i}`, [{ name: '', namespaces: ['shop/prod'] }], { labels: { zone: i < 4 ? 'a' : 'b' } }).open();
    instances.push(s);
  }
  const other = new Subscriber(server, 'bank-1', [{ name: '', namespaces: ['bank'] }], { labels: { zone: 'a' } }).open();
  instances.push(other);
  await until('all are ok', async () => (await server.json('GET', '/v1/instances')).instances.filter((i) => i.state === 'ok').length === 11);
});

test('a preview says whom each step takes, and starts nothing', async () => {
  const p = await server.json('POST', '/v1/rollouts/preview', { plan: plan({ ids: ['web-3'] }, { labels: 'zone=a' }, { everyone: true }), resources: [A], limit: 2 });
  assert.deepStrictEqual(p.steps.map((s) => [s.matched, s.connected]), [[1, 1], [3, 3], [6, 6]]);
  assert.deepStrictEqual(p.steps[1].instances.map((i) => i.id), ['web-0', 'web-1']);
  assert.match(p.steps[0].instances[0].fingerprint, /^\[node\]\[0\]\[web-3\]$/);
  assert.strictEqual(p.instances, 11);
  const all = await server.json('POST', '/v1/rollouts/preview', { targets: [{ labels: 'zone=a' }] });
  assert.strictEqual(all.steps[0].matched, 5, 'without resources, whoever fits');
  const half = { plan: { ...plan({ percent: 50 }), salt: 'x' }, resources: [A] };
  const once = await server.json('POST', '/v1/rollouts/preview', half), again = await server.json('POST', '/v1/rollouts/preview', half);
  assert.deepStrictEqual(once.steps[0], again.steps[0], 'a percentage always takes the same');
  assert.deepStrictEqual((await server.json('GET', '/v1/rollouts?phase=all')).rollouts, []);
});

test('a dry run of a start shows differences and targets, and stores nothing', async () => {
  const { head } = await server.json('GET', '/v1/info');
  const r = await start([{ id: A, text: '2' }], plan({ labels: 'zone=a' }), { dry_run: true });
  assert.strictEqual(r.revision, 0);
  assert.match(r.changes[0].diff, /^\+2$/m);
  assert.strictEqual(r.rollout.id, 0);
  assert.strictEqual(r.rollout.counts.targets, 4);
  assert.strictEqual((await server.json('GET', '/v1/info')).head, head);
});

let first;
test('a start leaves stable as it is, and locks what it carries', async () => {
  const { rollout: r, revision } = await start([{ id: A, text: '2' }, { id: 'shop/prod/item/new', text: '1' }, { id: B, text: '1' }],
    { ...plan({ ids: ['web-0'] }, { labels: 'zone=a' }), name: 'pool' }, { expires_in_ms: 3600000 });
  first = r.id;
  assert.strictEqual(r.id, revision);
  assert.strictEqual(r.phase, 'running');
  assert.deepStrictEqual(r.candidates.map((c) => [c.id, c.action, c.version, c.previous_version]), [[A, 'updated', 2, 1], ['shop/prod/item/new', 'created', 1, 0]], 'what changes nothing is not carried');
  assert.strictEqual(r.counts.targets, 1);
  assert(r.plan.expires_ms > Date.now());
  assert.strictEqual((await stable(A)).text, '1');
  const e = await fails(423, 'LOCKED', 'carried by rollout', 'PUT', `/v1/resources/${A}`, 3);
  assert(e.message.includes('"pool"') && e.hint.includes(`trimtab rollout status ${r.id}`));
  await fails(423, 'LOCKED', 'carried by rollout', 'POST', '/v1/rollouts', { changes: [{ id: A, text: '9' }], plan: plan({ everyone: true }) });
  await fails(404, 'NOT_FOUND', 'no such resource', 'GET', '/v1/resources/shop/prod/item/new');
});

test('its plan advances and is extended; each answer counts the targets', async () => {
  assert.strictEqual((await move(first, 'advance')).rollout.counts.targets, 4);
  const r = (await move(first, 'extend', { step: { targets: [{ count: 3 }] } })).rollout;
  assert.strictEqual(r.counts.targets, 7, 'a count takes those that are not in yet');
  assert.strictEqual(r.plan.steps[2].targets[0].ids.length, 3);
  assert(r.plan.steps[2].targets[0].ids.every((id) => Number(id.slice(4)) >= 4), 'who does not want it does not count');
  assert.deepStrictEqual([r.steps_begun, r.moves], [3, 3]);
  await fails(400, 'INVALID', 'no further step', 'POST', `/v1/rollouts/${first}`, { move: 'advance' });
  await fails(400, 'INVALID', '3 are left', 'POST', `/v1/rollouts/${first}`, { move: 'extend', step: { targets: [{ count: 4 }] } });
  const got = await rollout(first, '?limit=5');
  assert.strictEqual(got.rollout.counts.targets, 7);
  assert.deepStrictEqual(got.instances.map((i) => [i.id, i.step]).slice(0, 4), [['web-0', 1], ['web-1', 2], ['web-2', 2], ['web-3', 2]]);
  assert.strictEqual((await rollout(first, `?after=${got.next}`)).instances.length, 2);
  await fails(423, 'LOCKED', 'carried by rollout', 'DELETE', `/v1/resources/${A}`);
  assert.match((await rollout(first, '?diff=true')).rollout.candidates[0].diff, /^-1$[^]*^\+2$/m);
});

test('of two who move at once one is refused; who does not say what he saw is not', async () => {
  const seen = (await rollout(first)).rollout.moves;
  const both = await Promise.allSettled([move(first, 'extend', { expected: seen, step: { targets: [{ ids: ['x'] }] } }), move(first, 'extend', { expected: seen, step: { targets: [{ ids: ['y'] }] } })]);
  assert.deepStrictEqual(both.map((b) => b.status).sort(), ['fulfilled', 'rejected']);
  assert.match(String(both.find((b) => b.status === 'rejected').reason), /409.*has moved on/);
  await Promise.all(['p', 'q', 'r', 's'].map((id) => move(first, 'extend', { step: { targets: [{ ids: [id] }] } })));
  assert.strictEqual((await rollout(first)).rollout.moves, seen + 5);
});

test('paused it does not advance, and goes on when resumed', async () => {
  assert.strictEqual((await move(first, 'pause')).rollout.phase, 'paused');
  await fails(409, 'CONFLICT', 'resume it first', 'POST', `/v1/rollouts/${first}`, { move: 'advance' });
  assert.strictEqual((await move(first, 'resume')).rollout.phase, 'running');
});

test('the same request twice is one move', async () => {
  const one = await move(first, 'pause', { request_id: 'pause-1' });
  const two = await move(first, 'pause', { request_id: 'pause-1' });
  assert.strictEqual(two.revision, one.revision);
  assert.strictEqual(two.rollout.moves, one.rollout.moves);
});

test('confirmed, its candidates are stable, under the numbers that they had', async () => {
  const dry = await move(first, 'confirm', { dry_run: true });
  assert.match(dry.changes[0].diff, /^\+2$/m);
  const r = await move(first, 'confirm');
  assert.strictEqual(r.rollout.phase, 'confirmed');
  assert.deepStrictEqual(r.changes.map((c) => [c.id, c.version]), [[A, 2], ['shop/prod/item/new', 1]]);
  const a = await stable(A);
  assert.deepStrictEqual([a.text, a.version, a.revision], ['2', 2, r.revision]);
  await fails(409, 'CONFLICT', 'is over', 'POST', `/v1/rollouts/${first}`, { move: 'roll_back' });
  await server.commit([{ id: A, text: '3' }]);
  assert.strictEqual((await stable(A)).version, 3);
});

test('rolled back, stable stays, nothing is locked, and the numbers are not used again', async () => {
  const r = (await start([{ id: A, text: '4' }, { id: B, delete: true }, { id: 'shop/prod/item/other', text: '1' }], plan({ everyone: true }))).rollout;
  assert.strictEqual(r.candidates[0].version, 4);
  const back = await move(r.id, 'roll_back', { reason: 'was wrong' });
  assert.strictEqual(back.rollout.phase, 'rolled_back');
  assert.strictEqual(back.rollout.last_move_reason, 'was wrong');
  assert.strictEqual((await stable(A)).text, '3');
  assert.strictEqual((await stable(B)).text, '1');
  await server.commit([{ id: A, text: '5' }, { id: 'shop/prod/item/other', text: '5' }]);
  assert.deepStrictEqual([(await stable(A)).version, (await stable('shop/prod/item/other')).version], [5, 2]);
  assert.deepStrictEqual((await server.json('GET', `/v1/history/${A}`)).versions.map((v) => v.version), [5, 3, 2, 1]);
  assert.match((await server.json('GET', `/v1/diff/${A}`)).diff, /^-3$[^]*^\+5$/m, 'the version before is the one that was stable');
  await server.json('POST', '/v1/rollback', { id: A, message: 'back' });
  assert.strictEqual((await stable(A)).text, '3', 'and so is what a rollback goes to');
  await fails(404, 'NOT_FOUND', 'no earlier version', 'POST', '/v1/rollback', { id: 'shop/prod/item/other' });
  await fails(400, 'INVALID', 'started a rollout', 'POST', '/v1/rollback', { revision: r.id });
});

test('what is protected needs a rollout, and an override to be confirmed before a step has shown that it works', async () => {
  await server.commit([{ id: 'trimtab/protection/core', text: JSON.stringify({ namespaces: ['core'] }) }]);
  await fails(423, 'LOCKED', 'trimtab rollout start', 'PUT', '/v1/resources/core/item/x', 1);
  const r = (await start([{ id: 'core/item/x', text: '1' }], plan({ everyone: true }))).rollout;
  await fails(423, 'LOCKED', 'no step of rollout', 'POST', `/v1/rollouts/${r.id}`, { move: 'confirm' });
  await move(r.id, 'confirm', { override: 'seen by eye' });
  assert.strictEqual((await stable('core/item/x')).text, '1');
  const put = await server.json('PUT', '/v1/resources/core/item/x?override=fire', 2);
  const [c] = (await server.json('GET', `/v1/commits/${put.revision}`)).commits;
  assert.strictEqual(c.override, 'fire');
});

test('an override publishes over a rollout and ends it, in one commit', async () => {
  const one = (await start([{ id: A, text: '7' }], plan({ everyone: true }))).rollout, two = (await start([{ id: B, text: '7' }], plan({ everyone: true }))).rollout;
  const dry = await server.json('POST', '/v1/commits', { changes: [{ id: A, text: '8' }], override: 'fire', dry_run: true });
  assert.match(dry.changes[0].diff, /^\+8$/m);
  assert.strictEqual((await rollout(one.id)).rollout.phase, 'running');
  const { revision } = await server.json('POST', '/v1/commits', { changes: [{ id: A, text: '8' }, { id: B, text: '8' }, { id: 'shop/prod/item/c', text: '8' }], override: 'fire' });
  for (const r of [one, two]) assert.strictEqual((await rollout(r.id)).rollout.phase, 'overridden');
  assert.deepStrictEqual([(await stable(A)).text, (await stable(B)).text], ['8', '8']);
  const [c] = (await server.json('GET', `/v1/commits/${revision}`)).commits;
  assert.deepStrictEqual(c.moves, [{ rollout: one.id, move: 'override', reason: 'fire' }, { rollout: two.id, move: 'override', reason: 'fire' }]);
});

test('a wait ends when the rollout moves, and not before', async () => {
  const r = (await start([{ id: A, text: '9' }], plan({ ids: ['web-1'] }))).rollout;
  const { stamp } = await until('a picture that stays', async () => { const m = await rollout(r.id); return m.rollout.counts.pending === 0 && m; });
  const late = await rollout(r.id, `?known=${stamp}&wait_ms=300`);
  assert.strictEqual(late.stamp, stamp);
  const waiting = rollout(r.id, `?known=${stamp}&wait_ms=30000`);
  await move(r.id, 'roll_back');
  const m = await waiting;
  assert.strictEqual(m.rollout.phase, 'rolled_back');
  assert.notStrictEqual(m.stamp, stamp);
  assert.strictEqual(m.rollout.counts.targets, 0);
});

test('lists: live ones, all, by phase, by resource, page by page', async () => {
  const live = (await start([{ id: 'shop/prod/item/l', text: '1' }], plan({ everyone: true }))).rollout;
  const list = (q) => server.json('GET', `/v1/rollouts${q}`);
  assert.deepStrictEqual((await list('')).rollouts.map((r) => r.id), [live.id]);
  assert((await list('?phase=all')).rollouts.length > 4);
  assert((await list('?phase=confirmed')).rollouts.every((r) => r.phase === 'confirmed'));
  assert.deepStrictEqual((await list('?resource=shop/prod/item/l')).rollouts.map((r) => r.id), [live.id]);
  const ids = (await list('?phase=all')).rollouts.map((r) => r.id), pages = [];
  for (let before = 0; ;) {
    const page = await list(`?phase=all&limit=2&before=${before}`);
    pages.push(...page.rollouts.map((r) => r.id));
    if (!(before = page.next)) break;
  }
  assert.deepStrictEqual(pages, ids);
  assert.deepStrictEqual(ids, [...ids].sort((a, b) => b - a));
  await move(live.id, 'roll_back');
});

test('the log of commits is the audit of every move', async () => {
  const commits = (q) => server.json('GET', `/v1/commits?${q}`);
  const moves = (await commits(`rollout=${first}&limit=1000`)).commits.map((c) => c.moves[0].move).reverse();
  assert.deepStrictEqual(moves, ['start', 'advance', 'extend', ...Array(5).fill('extend'), 'pause', 'resume', 'pause', 'confirm']);
  const paused = (await commits(`rollout=${first}&action=pause`)).commits;
  assert(paused.every((c) => c.author && c.time && c.moves[0].reason === 'pause it' && c.origin.startsWith('rest')));
  assert((await commits(`prefix=core/&limit=1000`)).commits.every((c) => c.changes.some((x) => x.id.startsWith('core/'))));
  assert.strictEqual((await commits('author=nobody')).commits.length, 0);
  assert.strictEqual((await commits(`author=${paused[0].author}&limit=3`)).commits.length, 3);
  assert((await commits('action=rollback')).commits.length === 1);
  const { commits: all } = await commits('limit=1000');
  const middle = all[Math.floor(all.length / 2)];
  assert.deepStrictEqual((await commits(`limit=1000&since=${middle.revision}`)).commits, all.slice(0, Math.floor(all.length / 2) + 1));
  assert.deepStrictEqual((await commits(`limit=1000&until_ms=${Date.parse(middle.time)}`)).commits.at(0).time <= middle.time, true);
  assert.strictEqual((await commits(`limit=1000&since_ms=${Date.now() + 1000}`)).commits.length, 0);
  const pages = [];
  for (let before = 0; ;) {
    const page = await commits(`limit=7&before=${before}`);
    pages.push(...page.commits);
    if (!(before = page.next)) break;
  }
  assert.deepStrictEqual(pages, all);
});

test('the same over gRPC', async () => {
  const p = await rpc('PreviewRollout', { targets: [{ hosts: ['nod*'], percent: 100 }], resources: [A] });
  assert.strictEqual(p.steps[0].matched, 10);
  const s = await rpc('StartRollout', { changes: [{ id: A, text: '10' }], plan: { steps: [{ targets: [{ networks: ['10.0.0.0/8'] }] }] }, message: 'by rpc' });
  const id = s.rollout.id;
  assert.strictEqual(s.rollout.counts.targets, 0);
  const e = await rpc('MoveRollout', { id, move: 'extend', step: { targets: [{ fingerprints: ['*[web-2]'] }] }, expected: 1 });
  assert.strictEqual(e.rollout.counts.targets, 1);
  await assert.rejects(rpc('MoveRollout', { id, move: 'extend', step: { targets: [{ everyone: true }] }, expected: 1 }), (x) => x.code === grpc.status.ABORTED);
  assert.strictEqual((await rpc('GetRollout', { id })).instances[0].id, 'web-2');
  assert.strictEqual((await rpc('ListRollouts', {})).rollouts[0].id, id);
  await rpc('MoveRollout', { id, move: 'roll_back', reason: 'enough' });
  await assert.rejects(rpc('Commit', { changes: [{ id: 'core/item/x', text: '3' }] }), (x) => x.code === grpc.status.FAILED_PRECONDITION);
});

test('what was started survives a restart, and so do the numbers', async () => {
  const r = (await start([{ id: A, text: '11' }], plan({ ids: ['web-5'] }, { percent: 12.5 }))).rollout;
  await server.stop('SIGKILL');
  await server.start();
  const m = (await rollout(r.id)).rollout;
  assert.deepStrictEqual([m.phase, m.moves, m.candidates[0].version, m.plan.steps[1].targets[0].percent], ['running', 1, r.candidates[0].version, 12.5]);
  await move(r.id, 'roll_back');
  await server.commit([{ id: A, text: '12' }]);
  assert.strictEqual((await stable(A)).version, r.candidates[0].version + 1);
});

run();
