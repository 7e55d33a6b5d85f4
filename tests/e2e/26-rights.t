#!/usr/bin/env node
// Who may do what where: every operation by every role, granted in every relation to the namespace that is asked about, over
// REST, gRPC and subscriptions. The expectations are written down here from docs/rights.md, by themselves; the operations are
// those of the server's own description, so a new one without a row fails.
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const path = require('path');
const { test, run, until, Server, Subscriber, proto, grpc, root } = require('./lib.js');

const SPACE = 'shop/prod';
const RELATIONS = { own: SPACE, parent: 'shop', child: 'shop/prod/eu', foreign: 'bank', half: 'shop/pro', everything: '*' };
const COVERS = new Set(['own', 'parent', 'everything']);
const ROLES = {
  view: ['view'], edit: ['view', 'edit'], publish: ['view', 'edit', 'publish', 'refer'], approve: ['view', 'approve'], refer: ['refer'],
  subscribe: ['subscribe'], operate: ['view', 'operate', 'retry', 'release', 'stop'], retry: ['view', 'retry'], release: ['view', 'release'],
  forget: ['view', 'forget'], stop: ['view', 'stop'], metrics: ['metrics'],
  admin: ['view', 'edit', 'publish', 'approve', 'refer', 'subscribe', 'operate', 'retry', 'release', 'forget', 'stop', 'metrics', 'admin'],
};
const ID = `${SPACE}/item/x`;
let server, callers, rollout, first, n = 0;

const secret = () => crypto.randomBytes(16).toString('hex');
const hash = (s) => `sha256:${crypto.createHash('sha256').update(s).digest('hex')}`;
const token = (name, s, more = {}) => ({ id: `trimtab/token/${name}`, text: JSON.stringify({ hash: hash(s), ...more }) });
const grant = (name, roles, namespaces, subject = `token:${name}`) => ({ id: `trimtab/grant/${name}`, text: JSON.stringify({ subject, role: roles, namespaces }) });
const bearer = (c) => ({ authorization: `Bearer ${c.secret}` });

// need: [right, where] pairs, all of them. where: in SPACE, on everything, anywhere at all.
const here = (...rights) => rights.map((r) => [r, 'here']);
const everywhere = (...rights) => rights.map((r) => [r, 'everything']);
const anywhere = (...rights) => rights.map((r) => [r, 'anywhere']);
const post = (url, body) => () => ['POST', typeof url === 'function' ? url() : url, typeof body === 'function' ? body() : body];
const get = (url) => () => ['GET', typeof url === 'function' ? url() : url];
const change = () => ({ id: ID, text: String(++n) });
const hello = (more = {}) => ({ protocol: 1, scopes: [{ name: 's', namespaces: [SPACE] }], ...more });
const plan = () => ({ changes: [{ id: `${SPACE}/item/never`, text: '1' }], plan: { steps: [{ targets: [{ ids: ['i1'] }] }] }, dry_run: true });
const retry = () => ({ kind: 'retry', resources: [ID], reason: 'again', dry_run: true });

