#!/usr/bin/env node
// The command line as people use it: round trips byte for byte, differences, history, rollback, waiting, contexts.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const { test, run, until, Server, Subscriber, tmpdir, bin, spawn, spawnSync, itemHash } = require('./lib.js');

let server, dir;
const env = () => ({ ...process.env, TRIMTAB_CONTEXTS: path.join(dir, 'contexts'), TRIMTAB_SERVER: server.address, TRIMTAB_TOKEN: server.token });
function cli(...args) {
  const r = spawnSync(path.join(bin, 'trimtab'), args, { env: env(), maxBuffer: 64 << 20 });
  return { status: r.status, out: r.stdout.toString(), bytes: r.stdout, err: r.stderr.toString() };
}
function good(...args) { const r = cli(...args); assert.strictEqual(r.status, 0, `${args.join(' ')}: ${r.status} ${r.err}`); return r; }

test('put and get are byte for byte, binary and empty contents too', async () => {
  server = await new Server().start();
  dir = tmpdir();
  for (const [name, bytes] of [['binary', Buffer.from(Array.from({ length: 256 }, (_, i) => i))], ['empty', Buffer.alloc(0)], ['text', Buffer.from('no newline')], ['large', Buffer.alloc(8 << 20, 'x')]]) {
    const file = path.join(dir, name);
    fs.writeFileSync(file, bytes);
    good('put', `a/file/${name}`, '-f', file, '-m', 'why');
    assert(good('get', `a/file/${name}`).bytes.equals(bytes), name);
  }
  good('rm', 'a/file/large');
});

test('a folder is one commit; unchanged files make no version; --prune deletes the rest', () => {
  const tree = path.join(dir, 'tree');
  fs.mkdirSync(path.join(tree, 'conf.d', 'deep'), { recursive: true });
  fs.writeFileSync(path.join(tree, 'main.conf'), 'one\n');
  fs.writeFileSync(path.join(tree, 'conf.d', 'deep', 'x.conf'), 'x\n');
  assert.match(good('publish', 'web/edge', tree, '-m', 'all').out, /created +web\/edge\/file\/conf.d\/deep\/x.conf\n[^]*revision \d+\n$/);
  assert.match(good('publish', 'web/edge', tree).out, /^2 unchanged\nrevision/);
  fs.rmSync(path.join(tree, 'conf.d', 'deep', 'x.conf'));
  const dry = good('publish', 'web/edge', tree, '--prune', '--dry-run').out;
  assert.match(dry, /deleted +web\/edge\/file\/conf.d\/deep\/x.conf/);
  assert(good('ls', 'web/edge').out.includes('x.conf'), 'a dry run stores nothing');
  good('publish', 'web/edge', tree, '--prune');
  assert(!good('ls', 'web/edge').out.includes('x.conf'));
});

test('--prune that deletes everything, or most of many, must be confirmed', () => {
  const empty = path.join(dir, 'no-files'), wrong = path.join(dir, 'wrong'), many = path.join(dir, 'many');
  const names = space => cli('ls', space, '-o', 'name').out.split('\n').filter(l => l).length;
  for (const d of [empty, wrong, many]) fs.mkdirSync(d);
  fs.writeFileSync(path.join(wrong, 'other.conf'), '1\n');
  for (const tree of [empty, wrong]) {
    const r = cli('publish', 'web/edge', tree, '--prune', '-m', 'ci');
    assert.strictEqual(r.status, 7, r.err);
    assert.match(r.err, /would delete 1 of 1 resources of web\/edge.*--yes/);
  }
  assert.strictEqual(names('web/edge'), 1, 'nothing was committed');
  assert.match(good('publish', 'web/edge', empty, '--prune', '--dry-run').out, /deleted +web\/edge\/file\/main.conf/);
  for (let i = 0; i < 12; i++) fs.writeFileSync(path.join(many, `f${i}`), '1\n');
  good('publish', 'many', many);
  for (let i = 0; i < 6; i++) fs.rmSync(path.join(many, `f${i}`));
  good('publish', 'many', many, '--prune');
  assert.strictEqual(names('many'), 6, 'half of them needs no question');
  for (let i = 0; i < 6; i++) fs.writeFileSync(path.join(many, `f${i}`), '1\n');
  good('publish', 'many', many);
  for (let i = 0; i < 7; i++) fs.rmSync(path.join(many, `f${i}`));
  assert.strictEqual(cli('publish', 'many', many, '--prune').status, 7);
  assert.strictEqual(names('many'), 12);
  good('publish', 'many', many, '--prune', '--yes');
  assert.strictEqual(names('many'), 5);
  for (let i = 7; i < 11; i++) fs.rmSync(path.join(many, `f${i}`));
  good('publish', 'many', many, '--prune');
  assert.strictEqual(names('many'), 1, 'of ten or fewer most may go');
});

