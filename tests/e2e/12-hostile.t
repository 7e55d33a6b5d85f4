#!/usr/bin/env node
// Hostile and unlucky input over every interface: each case has its status, its code and a piece of the message, and is
// followed by an ordinary publish that must work.
'use strict';
const assert = require('assert');
const { spawn } = require('child_process');
const fs = require('fs');
const http = require('http');
const http2 = require('http2');
const net = require('net');
const path = require('path');
const { test, run, until, Server, Subscriber, proto, grpc, tmpdir, bin, spawnSync } = require('./lib.js');

let server, n = 0;
const J = JSON.stringify;
const MIB = 1 << 20;

async function publishWorks() {
  const r = await server.commit([{ id: 'ordinary/item/x', text: String(++n) }]);
  assert(r.revision > 0);
  server.last = r.revision;
}

// ---- REST: method, path, body, headers -> status, code, piece of the message, and place when it matters ----
const change = (c) => J({ changes: [c] });
const A = { id: 'a/item/x', text: '1' };
const P = (...targets) => ({ steps: targets.map((t) => ({ targets: [t] })) });
const rest = [
  ['no token', 'GET', '/v1/info', , { authorization: '' }, 401, 'UNAUTHENTICATED', 'a token is needed'],
  ['a wrong token', 'GET', '/v1/info', , { authorization: 'Bearer wrong' }, 401, 'UNAUTHENTICATED', 'not known'],
  ['another scheme', 'GET', '/v1/info', , { authorization: 'Basic eDp5' }, 401, 'UNAUTHENTICATED', 'not known'],
  ['a page of somebody else', 'GET', '/v1/info', , { origin: 'http://evil.example' }, 403, 'DENIED', 'evil.example'],
  ['a host name that was bent to this machine', 'GET', '/v1/info', , { host: 'evil.example' }, 403, 'DENIED', 'not this machine'],
  ['no such route', 'GET', '/v1/nothing', , {}, 404, 'NOT_FOUND', 'there is no GET /v1/nothing'],
  ['no such route, and no token: not told', 'GET', '/v1/nothing', , { authorization: '' }, 401, 'UNAUTHENTICATED', 'token'],
  ['a wrong method', 'PATCH', '/v1/info', , {}, 405, 'UNSUPPORTED', 'PATCH'],
  ['a body that is no JSON', 'POST', '/v1/commits', '{"changes":[', {}, 400, 'INVALID', 'not JSON'],
  ['a body that is a list', 'POST', '/v1/commits', '[]', {}, 400, 'INVALID', 'object'],
  ['a name given twice', 'POST', '/v1/commits', '{"message":"a","message":"b"}', {}, 400, 'INVALID', 'duplicate'],
  ['an unknown field', 'POST', '/v1/commits', J({ chnages: [] }), {}, 400, 'INVALID', 'unknown field "chnages"'],
  ['an unknown field below', 'POST', '/v1/commits', change({ ...A, txt: '1' }), {}, 400, 'INVALID', 'unknown field "txt"'],
  ['a number for a text', 'POST', '/v1/commits', change({ ...A, text: 1 }), {}, 400, 'INVALID', 'must be a string'],
  ['a negative version', 'POST', '/v1/commits', change({ ...A, based_on: -1 }), {}, 400, 'INVALID', 'from 0 on'],
  ['base64 that is none', 'POST', '/v1/commits', change({ id: 'a/item/x', content: '***' }), {}, 400, 'INVALID', 'base64'],
  ['text and content', 'POST', '/v1/commits', change({ ...A, content: 'MQ==' }), {}, 400, 'INVALID', 'not both'],
  ['nothing to commit', 'POST', '/v1/commits', J({ changes: [] }), {}, 400, 'INVALID', 'at least one change'],
  ['one resource twice', 'POST', '/v1/commits', J({ changes: [A, A] }), {}, 400, 'INVALID', 'twice'],
  ['too many changes', 'POST', '/v1/commits', J({ changes: Array.from({ length: 10001 }, (_, i) => ({ id: `a/item/i${i}`, text: '1' })) }), {}, 413, 'LIMIT', '10001 changes'],
  ['a long request id', 'POST', '/v1/commits', J({ changes: [A], request_id: 'x'.repeat(65) }), {}, 400, 'INVALID', '64 bytes'],
  ['a long message', 'POST', '/v1/commits', J({ changes: [A], message: 'x'.repeat(5000) }), {}, 413, 'LIMIT', 'message longer'],
  ['an id of two parts', 'PUT', '/v1/resources/item/x', '1', {}, 400, 'INVALID', 'less than three parts'],
  ['a name of dots', 'PUT', '/v1/resources/a/file/..%2f..%2fetc%2fpasswd', '1', {}, 400, 'INVALID', '".."'],
  ['an empty part', 'PUT', '/v1/resources/a/file/b//c', '1', {}, 400, 'INVALID', 'empty'],
  ['capitals in a namespace', 'PUT', '/v1/resources/Shop/item/x', '1', {}, 400, 'INVALID', 'not allowed'],
  ['nine segments', 'PUT', '/v1/resources/1/2/3/4/5/6/7/8/9/item/x', '1', {}, 400, 'INVALID', 'at most 8'],
  ['a namespace called file', 'PUT', '/v1/resources/file/x/item/y', '1', {}, 400, 'INVALID', '"file"'],
  ['a long name', 'PUT', `/v1/resources/a/item/${'x'.repeat(254)}`, '1', {}, 400, 'INVALID', '253 bytes'],
  ['a control character', 'PUT', '/v1/resources/a/item/a%01b', '1', {}, 400, 'INVALID', '0x01'],
  ['a star in a name', 'PUT', '/v1/resources/a/item/a*', '1', {}, 400, 'INVALID', '0x2a'],
  ['bytes that are no UTF-8', 'PUT', '/v1/resources/a/item/a%ff', '1', {}, 400, 'INVALID', 'UTF-8'],
  ['bytes that are no UTF-8 where there is no route', 'GET', '/v1/nothing/%c3', , {}, 400, 'INVALID', 'path is not UTF-8'],
  ['bytes that are no UTF-8 in a query', 'GET', '/v1/resources?prefix=%ff', , {}, 400, 'INVALID', 'query is not UTF-8'],
  ['bytes that are no UTF-8 in the name of a parameter', 'GET', '/v1/resources?%ff=1', , {}, 400, 'INVALID', 'query is not UTF-8'],
  ['a NUL in a query', 'GET', '/v1/subscribe/snapshot?namespaces=a&host=%00', , {}, 400, 'INVALID', 'broken escape'],
  ['an instance with a control character', 'GET', '/v1/subscribe/snapshot?namespaces=a&instance=n%C2%9B31m', , {}, 400, 'INVALID', 'control character 0x9b', 'instance.id'],
  ['a label with a control character', 'GET', '/v1/subscribe/poll?namespaces=a&instance=i&labels=a:%1b', , {}, 400, 'INVALID', 'control character 0x1b', 'instance.labels.value'],
  ['an acknowledgement of another instance than a text', 'POST', '/v1/subscribe/ack', J({ instance: 'a\u202e', health: {} }), {}, 400, 'INVALID', 'control character 0x202e', 'instance'],
  ['10,001 refusals', 'POST', '/v1/subscribe/ack', J({ instance: 'a', ack: { refused: Array(10001).fill({}) } }), {}, 413, 'LIMIT', 'more than 10000', 'ack.refused'],
  ['millions of empty objects', 'POST', '/v1/rollouts/preview', `{"targets":[${'{},'.repeat(4000000)}{}]}`, {}, 413, 'LIMIT', 'more than'],
  ['a NUL in the path', 'PUT', '/v1/resources/a/item/a%00b', '1', {}, 400, 'INVALID', 'broken escape'],
  ['a broken escape', 'PUT', '/v1/resources/a/item/a%zz', '1', {}, 400, 'INVALID', 'broken escape'],
  ['an item that is no JSON', 'PUT', '/v1/resources/a/item/x', '{"a":\n tru}', {}, 400, 'INVALID', 'value'],
  ['an item with a name twice', 'PUT', '/v1/resources/a/item/x', '{"a":1,"a":2}', {}, 400, 'INVALID', 'duplicate'],
  ['an item that is no UTF-8', 'PUT', '/v1/resources/a/item/x', Buffer.from([0x22, 0xff, 0x22]), {}, 400, 'INVALID', 'UTF-8'],
  ['content over 8 MiB in a document', 'POST', '/v1/commits', J({ changes: [{ id: 'a/file/x', text: 'x'.repeat(8 * MIB + 1) }] }), {}, 413, 'LIMIT', '8388609 bytes'],
  ['a content type that is none', 'PUT', '/v1/resources/a/file/x', '1', { 'content-type': 'nonsense' }, 400, 'INVALID', 'type/subtype'],
  ['a stale version', 'PUT', '/v1/resources/ordinary/item/x?based_on=999', '1', {}, 409, 'CONFLICT', 'based on version 999'],
  ['a stale If-Match', 'PUT', '/v1/resources/ordinary/item/x', '1', { 'if-match': '"999"' }, 412, 'CONFLICT', 'newest is'],
  ['an If-Match that is none', 'PUT', '/v1/resources/ordinary/item/x', '1', { 'if-match': '"abc"' }, 412, 'CONFLICT', 'newest is'],
  ['creating what exists', 'PUT', '/v1/resources/ordinary/item/x', '1', { 'if-none-match': '*' }, 412, 'CONFLICT', 'if-none-match'],
  ['deleting what is not there', 'DELETE', '/v1/resources/a/item/none', , {}, 404, 'NOT_FOUND', 'not there'],
  ['reading what is not there', 'GET', '/v1/resources/a/item/none', , {}, 404, 'NOT_FOUND', 'no such resource'],
  ['a version that is not there', 'GET', '/v1/resources/ordinary/item/x?version=9999', , {}, 404, 'NOT_FOUND', 'no version 9999'],
  ['a version that is no number', 'GET', '/v1/resources/ordinary/item/x?version=two', , {}, 400, 'INVALID', 'version'],
  ['an unknown parameter', 'GET', '/v1/resources?prefx=a', , {}, 400, 'INVALID', 'unknown parameter "prefx"'],
  ['history of what never was', 'GET', '/v1/history/a/item/none', , {}, 404, 'NOT_FOUND', 'never was'],
  ['a commit that is not there', 'GET', '/v1/commits/999999', , {}, 404, 'NOT_FOUND', 'no revision'],
  ['a difference of nothing', 'GET', '/v1/diff', , {}, 400, 'INVALID', 'either'],
  ['a rollback of nothing', 'POST', '/v1/rollback', '{}', {}, 400, 'INVALID', 'either'],
  ['a rollback of what never was', 'POST', '/v1/rollback', J({ id: 'a/item/none' }), {}, 404, 'NOT_FOUND', 'no earlier version'],
  ['a rollback of a commit that was changed since', 'POST', '/v1/rollback', J({ revision: 1 }), {}, 409, 'CONFLICT', 'based on'],
  ['a rollout without a plan', 'POST', '/v1/rollouts', J({ changes: [A] }), {}, 400, 'INVALID', 'needs a plan'],
  ['a rollout of nothing', 'POST', '/v1/rollouts', J({ plan: P({ everyone: true }) }), {}, 400, 'INVALID', 'at least one change'],
  ['a rollout without steps', 'POST', '/v1/rollouts', J({ changes: [A], plan: {} }), {}, 400, 'INVALID', 'at least one step'],
  ['a rollout of 33 steps', 'POST', '/v1/rollouts', J({ changes: [A], plan: P(...Array(33).fill({ count: 1 })) }), {}, 413, 'LIMIT', '32 steps'],
  ['a target that says nothing', 'POST', '/v1/rollouts', J({ changes: [A], plan: P({}) }), {}, 400, 'INVALID', 'target'],
  ['a step without targets', 'POST', '/v1/rollouts', J({ changes: [A], plan: { steps: [{}] } }), {}, 400, 'INVALID', 'without targets'],
  ['101 percent', 'POST', '/v1/rollouts', J({ changes: [A], plan: P({ percent: 101 }) }), {}, 400, 'INVALID', 'percent'],
  ['a percentage that is no number', 'POST', '/v1/rollouts', J({ changes: [A], plan: P({ percent: '10' }) }), {}, 400, 'INVALID', 'number'],
  ['less than no percent', 'POST', '/v1/rollouts', J({ changes: [A], plan: P({ percent: -1 }) }), {}, 400, 'INVALID', 'percent'],
  ['a selector that is none', 'POST', '/v1/rollouts', J({ changes: [A], plan: P({ labels: 'a in (' }) }), {}, 400, 'INVALID', ''],
  ['a network that is none', 'POST', '/v1/rollouts', J({ changes: [A], plan: P({ networks: ['10.0.0.0/99'] }) }), {}, 400, 'INVALID', '10.0.0.0/99'],
  ['more instances than there are', 'POST', '/v1/rollouts', J({ changes: [A], plan: P({ count: 3 }) }), {}, 400, 'INVALID', '0 are left'],
  ['more counts than are allowed', 'POST', '/v1/rollouts', J({ changes: [A], plan: P(...Array(17).fill({ count: 1 })) }), {}, 413, 'LIMIT', '16 targets'],
  ['a count of four thousand million', 'POST', '/v1/rollouts', J({ changes: [A], plan: P({ count: 4294967295 }) }), {}, 413, 'LIMIT', '10000'],
  ['a rollout that was over before it began', 'POST', '/v1/rollouts', J({ changes: [A], plan: { ...P({ everyone: true }), expires_ms: 5 } }), {}, 400, 'INVALID', 'expired already'],
  ['a rollout that expires before time began', 'POST', '/v1/rollouts', J({ changes: [A], plan: { ...P({ everyone: true }), expires_ms: -5 } }), {}, 400, 'INVALID', 'expired already'],
  ['a rollout without end', 'POST', '/v1/rollouts', J({ changes: [A], plan: P({ everyone: true }), expires_in_ms: Number.MAX_SAFE_INTEGER }), {}, 413, 'LIMIT', 'ten years'],
  ['a rollout that is not there', 'GET', '/v1/rollouts/1', , {}, 404, 'NOT_FOUND', 'no rollout 1'],
  ['a rollout that is no number', 'GET', '/v1/rollouts/x', , {}, 400, 'INVALID', 'id'],
  ['a move of what is not there', 'POST', '/v1/rollouts/1', J({ move: 'confirm' }), {}, 404, 'NOT_FOUND', 'no rollout 1'],
  ['a move that is none', 'POST', '/v1/rollouts/1', J({ move: 'jump' }), {}, 400, 'INVALID', 'no move "jump"'],
  ['a move that is the server\'s', 'POST', '/v1/rollouts/1', J({ move: 'satisfy' }), {}, 400, 'INVALID', 'no move "satisfy"'],
  ['a list of a phase that is none', 'GET', '/v1/rollouts?phase=half', , {}, 400, 'INVALID', 'no phase'],
  ['a preview of nothing', 'POST', '/v1/rollouts/preview', '{}', {}, 400, 'INVALID', 'either'],
  ['a preview of a rollout that is not there', 'POST', '/v1/rollouts/preview', J({ targets: [{ everyone: true }], rollout: 1 }), {}, 404, 'NOT_FOUND', 'no rollout 1'],
  ['a long reason', 'POST', '/v1/commits', J({ changes: [A], override: 'x'.repeat(5000) }), {}, 413, 'LIMIT', 'reason'],
  ['a subscription to nothing', 'GET', '/v1/subscribe/snapshot', , {}, 400, 'INVALID', 'namespaces'],
  ['a label that the instance has not', 'GET', '/v1/subscribe/snapshot?namespaces=shop/%7benv%7d', , {}, 400, 'INVALID', 'no label "env"'],
  ['a namespace twice', 'GET', '/v1/subscribe/snapshot?namespaces=a,a', , {}, 400, 'INVALID', 'twice'],
  ['a cursor that is none', 'GET', '/v1/subscribe/poll?namespaces=a&revision=x&store_id=y', , {}, 400, 'INVALID', 'cursor'],
  ['a protocol of the future', 'POST', '/v1/subscribe/poll', J({ hello: { protocol: 9, instance: { id: 'z' }, scopes: [{ namespaces: ['a'] }] } }), {}, 501, 'UNSUPPORTED', 'protocol 9'],
  ['an acknowledgement of nobody', 'POST', '/v1/subscribe/ack', J({ instance: 'nobody', ack: { stage: 'STORED' } }), {}, 404, 'NOT_FOUND', 'not connected'],
  ['a health of nobody', 'POST', '/v1/subscribe/ack', J({ instance: 'nobody', health: { failing: true } }), {}, 404, 'NOT_FOUND', 'not connected'],
  ['a health without an instance', 'POST', '/v1/subscribe/ack', J({ health: { failing: true } }), {}, 400, 'INVALID', 'needs instance'],
  ['neither an acknowledgement nor a health', 'POST', '/v1/subscribe/ack', J({ instance: 'nobody' }), {}, 400, 'INVALID', 'ack or health'],
  ['a health that is a number', 'POST', '/v1/subscribe/ack', J({ instance: 'nobody', health: { failing: 1 } }), {}, 400, 'INVALID', 'must be'],
  ['a stage that is none', 'POST', '/v1/subscribe/ack', J({ instance: 'nobody', ack: { stage: 'DONE' } }), {}, 400, 'INVALID', 'enumeration'],
];

