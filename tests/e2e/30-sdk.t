#!/usr/bin/env node
// A C program with libtrimtab against a real server.
'use strict';
const assert = require('assert');
const path = require('path');
const { test, run, until, Server, spawn, root } = require('./lib.js');

const build = process.env.TRIMTAB_BUILD || path.join(root, 'build', 'release');
let server;
class Probe {
  constructor(id, namespaces) {
    this.lines = [];
    this.child = spawn(path.join(build, 'tests', 'helpers', 'sdk_probe'), [server.address, server.token, id, ...namespaces]);
    let text = '';
    this.child.stdout.on('data', (d) => {
      text += d;
      for (let at; (at = text.indexOf('\n')) >= 0; text = text.slice(at + 1)) this.lines.push(text.slice(0, at));
    });
    this.child.stderr.on('data', (d) => { this.err = (this.err || '') + d; });
  }
  line(piece) { return until(`"${piece}" in ${JSON.stringify(this.lines)}`, () => this.lines.find((l) => l.includes(piece))); }
  get(name) { const n = this.lines.length; this.child.stdin.write(`${name}\n`); return until(`value of ${name}`, () => this.lines.slice(n).find((l) => l.startsWith(`value ${name} `))); }
  async end() { const ended = new Promise((r) => this.child.once('exit', r)); this.child.stdin.end(); assert.strictEqual(await ended, 0); assert.strictEqual(this.err, undefined); }
}
const put = (name, text, ns = 'shop/prod') => ({ id: `${ns}/item/${name}`, text });

test('values of every type, with layers, and the changes as they come', async () => {
  server = await new Server(undefined, ['--bookmark_interval=500ms']).start();
  await server.commit([put('pool.max', '32'), put('ratio', '0.5'), put('on', 'true'), put('name', '"ship"'), put('pool.max', '8', 'shop/common'), put('only.common', '7', 'shop/common')]);
  const p = new Probe('sdk-1', ['shop/{env}', 'shop/common']);
  await p.line('ready');
  assert.match(await p.get('pool.max'), /int 32 float 32 bool 0 text -$/);
  assert.match(await p.get('ratio'), /int -1 float 0.5 /);
  assert.match(await p.get('on'), /bool 1/);
  assert.match(await p.get('name'), /text ship$/);
  assert.match(await p.get('only.common'), /int 7/);
  assert.match(await p.get('none'), /int -1 float -1 bool 0 text -$/);
  await p.line('change pool.max - -> 32');
  await server.commit([put('pool.max', '64')]);
  await p.line('change pool.max 32 -> 64');
  assert.match(await p.get('pool.max'), /int 64/);
  await server.commit([{ id: 'shop/prod/item/pool.max', delete: true }]);
  await p.line('change pool.max 64 -> 8');
  const i = await until('ok', async () => { const x = await server.instance('sdk-1'); return x.state === 'ok' && x; });
  assert.strictEqual(i.instance.program, 'libtrimtab');
  await p.end();
  await until('offline', async () => (await server.instance('sdk-1')).state === 'offline');
});

test('a server that dies: values stay; when it is back, changes come', async () => {
  const p = new Probe('sdk-2', ['shop/prod']);
  await p.line('ready');
  await server.stop('SIGKILL');
  assert.match(await p.get('name'), /text ship$/);
  await server.start();
  await server.commit([put('name', '"boat"')]);
  await p.line('change name "ship" -> "boat"');
  await p.end();
});

test('what a program says of its health is shown, repeated after a reconnect, and gone with its start', async () => {
  const health = async (check) => until('its health', async () => { const h = (await server.instance('sdk-h')).health; return check(h) && (h || true); });
  const { revision } = await server.commit([put('name', '"raft"')]);
  let p = new Probe('sdk-h', ['shop/prod']);
  await p.line('ready');
  await health((h) => !h);
  p.child.stdin.write('health failing no raft\n');
  await p.line('said 1');
  const said = await health((h) => h && h.failing);
  assert.deepStrictEqual([said.reason.trim(), said.revision, said.source], ['no raft', revision, 'libtrimtab']);
  const metrics = (await server.request('GET', '/metrics')).body.toString();
  assert.match(metrics, /^trimtab_instances_failing 1$/m);
  const next = await server.commit([put('name', '"ship"')]);
  await p.line('change name "raft" -> "ship"');
  await until('applied', async () => (await server.instance('sdk-h')).serving_revision >= next.revision);
  await server.stop('SIGKILL');
  await server.start();
  const again = await until('said again', async () => { const i = await server.instance('sdk-h'); return i && i.health; });
  assert.deepStrictEqual([again.failing, again.reason.trim(), again.revision], [true, 'no raft', revision]);
  p.child.stdin.write('health ok\n');
  const well = await health((h) => !h.failing);
  assert.strictEqual(well.revision, next.revision);
  p.child.stdin.write('health failing again\n');
  await health((h) => h.failing);
  await p.end();
  p = new Probe('sdk-h', ['shop/prod']);
  await p.line('ready');
  await health((h) => !h);
  await p.end();
});

test('without a server it starts with defaults, and ends at once', async () => {
  const address = server.address;
  server.address = '127.0.0.1:1';
  const p = new Probe('sdk-3', ['shop/prod']);
  server.address = address;
  p.child.stdin.end();
  p.child.kill('SIGTERM');
  await new Promise((r) => p.child.once('exit', r));
});

run();
