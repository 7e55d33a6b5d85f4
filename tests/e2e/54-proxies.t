#!/usr/bin/env node
// Trimtab behind nginx and HAProxy, with the lines of docs/operations.md: REST, events, long polls, tags with compression, gRPC.
'use strict';
const assert = require('assert');
const fs = require('fs');
const http = require('http');
const net = require('net');
const path = require('path');
const zlib = require('zlib');
const { test, run, until, Server, Subscriber, root, spawn, spawnSync, tmpdir } = require('./lib.js');

const HOST = 'config.example.com';
let server, nginx, haproxy;

// The indented lines of the page, one after another, in which this word is a comment; for the address of our server.
function documented(word) {
  const page = fs.readFileSync(path.join(root, 'docs', 'operations.md'), 'utf8');
  const blocks = page.match(/(?:^(?: {4}.*)?\n)+/mg).filter((b) => b.includes(`# ${word}`));
  assert.strictEqual(blocks.length, 1, `${word} has its lines in the documentation`);
  return blocks[0].replaceAll('127.0.0.1:7700', server.address);
}

const found = (program) => [program, `/usr/sbin/${program}`].find((p) => spawnSync(p, ['-v']).status === 0);
const freePort = () => new Promise((resolve) => { const s = net.createServer().listen(0, '127.0.0.1', () => { const { port } = s.address(); s.close(() => resolve(port)); }); });
const connects = (port) => new Promise((resolve) => {
  const s = net.connect(port, '127.0.0.1', () => { s.destroy(); resolve(true); });
  s.on('error', () => resolve(false));
});