for (const [what, method, url, body, headers, status, code, piece] of rest) {
  test(`REST: ${what}`, async () => {
    const h = { ...headers };
    if (h.authorization === '') delete h.authorization;
    const q = headers.authorization === '' ? plainRequest(method, url, body, h) : server.request(method, url, body, h);
    const r = await q;
    assert.strictEqual(r.status, status, `${r.status} ${r.body}`);
    const e = JSON.parse(r.body);
    assert.strictEqual(e.code, code);
    assert(e.message.includes(piece), `"${e.message}" has no "${piece}"`);
    await publishWorks();
  });
}

function plainRequest(method, url, body, headers) {
  return new Promise((resolve, reject) => {
    const [host, port] = server.address.split(':');
    const q = require('http').request({ host, port, method, path: url, headers }, (res) => {
      const parts = [];
      res.on('data', (d) => parts.push(d));
      res.on('end', () => resolve({ status: res.statusCode, body: Buffer.concat(parts) }));
    });
    q.on('error', reject);
    q.end(body);
  });
}

test('REST: content over 8 MiB is refused before it was read', async () => {
  const file = path.join(server.dir, 'large');
  fs.writeFileSync(file, Buffer.alloc(8 * MIB + 1));
  const r = spawnSync('curl', ['-s', '-w', '%{http_code}', '-T', file, '-H', `authorization: Bearer ${server.token}`, `http://${server.address}/v1/resources/a/file/x`], { encoding: 'utf8' });
  assert.match(r.stdout, /"LIMIT".*413$/s);
  await publishWorks();
});

