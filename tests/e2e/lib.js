// What the end-to-end tests in node share: a server of their own, TAP, curl-like requests, and an independent
// implementation of hashes and digests as docs/protocol.md defines them.
'use strict';
const { spawn, spawnSync } = require('child_process');
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const os = require('os');
const path = require('path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const root = path.join(__dirname, '..', '..');
const bin = process.env.TRIMTAB_BIN || path.join(root, 'build', 'release', 'bin');

const definition = loader.loadSync(['trimtab/v1/sync.proto', 'trimtab/v1/admin.proto'], {
  includeDirs: [path.join(root, 'proto')], keepCase: true, longs: Number, enums: String, defaults: true,
});
const proto = grpc.loadPackageDefinition(definition).trimtab.v1;

// ---- TAP ----
const tests = [];
const test = (name, fn) => tests.push({ name, fn });
async function run() {
  let failed = 0, at = 0;
  console.log(`1..${tests.length}`);
  process.on('SIGTERM', () => { // tests/watch gave up
    console.log(`not ok ${at + 1} - ${tests[at].name}\n# it was ended while it ran`);
    stopAll().then(() => process.exit(143));
  });
  for (let i = 0; i < tests.length; i++) {
    at = i;
    try {
      await tests[i].fn();
      console.log(`ok ${i + 1} - ${tests[i].name}`);
    } catch (e) {
      failed++;
      console.log(`not ok ${i + 1} - ${tests[i].name}`);
      for (const line of String(e.stack || e).split('\n')) console.log(`# ${line}`);
    }
  }
  await stopAll();
  process.exit(failed ? 1 : 0);
}

// ---- waiting for a condition, however busy the machine is; what never comes is told by name ----
async function until(what, condition, ms = 180000) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`never came: ${what}`);
    await new Promise((r) => setTimeout(r, 10));
  }
}

// ---- the server ----
const running = [];
function tmpdir() { return fs.mkdtempSync(path.join(os.tmpdir(), 'trimtab-e2e-')); }
class Server {
  constructor(dir = tmpdir(), flags = []) { this.dir = dir; this.flags = flags; this.listen = '127.0.0.1:0'; }
  async start() {
    const file = path.join(this.dir, 'address');
    fs.rmSync(file, { force: true });
    this.log = fs.openSync(path.join(this.dir, 'log'), 'a');
    const [program, ...words] = [...(this.prefix || []), path.join(bin, 'trimtabd'), `--data_dir=${this.dir}`, `--listen=${this.listen}`,
      `--address_file=${file}`, ...this.flags]; // prefix: a command that becomes the server
    this.child = spawn(program, words, { stdio: ['ignore', this.log, this.log] });
    running.push(this);
    await until('the server listens', () => {
      if (this.child.exitCode !== null) throw new Error(`trimtabd ended: ${fs.readFileSync(path.join(this.dir, 'log'))}`);
      return fs.existsSync(file);
    });
    this.address = fs.readFileSync(file, 'utf8').trim();
    this.listen = this.address; // the same port after a restart
    this.token = fs.readFileSync(path.join(this.dir, 'admin.token'), 'utf8').trim();
    return this;
  }
  async stop(signal = 'SIGTERM') {
    if (!this.child || this.child.exitCode !== null || this.child.signalCode) return;
    const ended = new Promise((r) => this.child.once('exit', r));
    this.child.kill(signal);
    await ended;
    fs.closeSync(this.log);
  }
  request(method, url, body, headers = {}) {
    return new Promise((resolve, reject) => {
      const [host, port] = this.address.split(':');
      const q = http.request({ host, port, method, path: url, headers: { authorization: `Bearer ${this.token}`, ...headers } }, (res) => {
        const parts = [];
        res.on('data', (d) => parts.push(d));
        res.on('end', () => resolve({ status: res.statusCode, headers: res.headers, body: Buffer.concat(parts) }));
      });
      q.on('error', reject);
      q.end(body);
    });
  }
  async json(method, url, body) {
    const r = await this.request(method, url, body === undefined ? undefined : JSON.stringify(body));
    const value = r.body.length ? JSON.parse(r.body) : {};
    if (r.status !== 200) throw new Error(`${method} ${url}: ${r.status} ${r.body}`);
    return value;
  }
  commit(changes, message = 'test') { return this.json('POST', '/v1/commits', { changes, message }); }
  async instance(id) { return (await this.json('GET', '/v1/instances')).instances.find((i) => i.instance.id === id); }
}
async function stopAll() {
  for (const s of running) { await s.stop('SIGKILL'); fs.rmSync(s.dir, { recursive: true, force: true }); }
}

// ---- hashes (docs/protocol.md) ----
const length = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64BE(BigInt(n)); return b; };
const sha = (...parts) => { const h = crypto.createHash('sha256'); for (const p of parts) h.update(p); return h.digest(); };
const text = (s) => { const b = Buffer.isBuffer(s) ? s : Buffer.from(s); return Buffer.concat([length(b.length), b]); };
function pairs(map) {
  const keys = Object.keys(map || {}).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return Buffer.concat([length(keys.length), ...keys.map((k) => Buffer.concat([text(k), text(map[k])]))]);
}
function itemHash(item) {
  const m = item.metadata || {};
  const refs = item.references || [];
  return sha(text('trimtab item 1'), text(item.id), text(item.content_type), text(sha(item.content)),
    pairs(m.labels), pairs(m.annotations), length(refs.length), ...refs.map(text));
}
const element = (scope, hash) => BigInt('0x' + sha(text('trimtab binding 1'), text(scope), hash).subarray(0, 16).toString('hex'));
const digestBytes = (sum) => Buffer.from((((sum % (1n << 128n)) + (1n << 128n)) % (1n << 128n)).toString(16).padStart(32, '0'), 'hex');

