#!/usr/bin/env node
// Real files and their types: a folder of odd ones is refused once with all its faults and the way out, taken as it is, and
// taken without a word ever after; a mistake in a good file is still caught; flags, .trimtab.json and rules of namespaces.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const { test, run, Server, tmpdir, bin, spawnSync } = require('./lib.js');

let server, dir, serial = 0;
async function http(method, url, body, headers) {
  const r = await server.request(method, url, body, headers);
  return { status: r.status, json: r.body.length ? JSON.parse(r.body) : {} };
}
const env = () => ({ ...process.env, TRIMTAB_CONTEXTS: path.join(dir, 'contexts'), TRIMTAB_SERVER: server.address, TRIMTAB_TOKEN: server.token });
function cli(...args) {
  const r = spawnSync(path.join(bin, 'trimtab'), args, { env: env(), maxBuffer: 64 << 20 });
  return { status: r.status, out: r.stdout.toString(), err: r.stderr.toString() };
}
function good(...args) { const r = cli(...args); assert.strictEqual(r.status, 0, `${args.join(' ')}: ${r.status} ${r.err}`); return r.out; }
function folder(files) {
  const d = path.join(dir, `d${serial++}`);
  for (const [name, text] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(d, name)), { recursive: true });
    fs.writeFileSync(path.join(d, name), text);
  }
  return d;
}
const types = (ns) => Object.fromEntries(JSON.parse(good('-o', 'json', 'ls', ns)).resources
  .map((r) => [r.id.slice(`${ns}/file/`.length), [r.type_origin, r.content_type, r.type_against].join(' ').trim()]));

// Each is what some program reads every day, and not what its name says; those of the second half show it themselves.
const odd = {
  'settings.json': "{'a': 1, b: 2}\n", // JSON5
  'lines.json': '{"a": 1}\n{"a": 2}\n', // one value a line
  'grafana.ini': '[server\nprotocol = http\n',
  'messages.properties': 'a=1\na=2\n',
  'legacy.properties': Buffer.from('name=M\xfcller\n', 'latin1'),
  'page.xml': '<!doctype html><p>one<p>two\n',
  'part.xml': '<b:x/>\n',
  'dup.yaml': 'a: 1\na: 2\n',
  'conf/v11.toml': 'a = {\n  b = 1,\n}\n',
  'tsconfig.json': '{\n  // strict\n  "strict": true,\n}\n',
  'values.yaml': 'image: {{ .Values.image }}:{{ .Values.tag }}\n{{- if .Values.on }}\non: 1\n{{- end }}\n',
  'app.toml': 'port = ${PORT}\n',
  'app.j2.xml': '<a>{% if x && y %}<b/>{% endif %}</a>\n',
};
const wrong = Object.keys(odd).slice(0, 9), shown = Object.keys(odd).slice(9);

test('a folder of odd files is refused once, with all faults, each with its guess and the way out', async () => {
  server = await new Server().start();
  dir = tmpdir();
  const r = cli('publish', 'odd/one', folder({ ...odd, 'fine.json': '{}\n' }), '-m', 'x');
  assert.strictEqual(r.status, 6, r.err);
  for (const f of wrong) assert.match(r.err, new RegExp(`odd/one/file/${f.replace('.', '\\.')}:\\d+:\\d+: .*\n +\\S+ was guessed from the name: --as-is .* --type `), f);
  for (const f of [...shown, 'fine.json']) assert(!r.err.includes(f), `${f} is not in the way`);
  assert.match(r.err, /9 of 14 changes are refused, and nothing was committed/);
  assert.strictEqual(good('-o', 'name', 'ls', 'odd'), '');
  const list = JSON.parse(cli('-o', 'json', 'publish', 'odd/one', folder(odd), '-m', 'x').out).refused;
  assert.deepStrictEqual(list.map((e) => e.place.slice('odd/one/file/'.length)).sort(), [...wrong].sort());
});

test('it is taken as it is, told so, and taken without a word ever after, also over a deletion', () => {
  const out = good('publish', 'odd/one', folder(odd), '--as-is', '-m', 'taken');
  for (const f of wrong) assert.match(out, new RegExp(`${f}: taken as (text/plain|application/octet-stream), not as \\S+, which it is not`));
  assert.match(out, /tsconfig.json: taken as application\/jsonc, not as application\/json: there is a comment in line 2/);
  assert.match(out, /values.yaml: taken as text\/x-template, not as application\/yaml: there is \{\{ \.Values\.image \}\} in line 1/);
  assert.match(out, /app.toml: taken as text\/x-template, .*\$\{PORT\} in line 1/);
  assert.match(out, /app.j2.xml: taken as text\/x-template, .*\{% if x && y %\}/);
  const more = Object.fromEntries(Object.entries(odd).map(([k, v]) => [k, Buffer.concat([Buffer.from(v), Buffer.from('\n')])]));
  good('publish', 'odd/one', folder(more), '-m', 'changed');
  good('rm', ...Object.keys(odd).map((f) => `odd/one/file/${f}`), '-m', 'gone');
  assert.strictEqual(good('-o', 'name', 'ls', 'odd'), '');
  good('publish', 'odd/one', folder(odd), '-m', 'back');
  const t = types('odd/one');
  assert.strictEqual(t['settings.json'], 'declared text/plain application/json');
  assert.strictEqual(t['legacy.properties'], 'declared application/octet-stream text/x-java-properties');
  assert.strictEqual(t['conf/v11.toml'], 'declared text/plain application/toml');
  assert.strictEqual(t['tsconfig.json'], 'guessed application/jsonc application/json');
  assert.strictEqual(t['values.yaml'], 'guessed text/x-template application/yaml');
});