test('--prune asks for the name of the namespace on a terminal', () => {
  const empty = path.join(dir, 'no-files');
  const ask = word => spawnSync('script', ['-qec', `${path.join(bin, 'trimtab')} publish many ${empty} --prune`, '/dev/null'], { env: env(), input: `${word}\n` });
  assert.strictEqual(ask('yes').status, 7);
  assert(good('ls', 'many').out.includes('f11'));
  const r = ask('many');
  assert.strictEqual(r.status, 0, r.stdout.toString());
  assert.match(r.stdout.toString(), /would delete 1 of 1 resources of many\s+Type many to go on/);
  assert(!good('ls', 'many').out.includes('f11'));
});

test('export and import give everything back: bytes, types, metadata', () => {
  good('put', 'shop/prod/item/max', '--value', '{"n": 1}', '-l', 'tier=core', '--annotation', 'note=x', '--description', 'a limit', '--owner', 'me');
  const first = path.join(dir, 'first'), second = path.join(dir, 'second');
  good('export', 'shop', first);
  const before = JSON.parse(good('get', 'shop/prod/item/max', '-o', 'json').out);
  good('rm', 'shop/prod/item/max');
  good('import', first, '-m', 'back');
  const after = JSON.parse(good('get', 'shop/prod/item/max', '-o', 'json').out);
  assert.deepStrictEqual(after.metadata, before.metadata);
  assert.strictEqual(after.content_type, before.content_type);
  assert.strictEqual(after.content_hash, before.content_hash);
  good('export', 'shop', second);
  assert.strictEqual(spawnSync('diff', ['-r', first, second]).status, 0);
  assert.match(good('import', first).out, /^unchanged +shop/);
});

test('put changes the metadata that it names and leaves the rest', () => {
  const meta = () => JSON.parse(good('get', 'shop/prod/item/kept', '-o', 'json').out).metadata;
  good('put', 'shop/prod/item/kept', '--value', '1', '-l', 'tier=core', '--owner', 'ann', '--description', 'a limit');
  good('put', 'shop/prod/item/kept', '--value', '2', '-l', 'zone=a', '--annotation', 'note=x', '--depends-on', 'shop/prod/item/max');
  let m = meta();
  assert.deepStrictEqual([m.labels, m.annotations, m.owner, m.description, m.depends_on],
    [{ tier: 'core', zone: 'a' }, { note: 'x' }, 'ann', 'a limit', ['shop/prod/item/max']]);
  good('put', 'shop/prod/item/kept', '--value', '2', '--clear', 'labels/tier', '--owner', '', '--clear', 'depends_on', '--protected');
  m = meta();
  assert.deepStrictEqual([m.labels, m.owner || '', m.description, m.depends_on || [], m.protected], [{ zone: 'a' }, '', 'a limit', [], true]);
  good('put', 'shop/prod/item/kept', '--value', '2', '--clear', 'protected', '--override', 'test');
  assert(!meta().protected);
  const bad = cli('put', 'shop/prod/item/kept', '--value', '2', '--clear', 'colour');
  assert.strictEqual(bad.status, 6);
  assert.match(bad.err, /has no "colour".*labels/);
});