// ---- a subscriber that does what the protocol says, by its own code ----
class Subscriber {
  constructor(server, id, scopes, opts = {}) {
    Object.assign(this, { server, id, scopes, held: new Map(), cursor: null, log: [], auto: true, staged: null, parts: new Map(), counts: [] }, opts);
  }
  open() {
    this.client = new proto.Sync(this.server.address, grpc.credentials.createInsecure(), { 'grpc.max_receive_message_length': 8 << 20 });
    const meta = new grpc.Metadata();
    meta.set('authorization', `Bearer ${this.server.token}`);
    this.ended = null;
    this.stream = this.client.Subscribe(meta);
    this.stream.on('data', (f) => this.frame(f));
    this.stream.on('error', (e) => { this.ended = e; });
    this.stream.on('end', () => { this.ended = this.ended || new Error('ended'); });
    const hello = { protocol: 1, instance: { id: this.id, host: 'node', program: 'grpc-js', labels: this.labels || {} }, scopes: this.scopes, features: this.features || ['rollouts'] };
    if (this.cursor) hello.cursor = this.cursor;
    this.stream.write({ hello });
    return this;
  }
  close() { this.stream.cancel(); this.client.close(); }
  key(scope, id) { if (scope === '*') return `* ${id}`; const p = id.split('/'); const at = p.indexOf('file') > 0 ? p.indexOf('file') : p.length - 2; return `${scope} ${p.slice(at).join('/')}`; }
  digest() { let sum = 0n; for (const [k, item] of this.held) sum += element(k.split(' ')[0], itemHash(item)); return digestBytes(sum); }
  frame(f) {
    this.log.push(f);
    if (f.welcome) { this.welcome = f.welcome; this.staged = null; }
    if (f.part) { const k = f.part.content_hash.toString('hex'); this.parts.set(k, Buffer.concat([f.part.offset ? this.parts.get(k) : Buffer.alloc(0), f.part.data])); }
    for (const c of f.changes || []) {
      this.staged = this.staged || { put: [], drop: [], keep: [], complete: false };
      this.staged.complete = this.staged.complete || c.complete;
      for (const id of c.keep) this.staged.keep.push(`* ${id}`);
      for (const item of c.put) { if (item.in_parts) item.content = this.parts.get(item.content_hash.toString('hex')); this.staged.put.push([this.key(c.scope, item.id), item]); }
      for (const d of c.drop) this.staged.drop.push(`${c.scope} ${d}`);
    }
    if (f.end) this.take(f.end);
    if (f.bookmark && !f.bookmark.digest.equals(this.digest())) this.inventory();
    else if (f.bookmark) this.cursor.revision = f.bookmark.revision;
    if (f.ask_inventory) this.inventory();
  }
  take(end) {
    const s = this.staged || { put: [], drop: [], keep: [] };
    this.staged = null;
    if (end.mode === 'FULL') this.held.clear();
    for (const k of s.drop) this.held.delete(k);
    if (s.complete) for (const k of [...this.held.keys()]) if (k.startsWith('* ') && !s.keep.includes(k)) this.held.delete(k);
    for (const [k, item] of s.put) this.held.set(k, item);
    this.counts.push(s.put.length + s.drop.length);
    this.last = end;
    if (!this.digest().equals(end.digest)) this.bad = (this.bad || 0) + 1;
    this.cursor = { store_id: this.welcome.store_id, revision: end.revision, digest: end.digest, count: end.count };
    if (this.auto) this.acknowledge(this.refuses ? this.refusals() : []);
  }
  acknowledge(refused = []) {
    const digest = this.digest();
    this.stream.write({ ack: { revision: this.last.revision, stage: 'STORED', received_digest: digest } });
    this.stream.write({ ack: { revision: this.last.revision, stage: 'APPLIED', received_digest: digest, serving_digest: this.serving(refused), refused } });
  }
  // The digest of what is served instead of what is held: nothing, or what a refusal names as served.
  serving(refused) {
    let sum = BigInt('0x' + this.digest().toString('hex'));
    for (const r of refused) {
      if (r.hash) sum -= element(r.scope || '', r.hash);
      if (r.serving_hash) sum += element(r.scope || '', r.serving_hash);
    }
    return digestBytes(sum);
  }
  // What `refuses` (an item to a reason, or nothing) says of what is held.
  refusals() {
    return [...this.held].map(([k, item]) => [k, item, this.refuses(item)]).filter((r) => r[2])
      .map(([k, item, message]) => ({ scope: k.split(' ')[0], key: k.slice(k.indexOf(' ') + 1), hash: itemHash(item), code: 'CHECK_FAILED', message }));
  }
  health(failing, reason = '') { this.stream.write({ health: { failing, reason, revision: this.last.revision, source: 'probe' } }); }
  text(id) { const item = [...this.held.values()].find((i) => i.id === id); return item && item.content.toString(); }
  inventory() {
    const entries = [...this.held].map(([k, item]) => ({ scope: k.split(' ')[0], key: k.slice(k.indexOf(' ') + 1), hash: itemHash(item) }));
    this.stream.write({ inventory: { entries, last: true } });
  }
  at(revision) { return until(`${this.id} at revision ${revision}`, () => this.ended ? Promise.reject(this.ended) : this.cursor && this.cursor.revision >= revision); }
}

module.exports = { test, run, until, Server, Subscriber, proto, grpc, tmpdir, bin, root, spawn, spawnSync, itemHash, element, digestBytes };