// operation of REST -> rows (what it needs, the request, how it is denied unless 403); method of gRPC -> rows
const REST = {
  listResources: [[here('view'), get(`/v1/resources?prefix=${SPACE}/item/`)]],
  getResource: [[here('view'), get(`/v1/resources/${ID}`)], [everywhere('view'), get('/v1/resources/trimtab/grant/view-own')], [everywhere('admin'), get('/v1/resources/trimtab/token/view-own')]],
  putResource: [[here('publish'), () => ['PUT', `/v1/resources/${ID}`, String(++n)]], [here('edit'), () => ['PUT', `/v1/resources/${ID}?dry_run=true`, String(++n)]]],
  deleteResource: [[here('publish'), () => ['DELETE', `/v1/resources/${SPACE}/item/none`]]],
  getContent: [[here('view'), get(`/v1/contents/${ID}`)]],
  commit: [[here('publish'), post('/v1/commits', () => ({ changes: [change()] }))], [here('edit'), post('/v1/commits', () => ({ changes: [change()], dry_run: true }))],
    [everywhere('admin'), post('/v1/commits', { changes: [{ id: 'trimtab/kind/k', text: '{}' }], dry_run: true })],
    [here('admin'), post('/v1/commits', { changes: [grant('tried', 'view', [SPACE])], dry_run: true })]],
  listCommits: [[anywhere('view'), get('/v1/commits?limit=1')]],
  getCommit: [[here('view'), get(() => `/v1/commits/${first}`)]],
  listVersions: [[here('view'), get(`/v1/history/${ID}`)]],
  diffCommit: [[here('view'), get(() => `/v1/diff?revision=${first}`)]],
  diffVersions: [[here('view'), get(`/v1/diff/${ID}`)]],
  rollBack: [[here('publish'), post('/v1/rollback', { id: ID })], [here('edit'), post('/v1/rollback', { id: ID, dry_run: true })]],
  startRollout: [[here('edit'), post('/v1/rollouts', plan)], [here('publish', 'operate'), post('/v1/rollouts', () => ({ ...plan(), dry_run: false, changes: [{ id: `${SPACE}/item/taken`, text: '1' }] }))]],
  listRollouts: [[anywhere('view'), get('/v1/rollouts')]],
  previewRollout: [[here('view'), post('/v1/rollouts/preview', () => ({ targets: [{ ids: ['i1'] }], resources: [ID] }))], [everywhere('view'), post('/v1/rollouts/preview', { targets: [{ ids: ['i1'] }] })]],
  getRollout: [[here('view'), get(() => `/v1/rollouts/${rollout}`)]],
  moveRollout: [[here('operate'), post(() => `/v1/rollouts/${rollout}`, { move: 'pause', reason: 'r' })], [here('view'), post(() => `/v1/rollouts/${rollout}`, { move: 'pause', reason: 'r', dry_run: true })]],
  giveOrder: [[here('retry'), post('/v1/orders', retry)], [here('release'), post('/v1/orders', () => ({ ...retry(), kind: 'release' }))], [everywhere('stop'), post('/v1/orders', { kind: 'pause', reason: 'r', dry_run: true })]],
  listOrders: [[anywhere('view'), get('/v1/orders')]],
  releaseRestore: [[everywhere('admin'), post('/v1/restore/release', { reason: 'r', dry_run: true })]],
  listInstances: [[anywhere('view'), get('/v1/instances')]],
  forgetInstance: [[here('forget'), () => ['DELETE', '/v1/instances/i1']]],
  getRunning: [[here('view'), get(`/v1/running?resource=${ID}`)], [here('view'), get('/v1/running?instance=i1'), 404]],
  watchEvents: [[anywhere('view'), get('/v1/events')]],
  getStatus: [[here('view'), get(() => `/v1/status?revision=${first}`)]],
  whoCan: [[here('view'), get(`/v1/rights/who?right=publish&namespace=${SPACE}`)], [everywhere('view'), get('/v1/rights/who?right=publish&namespace=*')]],
  listGrants: [[anywhere('view'), get('/v1/grants')]],
  listTokens: [[everywhere('admin'), get('/v1/tokens')]],
  getInfo: [[anywhere('view'), get('/v1/info')]],
  getSnapshot: [[here('subscribe'), get(`/v1/subscribe/snapshot?namespaces=${SPACE}`)]],
  poll: [[here('subscribe'), get(`/v1/subscribe/poll?namespaces=${SPACE}&wait_ms=0`)]],
  pollWithHello: [[here('subscribe'), post('/v1/subscribe/poll', () => ({ hello: hello() }))]],
  subscribe: [[here('subscribe'), get(`/v1/subscribe/events?namespaces=${SPACE}`)]],
  acknowledge: [[anywhere('subscribe'), post('/v1/subscribe/ack', {})]],
  getMetrics: [[everywhere('metrics'), get('/metrics')]],
  getHealth: [[[], get('/healthz')]],
  getReadiness: [[[], get('/readyz')]],
  getOpenapi: [[[], get('/openapi.json')]],
};
const GRPC = {
  Commit: [[here('publish'), () => ({ changes: [{ id: ID, content: Buffer.from(String(++n)) }] })], [here('edit'), () => ({ changes: [{ id: ID, content: Buffer.from(String(++n)) }], dry_run: true })]],
  Get: [[here('view'), () => ({ id: ID })]],
  List: [[here('view'), () => ({ prefix: `${SPACE}/item/` })]],
  History: [[here('view'), () => ({ id: ID })]],
  Commits: [[anywhere('view'), () => ({})]],
  Diff: [[here('view'), () => ({ id: ID })], [here('view'), () => ({ revision: first })]],
  Rollback: [[here('publish'), () => ({ id: ID })], [here('edit'), () => ({ id: ID, dry_run: true })]],
  Instances: [[anywhere('view'), () => ({})]],
  ForgetInstance: [[here('forget'), () => ({ id: 'i1' })]],
  Status: [[here('view'), () => ({ revision: first })]],
  Running: [[here('view'), () => ({ resource: ID })]],
  Events: [[anywhere('view'), () => ({})]],
  Info: [[anywhere('view'), () => ({})]],
  StartRollout: [[here('edit'), () => ({ changes: [{ id: `${SPACE}/item/never`, content: Buffer.from('1') }], plan: { steps: [{ targets: [{ ids: ['i1'] }] }] }, dry_run: true })]],
  PreviewRollout: [[here('view'), () => ({ targets: [{ ids: ['i1'] }], resources: [ID] })]],
  MoveRollout: [[here('operate'), () => ({ id: rollout, move: 'pause', reason: 'r' })], [here('view'), () => ({ id: rollout, move: 'pause', reason: 'r', dry_run: true })]],
  GetRollout: [[here('view'), () => ({ id: rollout })]],
  ListRollouts: [[anywhere('view'), () => ({})]],
  WhoCan: [[here('view'), () => ({ right: 'publish', namespace: SPACE })]],
  Grants: [[anywhere('view'), () => ({})]],
  Tokens: [[everywhere('admin'), () => ({})]],
  Backup: [[everywhere('admin'), () => ({})]],
  Order: [[here('retry'), retry]],
  Orders: [[anywhere('view'), () => ({})]],
  ReleaseRestore: [[everywhere('admin'), () => ({ reason: 'r', dry_run: true })]],
};