// A proxy that listens on free ports; another program may take one first: then it ends, and is started again on others.
class Proxy {
  constructor(program, n, words, config) { Object.assign(this, { program, n, words, config, dir: tmpdir() }); }
  async start() {
    const file = path.join(this.dir, 'conf');
    for (let tries = 0; tries < 10; tries++) {
      this.ports = [];
      while (this.ports.length < this.n) this.ports.push(await freePort());
      fs.writeFileSync(file, this.config(this.ports, this.dir));
      const log = fs.openSync(path.join(this.dir, 'log'), 'w');
      this.child = spawn(this.program, this.words(file, this.dir), { stdio: ['ignore', log, log] });
      fs.closeSync(log);
      const ended = () => this.child.exitCode !== null || this.child.signalCode !== null;
      await until(`${this.program} listens`, async () => ended() || (await Promise.all(this.ports.map(connects))).every(Boolean));
      if (!ended()) return this;
    }
    throw new Error(`${this.program}: ${fs.readFileSync(path.join(this.dir, 'log'))}`);
  }
  async stop() {
    if (this.child.exitCode === null && !this.child.signalCode) {
      const ended = new Promise((r) => this.child.once('exit', r));
      this.child.kill('SIGTERM');
      await ended;
    }
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

const nginxConfig = ([rest, own, grpc], dir) => `
daemon off; master_process off; worker_processes 1; pid ${dir}/pid; error_log ${dir}/log;
events { worker_connections 200; }
http {
  access_log off; gzip on; gzip_proxied any; gzip_types application/json text/plain; gzip_min_length 100;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((t) => `${t}_temp_path ${dir}/${t};`).join(' ')}
  server { listen 127.0.0.1:${rest}; ${documented('nginx')} }
  server { listen 127.0.0.1:${own}; proxy_set_header Accept-Encoding ""; ${documented('nginx').replace('proxy_set_header', 'proxy_set_header Accept-Encoding ""; proxy_set_header')} }
  server { listen 127.0.0.1:${grpc} http2; ${documented('nginx')} }
}
`;
const haproxyConfig = ([port]) => `
global
    maxconn 200
${documented('HAProxy').replace(/^ {4}/mg, '').replace(/bind .*/, `bind 127.0.0.1:${port}`).replace(/^(?=frontend)/m, '\n')}
`;

// What a client asks of a proxy, by the name that the world knows.
function ask(port, method, url, { body, headers = {}, host = HOST } = {}) {
  return new Promise((resolve, reject) => {
    const q = http.request({ host: '127.0.0.1', port, method, path: url, headers: { host, authorization: `Bearer ${server.token}`, ...headers } }, (res) => {
      const parts = [];
      res.on('data', (d) => parts.push(d));
      res.on('end', () => resolve({ status: res.statusCode, headers: res.headers, body: Buffer.concat(parts) }));
    });
    q.on('error', reject);
    q.end(body);
  });
}

// Events as they come, until it is ended.
function listen(port, url) {
  const s = { text: '' };
  s.request = http.request({ host: '127.0.0.1', port, path: url, headers: { host: HOST, authorization: `Bearer ${server.token}`, 'accept-encoding': 'gzip' } }, (res) => {
    s.headers = res.headers;
    res.on('data', (d) => { s.text += d; });
    res.on('error', () => {});
  });
  s.request.on('error', () => {});
  s.request.end();
  return s;
}

const id = 'web/file/site.txt', text = 'a line of text\n'.repeat(500);

async function rest(port) {
  const put = await ask(port, 'PUT', `/v1/resources/${id}`, { body: text });
  assert.strictEqual(put.status, 200, String(put.body));
  assert.strictEqual(String((await ask(port, 'GET', `/v1/contents/${id}`)).body), text);
  assert.strictEqual((await ask(port, 'GET', '/v1/info', { host: 'evil.example.com' })).status, 403, 'only by a name that is allowed');
  const large = 'x'.repeat(3 << 20);
  assert.strictEqual((await ask(port, 'PUT', '/v1/resources/web/file/large', { body: large })).status, 200);
  assert.strictEqual((await ask(port, 'GET', '/v1/contents/web/file/large')).body.length, large.length);
}

async function events(port, name) {
  const streams = ['/v1/events', '/v1/subscribe/events?namespaces=web'].map((url) => listen(port, url));
  await until('both have begun', () => streams.every((s) => /data: /.test(s.text)));
  for (const what of ['first', 'second']) { // each is there before the next is made: nothing is kept back until there is more
    await server.commit([{ id: `web/file/${what}-${name}`, text: what }]);
    await until(`${what} came`, () => streams.every((s) => s.text.includes(`"web/file/${what}-${name}"`)));
  }
  for (const s of streams) { assert.strictEqual(s.headers['content-encoding'], undefined); s.request.destroy(); }
}

async function poll(port, name) {
  const url = `/v1/subscribe/poll?namespaces=web&instance=${name}`;
  const frames = async (more) => JSON.parse((await ask(port, 'GET', url + more)).body).frames;
  const end = (await frames('&wait_ms=0')).find((f) => f.end).end;
  const { store_id: store } = await server.json('GET', '/v1/info');
  const digest = (await ask(port, 'GET', '/v1/subscribe/snapshot?namespaces=web')).headers.etag.replace(/^W\/|"/g, '');
  const waiting = frames(`&wait_ms=50000&revision=${end.revision}&store_id=${encodeURIComponent(store)}&digest=${digest}`);
  await server.commit([{ id: `web/file/for-${name}`, text: 'news' }]);
  assert.match(JSON.stringify(await waiting), new RegExp(`for-${name}`));
}

// The tag of what a client got compressed, by whomever, is known again, and stands for the same bytes.
async function tags(port, encoding) {
  const headers = { 'accept-encoding': 'gzip' };
  for (const url of [`/v1/resources/${id}`, `/v1/contents/${id}`, '/v1/subscribe/snapshot?namespaces=web']) {
    const first = await ask(port, 'GET', url, { headers }), plain = await ask(port, 'GET', url);
    assert.deepStrictEqual([first.status, first.headers['content-encoding']], [200, encoding], url);
    assert(zlib.gunzipSync(first.body).equals(plain.body), url);
    assert.match(first.headers.etag, /^W\/"/);
    assert.match(plain.headers.etag, /^"/);
    for (const tag of [first.headers.etag, plain.headers.etag]) {
      const again = await ask(port, 'GET', url, { headers: { ...headers, 'if-none-match': tag } });
      assert.deepStrictEqual([again.status, again.body.length], [304, 0], `${url} ${tag}`);
    }
  }
}

async function subscription(port, name) {
  const s = new Subscriber({ address: `127.0.0.1:${port}`, token: server.token }, name, [{ name: 's', namespaces: ['web'] }]).open();
  const { revision } = await server.commit([{ id: `web/file/by-${name}`, text: name }]);
  await s.at(revision);
  const next = await server.commit([{ id: `web/file/by-${name}`, text: `${name} again` }]);
  await s.at(next.revision);
  assert.strictEqual(s.text(`web/file/by-${name}`), `${name} again`);
  await until('it is acknowledged', async () => ((await server.instance(name)) || {}).in_sync);
  s.close();
}

const programs = { nginx: found('nginx'), haproxy: found('haproxy') };
const missing = Object.keys(programs).filter((p) => !programs[p]);
if (missing.length) {
  console.log(`1..0 # SKIP not installed: ${missing.join(', ')} (scripts/deps)`);
  process.exit(0);
}

test('both proxies take the lines of the documentation', async () => {
  server = await new Server(undefined, [`--allowed_hosts=${HOST}`]).start();
  nginx = await new Proxy(programs.nginx, 3, (file, dir) => ['-c', file, '-p', dir], nginxConfig).start();
  haproxy = await new Proxy(programs.haproxy, 1, (file) => ['-db', '-f', file], haproxyConfig).start();
  await until('HAProxy has found the server', async () => (await ask(haproxy.ports[0], 'GET', '/healthz')).status === 200);
});

const fronts = [['nginx', () => nginx.ports[0]], ['HAProxy', () => haproxy.ports[0]]];
for (const [name, port] of fronts) {
  test(`${name}: documents and contents, by an allowed name only`, () => rest(port()));
  test(`${name}: events arrive as they are made`, () => events(port(), name));
  test(`${name}: a long poll is answered when there is news`, () => poll(port(), name));
  test(`${name}: tags of what the server compressed answer 304`, () => tags(port(), 'gzip'));
}
test('nginx: tags of what it compresses itself answer 304', () => tags(nginx.ports[1], 'gzip'));
test('HAProxy: a subscription by gRPC', () => subscription(haproxy.ports[0], 'by-haproxy'));
test('nginx: a subscription by gRPC', () => subscription(nginx.ports[2], 'by-nginx'));
test('they end', async () => { await nginx.stop(); await haproxy.stop(); });

run();
