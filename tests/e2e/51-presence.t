#!/usr/bin/env node
// What the server knows of instances over its own restart, and what it says of those who cannot prove what they serve.
'use strict';
const assert = require('assert');
const { test, run, until, Server, Subscriber, itemHash } = require('./lib.js');

let server;
const scopes = [{ name: '', namespaces: ['shop/prod'] }];
const state = async (id) => (await server.instance(id) || {}).state;
const put = (text) => server.commit([{ id: 'shop/prod/item/a', text }]);

test('a restarted server knows its offline instances, whose they are, and what they proved last', async () => {
  server = await new Server().start();
  const { revision } = await put('1');
  const s = new Subscriber(server, 'web-1', scopes, { labels: { zone: 'a' } }).open();
  await until('ok', async () => await state('web-1') === 'ok');
  s.close();
  await until('offline', async () => await state('web-1') === 'offline');
  for (const signal of ['SIGTERM', 'SIGKILL']) {
    if (signal === 'SIGKILL') await until('it is written', async () => !/^trimtab_presence_lag_seconds [1-9]/m.test((await server.request('GET', '/metrics')).body.toString()));
    await server.stop(signal);
    await server.start();
    await until('it is known again', async () => await state('web-1') === 'offline');
    const i = await server.instance('web-1');
    assert.strictEqual(i.restored, true);
    assert.strictEqual(i.identity, 'admin');
    assert.deepStrictEqual(i.instance.labels, { zone: 'a' });
    assert.strictEqual(i.serving_revision, revision);
    assert.ok(Date.now() - Date.parse(i.last_seen) < 60000);
  }
  const again = new Subscriber(server, 'web-1', scopes).open();
  await until('ok again', async () => await state('web-1') === 'ok');
  assert.ok(!(await server.instance('web-1')).restored);
  again.close();
});

test('an id that was forgotten stays so over a crash right behind the answer', async () => {
  const s = new Subscriber(server, 'web-gone', scopes).open();
  await until('ok', async () => await state('web-gone') === 'ok');
  s.close();
  await until('offline', async () => await state('web-gone') === 'offline');
  await until('it is written', async () => !/^trimtab_presence_lag_seconds [1-9]/m.test((await server.request('GET', '/metrics')).body.toString()));
  await server.json('DELETE', '/v1/instances/web-gone');
  await server.stop('SIGKILL');
  await server.start();
  assert.strictEqual(await state('web-gone'), undefined);
});

test('an acknowledgement that proves nothing is unproven, whatever its revision, and a rollout does not count it', async () => {
  const s = new Subscriber(server, 'web-2', scopes, { auto: false }).open();
  await until('the batch', () => s.last);
  const ack = (more) => s.stream.write({ ack: { revision: s.last.revision, stage: 'APPLIED', received_digest: s.digest(), serving_digest: s.digest(), ...more } });
  const wrong = Buffer.from(s.digest());
  wrong[3] ^= 1;
  const item = s.held.get(' item/a');
  const forged = [
    [{ serving_digest: wrong }, /something else/],
    [{ serving_digest: Buffer.alloc(0) }, /no digest/],
    [{ revision: s.last.revision + 1000 }, /not announced/],
  ];
  for (const [more, story] of forged) {
    ack({ ...more, revision: more.revision || s.last.revision });
    await until(`unproven: ${story}`, async () => { const i = await server.instance('web-2'); return i.state === 'unproven' && story.test(i.unproven); });
    assert.strictEqual((await server.instance('web-2')).serving_revision || 0, 0);
    if (more.revision) { s.close(); await until('gone', async () => await state('web-2') === 'offline'); s.last = null; s.open(); await until('the batch', () => s.last); }
  }
  const running = async () => (await server.json('GET', '/v1/running?instance=web-2')).resources.find((r) => r.id === 'shop/prod/item/a');
  ack({ refused: [{ scope: '', key: 'item/a', hash: itemHash({ ...item, content: Buffer.from('never') }), code: 'CHECK_FAILED', message: 'what was never there' }] });
  await until('an exception from what is not wanted', async () => /not to have/.test((await server.instance('web-2')).unproven || ''));
  assert.strictEqual((await running()).state, 'unproven');
  const start = await server.json('POST', '/v1/rollouts', { changes: [{ id: 'shop/prod/item/a', text: '"candidate"' }], plan: { steps: [{ targets: [{ ids: ['web-2'] }] }] }, message: 'try' });
  await until('the candidate', () => s.text('shop/prod/item/a') === '"candidate"');
  ack({ serving_digest: wrong });
  const counts = async () => (await server.json('GET', `/v1/rollouts/${start.rollout.id}`)).rollout.counts;
  await until('counted as unproven', async () => (await counts()).unproven === 1);
  assert.strictEqual((await counts()).ok || 0, 0);
  ack({});
  await until('proved', async () => (await counts()).ok === 1);
  s.close();
});