test('REST: a syntax error has its line and column', async () => {
  const r = await server.request('PUT', '/v1/resources/a/item/x', '{"a":\n tru}');
  const e = JSON.parse(r.body);
  assert.strictEqual(e.line, 2);
  assert.strictEqual(e.place, 'a/item/x');
});

// ---- bytes on the wire ----
function raw(bytes, { half = false } = {}) {
  return new Promise((resolve) => {
    const [host, port] = server.address.split(':');
    let text = '';
    const s = net.connect({ host, port, allowHalfOpen: half }, () => s.write(bytes));
    s.on('data', (d) => { text += d; });
    s.on('close', () => resolve(text));
    s.on('end', () => s.end());
    s.on('error', () => resolve(text));
  });
}
const wire = [
  ['garbage', '\x16\x03\x01nonsense\r\n\r\n', 400],
  ['a space before the colon', 'GET / HTTP/1.1\r\nHost : x\r\n\r\n', 400],
  ['a folded header', 'GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n', 400],
  ['no host', 'GET / HTTP/1.1\r\n\r\n', 400],
  ['length and chunks at once', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400],
  ['a header of 64 KiB', `GET / HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(65536)}\r\n\r\n`, 431],
  ['HTTP of the future', 'GET / HTTP/3.7\r\nHost: x\r\n\r\n', 505],
  ['headers that never end (slowloris)', 'GET / HTTP/1.1\r\nHost: x\r\n', 408],
];
for (const [what, bytes, status] of wire) {
  test(`wire: ${what}`, async () => {
    const text = await raw(bytes);
    assert(text.startsWith(`HTTP/1.1 ${status} `) || text.startsWith(`HTTP/1.0 ${status} `), text.slice(0, 200));
    await publishWorks();
  });
}

