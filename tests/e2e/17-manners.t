#!/usr/bin/env node
// Manners of the protocols: what other clients, proxies and probes expect of a server, and what a flood, a bomb or somebody
// without a token does not get. RFC 9110, 9112, 9113; gRPC's compression and health checking; WHATWG's server-sent events.
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const http2 = require('http2');
const net = require('net');
const path = require('path');
const protobuf = require('protobufjs');
const zlib = require('zlib');
const { test, run, until, Server, proto, grpc, bin, spawn } = require('./lib.js');

let server;
const X = '/v1/resources/m/file/x';
const req = (...args) => server.request(...args);
const body = (r) => String(r.body);

// Bytes to the server; what comes back until `enough`, or until it closes.
function raw(bytes, enough, { half = false } = {}) {
  const [host, port] = server.address.split(':');
  return new Promise((resolve, reject) => {
    const socket = net.connect(+port, host);
    let got = Buffer.alloc(0);
    const end = () => { socket.destroy(); resolve(got.toString('latin1')); };
    socket.on('data', (d) => { got = Buffer.concat([got, d]); if (enough && enough(got.toString('latin1'))) end(); });
    socket.on('close', end);
    socket.on('error', (e) => (got.length ? end() : reject(e)));
    socket.write(bytes);
    if (half) socket.end();
  });
}
const head = (method, url, more = '') => `${method} ${url} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${server.token}\r\n${more}\r\n`;
const answers = (n) => (text) => text.split('HTTP/1.1 ').length - 1 >= n;

test('unknown parameters are refused everywhere, and flags are true, false, 1, 0 or nothing', async () => {
  server = await new Server().start();
  for (const [method, url] of [['PUT', `${X}?dryrun=true`], ['DELETE', `${X}?dry-run=1`], ['GET', '/v1/contents/m/file/x?versoin=1'],
    ['GET', '/healthz?x=1'], ['GET', '/metrics?x'], ['GET', '/v1/events?type=commit'], ['GET', '/v1/subscribe/snapshot?namespaces=m&revision=1'],
    ['GET', '/v1/subscribe/events?namespaces=m&wait_ms=1'], ['POST', '/v1/subscribe/poll?namespaces=m'], ['GET', '/v1/subscribe/poll?namespace=m']]) {
    const r = await req(method, url, method === 'PUT' ? 'x' : method === 'POST' ? '{}' : undefined);
    assert.strictEqual(r.status, 400, `${method} ${url}: ${body(r)}`);
    assert.match(body(r), /unknown parameter/);
  }
  for (const [flag, status] of [['2', 400], ['yes', 400], ['true', 200], ['1', 200], ['', 200]]) {
    const r = await req('PUT', `${X}?dry_run=${flag}`, 'x');
    assert.strictEqual(r.status, status, `dry_run=${flag}: ${body(r)}`);
  }
  assert.strictEqual((await req('PUT', `${X}?dry_run=null`, 'x', { 'if-match': '*' })).status, 400, 'whatever is there: it is wrong');
  assert.strictEqual((await req('GET', X)).status, 404, 'nothing of that was committed');
  for (const flag of ['false', '0']) assert.strictEqual((await req('PUT', `${X}?dry_run=${flag}`, `x${flag}`)).status, 200);
});

test('preconditions: what does not hold is 412 and changes nothing, tags of answers can be given back', async () => {
  const put = async (headers, status, url = X) => {
    const before = (await server.json('GET', '/v1/info')).head;
    const r = await req('PUT', url, String(Math.random()), headers);
    assert.strictEqual(r.status, status, `${JSON.stringify(headers)}: ${body(r)}`);
    assert.strictEqual((await server.json('GET', '/v1/info')).head, before + (status === 200 ? 1 : 0));
    return r;
  };
  const tag = async (url) => (await req('GET', url)).headers.etag;
  const content = X.replace('resources', 'contents');
  await put({ 'if-match': '*' }, 412, '/v1/resources/m/file/none');
  await put({ 'if-match': '"1"' }, 412, '/v1/resources/m/file/none');
  await put({ 'if-none-match': '*' }, 412);
  await put({ 'if-none-match': '*' }, 200, '/v1/resources/m/file/new');
  await put({ 'if-match': '*' }, 200);
  await put({ 'if-match': '"nonsense"' }, 412);
  await put({ 'if-match': '"999"' }, 412);
  for (const url of [X, content]) {
    const old = await tag(url);
    assert.match(old, /^"[^"]+"$/);
    await put({ 'if-match': `W/${old}` }, 412); // compared strongly
    await put({ 'if-none-match': `W/${old}` }, 412); // weakly
    await put({ 'if-match': `"other", ${old}, "a,b"` }, 200);
    await put({ 'if-match': old }, 412); // it was overtaken
    assert.strictEqual((await req('DELETE', X, undefined, { 'if-match': old })).status, 412);
  }
  const version = (await server.json('GET', X)).version;
  await put({ 'if-match': `"${version}"` }, 200);
  await put({ 'if-match': String(version + 1) }, 200);
  for (const url of [X, content]) {
    const now = await tag(url);
    for (const none of [now, `W/${now}`, `"a", ${now}`, '*']) {
      const r = await req('GET', url, undefined, { 'if-none-match': none });
      assert.strictEqual(r.status, 304, none);
      assert.strictEqual(r.body.length, 0);
      assert.strictEqual(r.headers.etag, now);
    }
    assert.strictEqual((await req('GET', url, undefined, { 'if-none-match': '"a"' })).status, 200);
  }
});

