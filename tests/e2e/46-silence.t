#!/usr/bin/env node
// I4, counted at the sockets: who is not a target of a rollout gets no byte of it. A thousand subscribers, each with a
// socket of its own and a reader of HTTP/2 that knows every byte by its type; silence is proved by what comes next.
//   TRIMTAB_SUBSCRIBERS: how many, 1000
'use strict';
const assert = require('assert');
const net = require('net');
const { test, run, until, Server, Subscriber, proto } = require('./lib.js');

const COUNT = Number(process.env.TRIMTAB_SUBSCRIBERS || 1000);
const DIALS = 100; // at a time
const HEAD = 9; // bytes of the head of a frame
const TYPES = ['DATA', 'HEADERS', 'PRIORITY', 'RST_STREAM', 'SETTINGS', 'PUSH_PROMISE', 'PING', 'GOAWAY', 'WINDOW_UPDATE', 'CONTINUATION'];
const PONG = HEAD + 8;
const { requestSerialize, responseDeserialize } = proto.Sync.service.Subscribe;

const frame = (type, flags, stream, payload = Buffer.alloc(0)) => {
  const head = Buffer.alloc(HEAD);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(TYPES.indexOf(type), 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
};
const literal = (name, value) => Buffer.concat([Buffer.from([0, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value)]);
const kindOf = (m) => {
  if (m.bookmark) return 'bookmark';
  return m.end ? 'batch' : m.welcome ? 'welcome' : m.ask_inventory ? 'ask_inventory' : m.go_away ? 'go_away' : 'piece of a batch';
};

// The subscriber of lib.js on a bare socket: `seen` has every frame that came, as [kind, bytes].
class Wire extends Subscriber {
  open() {
    const [host, port] = this.server.address.split(':');
    Object.assign(this, { seen: [], unread: Buffer.alloc(0), unparsed: Buffer.alloc(0), pongs: 0 });
    this.socket = net.connect({ host, port, noDelay: true });
    this.socket.on('data', (bytes) => this.receive(bytes));
    this.socket.on('error', (e) => { this.ended = e; });
    this.socket.on('close', () => { this.ended = this.ended || new Error('closed'); });
    const fields = [[':method', 'POST'], [':scheme', 'http'], [':path', '/trimtab.v1.Sync/Subscribe'], [':authority', '127.0.0.1'],
      ['content-type', 'application/grpc'], ['te', 'trailers'], ['authorization', `Bearer ${this.server.token}`]];
    const window = Buffer.from([0x7f, 0xff, 0, 0]); // it never fills, so we never say a word about it
    this.socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame('SETTINGS', 0, 0, Buffer.from([0, 4, ...window])),
      frame('WINDOW_UPDATE', 0, 0, window), frame('HEADERS', 4, 1, Buffer.concat(fields.map((f) => literal(...f))))]));
    this.stream = { write: (m) => this.say(m) };
    this.say({ hello: { protocol: 1, instance: { id: this.id, host: `host-${this.id}`, labels: { n: this.id } }, scopes: this.scopes, features: ['rollouts'] } });
    return this;
  }
  say(message) {
    const bytes = requestSerialize(message);
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(bytes.length, 1);
    this.socket.write(frame('DATA', 0, 1, Buffer.concat([prefix, bytes])));
  }
  ping() { this.socket.write(frame('PING', 0, 0, Buffer.alloc(8, 1))); }
  receive(bytes) {
    this.unread = this.unread.length ? Buffer.concat([this.unread, bytes]) : bytes;
    while (this.unread.length >= HEAD && this.unread.length >= HEAD + this.unread.readUIntBE(0, 3)) {
      const size = HEAD + this.unread.readUIntBE(0, 3);
      this.take1(TYPES[this.unread[3]] || `type ${this.unread[3]}`, this.unread[4], this.unread.subarray(HEAD, size));
      this.unread = this.unread.subarray(size);
    }
  }
  take1(type, flags, payload) {
    let kind = type;
    if (type === 'SETTINGS' && !(flags & 1)) this.socket.write(frame('SETTINGS', 1, 0));
    if (type === 'PING') {
      kind = flags & 1 ? 'PING, answered' : 'PING';
      if (flags & 1) this.pongs++;
      else this.socket.write(frame('PING', 1, 0, payload));
    }
    if (type === 'DATA') kind = this.messages(payload).join(' and ') || 'DATA';
    this.seen.push([kind, HEAD + payload.length]);
  }
  messages(payload) {
    const kinds = [];
    this.unparsed = Buffer.concat([this.unparsed, payload]);
    while (this.unparsed.length >= 5 && this.unparsed.length >= 5 + this.unparsed.readUInt32BE(1)) {
      const size = 5 + this.unparsed.readUInt32BE(1);
      const m = responseDeserialize(this.unparsed.subarray(5, size));
      this.unparsed = this.unparsed.subarray(size);
      kinds.push(kindOf(m));
      this.frame(m);
    }
    return kinds;
  }
  close() { this.socket.destroy(); }
  // What came since the last mark: bytes at the socket, frames by kind, messages. Without the pings of a server that has
  // heard nothing for half a minute.
  mark() { this.from = { bytes: this.socket.bytesRead, seen: this.seen.length, log: this.log.length }; }
  since() {
    const { bytes, seen, log } = this.from;
    const all = this.seen.slice(seen), frames = all.filter((f) => f[0] !== 'PING');
    assert.strictEqual(this.unread.length, 0, 'half a frame');
    return { bytes: this.socket.bytesRead - bytes - (all.length - frames.length) * PONG, kinds: frames.map((f) => f[0]), framed: frames.reduce((sum, f) => sum + f[1], 0), messages: this.log.slice(log) };
  }
}

