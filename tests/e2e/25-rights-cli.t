#!/usr/bin/env node
// Tokens and grants as an administrator makes, lists and takes them back, and what holds of them from then on.
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const path = require('path');
const { test, run, until, Server, bin, spawn, spawnSync } = require('./lib.js');

let server;
const env = (token) => ({ ...process.env, TRIMTAB_CONTEXTS: path.join(server.dir, 'contexts'), TRIMTAB_SERVER: server.address, TRIMTAB_TOKEN: token });
function as(token, ...args) {
  const r = spawnSync(path.join(bin, 'trimtab'), args, { env: env(token), encoding: 'utf8' });
  return { status: r.status, out: r.stdout, err: r.stderr };
}
const cli = (...args) => as(server.token, ...args);
function good(...args) { const r = cli(...args); assert.strictEqual(r.status, 0, `${args.join(' ')}: ${r.status} ${r.err}`); return r; }
const json = (...args) => JSON.parse(good(...args, '-o', 'json').out);
function bad(status, pattern, ...args) { const r = cli(...args); assert.strictEqual(r.status, status, `${args.join(' ')}: ${r.status} ${r.out} ${r.err}`); assert.match(r.err, pattern); return r; }
// Types a word on a terminal.
const typed = (word, ...args) => spawnSync('script', ['-qec', `${path.join(bin, 'trimtab')} ${args.join(' ')}`, '/dev/null'], { env: env(server.token), input: `${word}\n`, encoding: 'utf8' });
const document = (id) => JSON.parse(good('get', id).out);
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