test('an import takes away the metadata that has come since the export', () => {
  const to = path.join(dir, 'bare');
  good('put', 'bare/item/x', '--value', '1');
  good('export', 'bare', to);
  good('put', 'bare/item/x', '--value', '1', '-l', 'new=1');
  assert.match(good('import', to).out, /^updated +bare\/item\/x/);
  assert.deepStrictEqual((JSON.parse(good('get', 'bare/item/x', '-o', 'json').out).metadata || {}).labels || {}, {});
  good('rm', 'bare/item/x');
});

test('differences: between versions, of a commit, against a file, with an exit status', () => {
  good('put', 'shop/prod/item/max', '--value', '2');
  assert.match(good('diff', 'shop/prod/item/max').out, /^-\{"n": 1\}$[^]*^\+2$/m);
  const file = path.join(dir, 'three');
  fs.writeFileSync(file, '3');
  assert.match(good('diff', 'shop/prod/item/max', '-f', file).out, /^\+3$/m);
  assert.strictEqual(cli('diff', 'shop/prod/item/max', '-f', file, '--exit-code').status, 1);
  fs.writeFileSync(file, '2');
  assert.strictEqual(cli('diff', 'shop/prod/item/max', '-f', file, '--exit-code').status, 0);
  const head = JSON.parse(good('info', '-o', 'json').out).head;
  assert.match(good('diff', '--revision', String(head)).out, /shop\/prod\/item\/max@/);
});

test('rollback by resource and by whole commit, with history', () => {
  good('rollback', 'shop/prod/item/max', '-m', 'one back');
  assert.strictEqual(good('get', 'shop/prod/item/max').out, '{"n": 1}');
  assert.match(good('history', 'shop/prod/item/max').out, /one back/);
  const tree = path.join(dir, 'tree');
  fs.writeFileSync(path.join(tree, 'main.conf'), 'two\n');
  fs.writeFileSync(path.join(tree, 'new.conf'), 'new\n');
  const revision = good('publish', 'web/edge', tree).out.match(/revision (\d+)/)[1];
  good('rollback', '--revision', revision, '-m', 'undo all of it');
  assert.strictEqual(good('get', 'web/edge/file/main.conf').out, 'one\n');
  assert.strictEqual(cli('get', 'web/edge/file/new.conf').status, 3);
  assert.match(good('history').out, /rollback +2 resources +undo all of it/);
});

test('publish --wait returns when all have applied it; says who refused; runs out of time', async () => {
  const s = new Subscriber(server, 'waiter', [{ name: '', namespaces: ['shop/prod'] }]).open();
  await until('connected', async () => { const i = await server.instance('waiter'); return i && i.state === 'ok'; });
  const put = (value, ...more) => new Promise((resolve) => {
    let err = '';
    const c = spawn(path.join(bin, 'trimtab'), ['put', 'shop/prod/item/max', '--value', value, '--wait', ...more], { env: env() });
    c.stderr.on('data', (d) => { err += d; });
    c.on('close', (status) => resolve({ status, err })); // by then all that it said has come
  });
  assert.strictEqual((await put('10')).status, 0);
  s.auto = false;
  const late = await put('11', '--timeout', '1');
  assert.strictEqual(late.status, 8);
  assert.match(late.err, /waiter: pending/);
  s.auto = true;
  s.acknowledge();
  await until('ok', async () => (await server.instance('waiter')).state === 'ok');
  s.auto = false;
  const refusing = put('12');
  await until('the batch', () => s.held.get(' item/max').content.toString() === '12');
  s.acknowledge([{ key: 'item/max', hash: itemHash(s.held.get(' item/max')), code: 'CHECK_FAILED', message: 'twelve is too many' }]);
  const refused = await refusing;
  assert.strictEqual(refused.status, 7);
  assert.match(refused.err, /twelve is too many/);
  s.close();
});

test('--wait for what concerns nobody that is connected is no success, unless that was asked for', async () => {
  const s = new Subscriber(server, 'elsewhere', [{ name: '', namespaces: ['shop/strong', 'shop/weak'] }]).open();
  good('put', 'shop/strong/item/max', '--value', '1');
  await until('connected', async () => { const i = await server.instance('elsewhere'); return i && i.state === 'ok'; });
  for (const id of ['nobody/item/x', 'shop/weak/item/max']) { // the second is hidden by a stronger layer
    const r = cli('put', id, '--value', '2', '--wait', '--timeout', '20');
    assert.strictEqual(r.status, 8, r.err);
    assert.match(r.err, /is stored, but it concerns no connected instance/);
  }
  good('put', 'nobody/item/x', '--value', '3', '--wait', '--allow-none', '--timeout', '20');
  s.close();
});