test('wire: connections that break off at any byte leave nothing behind', async () => {
  const [host, port] = server.address.split(':');
  const bytes = Buffer.from(`PUT /v1/resources/a/item/x HTTP/1.1\r\nHost: ${server.address}\r\nauthorization: Bearer ${server.token}\r\ncontent-length: 4\r\n\r\n12`);
  await Promise.all(Array.from({ length: bytes.length }, (_, i) => new Promise((resolve) => {
    const s = net.connect({ host, port }, () => s.write(bytes.subarray(0, i + 1), () => s.destroy()));
    s.on('close', resolve);
    s.on('error', () => {});
  })));
  await publishWorks();
  await until('all connections are gone', async () => {
    const m = (await server.request('GET', '/metrics')).body.toString();
    return Number(m.match(/^trimtab_connections (\d+)$/m)[1]) <= 2;
  });
  const r = await server.request('GET', '/v1/resources/a/item/x');
  assert.strictEqual(r.status, 404, 'nothing was stored');
});

// ---- gRPC ----
const hello = (over) => ({ hello: { protocol: 1, instance: { id: 'h' }, scopes: [{ namespaces: ['a'] }], ...over } });
const streams = [
  ['an acknowledgement first', [{ ack: { stage: 'STORED' } }], 'INVALID_ARGUMENT', 'must be a hello'],
  ['two hellos', [hello(), hello()], 'INVALID_ARGUMENT', 'second hello'],
  ['a protocol of the future', [hello({ protocol: 7 })], 'UNIMPLEMENTED', 'protocol 7'],
  ['no scopes', [hello({ scopes: [] })], 'INVALID_ARGUMENT', 'at least one scope'],
  ['a scope without namespaces', [hello({ scopes: [{ namespaces: [] }] })], 'INVALID_ARGUMENT', 'at least one namespace'],
  ['65 scopes', [hello({ scopes: Array.from({ length: 65 }, (_, i) => ({ name: `s${i}`, namespaces: ['a'] })) })], 'RESOURCE_EXHAUSTED', '64 scopes'],
  ['two scopes of one name', [hello({ scopes: [{ namespaces: ['a'] }, { namespaces: ['b'] }] })], 'INVALID_ARGUMENT', 'two scopes'],
  ['a namespace of dots', [hello({ scopes: [{ namespaces: ['a/../b'] }] })], 'INVALID_ARGUMENT', 'not allowed'],
  ['an instance id with a space', [hello({ instance: { id: 'a b' } })], 'INVALID_ARGUMENT', 'spaces'],
  ['an instance id of 129 bytes', [hello({ instance: { id: 'x'.repeat(129) } })], 'INVALID_ARGUMENT', '128 bytes'],
  ['an acknowledgement without a stage', [hello(), { ack: {} }], 'INVALID_ARGUMENT', 'stage'],
  ['a health first', [{ health: { failing: true } }], 'INVALID_ARGUMENT', 'must be a hello'],
  ['an inventory of nonsense', [hello({ cursor: { store_id: Buffer.alloc(16), revision: 1, count: 1 } }), { inventory: { entries: [{ key: 'x', hash: Buffer.alloc(3) }], last: true } }], 'INVALID_ARGUMENT', 'inventory entry'],
];
for (const [what, frames, status, piece] of streams) {
  test(`gRPC: ${what}`, async () => {
    const client = new proto.Sync(server.address, grpc.credentials.createInsecure());
    const meta = new grpc.Metadata();
    meta.set('authorization', `Bearer ${server.token}`);
    const e = await new Promise((resolve) => {
      const s = client.Subscribe(meta);
      s.on('data', () => {});
      s.on('error', resolve);
      for (const f of frames) s.write(f);
    });
    assert.strictEqual(e.code, grpc.status[status], `${e.code} ${e.details}`);
    assert(e.details.includes(piece), `"${e.details}" has no "${piece}"`);
    client.close();
    await publishWorks();
  });
}