function may(caller, need) {
  return need.every(([right, where]) => caller.rights.has(right) &&
    (where === 'anywhere' || (where === 'here' ? COVERS.has(caller.relation) : caller.relation === 'everything')));
}

// The status alone: what streams is cut when it has begun.
function statusOf(method, url, body, headers) {
  return new Promise((resolve, reject) => {
    const [host, port] = server.address.split(':');
    const q = http.request({ host, port, method, path: url, headers, agent: statusOf.agent }, (res) => {
      const streams = /event-stream/.test(res.headers['content-type'] || '');
      res.on('error', () => {});
      if (streams) res.destroy(); else res.resume();
      if (streams) resolve(res.statusCode); else res.on('end', () => resolve(res.statusCode));
    });
    q.on('error', reject);
    q.end(body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body));
  });
}
statusOf.agent = new http.Agent({ keepAlive: true, maxSockets: 4 });

function codeOf(client, method, request, caller) {
  return new Promise((resolve) => {
    const meta = new grpc.Metadata();
    meta.set('authorization', `Bearer ${caller.secret}`);
    if (!client[method].responseStream) { client[method](request, meta, (e) => resolve(e ? e.code : 0)); return; }
    const s = client[method](request, meta);
    s.on('data', () => { resolve(0); s.cancel(); });
    s.on('error', (e) => resolve(e.code));
  });
}

