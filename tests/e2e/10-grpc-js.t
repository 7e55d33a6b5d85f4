#!/usr/bin/env node
// A client of another make, fed with the published .proto files: gets everything, then changes; acknowledges, refuses,
// is coalesced when slow, resumes, and is mended when its bytes were altered. Its hashes are its own code.
'use strict';
const assert = require('assert');
const { test, run, until, Server, Subscriber, itemHash, grpc, proto } = require('./lib.js');

const N = 1000;
let server;
const scope = [{ name: 'main', namespaces: ['shop/prod'] }];
const put = (i, value) => ({ id: `shop/prod/item/i${i}`, text: JSON.stringify({ value }) });

test('a subscriber gets all of 1,000 items, byte for byte, and is shown as ok', async () => {
  server = await new Server(undefined, ['--bookmark_interval=200ms']).start();
  const changes = [];
  for (let i = 0; i < N; i++) changes.push(put(i, i));
  changes[7].metadata = { labels: { b: '2', a: '1' }, annotations: { note: 'x' }, depends_on: ['shop/prod/item/i1'] };
  changes[8] = { id: 'shop/prod/file/etc/big.bin', content: Buffer.alloc(3 << 20, 7).toString('base64') };
  const { revision } = await server.commit(changes);
  const s = new Subscriber(server, 'one', scope).open();
  await s.at(revision);
  assert.strictEqual(s.welcome.mode, 'FULL');
  assert.strictEqual(s.held.size, N);
  assert.strictEqual(s.bad, undefined, 'the digest that we compute is the one announced');
  assert.strictEqual(s.held.get('main file/etc/big.bin').content.length, 3 << 20);
  assert(s.log.some((f) => f.part), 'a large content comes in parts');
  const i = await until('one is ok', async () => { const x = await server.instance('one'); return x && x.state === 'ok' && x; });
  assert.strictEqual(i.in_sync, true);
  assert.strictEqual(i.items, N);
  assert.strictEqual(i.transport, 'grpc');
  const per = async (id) => (await server.json('GET', `/v1/instances?resource=${id}`)).instances.map((x) => x.instance.id);
  assert.deepStrictEqual(await per('shop/prod/item/i1'), ['one']);
  assert.deepStrictEqual(await per('shop/test/item/i1'), []);
  s.close();
});

test('changes come as they are committed, whole commits at a time', async () => {
  const s = new Subscriber(server, 'two', scope).open();
  await s.at(1);
  const { revision } = await server.commit([put(1, 'new'), put(2, 'new'), { id: 'shop/prod/item/i3', delete: true }]);
  await s.at(revision);
  assert.strictEqual(s.counts[s.counts.length - 1], 3);
  assert.strictEqual(s.held.get('main item/i1').content.toString(), '{"value":"new"}');
  assert(!s.held.has('main item/i3'));
  assert.strictEqual(s.bad, undefined);
  s.close();
});

test('a refusal is shown with its words, and the next good batch ends it', async () => {
  const s = new Subscriber(server, 'three', scope).open();
  await s.at(2);
  s.auto = false;
  const { revision } = await server.commit([put(4, 'bad')]);
  await s.at(revision);
  s.acknowledge([{ scope: 'main', key: 'item/i4', hash: itemHash(s.held.get('main item/i4')), code: 'CHECK_FAILED', message: 'value must be a number' }]);
  const i = await until('three is an error', async () => { const x = await server.instance('three'); return x.state === 'error' && x; });
  assert.strictEqual(i.refused[0].message, 'value must be a number');
  assert.strictEqual(i.refused[0].key, 'item/i4');
  assert.strictEqual(i.in_sync, false);
  s.auto = true;
  await s.at((await server.commit([put(4, 4)])).revision);
  await until('three is ok again', async () => (await server.instance('three')).state === 'ok');
  s.close();
});

test('a slow subscriber gets what is newest, once, and is pending until it says so', async () => {
  const s = new Subscriber(server, 'slow', scope).open();
  await s.at(2);
  s.auto = false;
  const first = await server.commit([put(5, 'first')]);
  await s.at(first.revision);
  let last;
  for (let i = 0; i < 30; i++) last = await server.commit([put(5, `v${i}`), put(6, `v${i}`)]);
  assert.strictEqual((await server.instance('slow')).state, 'pending');
  const batches = s.counts.length;
  s.auto = true;
  s.acknowledge();
  await s.at(last.revision);
  assert.strictEqual(s.counts.length, batches + 1, 'one batch for thirty commits');
  assert.strictEqual(s.counts[batches], 2);
  assert.strictEqual(s.held.get('main item/i5').content.toString(), '{"value":"v29"}');
  s.close();
});