test('answers have what their status asks for', async () => {
  const r = await req('POST', '/healthz', '');
  assert.deepStrictEqual([r.status, r.headers.allow], [405, 'GET, HEAD']);
  assert.strictEqual((await req('PATCH', X, 'x')).headers.allow, 'GET, HEAD, PUT, DELETE');
  const text = await raw(head('BREW', X) + head('GET', '/healthz'), answers(2));
  assert.match(text, /^HTTP\/1.1 405 [^]*allow: GET, HEAD, PUT, DELETE[^]*HTTP\/1.1 200 /, 'a method that nobody knows is none that this has');
  const nobody = await server.request('GET', '/v1/info', undefined, { authorization: 'Bearer nonsense' });
  assert.deepStrictEqual([nobody.status, nobody.headers['www-authenticate']], [401, 'Bearer realm="trimtab"']);
  for (const x of [r, nobody, await req('GET', '/v1/info')]) assert(Math.abs(Date.parse(x.headers.date) - Date.now()) < 60000, x.headers.date);
});

const accepting = (value, more = {}) => ({ 'accept-encoding': value, ...more });

test('documents and texts are compressed for who takes it, and are the same as without', async () => {
  const text = 'key: value\n'.repeat(1000), id = 'm/file/big.txt';
  await server.commit([{ id, text }, { id: 'm/file/big.bin', content: Buffer.alloc(5000, 1).toString('base64'), content_type: 'application/octet-stream' }]);
  for (const url of [`/v1/resources/${id}`, `/v1/contents/${id}`, '/v1/resources?prefix=m&content=true', '/v1/subscribe/snapshot?namespaces=m', '/openapi.json',
    '/metrics', '/v1/subscribe/poll?namespaces=m&wait_ms=0']) {
    const plain = await req('GET', url), packed = await req('GET', url, undefined, accepting('br;q=0.9, gzip'));
    assert.deepStrictEqual([plain.headers['content-encoding'], plain.headers.vary, packed.headers['content-encoding'], packed.headers.vary],
      [undefined, 'accept-encoding', 'gzip', 'accept-encoding'], url);
    assert.strictEqual(packed.headers['content-type'], plain.headers['content-type']);
    assert.strictEqual(+packed.headers['content-length'], packed.body.length);
    assert(packed.body.length < plain.body.length);
    const unpacked = zlib.gunzipSync(packed.body);
    if (!/metrics|poll/.test(url)) assert(unpacked.equals(plain.body), url); // these two are never the same twice
    const tag = plain.headers.etag;
    assert.strictEqual(packed.headers.etag, tag && `W/${tag}`);
    for (const none of tag ? [tag, `W/${tag}`, `"a", W/${tag}`] : []) {
      const same = await req('GET', url, undefined, accepting('gzip', { 'if-none-match': none }));
      assert.deepStrictEqual([same.status, same.body.length, same.headers.etag, same.headers.vary, same.headers['content-encoding']], [304, 0, `W/${tag}`, 'accept-encoding', undefined]);
    }
    if (/poll/.test(url)) continue;
    const headed = await req('HEAD', url, undefined, accepting('gzip'));
    assert.deepStrictEqual([headed.status, headed.body.length, headed.headers['content-encoding']], [200, 0, 'gzip']);
  }
  for (const refusing of ['gzip;q=0', 'identity', 'identity, gzip;q=0.5', '*;q=0'])
    assert.strictEqual((await req('GET', `/v1/contents/${id}`, undefined, accepting(refusing))).headers['content-encoding'], undefined, refusing);
  const small = await req('GET', '/healthz', undefined, accepting('gzip'));
  assert.deepStrictEqual([small.headers['content-encoding'], small.headers.vary], [undefined, 'accept-encoding']);
  const binary = await req('GET', '/v1/contents/m/file/big.bin', undefined, accepting('gzip'));
  assert.deepStrictEqual([binary.headers['content-encoding'], binary.headers.vary, binary.headers.etag[0]], [undefined, undefined, '"']);
  const weak = (await req('GET', `/v1/resources/${id}`, undefined, accepting('gzip'))).headers.etag;
  assert.strictEqual((await req('PUT', `/v1/resources/${id}`, 'x', { 'if-match': weak })).status, 412, 'a weak tag matches nothing');
  const events = await raw(head('GET', '/v1/events', 'Accept-Encoding: gzip\r\n'), (t) => t.includes('data: '));
  assert(!/content-encoding/.test(events));
});