function operations() {
  const paths = JSON.parse(fs.readFileSync(path.join(root, 'api', 'openapi.json'))).paths;
  return Object.values(paths).flatMap((p) => Object.values(p).map((o) => o.operationId)).filter(Boolean);
}

// Tells every row that is not as written; one assertion for all.
async function judge(rows, ask, isDenied) {
  const wrong = [];
  let allowed = 0, denied = 0;
  for (const [name, [need, request, as]] of rows) {
    for (const c of callers) {
      const got = await ask(name, request, c);
      if ((isDenied(got) || got === as) === may(c, need) || got === 12 || got >= 500) wrong.push(`${name} ${JSON.stringify(need)} by ${c.name}: ${got}`);
      if (may(c, need)) allowed++; else denied++;
    }
  }
  console.log(`# ${allowed} allowed, ${denied} denied`);
  assert.deepStrictEqual(wrong, []);
}
const rowsOf = (table) => Object.entries(table).flatMap(([name, rows]) => rows.map((row) => [name, row]));

test('a role is granted in every relation to a namespace', async () => {
  server = await new Server().start();
  first = (await server.commit([{ id: ID, text: '1' }])).revision;
  await server.commit([{ id: ID, text: '2' }]);
  await server.commit(['shop/item/x', `${SPACE}/eu/item/x`, 'bank/item/x'].map((id) => ({ id, text: '1' })));
  const s = new Subscriber(server, 'i1', [{ name: 's', namespaces: [SPACE] }]).open();
  await s.at(1);
  callers = Object.entries(ROLES).flatMap(([role, rights]) => Object.entries(RELATIONS)
    .filter(([relation]) => !['metrics', 'stop'].includes(role) || relation === 'everything') // of the whole server
    .map(([relation, namespace]) => ({ name: `${role}-${relation}`, relation, roles: [role], namespace, rights: new Set(rights), secret: secret() })));
  for (const [relation, namespace] of Object.entries(RELATIONS)) // grants add up
    callers.push({ name: `starter-${relation}`, relation, roles: ['publish', 'operate'], namespace, rights: new Set([...ROLES.publish, ...ROLES.operate]), secret: secret() });
  callers.push({ name: 'nothing', relation: 'own', roles: [], rights: new Set(), secret: secret() });
  await server.commit(callers.flatMap((c) => [token(c.name, c.secret), ...c.roles.map((r, i) => grant(i ? `${c.name}.${i}` : c.name, r, [c.namespace], `token:${c.name}`))]));
  const started = await server.json('POST', '/v1/rollouts', { changes: [{ id: `${SPACE}/item/r`, text: '1' }], plan: { steps: [{ targets: [{ ids: ['i1'] }] }] } });
  rollout = started.rollout.id;
});

test('every operation of REST has a row', () => assert.deepStrictEqual(operations().sort(), Object.keys(REST).sort()));
test('every method of gRPC has a row', () => assert.deepStrictEqual(Object.values(proto.Admin.service).map((m) => m.path.split('/').pop()).sort(), Object.keys(GRPC).sort()));

test('every operation of REST by every role in every relation', async () => {
  await judge(rowsOf(REST), (name, request, c) => { const [method, url, body] = request(); return statusOf(method, url, body, bearer(c)); }, (status) => status === 403 || status === 401);
});

test('every method of gRPC by every role in every relation', async () => {
  const client = new proto.Admin(server.address, grpc.credentials.createInsecure());
  await judge(rowsOf(GRPC), (name, request, c) => codeOf(client, name, request(), c), (code) => code === 7 || code === 16);
  client.close();
});