let server;
let all, others, target;
let steps; // markers so far
const A = 'shop/prod/file/a', B = 'shop/prod/file/b', MARKER = 'shop/prod/file/marker';
const move = (id, name, more = {}) => server.json('POST', `/v1/rollouts/${id}`, { move: name, reason: `${name} it`, ...more });
const start = async (changes, ...targets) => (await server.json('POST', '/v1/rollouts', { changes, plan: { steps: targets.map((t) => ({ targets: [t] })) }, message: 'try' })).rollout;
const mark = () => all.forEach((w) => w.mark());
const alive = () => { const dead = all.find((w) => w.ended); if (dead) throw dead.ended; };
const everybody = (what, f) => until(what, () => { alive(); return all.every(f); });
const others_ = (what, f) => until(what, () => { alive(); return others.every(f); });
const targetHas = (id, text) => until(`${target.id} has ${text}`, () => { alive(); return target.text(id) === text; });
const ids = (m) => (m.changes || []).flatMap((c) => [...c.put.map((i) => `+${i.id}=${i.content}`), ...c.drop.map((d) => `-${d}`)]);

async function connect(flags) {
  server = await new Server(undefined, flags).start();
  steps = 0;
  await server.commit([{ id: A, text: 'stable' }, { id: B, text: 'stable' }, { id: MARKER, text: '0' }]);
  all = [];
  for (let i = 0; i < COUNT; i++) {
    all.push(new Wire(server, `web-${i}`, [{ name: '', namespaces: ['shop/prod'] }]).open());
    if (i % DIALS === DIALS - 1) await everybody('their first batch', (w) => w.cursor);
  }
  await everybody('their first batch', (w) => w.cursor);
  await until('all are ok', async () => (await server.json('GET', '/v1/instances')).instances.filter((i) => i.state === 'ok').length === COUNT);
  target = all[Math.floor(COUNT / 2)];
  others = all.filter((w) => w !== target);
  await answered();
}
// Each connection answers a ping: whatever the server had to say on it before, it has said.
async function answered() {
  all.forEach((w) => { w.wanted = w.pongs + 1; w.ping(); });
  await everybody('the answer to a ping', (w) => w.pongs === w.wanted);
}
// A commit for everybody, and what each got since the mark: anything before it would show in the order.
async function marker() {
  const { revision } = await server.commit([{ id: MARKER, text: String(++steps) }]);
  await everybody('the marker', (w) => w.cursor.revision >= revision);
  return `+${MARKER}=${steps}`;
}
function only(w, ...batches) {
  const { bytes, kinds, framed, messages } = w.since();
  assert.deepStrictEqual(messages.map(ids), batches.map((b) => [].concat(b)), w.id);
  assert.deepStrictEqual(kinds, batches.map(() => 'batch'), w.id);
  assert.strictEqual(bytes, framed, `${w.id}: ${bytes} bytes at the socket, ${framed} in frames`);
}

test(`a server with ${COUNT} subscribers, each on a socket of its own`, async () => {
  await connect(['--bookmark_interval=1h']);
  assert.strictEqual(new Set(all.map((w) => w.socket.localPort)).size, COUNT);
});

test('started, extended, paused, resumed, advanced and rolled back for one of them: not one byte at the sockets of the others', async () => {
  mark();
  const { id } = await start([{ id: A, text: 'candidate' }, { id: 'shop/prod/file/new', text: 'candidate' }, { id: B, delete: true }], { ids: [target.id] }, { hosts: [`host-${target.id}`] });
  await targetHas(A, 'candidate');
  await move(id, 'extend', { step: { targets: [{ labels: `n=${target.id}` }] } });
  await move(id, 'pause');
  await move(id, 'resume');
  assert.strictEqual((await move(id, 'advance')).rollout.steps_begun, 3);
  assert.strictEqual((await server.json('GET', `/v1/rollouts/${id}`)).rollout.counts.targets, 1);
  await move(id, 'roll_back');
  await targetHas(A, 'stable');
  const bytes = others.reduce((sum, w) => sum + w.since().bytes, 0);
  assert.strictEqual(bytes, 0, `${bytes} bytes at ${others.length} sockets before the marker`);
  const m = await marker();
  others.forEach((w) => only(w, m));
  const got = target.since().messages.map((x) => ids(x).sort());
  assert.deepStrictEqual(got, [[`+${A}=candidate`, '+shop/prod/file/new=candidate', '-file/b'].sort(), [`+${A}=stable`, `+${B}=stable`, '-file/new'].sort(), [m]]);
  console.log(`# 6 moves, ${others.length} others: ${bytes} bytes at their sockets; the one target got ${got.length - 1} batches`);
});