test('large answers for many at once, some of whom leave, are compressed beside the loop or sent as they are', async () => {
  const other = await new Server(undefined, ['--lanes=1']).start();
  const text = Array.from({ length: 200000 }, (_, i) => `line ${i * 7919 % 100003}\n`).join('');
  await other.request('PUT', '/v1/resources/m/file/huge', text, { 'content-type': 'text/plain' });
  const gone = Array.from({ length: 40 }, () => new Promise((resolve) => {
    const [host, port] = other.address.split(':');
    const socket = net.connect(+port, host, () => socket.write(`GET /v1/contents/m/file/huge HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${other.token}\r\nAccept-Encoding: gzip\r\n\r\n`,
      () => { socket.destroy(); resolve(); }));
  }));
  const answers = await Promise.all(Array.from({ length: 60 }, () => other.request('GET', '/v1/contents/m/file/huge', undefined, accepting('gzip'))));
  for (const r of answers) {
    assert.strictEqual(r.status, 200);
    assert(text === String(r.headers['content-encoding'] ? zlib.gunzipSync(r.body) : r.body), 'the whole text');
  }
  assert(answers.some((r) => r.headers['content-encoding'] === 'gzip'));
  await Promise.all(gone);
  await other.stop();
  assert.strictEqual(other.child.exitCode, 0);
});

test('a body that comes compressed is refused with what would be taken, and nothing is stored', async () => {
  const packed = zlib.gzipSync('text');
  for (const [method, url] of [['PUT', '/v1/resources/m/file/coded'], ['POST', '/v1/commits'], ['POST', '/v1/subscribe/poll']]) {
    const r = await req(method, url, packed, { 'content-encoding': 'gzip' });
    assert.deepStrictEqual([r.status, r.headers['accept-encoding']], [415, 'identity'], body(r));
    assert.match(body(r), /"code":"UNSUPPORTED".*"place":"content-encoding"/);
  }
  assert.strictEqual((await req('GET', '/v1/resources/m/file/coded')).status, 404);
  assert.strictEqual((await req('PUT', '/v1/resources/m/file/coded', 'text', { 'content-encoding': 'identity' })).status, 200);
});

test('HEAD of a stream of events ends, and the connection goes on', async () => {
  for (const url of ['/v1/events', '/v1/subscribe/events?namespaces=m']) {
    const text = await raw(head('HEAD', url) + head('GET', '/healthz'), answers(2));
    assert.match(text, /^HTTP\/1.1 200 [^]*text\/event-stream[^]*HTTP\/1.1 200 [^]*ok\n$/);
  }
});

test('streams of events tell proxies to pass them on, and readers when to come back', async () => {
  for (const url of ['/v1/events', '/v1/subscribe/events?namespaces=m']) {
    const text = await raw(head('GET', url), (t) => t.includes('data: '));
    assert.match(text, /x-accel-buffering: no\r\n/);
    assert.match(text, /retry: \d+\n\n/);
  }
});

test('a stream of events that began before the first commit gets what comes', async () => {
  const other = await new Server().start();
  const [host, port] = other.address.split(':');
  let text = '';
  const socket = net.connect(+port, host, () => socket.write(`GET /v1/subscribe/events?namespaces=m HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${other.token}\r\n\r\n`));
  socket.on('data', (d) => { text += d; });
  await until('it has all that there is', () => text.includes('"end"'));
  await other.commit([{ id: 'm/file/first', text: 'x' }]);
  await until('the first commit', () => text.includes('"m/file/first"'));
  socket.destroy();
  await other.stop();
});