test('a subscription by gRPC is given whole or not at all, by every role in every relation', async () => {
  const scopes = [[{ name: 's', namespaces: [SPACE] }], [{ name: 's', namespaces: [SPACE] }, { name: 't', namespaces: ['bank'] }]];
  const wrong = [];
  for (const c of callers) {
    for (const [i, asked] of scopes.entries()) {
      const s = new Subscriber({ address: server.address, token: c.secret }, '', asked).open();
      await until('an answer', () => s.last || s.ended);
      const allowed = c.rights.has('subscribe') && (i ? c.relation === 'everything' : COVERS.has(c.relation));
      if (allowed !== !s.ended || (s.ended && (s.ended.code !== 7 || s.log.length))) wrong.push(`${c.name} ${i}: ${s.ended}`);
      s.close();
    }
  }
  assert.deepStrictEqual(wrong, []);
});

test('lists, events and differences show what may be seen and nothing else', async () => {
  const c = callers.find((x) => x.name === 'view-own');
  const ask = async (url) => { const r = await server.request('GET', url, undefined, bearer(c)); assert.strictEqual(r.status, 200, `${url}: ${r.status} ${r.body}`); return String(r.body); };
  const mixed = (await server.commit([{ id: ID, text: '"seen"' }, { id: 'bank/item/x', text: '"hidden"' }])).revision;
  for (const url of ['/v1/resources?prefix=', '/v1/resources', '/v1/commits', `/v1/commits/${mixed}`, `/v1/diff?revision=${mixed}`]) {
    const body = await ask(url);
    assert(body.includes(ID), `${url}: ${body}`);
    assert(!body.includes('bank'), `${url}: ${body}`);
    assert(!/trimtab\/(token|grant)/.test(body), `${url}: ${body}`);
  }
  const hidden = (await server.commit([{ id: 'bank/item/x', text: '"hidden 2"' }])).revision;
  assert(!JSON.parse(await ask('/v1/commits')).commits.some((x) => x.revision === String(hidden) || x.revision === hidden));
  assert.notStrictEqual((await server.request('GET', `/v1/commits/${hidden}`, undefined, bearer(c))).status, 200);
  const events = [];
  const meta = new grpc.Metadata();
  meta.set('authorization', bearer(c).authorization);
  const client = new proto.Admin(server.address, grpc.credentials.createInsecure());
  const stream = client.Events({}, meta);
  stream.on('data', (e) => events.push(e)).on('error', () => {});
  await until('it listens', () => events.length);
  await server.commit([{ id: 'bank/item/x', text: '"hidden 3"' }]);
  const both = (await server.commit([{ id: 'bank/item/x', text: '"hidden 4"' }, { id: ID, text: '"seen 4"' }])).revision;
  await until('the commit that is seen', () => events.some((e) => e.commit && e.commit.revision === both));
  const commits = events.filter((e) => e.commit).map((e) => e.commit);
  assert.deepStrictEqual(commits.map((x) => [x.revision, x.resources, x.resource_count]), [[both, [ID], 1]]);
  stream.cancel();
  client.close();
});

test('an instance of somebody else is not shown, nor what it says of items that may not be seen', async () => {
  const other = new Subscriber(server, 'banker', [{ name: 's', namespaces: ['bank'] }], { refuses: () => 'the secret of the bank' }).open();
  const both = new Subscriber(server, 'both', [{ name: 's', namespaces: ['bank', SPACE] }], { refuses: (item) => item.id.startsWith('bank') && 'the secret of the bank' }).open();
  await until('both have been heard', async () => ((await server.json('GET', '/v1/instances')).instances.filter((i) => (i.refused || []).length)).length === 2);
  const c = callers.find((x) => x.name === 'view-own');
  for (const url of ['/v1/instances', '/v1/running?instance=both', `/v1/running?resource=${ID}`]) {
    const body = String((await server.request('GET', url, undefined, bearer(c))).body);
    assert(body.includes('both') || !url.includes('both'), `${url}: ${body}`);
    assert(!/banker|secret of the bank|bank\/item/.test(body), `${url}: ${body}`);
  }
  assert.match(String((await server.request('GET', '/v1/running?instance=banker', undefined, bearer(c))).body), /no such instance|there is no/);
  other.close();
  both.close();
});