test('with a marker after each move, nothing but the markers comes, in their order, and all end at the digest of stable', async () => {
  mark();
  const markers = [];
  const { id } = await start([{ id: A, text: 'candidate' }], { ids: [target.id] }, { fingerprints: [`*[${target.id}]`] });
  markers.push(await marker());
  for (const [name, more] of [['extend', { step: { targets: [{ ids: [target.id, 'nobody'] }] } }], ['pause'], ['resume'], ['advance'], ['roll_back']]) {
    if (name === 'roll_back') assert.strictEqual(target.text(A), 'candidate');
    await move(id, name, more);
    markers.push(await marker());
  }
  others.forEach((w) => only(w, ...markers));
  assert(target.text(A) === 'stable');
  assert(all.every((w) => !w.bad && w.digest().equals(all[0].digest())));
});

test('another one is confirmed: nothing until then, then what is stable now, in one batch; the target gets no byte', async () => {
  mark();
  const { id } = await start([{ id: A, text: 'good' }, { id: B, delete: true }], { ids: [target.id] });
  await targetHas(A, 'good');
  await move(id, 'extend', { step: { targets: [{ ids: [target.id] }] } });
  await move(id, 'pause');
  await move(id, 'resume');
  await answered();
  for (const w of others) {
    const { bytes, kinds } = w.since();
    assert.deepStrictEqual([bytes, kinds], [PONG, ['PING, answered']], w.id);
  }
  const at = target.socket.bytesRead;
  mark();
  await move(id, 'confirm');
  await others_('what is stable now', (w) => w.text(A) === 'good' && !w.text(B));
  assert.strictEqual(target.socket.bytesRead, at, 'the target has it already');
  const m = await marker();
  others.forEach((w) => only(w, [`+${A}=good`, '-file/b'], m));
  only(target, m);
  assert(all.every((w) => !w.bad && w.digest().equals(all[0].digest())));
});

test('each byte of each connection belongs to a frame that is known', async () => {
  await answered();
  const sum = {};
  for (const w of all) {
    assert.strictEqual(w.unread.length + w.unparsed.length, 0);
    assert.strictEqual(w.socket.bytesRead, w.seen.reduce((n, f) => n + f[1], 0), w.id);
    for (const [kind, bytes] of w.seen) sum[kind] = [((sum[kind] || [])[0] || 0) + 1, ((sum[kind] || [])[1] || 0) + bytes];
  }
  for (const [kind, [frames, bytes]] of Object.entries(sum)) console.log(`# ${kind}: ${frames} frames, ${bytes} bytes`);
  const known = ['SETTINGS', 'HEADERS', 'PING', 'PING, answered', 'WINDOW_UPDATE', 'welcome and batch', 'batch'];
  assert.deepStrictEqual(Object.keys(sum).filter((k) => !known.includes(k)), []);
  all.forEach((w) => w.close());
  await server.stop();
});

test('with bookmarks all the time, the others get these and nothing else', async () => {
  await connect([`--bookmark_interval=${Math.max(250, COUNT / 2)}ms`]); // each digest is computed here
  mark();
  const { id } = await start([{ id: A, text: 'candidate' }], { ids: [target.id] });
  await targetHas(A, 'candidate');
  await move(id, 'extend', { step: { targets: [{ ids: [target.id] }] } });
  const extended = (await move(id, 'pause')).revision;
  await others_('a bookmark of after that', (w) => w.cursor.revision >= extended);
  await move(id, 'resume');
  const { revision } = await move(id, 'roll_back');
  await targetHas(A, 'stable');
  await others_('a bookmark of after the end', (w) => w.cursor.revision >= revision);
  const m = await marker();
  let count = 0, total = 0;
  for (const w of others) {
    const { bytes, kinds, framed, messages } = w.since();
    const bookmarks = messages.filter((x) => x.bookmark), rest = messages.filter((x) => !x.bookmark);
    assert.deepStrictEqual(rest.map(ids), [[m]], w.id);
    assert(bookmarks.length >= 2 && kinds.every((k) => k === 'bookmark' || k === 'batch'), `${w.id}: ${kinds}`);
    assert.strictEqual(bytes, framed);
    assert(bookmarks.every((x) => !x.changes.length && !x.part && !x.end && !x.welcome && x.bookmark.count === 3));
    assert(!w.bad && w.digest().equals(others[0].digest()));
    count += bookmarks.length;
    total += w.seen.slice(w.from.seen).filter((f) => f[0] === 'bookmark').reduce((n, f) => n + f[1], 0);
  }
  console.log(`# ${others.length} others: ${count} bookmarks of ${(total / count).toFixed(1)} bytes each`);
  all.forEach((w) => w.close());
});

run();
