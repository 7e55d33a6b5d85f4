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
  const both = await Promise.allSettled([move(first, 'extend', { expected: seen, step: { targets: [{ ids: ['x'] }], allow_empty: true } }), move(first, 'extend', { expected: seen, step: { targets: [{ ids: ['y'] }], allow_empty: true } })]);
  assert.deepStrictEqual(both.map((b) => b.status).sort(), ['fulfilled', 'rejected']);
  assert.match(String(both.find((b) => b.status === 'rejected').reason), /409.*has moved on/);
  await Promise.all(['p', 'q', 'r', 's'].map((id) => move(first, 'extend', { step: { targets: [{ ids: [id] }], allow_empty: true } })));
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
  assert.deepStrictEqual([dry.dry_run, dry.reaches > 0], [true, true]);
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
  for (const [from, to] of [[5, 1], [1, 5], [2, 5], [3, 2]]) {
    const { diff } = await server.json('GET', `/v1/diff/${A}?from=${from}&to=${to}`);
    assert.match(diff, new RegExp(`^--- ${A}@${from}\n\\+\\+\\+ ${A}@${to}\n`));
    assert.match(diff, new RegExp(`^-${from}$[^]*^\\+${to}$`, 'm'));
  }
  await server.json('POST', '/v1/rollback', { id: A, message: 'back' });
  assert.strictEqual((await stable(A)).text, '3', 'and so is what a rollback goes to');
  await fails(404, 'NOT_FOUND', 'no earlier version', 'POST', '/v1/rollback', { id: 'shop/prod/item/other' });
  await fails(400, 'INVALID', 'started a rollout', 'POST', '/v1/rollback', { revision: r.id });
});

test('what is protected needs a rollout, and an override to be confirmed before a step has shown that it works', async () => {
  await server.commit([{ id: 'trimtab/protection/core', text: JSON.stringify({ namespaces: ['core'] }) }]);
  await fails(423, 'LOCKED', 'trimtab rollout start', 'PUT', '/v1/resources/core/item/x', 1);
  const r = (await start([{ id: 'core/item/x', text: '1' }], { steps: [{ targets: [{ everyone: true }], allow_empty: true }] })).rollout;
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
  assert.deepStrictEqual(c.moves, [{ rollout: one.id, move: 'override', reason: 'fire', force: '' }, { rollout: two.id, move: 'override', reason: 'fire', force: '' }]);
});

test('an override ends the rollouts of what it changes only; one that changes nothing ends those of all that it names', async () => {
  const one = (await start([{ id: A, text: '70' }], plan({ ids: ['web-1'] }))).rollout;
  const tree = (b) => [{ id: A, text: '8' }, { id: B, text: b }];
  await server.json('POST', '/v1/commits', { changes: tree('81'), override: 'fire' });
  assert.deepStrictEqual([(await rollout(one.id)).rollout.phase, (await stable(B)).text], ['running', '81']);
  await server.json('POST', '/v1/commits', { changes: tree('81'), override: 'everybody as before' });
  assert.strictEqual((await rollout(one.id)).rollout.phase, 'overridden');
  await server.json('POST', '/v1/commits', { changes: [{ id: B, text: '8' }] });
});