test('who closes its half after the request gets the answer', async () => {
  const text = await raw(head('PUT', X, 'Content-Length: 4\r\n') + 'half', null, { half: true });
  assert.match(text, /^HTTP\/1.1 200 /);
});

test('extensions of chunks mean nothing, whatever they are; what is no chunk is refused', async () => {
  const chunked = (chunks) => raw(head('PUT', X, 'Transfer-Encoding: chunked\r\n') + chunks, answers(1));
  for (const extension of ['', ';a', ';a=b;c=d', ' ; a = "b;c=\\"d\\"" ;e', ';a="\t\xe9"', `;${'x'.repeat(8000)}`]) {
    assert.match(await chunked(`3${extension}\r\nabc\r\n1;last\r\nd\r\n0${extension}\r\n\r\n`), /^HTTP\/1.1 200 /, JSON.stringify(extension.slice(0, 40)));
    assert.strictEqual(body(await req('GET', X.replace('resources', 'contents'))), 'abcd');
  }
  for (const wrong of ['3;a\x01\r\nabc\r\n0\r\n\r\n', '3;a\nabc\r\n0\r\n\r\n', 'x;a\r\nabc\r\n0\r\n\r\n', `3;${'x'.repeat(40000)}\r\nabc\r\n0\r\n\r\n`, '3;a\r\nabcd\r\n0\r\n\r\n'])
    assert.match(await chunked(wrong), /^HTTP\/1.1 400 /, JSON.stringify(wrong.slice(0, 40)));
});

test('a proxy may ask by the names that a setting allows, a page of such a host too, and nobody else', async () => {
  const other = await new Server(undefined, ['--allowed_hosts=config.example.com, [fd00::1]']).start();
  const ask = async (host, headers = {}) => (await other.request('GET', '/v1/info', undefined, { host, ...headers })).status;
  assert.strictEqual(await ask('config.example.com'), 200);
  assert.strictEqual(await ask('CONFIG.example.com:443'), 200);
  assert.strictEqual(await ask('[fd00::1]:80'), 200);
  assert.strictEqual(await ask('evil.example.com'), 403);
  assert.strictEqual(await ask('config.example.com.evil.com'), 403);
  assert.strictEqual(await ask('config.example.com', { origin: 'https://config.example.com' }), 200);
  assert.strictEqual(await ask('config.example.com', { origin: 'https://evil.example.com' }), 403);
  await other.stop();
});

test('a bad line in the tokens is named, and does not hold back the rest of a reload', async () => {
  const tokens = path.join(server.dir, 'tokens'), good = fs.readFileSync(tokens);
  const log = () => fs.readFileSync(path.join(server.dir, 'log'), 'utf8');
  fs.appendFileSync(tokens, 'bad\n');
  server.child.kill('SIGHUP');
  await until('it is told', () => /reload_failed what=tokens .*line=\d/.test(log()));
  assert.strictEqual((await req('GET', '/v1/info')).status, 200, 'the tokens before hold');
  fs.writeFileSync(tokens, good);
});

// ---- gRPC

const meta = (more = {}) => { const m = new grpc.Metadata(); for (const [k, v] of Object.entries(more)) m.set(k, v); return m; };
function call(method, message, metadata) {
  const client = new grpc.Client(server.address, grpc.credentials.createInsecure());
  return new Promise((resolve) => {
    client.makeUnaryRequest(method, (x) => x, (x) => x, message, metadata, (error, answer) => { client.close(); resolve({ error, answer }); });
  });
}

test('grpc.health.v1 serves without a token, for the server and its services, and says when it drains', async () => {
  const name = (s) => Buffer.concat([Buffer.from([10, s.length]), Buffer.from(s)]);
  for (const m of [Buffer.alloc(0), name('trimtab.v1.Admin'), name('trimtab.v1.Sync')])
    assert.deepStrictEqual((await call('/grpc.health.v1.Health/Check', m, meta())).answer, Buffer.from([8, 1]));
  assert.strictEqual((await call('/grpc.health.v1.Health/Check', name('nobody'), meta())).error.code, grpc.status.NOT_FOUND);
  assert.strictEqual((await call('/grpc.health.v1.Health/Check', Buffer.from([1, 2, 3]), meta())).error.code, grpc.status.INVALID_ARGUMENT);
  const other = await new Server().start();
  const client = new grpc.Client(other.address, grpc.credentials.createInsecure());
  const watch = client.makeServerStreamRequest('/grpc.health.v1.Health/Watch', (x) => x, (x) => x, Buffer.alloc(0), meta());
  const told = [];
  let error;
  watch.on('data', (d) => told.push(d[1]));
  watch.on('error', (e) => { error = e; });
  await until('it serves', () => told.length === 1);
  other.child.kill('SIGTERM');
  await until('it ends', () => error);
  assert.deepStrictEqual(told, [1, 2]);
  client.close();
  await other.stop();
});