test('grants are listed as they are published, of all or of one subject, page by page', async () => {
  const all = await server.json('GET', '/v1/grants');
  assert.deepStrictEqual(all.grants.map((g) => `${g.name} ${g.subject} ${g.role} ${g.namespaces}`), ['above token:a publish shop', 'all cert:ops admin *', 'gone token:nobody publish shop/prod', 'other token:b view shop/prod']);
  assert.deepStrictEqual((await server.json('GET', '/v1/grants?subject=token:a')).grants.map((g) => g.name), ['above']);
  const pages = [];
  for (let after = '', next = true; next; after = next) {
    const page = await server.json('GET', `/v1/grants?limit=3&after=${after}`);
    pages.push(page.grants.map((g) => g.name).join());
    next = page.next;
  }
  assert.deepStrictEqual(pages, ['above,all,gone', 'other']);
  assert.strictEqual((await server.request('GET', '/v1/grants?after=a/b')).status, 400);
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

let secret;
test('token create prints the secret once and publishes only its hash', async () => {
  const r = good('token', 'create', 'ci', '--expires', '90d', '--note', 'pipeline', '-m', 'for the pipeline');
  secret = r.out.trim();
  assert.match(r.out, /^[0-9a-f]{64}\n$/);
  assert.match(r.err, /token ci, revision \d+; this is the only time/);
  const d = document('trimtab/token/ci');
  assert.deepStrictEqual([d.hash, d.note, Object.keys(d)], [hash(secret), 'pipeline', ['hash', 'expires', 'note']]);
  const in90 = (Date.parse(d.expires) - Date.now()) / 86400e3;
  assert(in90 > 89 && in90 < 90.001, d.expires);
  assert.match(good('history', 'trimtab/token/ci').out, /for the pipeline/);
  assert(await known(secret));
  const made = json('token', 'create', 'forever', '--expires', 'never');
  assert.deepStrictEqual([made.name, made.expires, typeof made.revision], ['forever', '', 'number']);
  assert(await known(made.secret));
  assert.match(json('token', 'create', 'until', '--expires', '2100-06-30T00:00:00+02:00').expires, /^2100-06-29T22:00:00/);
});

test('token create refuses bad names, times and notes, and what is there already', () => {
  bad(6, /cannot be the name of a token.*letters, digits/, 'token', 'create', 'a b');
  bad(6, /"tomorrow" is no time.*90d/, 'token', 'create', 'x', '--expires', 'tomorrow');
  bad(6, /in the past/, 'token', 'create', 'x', '--expires', '2001-01-01T00:00:00Z');
  bad(6, /"999999d" is no time/, 'token', 'create', 'x', '--expires', '999999d');
  bad(6, /no plain text/, 'token', 'create', 'x', '--note', 'a\u001b[2Jb');
  bad(5, /trimtab token rotate ci/, 'token', 'create', 'ci');
  bad(2, /name of one token/, 'token', 'create');
  bad(2, /there is no "token make"/, 'token', 'make');
  bad(3, /no token "x" is published/, 'token', 'rotate', 'x');
  bad(3, /no token "x" is published/, 'token', 'revoke', 'x');
});

test('token list shows expiry and last use', () => {
  assert.match(good('token', 'list').out, /^NAME +PUBLISHED +EXPIRES +LAST USED +NOTE\n[^]*^ci +\S+ +\S+ +\S+Z +pipeline$/m);
  assert.match(good('token', 'list').out, /^until +\S+ +2100\S+ +- *$/m);
  assert.deepStrictEqual(good('token', 'list', '-o', 'name').out.trim().split('\n'), ['a', 'b', 'c', 'ci', 'forever', 'until']);
  assert(json('token', 'list').tokens.find((t) => t.name === 'ci').last_used);
});

test('grant makes one grant for each subject and role, and adds namespaces to it', () => {
  const r = good('grant', 'token:ci', 'publish', 'shop/prod', 'shop/base', '--note', 'deploys', '-m', 'they deploy');
  assert.match(r.out, /^created +trimtab\/grant\/token-ci-publish\ntoken:ci in shop\/base: wins view, edit, publish, refer\ntoken:ci in shop\/prod: wins view, edit, publish, refer\nrevision \d+\n$/);
  good('grant', 'token:ci', 'publish', 'shop/prod', 'bank');
  assert.deepStrictEqual(document('trimtab/grant/token-ci-publish'), { subject: 'token:ci', role: 'publish', namespaces: ['shop/prod', 'shop/base', 'bank'], note: 'deploys' });
  assert.match(good('grant', 'token:ci', 'publish', 'bank').out, /^unchanged/);
  const dry = json('grant', 'token:ci', 'view', '*', '--dry-run');
  assert.deepStrictEqual([dry.dry_run, dry.takes, dry.rights.find((x) => x.namespace === '*').won], [true, false, ['view']]);
  bad(3, /./, 'get', 'trimtab/grant/token-ci-view');
});

test('a grant that somebody wrote by hand, as YAML and under a name of their own, is gone on with', () => {
  good('put', 'trimtab/grant/by-hand', '--type', 'application/yaml', '--value', 'subject: cert:web\nrole: subscribe\nnamespaces: [web]\nnote: kept\n');
  assert.match(good('grant', 'cert:web', 'subscribe', 'web2').out, /^updated +trimtab\/grant\/by-hand/);
  assert.deepStrictEqual(document('trimtab/grant/by-hand'), { subject: 'cert:web', role: 'subscribe', namespaces: ['web', 'web2'], note: 'kept' });
});

test('names of grants are distinct for all subjects', () => {
  const id = (subject) => json('grant', subject, 'view', 'web', '--dry-run').changes[0].id;
  assert.strictEqual(id('cert:CN=a b/c*'), 'trimtab/grant/cert-CN%3Da%20b%2Fc%2A-view');
  assert.strictEqual(id('oidc:a%20b'), 'trimtab/grant/oidc-a%2520b-view');
  const long = (c) => id(`cert:${c.repeat(252)}ä`.slice(0, 251));
  assert.match(long('x'), /^trimtab\/grant\/cert-=[0-9a-f]{64}-view$/);
  assert.notStrictEqual(long('x'), long('y'));
  good('put', 'trimtab/grant/token-taken-view', '--value', JSON.stringify({ subject: 'token:other', role: 'view', namespaces: ['web'] }));
  bad(5, /token-taken-view.*somebody else made/, 'grant', 'token:taken', 'view', 'web');
  good('rm', 'trimtab/grant/token-taken-view');
});

test('grant refuses unknown roles, subjects and namespaces', () => {
  bad(6, /no role "writer".*roles are metrics/, 'grant', 'token:ci', 'writer', 'shop');
  bad(6, /"ci" is no subject.*token:NAME/, 'grant', 'ci', 'view', 'shop');
  bad(6, /Shop/, 'grant', 'token:ci', 'view', 'Shop');
  bad(6, /no grant can name the namespace trimtab/, 'grant', 'token:ci', 'view', 'trimtab');
  bad(6, /metrics are of the whole server/, 'grant', 'token:ci', 'metrics', 'shop');
  bad(2, /subject, a role, and namespaces/, 'grant', 'token:ci', 'view');
});

test('grants lists what was granted, to everybody or to one subject', () => {
  const all = good('grants').out;
  assert.match(all, /^SUBJECT +ROLE +NAMESPACES +BY +NOTE\n/);
  assert.match(all, /^cert:web +subscribe +web web2 +trimtab\/grant\/by-hand +kept$/m);
  const ci = json('grants', 'token:ci').grants;
  assert(ci.length > 0 && ci.every((g) => g.subject === 'token:ci'));
  assert.deepStrictEqual(good('grants', 'token:ci', '-o', 'name').out.trim().split('\n'), ci.map((g) => `trimtab/grant/${g.name}`));
  assert.strictEqual(good('grants', 'token:without-any', '-o', 'name').out, '');
  bad(6, /"ci" is no subject.*token:NAME/, 'grants', 'ci');
  bad(2, /one subject, or none/, 'grants', 'token:ci', 'token:web');
});

test('who-can lists subjects, and takes its rights from the grants', () => {
  assert.match(good('who-can', 'publish', 'bank/eu').out, /^SUBJECT +ROLE +NAMESPACE +BY\n[^]*^token:admin +admin +\* +\(this server itself\)$[^]*^token:ci +publish +bank +trimtab\/grant\/token-ci-publish$/m);
  assert.deepStrictEqual(good('who-can', 'publish', 'bank', '-o', 'name').out.trim().split('\n'), ['token:admin', 'cert:ops', 'token:ci']);
  assert(json('who-can', 'publish', '*').rows[0].local);
  assert.match(good('who-can', 'publish', 'shop/prod').out, /gone +\(there is no such token, or it has expired\)/);
  bad(6, /no right "write".*rights are/, 'who-can', 'write', 'shop');
  bad(6, /Shop/, 'who-can', 'view', 'Shop');
  bad(2, /right and a namespace/, 'who-can', 'view');
});

test('revoke shows who loses what, and asks', () => {
  const r = bad(7, /token:ci in bank: loses view, edit, publish, refer\n[^]*somebody would lose rights; nothing was changed.*--yes/, 'revoke', 'token:ci', 'bank');
  assert.strictEqual(r.out, '');
  assert.strictEqual(document('trimtab/grant/token-ci-publish').namespaces.length, 3);
  assert.match(good('revoke', 'token:ci', 'bank', '--dry-run').out, /loses view[^]*dry run: nothing was stored/);
  assert.strictEqual(typed('yes', 'revoke', 'token:ci', 'publish', 'bank').status, 7);
  assert.strictEqual(typed('token:ci', 'revoke', 'token:ci', 'publish', 'bank', '-m', 'sold').status, 0);
  assert.deepStrictEqual(document('trimtab/grant/token-ci-publish').namespaces, ['shop/prod', 'shop/base']);
  assert.match(good('history', 'trimtab/grant/token-ci-publish').out, /sold/);
});

test('revoke takes back only what is granted there, and names what gives it from above', () => {
  bad(3, /token:ci has no grant on shop/, 'revoke', 'token:ci', 'shop');
  bad(3, /no grant on shop\/prod\/eu.*token-ci-publish gives it on shop\/prod/, 'revoke', 'token:ci', 'shop/prod/eu');
  bad(3, /no grant of the role view on shop\/prod/, 'revoke', 'token:ci', 'view', 'shop/prod');
  bad(3, /no such grants/, 'revoke', 'token:nosuch', '--all');
  bad(6, /no subject/, 'revoke', 'ci', '--all');
  bad(2, /namespaces or --all/, 'revoke', 'token:ci');
  bad(2, /namespaces or --all/, 'revoke', 'token:ci', 'shop/prod', '--all');
});

test('what another grant still gives is not lost, so nobody is asked', () => {
  good('grant', 'token:ci', 'view', 'shop');
  const r = good('revoke', 'token:ci', 'view', 'shop', '--dry-run').out;
  assert.match(r, /token:ci in shop: loses view\ntoken:ci in shop\/base: no change\ntoken:ci in shop\/prod: no change/);
  good('grant', 'token:ci', 'edit', 'shop');
  good('revoke', 'token:ci', 'view', 'shop');
  bad(3, /./, 'get', 'trimtab/grant/token-ci-view');
});

test('revoke --all takes back all grants of a subject in one commit', () => {
  const r = json('revoke', 'token:ci', '--all', '--yes', '-m', 'left');
  assert.deepStrictEqual(r.changes.map((c) => `${c.action} ${c.id}`), ['deleted trimtab/grant/token-ci-edit', 'deleted trimtab/grant/token-ci-publish']);
  assert(r.takes);
});

test('a change that another administrator makes while one is asked is not overwritten', async () => {
  good('grant', 'token:ci', 'view', 'shop', 'bank');
  let said = '';
  const asked = spawn('script', ['-qec', `${path.join(bin, 'trimtab')} revoke token:ci bank`, '/dev/null'], { env: env(server.token) });
  const ended = new Promise((r) => asked.on('close', r));
  asked.stdout.on('data', (d) => { said += d; });
  await until('it asks', () => said.includes('to go on'));
  good('grant', 'token:ci', 'view', 'web');
  asked.stdin.write('token:ci\n');
  assert.strictEqual(await ended, 5, said);
  assert.deepStrictEqual(document('trimtab/grant/token-ci-view').namespaces, ['shop', 'bank', 'web']);
});

test('token rotate gives a new secret for the same grants, and the old one is refused', async () => {
  const before = document('trimtab/token/ci'), next = good('token', 'rotate', 'ci', '-m', 'seen in a log').out.trim();
  assert(!await known(secret) && await known(next));
  assert.strictEqual(as(secret, 'info').status, 4);
  const after = document('trimtab/token/ci');
  assert.deepStrictEqual([after.hash, after.expires, after.note], [hash(next), before.expires, before.note]);
  const third = json('token', 'rotate', 'ci', '--expires', 'never', '--note', 'new');
  assert.deepStrictEqual(document('trimtab/token/ci'), { hash: hash(third.secret), note: 'new' });
  assert.strictEqual(json('token', 'list').tokens.find((t) => t.name === 'ci').last_used, '', 'the new secret was not used yet');
  secret = third.secret;
});

test('an expired token is rotated only with a new time', async () => {
  await server.commit([{ id: 'trimtab/token/old', text: JSON.stringify({ hash: hash('old'), expires: '2001-01-01T00:00:00Z' }) }]);
  assert(!await known('old'));
  assert.match(good('token', 'list').out, /^old .*\(expired\)/m);
  bad(6, /has expired at 2001.*--expires 90d/, 'token', 'rotate', 'old');
  assert(await known(good('token', 'rotate', 'old', '--expires', '1d').out.trim()));
});

test('token revoke asks, ends the secret, and tells of grants that stay', async () => {
  bad(7, /token ci: deleted\n[^]*somebody would lose rights/, 'token', 'revoke', 'ci');
  assert.match(good('token', 'revoke', 'ci', '--dry-run').out, /token ci: deleted/);
  assert(await known(secret));
  const r = good('token', 'revoke', 'ci', '--yes', '-m', 'left');
  assert.match(r.err, /1 grant to token:ci stay.*trimtab revoke token:ci --all/);
  assert(!await known(secret));
  assert.match(good('token', 'create', 'ci').err, /1 grant to token:ci were there before/);
  assert.strictEqual(typed('ci', 'token', 'revoke', 'ci').status, 0);
});

test('put, rm and rollback of grants show who loses what, too', () => {
  assert.match(good('rm', 'trimtab/grant/token-ci-view', '--dry-run').out, /token:ci in bank: loses view/);
  good('rm', 'trimtab/grant/token-ci-view');
  assert.match(good('rollback', 'trimtab/grant/token-ci-view', '--dry-run').out, /token:ci in bank: wins view/);
});

test('the commands have helps, and complete', () => {
  for (const c of ['token', 'grant', 'revoke', 'grants', 'who-can']) assert.match(good(c, '--help').out, new RegExp(`^usage: trimtab ${c}`));
  for (const c of ['create', 'list', 'revoke', 'rotate']) assert.match(good('token', c, '--help').out, new RegExp(`^usage: trimtab token ${c}`));
  assert.strictEqual(good('__complete', '2', 'trimtab', 'token', 'r').out, 'revoke\nrotate\n');
});

run();