// Bytes of protobuf by hand: what a text is, no library would write otherwise.
const varint = (n) => (n < 128 ? [n] : [n % 128 + 128, ...varint(Math.floor(n / 128))]);
const field = (n, bytes) => Buffer.concat([Buffer.from([n * 8 + 2, ...varint(bytes.length)]), bytes]);
test('gRPC: a reason of a megabyte, and one that is no UTF-8, cost a kilobyte', async () => {
  const raw = new grpc.Client(server.address, grpc.credentials.createInsecure());
  const meta = new grpc.Metadata();
  meta.set('authorization', `Bearer ${server.token}`);
  const s = raw.makeBidiStreamRequest('/trimtab.v1.Sync/Subscribe', (b) => b, (b) => b, meta);
  s.on('data', () => {});
  s.on('error', () => {});
  const first = (id) => field(1, Buffer.concat([Buffer.from([8, 1]), field(2, field(1, Buffer.from(id))), field(3, field(2, Buffer.from('a')))]));
  const health = (reason, source) => field(4, Buffer.concat([Buffer.from([8, 1]), field(2, reason), field(4, source)]));
  s.write(first('talker'));
  const said = async (what, check) => until(what, async () => { const i = await server.instance('talker'); return i && i.health && check(i.health); });
  s.write(health(Buffer.from('\u00e4'.repeat(MIB / 2)), Buffer.alloc(16000, 'x')));
  await said('both are cut where a character ends', (h) => h.failing && h.reason === '\u00e4'.repeat(512) && h.source === 'x'.repeat(253));
  s.write(health(Buffer.from([0x61, 0xff, 0x62]), Buffer.from([0xc3])));
  await said('what is no text is replaced', (h) => h.reason === 'a\ufffdb' && h.source === '\ufffd');
  s.write(health(Buffer.from('a\0b\u009b\u202e\n'), Buffer.from('\x1b[31m')));
  await said('so is a NUL, and what commands or reorders', (h) => h.reason === 'a\ufffdb\ufffd\ufffd\n' && h.source === '\u241b[31m');
  const r = cli(['instances', 'talker']);
  assert(/ pending,failing /.test(r.out) && !r.out.includes('\x1b'), r.out);
  s.cancel();
  raw.close();
  await publishWorks();
});

test('one hostile instance beside good ones breaks nobody\'s view: JSON, gRPC, command line, events', async () => {
  const bad = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
  const text = Buffer.concat([Buffer.from('h\x1b]0;x\x07\r\u009b31m\u202e\u2028\u2066'), Buffer.from([0xff, 0xc3])]);
  const lines = [], events = http.get({ host: server.address.split(':')[0], port: server.address.split(':')[1], path: '/v1/events?types=instance', headers: { authorization: `Bearer ${server.token}` } },
    (res) => res.on('data', (d) => lines.push(d)));
  events.on('error', () => {});
  await until('events come', async () => lines.length);
  const shown = spawn(path.join(bin, 'trimtab'), ['events', '--type', 'instance'], { env: { ...process.env, TRIMTAB_CONTEXTS: '/nonexistent', TRIMTAB_SERVER: server.address, TRIMTAB_TOKEN: server.token } });
  const printed = [];
  shown.stdout.on('data', (d) => printed.push(d));
  const good = new Subscriber(server, 'good', [{ namespaces: ['ordinary'] }]).open();
  await good.at(1);
  const raw = new grpc.Client(server.address, grpc.credentials.createInsecure());
  const meta = new grpc.Metadata();
  meta.set('authorization', `Bearer ${server.token}`);
  const s = raw.makeBidiStreamRequest('/trimtab.v1.Sync/Subscribe', (b) => b, (b) => b, meta);
  s.on('data', () => {});
  s.on('error', () => {});
  s.write(field(1, Buffer.concat([Buffer.from([8, 1]), field(2, Buffer.concat([field(1, Buffer.from('hostile')), field(2, text), field(6, text), field(7, text)])), field(3, field(2, Buffer.from('a')))])));
  s.write(field(2, Buffer.concat([Buffer.from([8, 1, 16, 2]), field(5, Buffer.concat([field(2, Buffer.from('item/x')), field(4, Buffer.from('BAD')), field(5, text)])), field(6, text)])));
  s.write(field(4, Buffer.concat([Buffer.from([8, 1]), field(2, text), field(4, text)])));
  await until('it is there', async () => { const i = await server.instance('hostile'); return i && i.health; });
  const body = (await server.request('GET', '/v1/instances')).body;
  const all = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  assert(['good', 'hostile'].every((id) => all.instances.some((i) => i.instance.id === id)));
  const strings = (v) => (typeof v === 'string' ? [v] : v && typeof v === 'object' ? Object.values(v).flatMap(strings) : []);
  for (const t of strings(all)) assert(!bad.test(t), J(t));
  const wire = await new Promise((resolve, reject) => raw.makeUnaryRequest('/trimtab.v1.Admin/Instances', (b) => b, (b) => b, Buffer.alloc(0), meta, (e, r) => (e ? reject(e) : resolve(r))));
  assert(!wire.includes(Buffer.from('\u009b31m')) && !wire.includes(Buffer.from([0xff, 0xc3])) && !wire.includes(Buffer.from('h\x1b')));
  for (const args of [['instances'], ['instances', '-o', 'json'], ['running', '--instance', 'hostile']]) {
    const r = cli(args);
    assert(r.status === 0 && !bad.test(r.out) && (args[0] === 'running' || r.out.includes('hostile')), `${args}: ${r.status} ${J(r.out)} ${r.err}`);
  }
  await until('events tell of it', async () => Buffer.concat(lines).includes('"hostile"') && Buffer.concat(printed).includes('hostile'));
  for (const l of new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(lines)).split('\n').filter((x) => x.startsWith('data: '))) for (const t of strings(JSON.parse(l.slice(6)))) assert(!bad.test(t), J(t));
  assert(!bad.test(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(printed))));
  events.destroy();
  shown.kill();
  s.cancel();
  raw.close();
  good.close();
  await publishWorks();
});