test('reflection tells which services there are, and the files that describe them', async () => {
  const text = (n, s) => Buffer.concat([Buffer.from([n * 8 + 2, s.length]), Buffer.from(s)]);
  const ask = (version, ...questions) => new Promise((resolve, reject) => {
    const client = new grpc.Client(server.address, grpc.credentials.createInsecure()), got = [];
    const stream = client.makeBidiStreamRequest(`/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`, (x) => x, (x) => x, meta());
    stream.on('data', (d) => got.push(d.toString('latin1')));
    stream.on('error', reject);
    stream.on('end', () => { client.close(); resolve(got); });
    for (const q of questions) stream.write(q);
    stream.end();
  });
  for (const version of ['v1', 'v1alpha']) {
    const [list, admin, nested, file, nothing, extension] = await ask(version, text(7, '*'), text(4, 'trimtab.v1.Admin.Commit'), text(4, 'trimtab.v1.Metadata.LabelsEntry'),
      text(3, 'trimtab/v1/sync.proto'), text(4, 'trimtab.v1.Admi'), text(6, 'trimtab.v1.Commit'));
    for (const s of ['trimtab.v1.Admin', 'trimtab.v1.Sync', 'grpc.health.v1.Health', 'grpc.reflection.v1.ServerReflection']) assert(list.includes(s), s);
    for (const d of [admin, nested, file]) assert(d.includes('trimtab/v1/resource.proto') && d.includes('LabelsEntry'), 'with what they need');
    for (const d of [admin, file]) assert(d.includes('trimtab/v1;trimtabv1'), 'and their package for Go');
    assert(nothing.includes('no such file') && extension.includes('no extensions'));
  }
});

// google.rpc.Status and ErrorInfo, as googleapis define them.
const { Status, ErrorInfo } = protobuf.parse(`syntax = "proto3"; package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }`, { keepCase: true }).root.lookup('google.rpc');

test('failures have a google.rpc.Status with a google.rpc.ErrorInfo', async () => {
  const client = new proto.Admin(server.address, grpc.credentials.createInsecure());
  const auth = meta({ authorization: `Bearer ${server.token}` });
  const fails = (method, message, metadata = auth) => new Promise((resolve) => { client[method](message, metadata, (e) => resolve(e)); });
  const details = (e) => {
    const [bytes, ...others] = e.metadata.get('grpc-status-details-bin');
    assert.strictEqual(others.length, 0);
    const status = Status.toObject(Status.decode(bytes), { longs: Number }), [any] = status.details;
    assert.deepStrictEqual([status.code, status.message, status.details.length, any.type_url], [e.code, e.details, 1, 'type.googleapis.com/google.rpc.ErrorInfo']);
    return ErrorInfo.toObject(ErrorInfo.decode(any.value), { objects: true });
  };
  await server.commit([{ id: 'm/file/there', text: '1' }]);
  const text = 'a: 1\nb: [\n', content = Buffer.from(text);
  const wrong = await fails('Commit', { changes: [{ id: 'm/file/wrong-\u00e9.yaml', content }] });
  const info = details(wrong), trailer = (name) => decodeURIComponent(wrong.metadata.get(name)[0] || '');
  assert.deepStrictEqual([info.reason, info.domain, info.metadata.place], ['INVALID', 'trimtab', 'm/file/wrong-\u00e9.yaml']);
  assert.match(info.metadata.at, /^\d+:\d+$/);
  assert.deepStrictEqual([info.reason, info.metadata.place, info.metadata.at], ['code', 'place', 'at'].map((n) => trailer(`trimtab-${n}`)));
  const exists = details(await fails('Commit', { changes: [{ id: 'm/file/there', content: Buffer.from('1'), create_only: true }] }));
  assert.strictEqual(exists.reason, 'EXISTS');
  assert(exists.metadata.hint);
  assert.strictEqual(details(await fails('Get', { id: 'm/file/nothing' })).reason, 'NOT_FOUND');
  assert.strictEqual(details(await fails('Info', {}, meta())).reason, 'UNAUTHENTICATED');
  const late = await call('/trimtab.v1.Admin/Nonsense', Buffer.alloc(0), auth);
  assert.deepStrictEqual(details(late.error), { reason: 'UNSUPPORTED', domain: 'trimtab', metadata: {} });
  client.close();
});