test('what was taken against a guess stays marked in ls, history and status', () => {
  assert.match(good('ls', 'odd/one'), /settings.json +\d+ +\d+ +text\/plain \(not application\/json\)/);
  assert.match(good('ls', 'odd/one'), /tsconfig.json .*application\/jsonc \(guessed\) \(not application\/json\)/);
  assert.match(good('history', 'odd/one/file/settings.json'), /\[text\/plain, not application\/json\] back/);
  assert.match(good('history', '--prefix', 'odd'), /\[13 against the guessed type\] taken/);
  assert.match(good('status'), /odd\/one\/file\/settings.json is text\/plain, not application\/json as its name says/);
});

test('it survives a restart of the server', async () => {
  const before = types('odd/one');
  good('rm', 'odd/one/file/settings.json');
  await server.stop();
  await server.start();
  good('publish', 'odd/one', folder(odd), '-m', 'after');
  assert.deepStrictEqual(types('odd/one'), before);
});

test('a mistake in a file that is what its name says is still refused, at its place', () => {
  const rows = [['a.json', '{"a": [1, 2}\n', '1:12'], ['a.json', '{"a": "{{ x }}", "b": [1, 2}\n', '1:28'], ['a.json', '{"a": 1,}\n', '1:9'],
    ['a.yaml', 'a: [1, 2\n', '2:1'], ['a.yaml', 'summary: on {{ $labels.host }}\nb: [1, 2\n', '3:1'], ['a.toml', 'a = [1, 2\n', '2:1'],
    ['a.xml', '<a>\n<b>\n</a>\n', '3:3'], ['a.properties', 'a=\\u12\n', '1:7']];
  for (const [name, text, place] of rows) {
    const r = cli('publish', 'shop', folder({ [name]: text }), '-m', 'x');
    assert.strictEqual(r.status, 6, text);
    assert(r.err.includes(`shop/file/${name}:${place}: `), r.err);
  }
});

test('--type says what files are, for all or by a pattern; the last that fits counts', () => {
  const d = folder({ 'a.json': '{', 'b/c.json': '{', 'd.yaml': 'a: [', 'e.conf': '[s]\nx\n', 'f.ini': 'a=1\n' });
  good('publish', 'typed', d, '--type', '*.json=text/plain; charset=utf-8', '--type', 'd.yaml=text/plain', '--type', '*.conf=text/x-ini', '-m', 'x');
  assert.deepStrictEqual(types('typed'), { 'a.json': 'declared text/plain; charset=utf-8 application/json', 'b/c.json': 'declared text/plain; charset=utf-8 application/json',
    'd.yaml': 'declared text/plain application/yaml', 'e.conf': 'declared text/x-ini', 'f.ini': 'guessed text/x-ini' });
  good('publish', 'typed2', d, '--type', 'text/plain', '--type', 'f.ini=application/ini', '-m', 'x');
  assert.strictEqual(types('typed2')['f.ini'], 'declared application/ini');
  assert.strictEqual(types('typed2')['e.conf'], 'declared text/plain');
  for (const type of ['text', '*.json=', '=text/plain', '*.json=application/vnd.x.yaml']) {
    const r = cli('publish', 'typed', d, '--type', type);
    assert.strictEqual(r.status, 6, type);
    assert.match(r.err, /neither a content type nor PATTERN=TYPE/);
  }
  assert.match(cli('publish', 'typed3', folder({ 'a.conf': '[s' }), '--type', 'text/x-ini').err, /a.conf:1:3: a section without its '\]'/);
});

test('.trimtab.json of a folder declares types, and is no resource; flags are stronger', () => {
  const files = { 'a.json': '{', 'b/c.json': '{ // c\n}', 'd.yaml': 'a: [' };
  const manifest = (o) => folder({ ...files, '.trimtab.json': typeof o === 'string' ? o : JSON.stringify(o) });
  good('publish', 'listed', manifest({ types: { '*.json': 'text/plain', 'c.json': 'application/jsonc', '*.yaml': 'text/x-template' } }), '--type', 'd.yaml=text/plain', '-m', 'x');
  assert.deepStrictEqual(types('listed'), { 'a.json': 'declared text/plain application/json', 'b/c.json': 'declared application/jsonc application/json', 'd.yaml': 'declared text/plain application/yaml' });
  good('publish', 'listed', folder(files), '-m', 'and without it');
  for (const [text, want] of [['{"types": {"*": "text"}}', /\*: has no content type/], ['{"type": {}}', /type: not known here/], ['{"types": []}', /types: not an object/], ['[]', /trimtab import takes it/], ['{', /:1:1: not JSON/], ['1', /not JSON|not an object/]]) {
    const r = cli('publish', 'listed', manifest(text), '-m', 'x');
    assert.strictEqual(r.status, 6, text);
    assert.match(r.err, want);
    assert(r.err.includes('.trimtab.json'), r.err);
  }
  const nested = folder({ ...files, 'b/.trimtab.json': '{}' });
  for (const what of [nested, path.join(nested, 'b', '.trimtab.json')]) {
    const r = cli('publish', 'listed', what, '--type', 'text/plain', '-m', 'x');
    assert.strictEqual(r.status, 6);
    assert.match(r.err, /b\/\.trimtab\.json: a file of this name is no resource; .*at the top/);
  }
});