test('gRPC: a health without an instance id is nobody\'s', async () => {
  const before = (await server.json('GET', '/v1/instances')).instances.length;
  const s = new Subscriber(server, '', [{ namespaces: ['ordinary'] }]).open();
  await s.at(1);
  s.stream.write({ health: { failing: true, reason: 'x' } });
  await publishWorks();
  await s.at(server.last);
  assert(!s.ended);
  assert.strictEqual((await server.json('GET', '/v1/instances')).instances.length, before);
  s.close();
});

test('gRPC: a method that is none, a message that is none, one that is too large', async () => {
  const raw = new grpc.Client(server.address, grpc.credentials.createInsecure(), { 'grpc.max_send_message_length': -1 });
  const meta = new grpc.Metadata();
  meta.set('authorization', `Bearer ${server.token}`);
  const callRaw = (method, bytes) => new Promise((resolve) => raw.makeUnaryRequest(method, (b) => b, (b) => b, bytes, meta, (e) => resolve(e)));
  assert.strictEqual((await callRaw('/trimtab.v1.Admin/Nothing', Buffer.alloc(0))).code, grpc.status.UNIMPLEMENTED);
  assert.strictEqual((await callRaw('/trimtab.v1.Admin/Get', Buffer.from([0xff, 0xff, 0xff]))).code, grpc.status.INVALID_ARGUMENT);
  assert.strictEqual((await callRaw('/trimtab.v1.Admin/Commit', Buffer.alloc(80 * MIB))).code, grpc.status.RESOURCE_EXHAUSTED);
  raw.close();
  await publishWorks();
});

// ---- the command line ----
function cli(args, env = {}, input) {
  const r = spawnSync(path.join(bin, 'trimtab'), args, { encoding: 'utf8', input, env: { ...process.env, TRIMTAB_CONTEXTS: '/nonexistent', TRIMTAB_SERVER: server.address, TRIMTAB_TOKEN: server.token, ...env } });
  return { status: r.status, out: r.stdout, err: r.stderr };
}
let dir;
const commands = [
  ['a command that is none', ['pubilsh'], 2, 'no command "pubilsh"'],
  ['a flag that is none', ['ls', '--knd', 'file'], 2, 'no flag --knd'],
  ['a missing word', ['get'], 2, 'usage: trimtab get'],
  ['a number that is none', ['history', 'a/item/x', '--limit', 'many'], 2, 'takes a number'],
  ['what is not there', ['get', 'a/item/none'], 3, 'no such resource'],
  ['a bad id', ['get', 'nonsense'], 6, 'less than three parts'],
  ['a wrong token', ['ls'], 4, 'not known', { TRIMTAB_TOKEN: 'wrong' }],
  ['a server that is not there', ['ls'], 9, 'is trimtabd running', { TRIMTAB_SERVER: '127.0.0.1:1' }],
  ['a token file that is not there', ['ls'], 3, 'no file /nonexistent', { TRIMTAB_TOKEN: undefined, TRIMTAB_TOKEN_FILE: '/nonexistent/token' }],
  ['a context that is not there', ['ls', '--context', 'nowhere'], 3, 'contexts file'],
  ['an item that is no JSON', ['put', 'a/item/x', '--value', '{'], 6, 'a/item/x:1:'],
  ['a stale version', ['put', 'ordinary/item/x', '--value', '1', '--based-on', '999'], 5, 'based on version 999'],
  ['a file that is not there', ['put', 'a/file/x', '-f', '/nonexistent/file'], 3, 'no file'],
  ['a folder with a link that leads out', ['publish', 'a', () => path.join(dir, 'links')], 4, 'leads out of the folder'],
  ['a file over 8 MiB', ['publish', 'a', () => path.join(dir, 'big')], 6, 'larger than'],
  ['a folder with a bad JSON file: nothing of it is stored', ['publish', 'a', () => path.join(dir, 'mixed')], 6, 'a/file/bad.json:'],
  ['a folder that export never wrote', ['import', () => path.join(dir, 'mixed')], 3, 'import reads what export wrote'],
];
for (const [what, args, status, piece, env] of commands) {
  test(`CLI: ${what}`, async () => {
    if (!dir) {
      dir = tmpdir();
      for (const d of ['links', 'big', 'mixed']) fs.mkdirSync(path.join(dir, d));
      fs.writeFileSync(path.join(dir, 'links', 'fine'), 'x');
      fs.symlinkSync('/etc/passwd', path.join(dir, 'links', 'passwd'));
      fs.writeFileSync(path.join(dir, 'big', 'big'), Buffer.alloc(8 * MIB + 1));
      fs.writeFileSync(path.join(dir, 'mixed', 'good.txt'), 'x');
      fs.writeFileSync(path.join(dir, 'mixed', 'bad.json'), '{');
    }
    const r = cli(args.map((a) => (typeof a === 'function' ? a() : a)), env);
    assert.strictEqual(r.status, status, `${r.status} ${r.err}`);
    assert(r.err.includes(piece), `"${r.err}" has no "${piece}"`);
    assert.strictEqual(r.out, '');
    await publishWorks();
  });
}