test('who can be asked again is asked, once for each announcement; who cannot is not', async () => {
  for (const features of [['rollouts', 'report'], ['rollouts'], []]) {
    const s = new Subscriber(server, `asked-${features.length}`, scopes, { auto: false, features }).open();
    await until('the batch', () => s.last);
    const questions = () => s.log.filter((f) => f.ask_report).length;
    const say = (digest) => s.stream.write({ ack: { revision: s.last.revision, stage: 'APPLIED', received_digest: s.digest(), serving_digest: digest } });
    say(Buffer.alloc(16));
    say(Buffer.alloc(16));
    await until('unproven', async () => await state(s.id) === 'unproven');
    if (features.includes('report')) {
      await until('the question', () => questions() === 1);
      assert.match(s.log.find((f) => f.ask_report).ask_report.reason, /something else/);
    }
    say(s.digest());
    await until('ok', async () => await state(s.id) === 'ok');
    assert.strictEqual(questions(), features.includes('report') ? 1 : 0);
    s.close();
  }
});

test('status counts what is unproven by itself, and a wait ends without a lie', async () => {
  const s = new Subscriber(server, 'web-3', [{ name: '', namespaces: ['shop/other'] }], { auto: false }).open();
  await until('the first batch', () => s.last);
  s.acknowledge();
  const { revision } = await server.commit([{ id: 'shop/other/item/x', text: '1' }]);
  await until('the change', () => s.last.revision >= revision);
  s.stream.write({ ack: { revision: s.last.revision, stage: 'APPLIED', received_digest: s.digest(), serving_digest: Buffer.alloc(16) } });
  await until('unproven', async () => await state('web-3') === 'unproven');
  const status = await server.json('GET', `/v1/status?revision=${revision}`);
  assert.deepStrictEqual([status.concerned, status.applied || 0, status.unproven], [1, 0, 1]);
  s.acknowledge();
  await until('ok', async () => await state('web-3') === 'ok');
  assert.strictEqual((await server.json('GET', `/v1/status?revision=${revision}`)).applied, 1);
  const info = await server.json('GET', '/v1/info');
  assert.ok(info.instance_states.find((e) => e.state === 'ok').count >= 1);
  s.close();
});

test('what concerns an instance is what its numbers show: a commit elsewhere raises neither', async () => {
  const s = new Subscriber(server, 'web-4', [{ name: '', namespaces: ['shop/numbers'] }]).open();
  const { revision } = await server.commit([{ id: 'shop/numbers/item/x', text: '1' }]);
  await until('ok', async () => { const i = await server.instance('web-4'); return i && i.state === 'ok' && i.serving_revision === revision; });
  await server.commit([{ id: 'shop/elsewhere/item/x', text: '1' }]);
  const i = await server.instance('web-4');
  assert.deepStrictEqual([i.state, i.expected_revision, i.serving_revision], ['ok', revision, revision]);
  s.refuses = (item) => item.content.toString() === '666' && 'bad';
  const bad = await server.commit([{ id: 'shop/numbers/item/x', text: '666' }]);
  await until('error', async () => await state('web-4') === 'error');
  const e = await server.instance('web-4');
  assert.deepStrictEqual([e.expected_revision, e.serving_revision], [bad.revision, revision]);
  s.close();
});

run();