test('a namespace may be strict or lenient, by a rule', () => {
  good('put', 'trimtab/guess/s', '--value', '{"namespaces": ["strict*"], "policy": "strict"}', '-m', 'x');
  good('put', 'trimtab/guess/l', '--value', '{"namespaces": ["lenient"], "policy": "lenient"}', '-m', 'x');
  const r = cli('publish', 'strict/a', folder(odd), '--as-is', '-m', 'x');
  assert.strictEqual(r.status, 6);
  assert.match(r.err, /13 of 13 changes are refused/);
  assert.match(r.err, /the namespace is strict: only --type/);
  good('publish', 'strict/a', folder(odd), '--type', 'application/octet-stream', '-m', 'x');
  good('publish', 'lenient', folder(odd), '-m', 'x');
  assert.strictEqual(types('lenient')['settings.json'], 'guessed text/plain application/json');
});

test('an export has the origins, and gives the same in an empty server', async () => {
  const out = path.join(dir, 'export'), before = types('odd/one');
  good('export', 'odd/one', out);
  assert.match(good('import', out, '-m', 'nothing'), /13 unchanged/);
  const first = server;
  server = await new Server().start();
  good('import', out, '-m', 'all');
  assert.deepStrictEqual(types('odd/one'), before);
  good('publish', 'odd/one', folder(odd), '-m', 'again');
  await server.stop();
  server = first;
});

test('a rollback gives back the type with its origin, and a confirmed rollout keeps it', () => {
  const id = 'back/file/x.json';
  good('put', id, '--value', '{}', '-m', 'guessed');
  good('put', id, '--value', '{', '--as-is', '-m', 'text');
  good('rollback', id, '-m', 'back');
  assert.deepStrictEqual(types('back'), { 'x.json': 'guessed application/json' });
  good('rollback', id, '--to', '2', '-m', 'again');
  assert.deepStrictEqual(types('back'), { 'x.json': 'declared text/plain application/json' });
  good('put', 'back/file/y.json', '--value', '1', '-m', 'guessed');
  const started = JSON.parse(good('-o', 'json', 'rollout', 'start', 'back/file/y.json', '--value', '2 // c', '--all', '--allow-empty', '-m', 'try'));
  assert.strictEqual(started.rollout.candidates[0].type_against, 'application/json');
  good('rollout', 'confirm', String(started.rollout.id), '-m', 'good');
  assert.strictEqual(types('back')['y.json'], 'guessed application/jsonc application/json');
});

test('REST takes as_is, lists refusals when asked, and knows parameters of types', async () => {
  let r = await http('PUT', '/v1/resources/rest/file/a.json', '{');
  assert.strictEqual(r.status, 400);
  assert.match(r.json.hint, /as_is/);
  r = await http('PUT', '/v1/resources/rest/file/a.json?as_is=true', '{');
  assert.deepStrictEqual([r.status, r.json.changes[0].content_type, r.json.changes[0].type_origin, r.json.changes[0].type_against], [200, 'text/plain', 'declared', 'application/json']);
  r = await http('PUT', '/v1/resources/rest/file/b.json', '{"a":1}', { 'content-type': 'application/json; charset=utf-8' });
  assert.strictEqual(r.status, 200);
  r = await http('PUT', '/v1/resources/rest/file/c.conf', '{"a":1}', { 'content-type': 'application/vnd.api.json' });
  assert.strictEqual(r.status, 400);
  const changes = [{ id: 'rest/file/d.json', text: '{' }, { id: 'rest/file/e.yaml', text: 'a: [' }, { id: 'rest/file/f', text: '1' }];
  r = await http('POST', '/v1/commits', JSON.stringify({ changes }));
  assert.strictEqual(r.status, 400);
  assert.match(r.json.message, /also refused: rest\/file\/e.yaml:1:5: /);
  r = await http('POST', '/v1/commits', JSON.stringify({ changes, list_refused: true }));
  assert.deepStrictEqual([r.status, r.json.revision, r.json.refused.map((e) => e.place)], [200, 0, ['rest/file/d.json', 'rest/file/e.yaml']]);
  assert.strictEqual((await http('GET', '/v1/resources/rest/file/f')).status, 404);
  await server.stop();
});

run();