test('after a cut and 5 changes among 1,000 it resumes and gets exactly 5 items', async () => {
  const s = new Subscriber(server, 'cut', scope).open();
  await s.at(3);
  await until('acknowledged', async () => (await server.instance('cut')).state === 'ok');
  s.close();
  let last;
  for (let i = 100; i < 105; i++) last = await server.commit([put(i, 'while away')]);
  s.counts = [];
  s.open();
  await s.at(last.revision);
  assert.strictEqual(s.welcome.mode, 'RESUME');
  assert.deepStrictEqual(s.counts, [5]);
  assert.strictEqual(s.bad, undefined);
  const i = await until('ok', async () => { const x = await server.instance('cut'); return x.state === 'ok' && x; });
  assert.strictEqual(i.sent_items, 5);
  assert.strictEqual(i.mode, 'RESUME');
  s.close();
});

test('altered bytes are found by the next bookmark and mended, and only they are sent', async () => {
  const s = new Subscriber(server, 'altered', scope).open();
  await s.at(3);
  await until('ok', async () => (await server.instance('altered')).state === 'ok');
  s.counts = [];
  s.held.get('main item/i50').content = Buffer.from('{"value":"tampered"}');
  s.held.delete('main item/i51');
  s.held.set('main item/extra', { ...s.held.get('main item/i52'), id: 'shop/prod/item/extra' });
  await until('mended', () => s.counts.length > 0);
  assert.deepStrictEqual(s.counts, [3]);
  assert.strictEqual(s.held.get('main item/i50').content.toString(), '{"value":50}');
  assert(s.held.has('main item/i51') && !s.held.has('main item/extra'));
  assert.strictEqual(s.bad, undefined);
  const i = await server.instance('altered');
  assert(i.drift_repairs >= 1);
  s.close();
});

test('layers: what a deletion uncovers comes as a put', async () => {
  await server.commit([{ id: 'base/item/x', text: '1' }, { id: 'own/item/x', text: '2' }]);
  const s = new Subscriber(server, 'layers', [{ name: '', namespaces: ['{mine}', 'base'] }], { labels: { mine: 'own' } }).open();
  await until('both', () => s.held.size === 1);
  assert.strictEqual([...s.held.values()][0].content.toString(), '2');
  await s.at((await server.commit([{ id: 'own/item/x', delete: true }])).revision);
  assert.strictEqual([...s.held.values()][0].content.toString(), '1');
  assert.strictEqual([...s.held.values()][0].id, 'base/item/x');
  s.close();
});

test('a restarted server lets everybody resume, kill -9 included', async () => {
  const s = new Subscriber(server, 'restart', scope).open();
  await s.at(3);
  await server.stop('SIGKILL');
  await until('the stream ends', () => s.ended);
  await server.start();
  const { revision } = await server.commit([put(9, 'after the restart')]);
  s.counts = [];
  s.open();
  await s.at(revision);
  assert.strictEqual(s.welcome.mode, 'RESUME');
  assert.deepStrictEqual(s.counts, [1]);
  s.close();
});

test('without a token, and with a wrong one, the stream is refused', async () => {
  for (const token of ['', 'Bearer wrong']) {
    const client = new proto.Sync(server.address, grpc.credentials.createInsecure());
    const meta = new grpc.Metadata();
    if (token) meta.set('authorization', token);
    const e = await new Promise((r) => { const st = client.Subscribe(meta); st.on('data', () => {}); st.on('error', r); st.write({ hello: { protocol: 1 } }); });
    assert.strictEqual(e.code, grpc.status.UNAUTHENTICATED);
    client.close();
  }
});

test('a newer stream of the same instance takes the place of the older', async () => {
  const a = new Subscriber(server, 'twin', scope).open();
  await a.at(3);
  const b = new Subscriber(server, 'twin', scope).open();
  await b.at(3);
  await until('the older one ends', () => a.ended);
  await until('the newer one is ok', async () => (await server.instance('twin')).state === 'ok');
  b.close();
});

run();
