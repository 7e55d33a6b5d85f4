#!/usr/bin/env node
// Tokens and grants as an administrator makes, lists and takes them back, and what holds of them from then on.
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const { test, run, Server } = require('./lib.js');

let server;
const bearer = (secret) => ({ authorization: `Bearer ${secret}` });
const known = async (secret) => (await server.request('GET', '/v1/info', undefined, bearer(secret))).status !== 401;
const hash = (secret) => `sha256:${crypto.createHash('sha256').update(secret).digest('hex')}`;

test('a published token is known with its commit, and over a restart; its former secret is not', async () => {
  server = await new Server().start();
  const publish = (secret) => server.commit([{ id: 'trimtab/token/plain', text: JSON.stringify({ hash: hash(secret) }) }]);
  assert(!await known('first'));
  await publish('first');
  assert(await known('first'));
  await publish('second');
  assert(!await known('first') && await known('second'));
  await server.stop();
  await server.start();
  assert(!await known('first') && await known('second'));
  await server.commit([{ id: 'trimtab/token/plain', delete: true }]);
  assert(!await known('second'));
});

test('tokens are listed with expiry, note and last use, page by page, and never with a hash', async () => {
  const expires = '2100-01-02T03:04:05.000Z';
  await server.commit(['a', 'b', 'c'].map((name) => ({ id: `trimtab/token/${name}`, text: JSON.stringify(name === 'b' ? { hash: hash(name), expires, note: 'for b' } : { hash: hash(name) }) })));
  assert(await known('a'));
  const all = await server.json('GET', '/v1/tokens');
  assert.deepStrictEqual(all.tokens.map((t) => [t.name, t.expires || '', t.note || '', !!t.last_used]), [['a', '', '', true], ['b', expires, 'for b', false], ['c', '', '', false]]);
  assert(!JSON.stringify(all).includes(hash('a').slice(7)));
  const first = await server.json('GET', '/v1/tokens?limit=2');
  assert.deepStrictEqual([first.tokens.map((t) => t.name), first.next], [['a', 'b'], 'b']);
  const second = await server.json('GET', '/v1/tokens?limit=2&after=b');
  assert.deepStrictEqual([second.tokens.map((t) => t.name), second.next || ''], [['c'], '']);
  assert.deepStrictEqual((await server.json('GET', '/v1/tokens?name=c')).tokens.map((t) => t.name), ['c']);
  assert.deepStrictEqual((await server.json('GET', '/v1/tokens?name=nobody')).tokens || [], []);
  assert.strictEqual((await server.request('GET', '/v1/tokens?name=no/name')).status, 400);
});

test('who can do something is answered from grants, from what holds above, and from the file of the server', async () => {
  const who = async (right, namespace) => ((await server.json('GET', `/v1/rights/who?right=${right}&namespace=${namespace}`)).rows || [])
    .map((r) => [r.subject, r.role, r.namespace, r.local ? 'local' : r.grant.slice(14), ...(r.absent ? ['absent'] : [])].join(' '));
  await server.commit([['above', 'token:a', 'publish', 'shop'], ['all', 'cert:ops', 'admin', '*'], ['gone', 'token:nobody', 'publish', 'shop/prod'], ['other', 'token:b', 'view', 'shop/prod']]
    .map(([name, subject, role, space]) => ({ id: `trimtab/grant/${name}`, text: JSON.stringify({ subject, role, namespaces: [space] }) })));
  assert.deepStrictEqual(await who('publish', 'shop/prod'), ['token:admin admin * local', 'cert:ops admin * all', 'token:a publish shop above', 'token:nobody publish shop/prod gone absent']);
  assert.deepStrictEqual(await who('publish', 'shopping'), ['token:admin admin * local', 'cert:ops admin * all']);
  assert.deepStrictEqual(await who('view', 'trimtab'), ['token:admin admin * local', 'cert:ops admin * all']);
  const bad = async (query) => { const r = await server.request('GET', `/v1/rights/who?${query}`); assert.strictEqual(r.status, 400); return JSON.parse(r.body); };
  assert.match((await bad('right=write&namespace=shop')).hint, /rights are view, edit, publish/);
  assert.strictEqual((await bad('right=view&namespace=Shop')).place, 'namespace');
  assert.match((await bad('right=view')).message, /which namespace/);
});

test('a commit of grants and tokens says who loses and wins what, and so does its dry run', async () => {
  const commit = (changes, dry_run) => server.json('POST', '/v1/commits', { changes, message: 'm', dry_run });
  const rows = (r) => r.rights.map((c) => `${c.subject} ${c.namespace} -${c.lost} +${c.won}`);
  const put = (role, namespaces) => [{ id: 'trimtab/grant/diff', text: JSON.stringify({ subject: 'token:a', role, namespaces }) }];
  for (const dry of [true, false]) {
    const r = await commit(put('subscribe', ['bank', 'shop/prod']), dry);
    assert.deepStrictEqual(rows(r), ['token:a bank - +subscribe', 'token:a shop/prod - +subscribe']);
    assert(!r.takes && !r.tokens.length);
  }
  let r = await commit([...put('retry', ['bank']), { id: 'trimtab/token/c', text: JSON.stringify({ hash: hash('c'), expires: '2100-01-01T00:00:00Z' }) }], true);
  assert.deepStrictEqual(rows(r), ['token:a bank -subscribe +view,retry', 'token:a shop/prod -subscribe +']);
  assert.deepStrictEqual([r.tokens, r.takes], [[{ name: 'c', what: 'shortened' }], true]);
  r = await commit([{ id: 'trimtab/token/a', delete: true }, { id: 'trimtab/token/b', text: JSON.stringify({ hash: hash('b2') }) }, { id: 'trimtab/token/d', text: JSON.stringify({ hash: hash('d') }) }], true);
  assert.deepStrictEqual(r.tokens.map((t) => `${t.name} ${t.what}`), ['a deleted', 'b rotated', 'd created']);
  assert(!(await commit([{ id: 'shop/prod/item/x', text: '1' }], true)).rights.length);
});

run();