test('watch prints changes as they come', async () => {
  let out = '', err = '';
  const w = spawn(path.join(bin, 'trimtab'), ['watch', 'shop/prod'], { env: env() });
  w.stdout.on('data', (d) => { out += d; });
  w.stderr.on('data', (d) => { err += d; });
  await until('watching', () => err.includes('watching from revision'));
  good('put', 'shop/prod/item/seen', '--value', '1');
  await until('the put, with its short value', () => /^put   shop\/prod\/item\/seen version 1 revision \d+ 1 bytes: 1$/m.test(out));
  good('put', 'shop/prod/file/wild', '--value', 'a\u001b[2Jb');
  good('put', 'shop/prod/file/long', '--value', 'x'.repeat(61));
  await until('what is no plain line, or long, without', () => /file\/wild version 1 revision \d+ 6 bytes$/m.test(out) && /file\/long version 1 revision \d+ 61 bytes$/m.test(out));
  good('rm', 'shop/prod/item/seen');
  await until('the drop', () => out.includes('drop  item/seen'));
  w.kill();
  assert(!(await server.json('GET', '/v1/instances')).instances.some((i) => i.instance.id === ''), 'a watcher is not listed');
});

test('contexts keep servers under names', () => {
  const file = path.join(dir, 'token');
  fs.writeFileSync(file, server.token + '\n', { mode: 0o600 });
  const bare = { ...env(), TRIMTAB_SERVER: undefined, TRIMTAB_TOKEN: undefined };
  const at = (...args) => spawnSync(path.join(bin, 'trimtab'), args, { env: bare, encoding: 'utf8' });
  assert.strictEqual(at('context', 'set', 'here', '--server', server.address, '--token-file', file).status, 0);
  assert.strictEqual(at('context', 'set', 'nowhere', '--server', '127.0.0.1:1').status, 0);
  assert.strictEqual(at('ls').status, 9);
  assert.strictEqual(at('context', 'use', 'here').status, 0);
  assert.match(at('context', 'list').stdout, /^\* here$/m);
  assert.strictEqual(at('ls').status, 0);
  assert.strictEqual(at('ls', '--context', 'nowhere').status, 9);
  assert.strictEqual(fs.statSync(bare.TRIMTAB_CONTEXTS).mode & 0o777, 0o600);
});

test('completion completes commands and ids', () => {
  for (const shell of ['bash', 'zsh', 'fish']) assert(good('completion', shell).out.includes('__complete'));
  assert.match(good('__complete', '1', 'trimtab', 'pu').out, /^put\npublish\n$/);
  assert.match(good('__complete', '2', 'trimtab', 'get', 'shop/').out, /^shop\/prod\/item\/max$/m);
  const r = spawnSync('bash', ['-c', `eval "$(trimtab completion bash)"; COMP_WORDS=(trimtab hist); COMP_CWORD=1; _trimtab; echo "\${COMPREPLY[@]}"`], { env: { ...env(), PATH: `${bin}:${process.env.PATH}` }, encoding: 'utf8' });
  assert.strictEqual(r.stdout, 'history\n');
});

test('every command has a help, and -o json is one document', () => {
  for (const c of ['get', 'put', 'rm', 'ls', 'publish', 'import', 'export', 'diff', 'history', 'rollback', 'watch', 'instances', 'status', 'info', 'context', 'completion']) assert.match(good(c, '--help').out, new RegExp(`^usage: trimtab ${c}`));
  for (const args of [['ls'], ['history'], ['history', 'shop/prod/item/max'], ['instances'], ['status'], ['info'], ['diff', 'shop/prod/item/max']]) JSON.parse(good(...args, '-o', 'json').out);
});

process.on('exit', () => { if (dir) fs.rmSync(dir, { recursive: true, force: true }); });
run();