// A stream of HTTP/2 by hand: headers, then bytes, and no end unless it `ends`.
function open(headers, bytes, ends = false) {
  const session = http2.connect(`http://${server.address}`);
  const parts = [], s = { session, headers: null, trailers: null, closed: false, body: () => Buffer.concat(parts) };
  session.on('error', () => {});
  const stream = session.request({ ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers', ...headers }, { endStream: false });
  stream.on('response', (h) => { s.headers = h; });
  stream.on('trailers', (h) => { s.trailers = h; });
  stream.on('error', () => {});
  stream.on('close', () => { s.closed = true; });
  stream.on('data', (d) => parts.push(d));
  if (ends) stream.end(bytes);
  else stream.write(bytes);
  s.end = () => session.destroy();
  return s;
}

// A message in its frame, as it is or compressed.
const framed = (bytes, flag = 0) => { const h = Buffer.alloc(5); h[0] = flag; h.writeUInt32BE(bytes.length, 1); return Buffer.concat([h, bytes]); };
const zipped = (bytes) => framed(zlib.gzipSync(bytes), 1);
// The status and headers of a call that ends by itself.
async function refusal(path, encoding, bytes, headers = {}) {
  const s = open({ ':path': path, authorization: `Bearer ${server.token}`, ...(encoding ? { 'grpc-encoding': encoding } : {}), ...headers }, bytes, true);
  await until('the answer', () => s.headers && (s.headers['grpc-status'] || s.trailers));
  s.end();
  return { ...s.headers, ...s.trailers };
}

test('a compression that is not known is refused with what would be taken, one that was not announced as a broken protocol', async () => {
  for (const path of ['/trimtab.v1.Admin/Info', '/trimtab.v1.Sync/Subscribe']) {
    const unknown = await refusal(path, 'br', framed(Buffer.from('x'), 1));
    assert.deepStrictEqual([unknown['grpc-status'], unknown['grpc-accept-encoding']], ['12', 'identity, gzip']);
    const broken = await refusal(path, 'gzip', framed(Buffer.from('xxxx'), 1));
    assert.deepStrictEqual([broken['grpc-status'], broken['grpc-accept-encoding']], ['13', 'identity, gzip']);
    for (const encoding of [null, 'identity']) assert.strictEqual((await refusal(path, encoding, framed(zlib.gzipSync(''), 1)))['grpc-status'], '13');
  }
});

test('a compressed message that is broken, a bomb, or from somebody without a token is refused', async () => {
  const bomb = zipped(Buffer.alloc(100 << 20));
  for (const path of ['/trimtab.v1.Admin/Commit', '/trimtab.v1.Sync/Subscribe']) {
    const good = zlib.gzipSync(Buffer.alloc(1000));
    for (const broken of [Buffer.alloc(0), Buffer.from('no gzip'), good.subarray(0, good.length - 1), Buffer.concat([good, Buffer.from('x')])])
      assert.strictEqual((await refusal(path, 'gzip', framed(broken, 1)))['grpc-status'], '13');
    assert.strictEqual((await refusal(path, 'gzip', bomb))['grpc-status'], '8');
    assert.strictEqual((await refusal(path, 'gzip', bomb, { authorization: 'Bearer nonsense' }))['grpc-status'], '16', 'and is not unpacked');
  }
});

test('a peer that goes while its message is unpacked leaves nothing behind', async () => {
  const bytes = zipped(Buffer.alloc(60 << 20));
  const headers = { ':path': '/trimtab.v1.Admin/Commit', authorization: `Bearer ${server.token}`, 'grpc-encoding': 'gzip' };
  for (let i = 0; i < 8; i++) {
    const s = open(headers, bytes, true);
    await new Promise((r) => s.session.once('connect', () => setImmediate(r)));
    s.end();
  }
  const late = open({ ...headers, 'grpc-timeout': '1m' }, bytes, true); // a millisecond
  await until('the answer', () => late.headers);
  assert.strictEqual(late.headers['grpc-status'] || late.trailers['grpc-status'], '4');
  late.end();
  assert.strictEqual((await refusal('/trimtab.v1.Admin/Commit', 'gzip', bytes))['grpc-status'], '3'); // zeros are no message
});

test('compressed messages are taken on calls and streams, and large answers of calls are compressed for who takes it', async () => {
  const text = 'value: '.repeat(20000), gzip = { 'grpc.default_compression_algorithm': 2 };
  const client = new proto.Admin(server.address, grpc.credentials.createInsecure(), gzip);
  const auth = meta({ authorization: `Bearer ${server.token}` });
  const ask = (method, message) => new Promise((resolve, reject) => client[method](message, auth, (e, r) => (e ? reject(e) : resolve(r))));
  await ask('Commit', { changes: [{ id: 'm/file/zipped', content: Buffer.from(text) }], message: 'zipped' });
  assert.strictEqual(String((await req('GET', '/v1/contents/m/file/zipped')).body), text);
  const got = await ask('Get', { id: 'm/file/zipped' });
  assert.strictEqual(got.text || String(got.content), text);
  client.close();

  const get = framed(Buffer.concat([Buffer.from([10, 13]), Buffer.from('m/file/zipped')]));
  const answer = async (accepts) => {
    const s = open({ ':path': '/trimtab.v1.Admin/Get', authorization: `Bearer ${server.token}`, ...(accepts ? { 'grpc-accept-encoding': accepts } : {}) }, get, true);
    await until('the answer', () => s.closed);
    assert.strictEqual(s.trailers['grpc-status'], '0');
    s.end();
    return [s.headers['grpc-encoding'], s.body()];
  };
  for (const accepts of ['gzip', 'identity, deflate,gzip']) {
    const [encoding, bytes] = await answer(accepts);
    assert.deepStrictEqual([encoding, bytes[0]], ['gzip', 1]);
    assert(bytes.length < text.length / 20 && zlib.gunzipSync(bytes.subarray(5)).includes(text));
  }
  for (const accepts of [null, 'identity', 'deflate, gzipped']) {
    const [encoding, bytes] = await answer(accepts);
    assert.deepStrictEqual([encoding, bytes[0]], [undefined, 0]);
    assert(bytes.includes(text));
  }

  const sync = new proto.Sync(server.address, grpc.credentials.createInsecure(), gzip), frames = [];
  const stream = sync.Subscribe(auth);
  stream.on('data', (f) => frames.push(f));
  stream.on('error', () => {});
  stream.write({ hello: { protocol: 1, instance: { id: 'zipper', host: 'node', program: 'x'.repeat(100) }, scopes: [{ name: 's', namespaces: ['m'] }] } });
  await until('everything', () => frames.some((f) => f.end));
  assert(frames.some((f) => (f.changes || []).some((c) => c.put.some((i) => i.id === 'm/file/zipped'))));
  stream.cancel();
  sync.close();
});

test('who has no token is refused before a large message is taken', async () => {
  for (const [token, status] of [['', '16'], ['Bearer nonsense', '16']]) {
    const s = open({ ':path': '/trimtab.v1.Admin/Commit', ...(token ? { authorization: token } : {}) }, Buffer.concat([Buffer.from([0, 4, 0, 0, 0]), Buffer.alloc(1000)]));
    await until('the answer', () => s.headers);
    assert.strictEqual(s.headers['grpc-status'], status);
    s.end();
  }
});

test('metadata that is too long is RESOURCE_EXHAUSTED for gRPC, 431 for others', async () => {
  const long = 'x'.repeat(20000);
  const s = open({ ':path': '/trimtab.v1.Admin/Info', long }, Buffer.alloc(5));
  await until('the answer', () => s.headers);
  assert.strictEqual(s.headers['grpc-status'], '8');
  s.end();
  assert.strictEqual((await req('GET', '/v1/info', undefined, { long: 'x'.repeat(15000), longer: 'x'.repeat(15000) })).status, 431);
});

test('a PING for every answer is no flood, nor are calls that are cancelled after they were answered', async () => {
  const session = http2.connect(`http://${server.address}`);
  let gone = false;
  session.on('goaway', () => { gone = true; });
  session.on('error', () => { gone = true; });
  for (let i = 0; i < 700 && !gone; i++) {
    const stream = session.request({ ':path': '/v1/events', authorization: `Bearer ${server.token}` });
    stream.on('error', () => {});
    await new Promise((resolve) => { stream.on('data', resolve); stream.on('close', resolve); });
    await new Promise((resolve) => session.ping(() => resolve()));
    const closed = new Promise((resolve) => stream.on('close', resolve));
    stream.close(http2.constants.NGHTTP2_CANCEL);
    await closed;
  }
  assert(!gone, 'the connection was ended');
  session.destroy();
});

// ---- bombs

const frame = (type, flags, id, payload) => {
  const h = Buffer.alloc(9);
  h.writeUIntBE(payload.length, 0, 3); h[3] = type; h[4] = flags; h.writeUInt32BE(id, 5);
  return Buffer.concat([h, payload]);
};
const literal = (name, value) => Buffer.concat([Buffer.from([0x40, name.length]), Buffer.from(name), Buffer.from([0x7f, (value.length - 127) % 128 | 128, Math.floor((value.length - 127) / 128)]), Buffer.from(value)]);

test('a header that stands for a thousand ends the connection, not the server', async () => {
  const text = (n, v) => Buffer.concat([Buffer.from([0, n.length]), Buffer.from(n), Buffer.from([v.length]), Buffer.from(v)]);
  const start = Buffer.concat([Buffer.from([0x82, 0x86]), text(':path', '/healthz'), text(':authority', 'localhost')]);
  const bomb = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0, Buffer.alloc(0)),
    frame(1, 5, 1, Buffer.concat([start, literal('x', 'y'.repeat(3900))])),
    ...Array.from({ length: 20 }, (_, i) => frame(1, 5, 3 + 2 * i, Buffer.concat([start, Buffer.alloc(16000, 0xbe)])))]);
  await raw(bomb, null).catch(() => {}); // until the server closes
  assert.strictEqual((await req('GET', '/healthz')).status, 200);
});