test('a wait ends when the rollout moves, and not before', async () => {
  const r = (await start([{ id: A, text: '9' }], plan({ ids: ['web-1'] }))).rollout;
  const { stamp } = await until('a picture that stays', async () => { const m = await rollout(r.id); return m.rollout.plan.steps[0].satisfied && m; });
  const late = await rollout(r.id, `?known=${stamp}&wait_ms=300`);
  assert.strictEqual(late.stamp, stamp);
  const waiting = rollout(r.id, `?known=${stamp}&wait_ms=30000`);
  await move(r.id, 'roll_back');
  const m = await waiting;
  assert.strictEqual(m.rollout.phase, 'rolled_back');
  assert.notStrictEqual(m.stamp, stamp);
  assert.deepStrictEqual([m.rollout.counts.targets, m.rollout.counts.ok, m.instances[0].id, m.instances[0].state], [1, 1, 'web-1', 'gray_ok'], 'as it stood at the end');
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
  const moves = (await commits(`rollout=${first}&limit=1000`)).commits.map((c) => c.moves[0].move).filter((m) => m !== 'satisfy').reverse();
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
  const s = await rpc('StartRollout', { changes: [{ id: A, text: '10' }], plan: { steps: [{ targets: [{ networks: ['10.0.0.0/8'] }], allow_empty: true }] }, message: 'by rpc' });
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

test('who may only read may look and preview, and not start or move', async () => {
  const r = (await start([{ id: A, text: '15' }], plan({ everyone: true }))).rollout, token = 'a-token-of-a-reader';
  const before = fs.statSync(path.join(server.dir, 'log')).size;
  fs.appendFileSync(path.join(server.dir, 'tokens'), `reads reader ${require('crypto').createHash('sha256').update(token).digest('hex')}\n`);
  server.child.kill('SIGHUP');
  await until('the tokens are read', () => fs.readFileSync(path.join(server.dir, 'log'), 'utf8').slice(before).includes('reloaded'));
  const as = async (method, url, body) => (await server.request(method, url, body && JSON.stringify(body), { authorization: `Bearer ${token}` })).status;
  assert.strictEqual(await as('GET', `/v1/rollouts/${r.id}`), 200);
  assert.strictEqual(await as('GET', '/v1/rollouts'), 200);
  assert.strictEqual(await as('POST', '/v1/rollouts/preview', { targets: [{ everyone: true }] }), 200);
  assert.strictEqual(await as('POST', '/v1/rollouts', { changes: [{ id: B, text: '2' }], plan: plan({ everyone: true }) }), 403);
  assert.strictEqual(await as('POST', `/v1/rollouts/${r.id}`, { move: 'confirm' }), 403);
  await move(r.id, 'roll_back');
});

// ---- the command line ----
const env = () => ({ ...process.env, TRIMTAB_CONTEXTS: path.join(dir, 'contexts'), TRIMTAB_SERVER: server.address, TRIMTAB_TOKEN: server.token });
function cli(...args) {
  const r = spawnSync(path.join(bin, 'trimtab'), args, { env: env(), maxBuffer: 64 << 20 });
  return { status: r.status, out: r.stdout.toString(), err: r.stderr.toString() };
}
function good(...args) { const r = cli(...args); assert.strictEqual(r.status, 0, `${args.join(' ')}: ${r.status} ${r.err}`); return r.out; }
function watch(id, ...more) {
  const w = { out: '', err: '' };
  const c = spawn(path.join(bin, 'trimtab'), ['rollout', 'watch', String(id), ...more], { env: env() });
  c.stdout.on('data', (d) => { w.out += d; });
  c.stderr.on('data', (d) => { w.err += d; });
  w.ended = new Promise((resolve) => c.on('close', resolve));
  return w;
}

test('CLI: preview, start, status, extend, list and confirm, watched to the end', async () => {
  const p = cli('rollout', 'preview', '--label', 'zone=a', '--host', 'nod*', '--resource', A, '--step', 'percent=50', '--step', 'all');
  assert.strictEqual(p.status, 0, p.err);
  assert.match(p.out, /^1 +web-0 +node +\w+ +\[node\]\[0\]\[web-0\] *$/m);
  assert.match(p.err, /^step 1: 4 instances, 4 of them connected$/m);
  const salt = p.err.match(/--salt (\w+)$/m)[1];
  assert(cli('rollout', 'preview', '--label', 'zone=a', '--step', 'percent=50', '--salt', salt).err.includes(salt));
  assert(!cli('rollout', 'preview', '--all').err.includes('--salt'));
  assert.match(good('rollout', 'start', A, '--value', '20', '--id', 'web-0', '--dry-run'), /^\+20$[^]*dry run.*1 target,/m);
  const out = good('rollout', 'start', A, '--value', '20', '--id', 'web-0', '--id', 'web-1', '--step', 'labels=zone in (a,b);percent=30;soak=30s;max_refused=2', '--name', 'twenty', '--expires', '1h', '-m', 'is it better?');
  const id = out.match(/^rollout (\d+) running, step 1 of 2: 2 targets/m)[1];
  const got = JSON.parse(good('rollout', 'status', id, '-o', 'json'));
  assert.deepStrictEqual(got.rollout.plan.steps[1].targets[0].labels, 'zone in (a,b)');
  assert.deepStrictEqual([got.rollout.plan.steps[1].soak_ms, got.rollout.plan.steps[1].criteria.max_refused, got.rollout.reason], [30000, 2, 'is it better?']);
  const w = watch(id);
  await until('it watches', () => w.out.includes('2 targets'));
  assert.match(good('rollout', 'extend', id, '--label', 'zone=a', '-m', 'so far so good'), /step 2 of 3: 4 targets/);
  await until('it saw that', () => w.out.includes('4 targets'));
  const status = good('rollout', 'status', id, '--diff');
  assert.match(status, /^2 +(begun|satisfied) +0 s +label=zone=a$/m);
  assert.match(status, /^3 +planned +\d+ s +label=zone in \(a,b\) & percent=30$/m);
  assert.match(status, /^\+20$/m);
  assert.match(good('rollout', 'list'), new RegExp(`^${id} +running +2 of 3 +${A} .* twenty$`, 'm'));
  for (const [move, reached] of [['pause', 0], ['abort', 4], ['confirm', '\\d+']])
    assert.match(good('rollout', move, id, '--dry-run'), new RegExp(`^dry run: nothing was stored; this would reach ${reached} instances`, 'm'));
  assert.strictEqual(JSON.parse(good('rollout', 'abort', id, '--dry-run', '-o', 'json')).reaches, 4);
  good('rollout', 'pause', id);
  good('rollout', 'resume', id);
  const late = cli('rollout', 'pause', id, '--expected', '1');
  assert.strictEqual(late.status, 5);
  assert.match(late.err, /has moved on/);
  good('rollout', 'advance', id);
  assert.match(good('rollout', 'confirm', id, '-m', 'it is'), /^updated +shop\/prod\/item\/a +version \d+$/m);
  assert.strictEqual(await w.ended, 0);
  assert.match(w.out, /confirmed by .*: it is$/m);
  assert.strictEqual(good('get', A), '20');
});

test('CLI: what is rolled back ends a watch with 7, what lasts too long with 8', async () => {
  const id = good('rollout', 'start', '--delete', B, '--all', '-o', 'name').trim();
  assert.strictEqual(await watch(id, '--timeout', '1').ended, 8);
  const w = watch(id);
  await until('it watches', () => w.out.includes('targets'));
  good('rollout', 'abort', id, '-m', 'no');
  assert.strictEqual(await w.ended, 7);
  assert.match(w.err, /rolled_back by .*: no/);
  assert(good('get', B));
});

test('CLI: a folder as one rollout; locks, and an override with its reason in the history', () => {
  const tree = path.join(dir, 'tree');
  fs.mkdirSync(path.join(tree, 'deep'), { recursive: true });
  fs.writeFileSync(path.join(tree, 'main.conf'), 'one\n');
  fs.writeFileSync(path.join(tree, 'deep', 'x.conf'), 'x\n');
  const id = good('rollout', 'start', '--publish', 'web/edge', tree, '--percent', '10%', '--salt', 's', '--allow-empty', '--delete', B, '-o', 'name').trim();
  const m = JSON.parse(good('rollout', 'status', id, '-o', 'json')).rollout;
  assert.deepStrictEqual(m.candidates.map((c) => `${c.action} ${c.id}`), [`deleted ${B}`, 'created web/edge/file/deep/x.conf', 'created web/edge/file/main.conf']);
  const locked = cli('publish', 'web/edge', tree);
  assert.strictEqual(locked.status, 5);
  assert.match(locked.err, /carried by rollout/);
  good('publish', 'web/edge', tree, '--override', 'the house is on fire');
  assert.match(good('history', '--action', 'override'), /override +2 resources +the house is on fire/);
  assert.match(good('history', '--rollout', id, '--since', '1h'), new RegExp(`start +rollout ${id}`));
  assert.match(good('rollout', 'list', '--all'), new RegExp(`^${id} +overridden`, 'm'));
});

test('CLI: usage is told, and words are completed', async () => {
  for (const [args, piece] of [[['start'], 'nothing to roll out'], [['start', A, '--value', '1'], 'say whom it is for'], [['start', A, '--value', '1', '--percent', '200'], 'no percentage'],
    [['start', A, '--value', '1', '--step', 'colour=red'], 'no "colour"'], [['start', A, '--value', '1', '--step', 'soak=1s'], 'whom it is for'], [['extend', '1'], 'to whom'], [['pause', 'x'], 'number of a rollout'], [['dance'], 'no "rollout dance"']]) {
    const r = cli('rollout', ...args);
    assert([2, 6].includes(r.status), `${args} ${r.status}`);
    assert(r.err.includes(piece), `${r.err} has no ${piece}`);
  }
  assert.match(good('rollout', '--help'), /^  extend +gives it/m);
  assert.match(good('rollout', 'start', '--help'), /--percent TEXT/);
  const { rollout: r } = await start([{ id: A, text: '30' }], plan({ everyone: true }));
  assert.strictEqual(good('__complete', '2', 'trimtab', 'rollout', 'st'), 'start\nstatus\n');
  assert.strictEqual(good('__complete', '3', 'trimtab', 'rollout', 'status', ''), `${r.id}\n`);
  assert.match(good('__complete', '3', 'trimtab', 'rollout', 'start', 'shop/prod/item/a'), /^shop\/prod\/item\/a$/m);
  await move(r.id, 'roll_back');
});

test('the targets have the candidate, nobody else does, and a rollback gives stable back', async () => {
  const value = (i) => { const x = instances[i].held.get(' item/a'); return x && x.content.toString(); };
  const { revision } = await server.commit([{ id: A, text: '40' }]);
  await until('all have it', () => [0, 1, 9].every((i) => value(i) === '40'));
  const r = (await start([{ id: A, text: '41' }], plan({ ids: ['web-0', 'web-1'] }))).rollout;
  await until('both targets have it', () => value(0) === '41' && value(1) === '41');
  assert.strictEqual(value(9), '40');
  await until('both are ok', async () => (await rollout(r.id)).rollout.counts.ok === 2);
  await move(r.id, 'roll_back');
  await until('they have stable again', () => value(0) === '40' && value(1) === '40');
  assert(revision > 0);
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
