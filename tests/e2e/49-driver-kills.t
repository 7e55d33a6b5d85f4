#!/usr/bin/env node
// Automatic rollouts under a server that is killed at any moment: each ends as it must, no move is made twice, and
// everybody has what he should.
//   TRIMTAB_DRIVER_KILLS: how many rollouts, each with a kill; TRIMTAB_SEED: of what is random
'use strict';
const assert = require('assert');
const { test, run, until, Server, Subscriber } = require('./lib.js');

const rounds = Number(process.env.TRIMTAB_DRIVER_KILLS || 5);
let seed = Number(process.env.TRIMTAB_SEED || 1);
const random = (n) => { seed = (seed * 1103515245 + 12345) % 2147483648; return Math.floor(seed / 2147483648 * n); };
const A = 'shop/prod/item/a';
const ids = (...n) => ({ targets: [{ ids: n.map((i) => `web-${i}`) }] });
const web = [];
let server, stable = 0;

// Reconnects by itself, as clients do.
async function keepConnected() {
  for (;;) {
    await new Promise((r) => setTimeout(r, 20));
    for (const w of web) if (w.ended && !w.isDone) w.open();
    if (web.every((w) => w.isDone)) return;
  }
}
const log = async (id) => (await server.json('GET', `/v1/commits?rollout=${id}&limit=100`)).commits.map((c) => c.moves[0].move).reverse();

async function round(number) {
  const value = String(number + 1), bad = random(2) === 0, who = random(6);
  for (const w of web) w.refuses = bad && w === web[who] ? (item) => item.id === A && item.content.toString() === value && 'will not' : null;
  const r = await server.json('POST', '/v1/rollouts', { changes: [{ id: A, text: value }], message: 'try',
    plan: { automatic: true, auto_confirm: true, steps: [{ ...ids(0), soak_ms: random(200) }, { ...ids(1, 2), soak_ms: random(200) }, { targets: [{ everyone: true }], soak_ms: 0 }] } });
  await new Promise((done) => setTimeout(done, random(700)));
  await server.stop('SIGKILL');
  await server.start();
  const what = `rollout ${r.rollout.id} (${bad ? `web-${who} refuses` : 'good'}, seed ${seed})`;
  const end = await until(`the end of ${what}`, async () => {
    const now = (await server.json('GET', `/v1/rollouts/${r.rollout.id}`)).rollout;
    return now.phase !== 'running' && now;
  });
  assert.strictEqual(end.phase, bad ? 'rolled_back' : 'confirmed', what);
  if (!bad) stable = Number(value);
  await until(`all have ${stable} after ${what}`, () => web.every((w) => w.text(A) === String(stable)));
  const moves = await log(r.rollout.id);
  const whole = ['start', 'satisfy', 'advance', 'satisfy', 'advance', 'satisfy', 'confirm'];
  if (bad) assert.deepStrictEqual([moves.slice(0, -1), moves.at(-1)], [whole.slice(0, moves.length - 1), 'roll_back'], what);
  else assert.deepStrictEqual(moves, whole, what);
  for (const w of web) if (w.refuses && w.ended === null) w.acknowledge();
}

test('a server with six instances that come back by themselves', async () => {
  server = await new Server(undefined, ['--rollout_settle=2s', '--bookmark_interval=200ms']).start();
  await server.commit([{ id: A, text: '0' }]);
  for (let i = 0; i < 6; i++) web.push(new Subscriber(server, `web-${i}`, [{ name: '', namespaces: ['shop/prod'] }]).open());
  await until('all have it', () => web.every((w) => w.text(A) === '0'));
  keepConnected();
});

for (let i = 0; i < rounds; i++)
  test(`rollout ${i + 1} of ${rounds}: killed somewhere on its way, it ends as it must`, () => round(i));

test('nobody was repaired, and the server ends well', async () => {
  assert.strictEqual(web.reduce((n, w) => n + (w.bad || 0), 0), 0);
  for (const w of web) { w.isDone = true; w.close(); }
  await server.stop();
});

run();