test('requests that are cancelled before their turn are not begun, and of many at once all are answered', async () => {
  const text = (n, v) => Buffer.concat([Buffer.from([0, n.length]), Buffer.from(n), Buffer.from([v.length]), Buffer.from(v)]);
  const get = (id) => frame(1, 5, id, Buffer.concat([Buffer.from([0x82, 0x86]), text(':path', '/v1/info'), text(':authority', 'localhost'), text('authorization', `Bearer ${server.token}`)]));
  const start = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0, Buffer.alloc(0))]);
  const begun = async () => Number(/^trimtab_requests_rest_total (\d+)/m.exec(body(await req('GET', '/metrics')))[1]);
  const before = await begun();
  await raw(Buffer.concat([start, ...Array.from({ length: 90 }, (_, i) => Buffer.concat([get(1 + 2 * i), frame(3, 0, 1 + 2 * i, Buffer.from([0, 0, 0, 8]))])), frame(6, 0, 0, Buffer.alloc(8, 0x71))]),
    (t) => t.includes('qqqqqqqq'));
  assert(await begun() - before < 10, 'they were cancelled with the bytes that asked');
  const whole = await raw(Buffer.concat([start, ...Array.from({ length: 90 }, (_, i) => get(1 + 2 * i))]), (t) => t.split('"store_id"').length > 90);
  assert.strictEqual(whole.split('"store_id"').length, 91);
});