test('an item that refers to what may not be read is withheld, until the right is granted', async () => {
  const s1 = secret();
  await server.commit([{ id: 'bank/item/key', text: '1' }, token('limited', s1), grant('limited', 'subscribe', ['shop'])]);
  await server.commit([{ id: 'shop/item/web', text: '1', metadata: { depends_on: ['bank/item/key'] } }]);
  const s = new Subscriber({ address: server.address, token: s1 }, 'limited', [{ name: 's', namespaces: ['shop'] }]).open();
  await until('a state', () => s.last);
  assert.strictEqual(s.text('shop/item/web'), undefined);
  assert.strictEqual(s.text('bank/item/key'), undefined);
  const running = async () => { // what is said of it, from both sides, when it has proved what it was given
    const rows = await until('its proof', async () => { const all = (await server.json('GET', '/v1/running?instance=limited')).resources; return all.find((r) => r.id === 'shop/item/x').state === 'ok' && all; });
    return [...rows, ...(await server.json('GET', '/v1/running?resource=shop/item/web')).resources].filter((r) => r.id === 'shop/item/web' && r.instance === 'limited').map((r) => [r.state, r.running]);
  };
  assert.deepStrictEqual(await running(), [['withheld', 0], ['withheld', 0]]);
  assert(s.text('shop/item/x'));
  await server.commit([grant('limited-bank', 'view', ['bank'], 'token:limited')]);
  await until('its stream ends', () => s.ended);
  s.open();
  await until('it has both', () => s.text('shop/item/web') && s.text('bank/item/key'));
  await until('it runs it', async () => JSON.stringify(await running()) === JSON.stringify([['ok', 1], ['ok', 1]]));
  await server.commit([{ id: 'trimtab/grant/limited-bank', delete: true }]);
  await until('its stream ends again', () => s.ended);
  s.open();
  await until('it has neither', () => !s.text('shop/item/web') && !s.text('bank/item/key'));
  assert(s.log.some((f) => (f.changes || []).some((c) => c.drop.includes('item/web') && c.withheld.includes('item/web'))), JSON.stringify(s.log.map((f) => f.changes)));
  assert(!s.bad);
  s.close();
});

test('rights that change reach open streams, and only those that they bear on', async () => {
  const s1 = secret(), s2 = secret(), s3 = secret();
  await server.commit([token('goes', s1), grant('goes', 'subscribe', ['shop']), token('stays', s2), grant('stays', 'subscribe', ['shop']), token('watches', s3), grant('watches', 'view', ['shop'])]);
  const scopes = [{ name: 's', namespaces: ['shop'] }];
  const goes = new Subscriber({ address: server.address, token: s1 }, 'goes', scopes).open(), stays = new Subscriber({ address: server.address, token: s2 }, 'stays', scopes).open();
  await until('both are served', () => goes.last && stays.last);
  const meta = new grpc.Metadata();
  meta.set('authorization', `Bearer ${s3}`);
  const client = new proto.Admin(server.address, grpc.credentials.createInsecure());
  let ended = null, heard = 0;
  client.Events({}, meta).on('data', () => heard++).on('error', (e) => { ended = e; }).on('end', () => { ended = ended || new Error('ended'); });
  await until('it listens', () => heard);
  await server.commit([{ id: 'trimtab/grant/goes', delete: true }]);
  await until('its stream ends', () => goes.ended);
  goes.open();
  await until('it is refused', () => goes.ended);
  assert.strictEqual(goes.ended.code, 7);
  assert.match(goes.ended.message, /token:goes lacks the right "subscribe"/);
  const seen = (await server.commit([{ id: 'shop/item/x', text: '"only stays"' }])).revision;
  await stays.at(seen);
  assert.strictEqual(goes.text('shop/item/x'), '1'); // it keeps what it has
  assert.strictEqual(ended, null);
  await server.commit([{ id: 'trimtab/grant/watches', delete: true }]);
  await until('the events end', () => ended);
  assert.strictEqual(stays.ended, null);
  await server.commit([{ id: 'trimtab/token/stays', delete: true }]);
  await until('a token that is deleted ends its streams', () => stays.ended);
  goes.close();
  stays.close();
  client.close();
});

