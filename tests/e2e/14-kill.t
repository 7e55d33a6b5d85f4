#!/usr/bin/env node
// The server killed with SIGKILL again and again while writers commit and subscribers follow: nothing that was
// acknowledged is lost, doubled or torn, and nobody ever sees a revision that the store does not keep. And peers that
// stand still: an agent under SIGSTOP is shown as it is, a subscriber that does not read holds nobody up.
//   TRIMTAB_KILLS=N   how often, 30 (5 with TRIMTAB_QUICK)
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const { test, run, until, Server, Subscriber, tmpdir, bin, spawn } = require('./lib.js');

const QUICK = !!process.env.TRIMTAB_QUICK;
const KILLS = Number(process.env.TRIMTAB_KILLS || (QUICK ? 5 : 30));
const WRITERS = 8;
const SUBSCRIBERS = 20;
const KILLS_PER_CASE = 10; // so that no case comes near the time that the library gives it
const scope = [{ name: 'main', namespaces: ['shop/prod'] }];
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
const below = (n) => Math.floor(Math.random() * n);
const id = (name) => `shop/prod/item/${name}`;
const value = (item) => JSON.parse(item.content.toString());

let server;
let open;          // a promise that is kept once the server is there again
let reopen;
let over = false;  // the writers shall end
let restart = 0;   // counts the lives of the server
const acknowledged = []; // {request, revision, pair}
const cuts = { writes: 0, streams: 0 };
const faults = [];
const digests = new Map(); // revision -> digest: one truth for all subscribers and all lives of the server

// ---- who follows ----
class Follower extends Subscriber {
  constructor(n) {
    super(null, `follower-${n}`, scope, { log: { push() {} } });
  }
  take(end) {
    const before = this.cursor ? this.cursor.revision : 0;
    if (end.revision < before) faults.push(`${this.id}: revision ${before}, then ${end.revision}`);
    super.take(end);
    this.note(end.revision);
    for (let w = 0; w < WRITERS; w++) {
      const [a, b] = ['a', 'b'].map((x) => this.held.get(`main item/w${w}.${x}`));
      if (!a !== !b || (a && value(a).n !== value(b).n)) faults.push(`${this.id}: half of a commit at ${end.revision}`);
    }
  }
  note(revision) {
    const digest = this.digest().toString('hex');
    const known = digests.get(revision);
    if (known !== undefined && known !== digest) faults.push(`${this.id}: revision ${revision} is ${known} and ${digest}`);
    digests.set(revision, digest);
  }
  async follow() {
    for (;;) {
      await open;
      if (over) return;
      this.server = server;
      this.open();
      while (!this.ended && !over) await sleep(5);
      if (over) return;
      this.close();
      cuts.streams++;
      await sleep(20 + below(30)); // late events of the former stream are over
    }
  }
}
const followers = Array.from({ length: SUBSCRIBERS }, (_, i) => new Follower(i));

// ---- who writes: as a careful client, with the same request id until there is an answer ----
async function write(w) {
  for (let n = 1; !over; n++) {
    const body = { message: 'kill test', request_id: `w${w}-${n}`, changes: ['a', 'b'].map((x) => ({ id: id(`w${w}.${x}`), text: JSON.stringify({ n }) })) };
    let done;
    while (!done) {
      await open;
      try {
        done = await server.json('POST', '/v1/commits', body);
      } catch (e) {
        if (!/ECONN|EPIPE|socket hang up|aborted|: 503 /.test(`${e.code} ${e.message}`)) throw e;
        cuts.writes++;
        await sleep(5);
      }
    }
    acknowledged.push({ request: body.request_id, revision: done.revision, pair: w });
    await sleep(below(20));
  }
}
let writers;

// ---- the killing ----
async function dieBeforeListening() {
  const child = spawn(path.join(bin, 'trimtabd'), [`--data_dir=${server.dir}`, `--listen=${server.listen}`], { stdio: 'ignore' });
  const ended = new Promise((r) => child.once('exit', r));
  await sleep(below(30));
  child.kill('SIGKILL');
  await ended;
}
async function kill() {
  await sleep(20 + below(250));
  open = new Promise((r) => { reopen = r; });
  await server.stop('SIGKILL');
  // Only who had a stream has an end to wait for; what was under way in it counts as seen.
  await until('all streams end', () => followers.every((f) => !f.stream || f.ended));
  const seen = Math.max(0, ...followers.map((f) => (f.cursor ? f.cursor.revision : 0)));
  const promised = Math.max(0, ...acknowledged.map((a) => a.revision));
  if (below(5) === 0) await dieBeforeListening();
  await server.start();
  restart++;
  const info = await server.json('GET', '/v1/info');
  assert(info.head >= seen, `restart ${restart}: a subscriber has ${seen}, the head is ${info.head}`);
  assert(info.head >= promised, `restart ${restart}: ${promised} was acknowledged, the head is ${info.head}`);
  reopen();
  assert.deepStrictEqual(faults, []);
}

