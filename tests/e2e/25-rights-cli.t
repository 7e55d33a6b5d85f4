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

run();