test('CLI: with -o json an error is one document', () => {
  const r = cli(['get', 'a/item/none', '-o', 'json']);
  const e = JSON.parse(r.err);
  assert.strictEqual(e.code, 'NOT_FOUND');
  assert.strictEqual(e.place, 'a/item/none');
});

test('CLI: of a refused folder nothing was stored', async () => {
  assert.strictEqual((await server.request('GET', '/v1/resources/a/file/good.txt')).status, 404);
});

// ---- certificates ----
function openssl(args, cwd) {
  const r = spawnSync('openssl', args, { cwd, encoding: 'utf8' });
  assert.strictEqual(r.status, 0, r.stderr);
}
// OpenSSL 3.0's x509 has no -not_after; its ca has, and needs a configuration.
function makeExpired(d) {
  fs.writeFileSync(path.join(d, 'ca.cnf'), `[x]\ndatabase=${d}/index\nnew_certs_dir=${d}\nserial=${d}/serial\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n`);
  fs.writeFileSync(path.join(d, 'serial'), '77\n');
  fs.writeFileSync(path.join(d, 'index'), '');
  openssl(['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'expired.key', '-out', 'expired.csr', '-subj', '/CN=expired'], d);
  openssl(['ca', '-batch', '-notext', '-config', 'ca.cnf', '-name', 'x', '-cert', 'ca.pem', '-keyfile', 'ca.key', '-in', 'expired.csr', '-out', 'expired.pem', '-startdate', '20200101000000Z', '-enddate', '20200102000000Z'], d);
}
function makeAll(d) {
  for (const ca of ['ca', 'foreign']) openssl(['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${ca}.key`, '-out', `${ca}.pem`, '-days', '2', '-subj', `/CN=${ca}`], d);
  fs.writeFileSync(path.join(d, 'ext'), 'subjectAltName=IP:127.0.0.1,DNS:localhost\n');
  for (const [name, ca] of [['server', 'ca'], ['client', 'ca'], ['stranger', 'foreign']]) {
    openssl(['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`], d);
    openssl(['x509', '-req', '-in', `${name}.csr`, '-CA', `${ca}.pem`, '-CAkey', `${ca}.key`, '-CAcreateserial', '-out', `${name}.pem`, '-days', '2', '-extfile', 'ext'], d);
  }
  makeExpired(d);
}

let tls, certs;
const cert = (name) => ['--cert', path.join(certs, `${name}.pem`), '--key', path.join(certs, `${name}.key`)];
async function secure(flags) {
  if (!certs) { certs = tmpdir(); makeAll(certs); }
  const s = new Server(undefined, [`--tls_cert=${certs}/server.pem`, `--tls_key=${certs}/server.key`, `--tls_client_ca=${certs}/ca.pem`, ...flags]);
  await s.start();
  return s;
}
const tlsCli = (s, args, env) => cli(args, { TRIMTAB_SERVER: s.address, TRIMTAB_TOKEN: s.token, TRIMTAB_CA: path.join(certs, 'ca.pem'), ...env });

test('TLS: with a certificate that is demanded, only its holders come in', async () => {
  tls = await secure(['--tls_client_auth=required', '--tls_client_role=publisher']);
  assert.strictEqual(tlsCli(tls, ['put', 'a/item/x', '--value', '1', ...cert('client')]).status, 0);
  for (const [what, args, piece] of [['none', [], 'certificate'], ['a foreign one', cert('stranger'), 'c'], ['an expired one', cert('expired'), 'expired']]) {
    const r = tlsCli(tls, ['ls', ...args]);
    assert.strictEqual(r.status, 9, `${what}: ${r.status} ${r.err}`);
    assert(r.err.includes(piece), `${what}: ${r.err}`);
  }
  assert.strictEqual(tlsCli(tls, ['put', 'a/item/x', '--value', '2', ...cert('client')]).status, 0);
});

test('TLS: a certificate without a token has the role of the setting, and no more', async () => {
  const env = { TRIMTAB_TOKEN: undefined };
  assert.strictEqual(tlsCli(tls, ['put', 'a/item/x', '--value', '3', ...cert('client')], env).status, 0);
  const history = tlsCli(tls, ['history', 'a/item/x', ...cert('client')]);
  assert(history.out.includes('cert:client'), history.out);
});

test('TLS: a server that is not of our authority is not trusted; plain text is not answered', async () => {
  const r = tlsCli(tls, ['ls', ...cert('client')], { TRIMTAB_CA: path.join(certs, 'foreign.pem') });
  assert.strictEqual(r.status, 4, r.err);
  assert.match(r.err, /certificate is refused/);
  assert.strictEqual(cli(['ls'], { TRIMTAB_SERVER: tls.address, TRIMTAB_TOKEN: tls.token }).status, 9);
  assert.strictEqual(tlsCli(tls, ['ls', ...cert('client')]).status, 0);
});

test('TLS: gRPC and REST on one port, over HTTP/1.1 and HTTP/2', async () => {
  for (const version of ['--http1.1', '--http2']) {
    const r = spawnSync('curl', ['-s', version, '--cacert', `${certs}/ca.pem`, '--cert', `${certs}/client.pem`, '--key', `${certs}/client.key`, '-H', `authorization: Bearer ${tls.token}`, `https://${tls.address}/v1/contents/a/item/x`], { encoding: 'utf8' });
    assert.strictEqual(r.stdout, '3', version);
  }
});

test('answers that nobody reads are bounded: the connection gets no more, then those that hold most go, and others are served', async () => {
  const metric = async (name) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec((await server.request('GET', '/metrics')).body)[1]);
  await server.commit([{ id: 'large/file/x', text: 'x'.repeat(8 * MIB) }]);
  const sessions = [], resident = await metric('trimtab_resident_bytes');
  const ask = () => { // on a connection of its own, whose window is closed
    const session = http2.connect(`http://${server.address}`, { settings: { initialWindowSize: 0 } });
    session.on('error', () => {});
    sessions.push(session);
    session.statuses = [];
    for (let i = 0; i < 40; i++) {
      const stream = session.request({ ':path': '/v1/contents/large/file/x', authorization: `Bearer ${server.token}` });
      stream.on('error', () => {});
      stream.on('response', (h) => session.statuses.push(h[':status']));
    }
    return until('all are answered, or the connection has gone', () => session.destroyed || session.statuses.length === 40);
  };
  await ask();
  assert(sessions[0].statuses.filter((s) => s === 200).length <= 6, String(sessions[0].statuses)); // 32 MiB, and one more
  assert(sessions[0].statuses.includes(503), String(sessions[0].statuses));
  for (let i = 0; i < 24; i++) await ask();
  assert(await metric('trimtab_unsent_bytes') <= 512 * MIB);
  assert(await metric('trimtab_requests_overdrawn_total') > 100);
  assert(await metric('trimtab_connections_shed_total') > 0);
  assert(await metric('trimtab_resident_bytes') < resident + 800 * MIB);
  await publishWorks();
  for (const session of sessions) session.destroy();
  await until('all of it is given back', async () => await metric('trimtab_unsent_bytes') < MIB);
});

test('requests that are still coming are bounded: what holds most goes, and small ones are answered all the while', async () => {
  const metric = async (name) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec((await server.request('GET', '/metrics')).body)[1]);
  const shed = await metric('trimtab_connections_shed_total'), resident = await metric('trimtab_resident_bytes');
  const most = 70 * MIB, prefix = Buffer.alloc(5), piece = Buffer.alloc(MIB), sessions = [];
  prefix.writeUInt32BE(most, 1);
  const begin = async () => { // a message that is nearly complete
    const session = http2.connect(`http://${server.address}`);
    sessions.push(session);
    session.on('error', () => {});
    const stream = session.request({ ':method': 'POST', ':path': '/trimtab.v1.Admin/Commit', 'content-type': 'application/grpc', te: 'trailers', authorization: `Bearer ${server.token}` }, { endStream: false });
    let is_over = false;
    stream.on('error', () => {});
    const over = new Promise((r) => { for (const event of ['response', 'trailers', 'close']) stream.on(event, () => { is_over = true; r(); }); });
    stream.write(prefix);
    for (let sent = 0; sent < most - MIB && !is_over; sent += MIB) await Promise.race([new Promise((r) => stream.write(piece, r)), over]);
  };
  for (let i = 0; i < 12; i++) await begin();
  assert(await metric('trimtab_request_bytes') <= 256 * MIB);
  assert(await metric('trimtab_requests_unheld_total') > 0);
  assert(await metric('trimtab_connections_shed_total') > shed);
  assert(await metric('trimtab_resident_bytes') < resident + 400 * MIB);
  await publishWorks();
  for (const session of sessions) session.destroy();
  await until('all of it is given back', async () => await metric('trimtab_request_bytes') < MIB);
});

test('a server will not listen beyond this machine without TLS, nor with settings that make no sense', () => {
  const d = tmpdir();
  for (const [flags, status, piece] of [
    [['--listen=0.0.0.0:0'], 4, 'without TLS'],
    [['--listen=nonsense'], 4, ''],
    [['--bookmark_interval=soon'], 6, 'a duration'],
    [['--lisen=127.0.0.1:0'], 3, 'listen'],
    [['--tls_cert=/nonexistent'], 6, 'together'],
    [['--store=redis:x'], 6, ''],
    [['--config_file=/nonexistent'], 3, 'no file'],
  ]) {
    const r = spawnSync(path.join(bin, 'trimtabd'), [`--data_dir=${d}`, '--listen=127.0.0.1:0', ...flags], { encoding: 'utf8', timeout: 20000 });
    assert.strictEqual(r.status, status, `${flags}: ${r.status} ${r.stderr}`);
    assert(r.stderr.includes(piece), `${flags}: ${r.stderr}`);
  }
  fs.rmSync(d, { recursive: true, force: true });
});

test('two servers do not open one database', async () => {
  const r = spawnSync(path.join(bin, 'trimtabd'), [`--data_dir=${server.dir}`, '--listen=127.0.0.1:0'], { encoding: 'utf8', timeout: 20000 });
  assert.notStrictEqual(r.status, 0);
  assert.match(r.stderr, /another process|locked/);
  await publishWorks();
});

(async () => {
  server = await new Server().start();
  await publishWorks();
  await publishWorks();
  process.on('exit', () => { for (const d of [dir, certs]) if (d) fs.rmSync(d, { recursive: true, force: true }); });
  run();
})();