test('a server, 8 writers and 20 subscribers begin', async () => {
  server = await new Server(undefined, ['--bookmark_interval=200ms', '--snapshot_records=300']).start();
  open = Promise.resolve();
  writers = Promise.all(Array.from({ length: WRITERS }, (_, w) => write(w)));
  writers.catch((e) => faults.push(`a writer: ${e.stack}`));
  for (const f of followers) f.follow().catch((e) => faults.push(`${f.id}: ${e.stack}`));
  await until('all follow', () => faults.length || followers.every((f) => f.held.size === 2 * WRITERS));
  assert.deepStrictEqual(faults, []);
});

for (let from = 0; from < KILLS; from += KILLS_PER_CASE) {
  const to = Math.min(from + KILLS_PER_CASE, KILLS);
  test(`killed ${from + 1} to ${to}: the head is never behind what was acknowledged or seen, no half of a commit is`, async () => {
    for (let i = from; i < to; i++) await kill();
  });
}

test('a request id that is repeated gives the first revision', async () => {
  over = true;
  await writers;
  console.log(`# ${acknowledged.length} commits, ${cuts.writes} cut requests, ${cuts.streams} cut streams, ${digests.size} revisions seen`);
  assert(cuts.writes > 0 && cuts.streams >= SUBSCRIBERS, 'the kills struck');
  for (const a of acknowledged.slice(-200)) {
    const n = Number(a.request.split('-')[1]);
    const again = await server.json('POST', '/v1/commits', { message: 'kill test', request_id: a.request,
      changes: ['a', 'b'].map((x) => ({ id: id(`w${a.pair}.${x}`), text: JSON.stringify({ n }) })) });
    assert.strictEqual(again.revision, a.revision, a.request);
  }
});

test('so does one whose repetition changes nothing, or would be refused', async () => {
  const kinds = { same: {}, create: { create_only: true }, based: { based_on: 1 } };
  await server.commit(Object.keys(kinds).filter((k) => k === 'based').map((k) => ({ id: `repeat/item/${k}`, text: '0' })));
  for (const [k, how] of Object.entries(kinds)) {
    const body = { message: 'repeat', request_id: `repeat-${k}`, changes: [{ id: `repeat/item/${k}`, text: '1', ...how }] };
    const first = await server.json('POST', '/v1/commits', body);
    await server.commit([{ id: 'repeat/item/other', text: JSON.stringify(k) }]);
    assert.strictEqual((await server.json('POST', '/v1/commits', body)).revision, first.revision, k);
    const other = await server.request('POST', '/v1/commits', JSON.stringify({ ...body, request_id: `other-${k}` }));
    assert.strictEqual(other.status, k === 'same' ? 200 : 409, 'under another id it is another commit');
  }
});

test('every acknowledged commit is in the history exactly once, whole, at its revision', async () => {
  const { head } = await server.json('GET', '/v1/info');
  const history = new Map();
  let expected = head;
  for (let before = 0; ;) {
    const { commits } = await server.json('GET', `/v1/commits?limit=500${before ? `&before=${before}` : ''}`);
    if (!commits.length) break;
    for (const c of commits) {
      assert.strictEqual(c.revision, expected--, 'no revision is missing');
      assert(!c.request_id || !history.has(c.request_id), `${c.request_id} is there twice`);
      history.set(c.request_id, c);
    }
    before = commits[commits.length - 1].revision;
    if (before === 1) break;
  }
  assert.strictEqual(expected, 0, 'the history goes back to the first');
  for (const a of acknowledged) {
    const c = history.get(a.request);
    assert(c, `${a.request} is lost`);
    assert.strictEqual(c.revision, a.revision);
    assert.deepStrictEqual(c.changes.map((x) => x.id).sort(), [id(`w${a.pair}.a`), id(`w${a.pair}.b`)]);
  }
  const ours = [...history.keys()].filter((r) => /^w\d+-/.test(r));
  assert.strictEqual(ours.length, acknowledged.length, 'nothing is there that nobody was told of');
});

test('all subscribers come to the digest of a fresh snapshot', async () => {
  const { head } = await server.json('GET', '/v1/info');
  const fresh = new Subscriber(server, 'fresh', scope).open();
  await until('the fresh one has the head', () => fresh.cursor && fresh.cursor.revision >= head);
  const digest = fresh.digest().toString('hex');
  await Promise.all(followers.map(async (f) => {
    if (f.ended) { f.close(); await sleep(50); f.open(); }
    await until(`${f.id} has it too`, () => f.cursor.revision >= head);
    assert.strictEqual(f.digest().toString('hex'), digest, f.id);
    assert.strictEqual(f.bad, undefined, `${f.id}: the digest that it computed was always the one announced`);
  }));
  const http = await server.json('GET', '/v1/subscribe/snapshot?namespaces=shop/prod');
  assert.strictEqual(http.revision, head);
  assert.deepStrictEqual(faults, []);
  for (const f of [fresh, ...followers]) f.close();
});