test('idle connections up to the last descriptor stop neither a reload nor a request', async () => {
  const other = new Server();
  other.prefix = ['bash', '-c', 'ulimit -n 200; exec "$@"', 'x'];
  await other.start();
  const [host, port] = other.address.split(':');
  const idle = Array.from({ length: 250 }, () => { const s = net.connect(+port, host); s.on('error', () => {}); return s; });
  const connected = () => idle.filter((s) => s.readyState === 'open' || s.destroyed).length === idle.length;
  await until('all have come', connected);
  other.child.kill('SIGHUP');
  await until('it was read', () => fs.readFileSync(path.join(other.dir, 'log'), 'utf8').includes('reloaded'));
  assert.strictEqual((await other.request('GET', '/healthz')).status, 200);
  assert.match(body(await other.request('GET', '/metrics')), /^trimtab_connections_evicted_total [1-9]/m);
  idle.forEach((s) => s.destroy());
  await other.stop();
});

test('polls of many instances are found at once, and each goes on where it was', async () => {
  const poll = (i, more = '') => server.json('GET', `/v1/subscribe/poll?namespaces=m&instance=poller-${i}&wait_ms=0${more}`);
  for (let i = 0; i < 300; i++) await poll(i);
  const first = (await poll(7)).frames || [];
  assert(first.some((f) => f.welcome) || first.length === 0);
  assert.strictEqual((await server.json('GET', '/v1/instances?prefix=poller-')).instances.length, 300);
});

run();