test('a token that expires ends its streams', async () => {
  const s1 = secret();
  await server.commit([token('short', s1, { expires: new Date(Date.now() + 4000).toISOString() }), grant('short', 'subscribe', ['shop'])]);
  const s = new Subscriber({ address: server.address, token: s1 }, 'short', [{ name: 's', namespaces: ['shop'] }]).open();
  await until('it is served', () => s.last || s.ended);
  await until('it ends', () => s.ended);
  s.open();
  await until('it is not known any more', () => s.ended);
  assert.strictEqual(s.ended.code, 16, String(s.ended));
  s.close();
});

test('who may not see something learns nothing of it from a refusal', async () => {
  const c = callers.find((x) => x.name === 'edit-foreign');
  const of = async (id) => { const r = await server.request('PUT', `/v1/resources/${id}?dry_run=true`, '1', { ...bearer(c), 'if-match': '"77"' }); return [r.status, String(r.body).replaceAll(id, 'ID')]; };
  assert.deepStrictEqual(await of(ID), await of(`${SPACE}/item/none`));
  const read = async (id) => { const r = await server.request('GET', `/v1/resources/${id}`, undefined, bearer(c)); return [r.status, String(r.body).replaceAll(id, 'ID')]; };
  assert.deepStrictEqual(await read(ID), await read(`${SPACE}/item/none`));
});

test('denied attempts stand in the log, as many as it can bear, and are counted', async () => {
  const denied = async () => Number(/^trimtab_requests_denied_total (\d+)/m.exec(String((await server.request('GET', '/metrics')).body))[1]);
  const log = path.join(server.dir, 'log');
  const lines = (from, what) => fs.readFileSync(log, 'utf8').slice(from).split('\n').filter((l) => l.includes(` ${what} `));
  const c = callers.find((x) => x.name === 'view-foreign');
  const quiet = () => until('a second without a denial', async () => { const size = fs.statSync(log).size; await new Promise((r) => setTimeout(r, 1200)); return !lines(size, 'denied').length; });
  await quiet();
  let from = fs.statSync(log).size, before = await denied();
  assert.strictEqual((await server.request('GET', `/v1/resources/${ID}`, undefined, bearer(c))).status, 403);
  assert.strictEqual(await statusOf('GET', '/v1/info', undefined, { authorization: 'Bearer wrong' }), 401);
  const client = new proto.Admin(server.address, grpc.credentials.createInsecure());
  assert.strictEqual(await codeOf(client, 'Get', { id: ID }, c), 7);
  const s = new Subscriber({ address: server.address, token: c.secret }, '', [{ name: 's', namespaces: ['bank'] }]).open();
  await until('it is refused', () => s.ended);
  client.close();
  s.close();
  assert.strictEqual(await denied() - before, 4);
  const said = lines(from, 'denied');
  assert.strictEqual(said.length, 4, said.join('\n'));
  for (const part of [`path=/v1/resources/${ID}`, 'path=/v1/info', 'path=/trimtab.v1.Admin/Get', 'path=/trimtab.v1.Sync/Subscribe']) assert(said.some((l) => l.includes(part)), said.join('\n'));
  await quiet();
  from = fs.statSync(log).size;
  before = await denied();
  for (let i = 0; i < 200; i++) await statusOf('GET', `/v1/resources/${ID}`, undefined, bearer(c));
  assert.strictEqual(await denied() - before, 200);
  await until('all are told of', () => lines(from, 'denied').length + lines(from, 'denied_more').reduce((sum, l) => sum + Number(/requests=(\d+)/.exec(l)[1]), 0) === 200);
  assert(lines(from, 'denied').length < 200);
});

run();