test('the chain goes on: one more kill while nobody writes changes neither head nor chain', async () => {
  const before = await server.json('GET', '/v1/info');
  assert.match(before.chain, /^[0-9a-f]{64}$/);
  await server.stop('SIGKILL');
  await server.start();
  const after = await server.json('GET', '/v1/info');
  assert.deepStrictEqual([after.store_id, after.head, after.chain], [before.store_id, before.head, before.chain]);
  const { revision } = await server.commit([{ id: id('after'), text: '1' }]);
  assert.strictEqual(revision, before.head + 1);
});

// ---- who stands still ----
async function publish(file, content) {
  const source = path.join(server.dir, file);
  fs.writeFileSync(source, content);
  const child = spawn(path.join(bin, 'trimtab'), ['publish', 'web/edge', source, '--wait', '--timeout', '2'],
    { env: { ...process.env, TRIMTAB_SERVER: server.address, TRIMTAB_TOKEN: server.token } });
  let said = '';
  child.stdout.on('data', (d) => { said += d; });
  child.stderr.on('data', (d) => { said += d; });
  const status = await new Promise((r) => child.once('close', r));
  return { status, said };
}

test('an agent that stands still is pending, then stale, never ok; publish --wait names it; it becomes ok when it goes on', async () => {
  const dir = tmpdir();
  const conf = path.join(dir, 'agent.conf');
  fs.writeFileSync(conf, `servers = ${server.address}\ntoken_file = ${server.dir}/admin.token\ndata_dir = ${dir}/data\ninstance_id = still\n` +
    `[scope "web"]\nnamespaces = web/edge\nkinds = file\n[files "t"]\nscope = web\ntarget = ${dir}/target\n`);
  const agent = spawn(path.join(bin, 'trimtab-agent'), [`--config_file=${conf}`], { stdio: 'ignore' });
  try {
    await server.commit([{ id: 'web/edge/file/still.conf', text: 'one' }]);
    const state = async () => { const i = await server.instance('still'); return i && i.state; };
    await until('the agent is ok', async () => (await state()) === 'ok' && fs.existsSync(`${dir}/target/still.conf`));
    agent.kill('SIGSTOP');
    const { status, said } = await publish('still.conf', 'two');
    assert.strictEqual(status, 8, said);
    assert.match(said, /still/);
    assert.strictEqual(await state(), 'pending');
    const seen = new Set();
    await until('it is stale', async () => { seen.add(await state()); return QUICK || seen.has('stale'); });
    assert.deepStrictEqual([...seen], QUICK ? ['pending'] : ['pending', 'stale']);
    agent.kill('SIGCONT');
    await until('it is ok again', async () => (await state()) === 'ok');
    assert.strictEqual(fs.readFileSync(`${dir}/target/still.conf`, 'utf8'), 'two');
  } finally {
    agent.kill('SIGKILL');
    fs.rmSync(dir, { recursive: true, force: true });
  }
});

test('a subscriber that does not read holds nobody up, costs no memory, and gets only the newest in the end', async () => {
  const resident = async () => Number(/^trimtab_resident_bytes (\d+)/m.exec((await server.request('GET', '/metrics')).body)[1]);
  const big = [{ name: 'main', namespaces: ['big'] }];
  const put = (n) => [{ id: 'big/file/big.txt', text: `${n}\n${'x'.repeat(64 << 10)}` }];
  const number = (s) => Number(s.held.get('main file/big.txt').content.toString().split('\n')[0]);
  let { revision } = await server.commit(put(0));
  const still = new Subscriber(server, 'unread', big).open();
  const quick = new Subscriber(server, 'reads', big).open();
  await Promise.all([still.at(revision), quick.at(revision)]);
  for (let n = 1; n <= 20; n++) ({ revision } = await server.commit(put(n))); // what a server allocates once, it has now
  await Promise.all([still.at(revision), quick.at(revision)]);
  const batches = still.counts.length;
  const before = await resident();
  still.stream.pause();
  for (let n = 21; n <= 220; n++) ({ revision } = await server.commit(put(n)));
  await quick.at(revision);
  assert.strictEqual(number(quick), 220, 'the other one has the newest while this one does not read');
  const grown = (await resident()) - before;
  assert(grown < 64 << 20, `resident memory grew by ${grown} bytes`);
  console.log(`# resident memory grew by ${grown >> 10} KiB`);
  assert.strictEqual((await server.instance('unread')).state, 'pending');
  still.stream.resume();
  await still.at(revision);
  assert.strictEqual(number(still), 220);
  assert(still.counts.length - batches <= 2, `the batch that was under way and the newest, not ${still.counts.length - batches}`);
  assert.strictEqual(still.bad, undefined);
  still.close();
  quick.close();
});

run();
