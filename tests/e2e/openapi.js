// Makes api/openapi.json from the .proto files and the list of routes below: `node tests/e2e/openapi.js > api/openapi.json`.
// tests/e2e/13-openapi.t holds file, routes and answers against each other.
'use strict';
const path = require('path');
const protobuf = require('protobufjs');

const root = path.join(__dirname, '..', '..');
const text = (name, description, required = false) => ({ name, in: 'query', required, description, schema: { type: 'string' } });
const number = (name, description) => ({ name, in: 'query', required: false, description, schema: { type: 'integer', minimum: 0 } });
const flag = (name, description) => ({ name, in: 'query', required: false, description, schema: { type: 'boolean' } });
const rest = (name, description) => ({ name, in: 'path', required: true, description, schema: { type: 'string' }, 'x-rest-of-path': true });
const header = (name, description) => ({ name, in: 'header', required: false, description, schema: { type: 'string' } });
const id = rest('id', 'namespace/kind/name; its slashes stay slashes');
const wanted = [text('namespaces', 'in order of priority, separated by commas; may hold labels, shop/{env}', true), text('kinds', 'separated by commas'),
  text('names', 'patterns with *, separated by commas'), text('scope', 'name of the scope'), text('labels', 'of the instance: env:prod,zone:a')];
const subscriber = [...wanted, text('instance', 'id of the instance; empty: not listed'), text('host', 'its host name'),
  number('revision', 'cursor: revision'), text('store_id', 'cursor: store id as a welcome has it')];
const committing = [text('message', 'why'), text('request_id', 'a repeated id returns the first result'), flag('dry_run', 'check and show the difference only'),
  text('override', 'reason to publish although it is protected, or carried by a rollout, which this ends'),
  number('based_on', 'refuse when this version is not the newest'), header('if-match', 'tags of answers, or *: 412 unless the newest version is one of them'), header('if-none-match', 'tags, or *: 412 when the newest version is one of them')];

const routes = [
  ['get', '/v1/resources', 'listResources', 'List resources', [text('prefix', 'namespace, or the beginning of one'), text('kind', ''), text('name', 'pattern with *'), number('limit', '1000'), text('after', 'id to go on after'), flag('content', 'with contents'), flag('deleted', 'deleted ones too')], null, 'ListResponse'],
  ['get', '/v1/resources/{id}', 'getResource', 'Read a resource', [id, number('version', 'the newest'), number('min_revision', 'wait until the server has it'), flag('no_content', 'metadata only'), header('if-none-match', 'tags, or *')], null, 'Resource'],
  ['put', '/v1/resources/{id}', 'putResource', 'Commit one resource; the body is its content', [id, ...committing], 'bytes', 'CommitResponse'],
  ['delete', '/v1/resources/{id}', 'deleteResource', 'Delete one resource', [id, ...committing.filter((p) => p.name !== 'if-none-match')], null, 'CommitResponse'],
  ['get', '/v1/contents/{id}', 'getContent', 'Read the content, byte for byte', [id, number('version', 'the newest'), number('min_revision', 'wait until the server has it'), header('if-none-match', 'an ETag')], null, 'bytes'],
  ['post', '/v1/commits', 'commit', 'Commit several changes, all or none', [], 'CommitRequest', 'CommitResponse'],
  ['get', '/v1/commits', 'listCommits', 'List commits, newest first', [number('before', 'revision'), number('limit', '20'), text('author', ''), text('prefix', 'of the id of a resource that was changed'), text('action', 'publish, rollback, rollout, or a move of a rollout: start, confirm, ...'), number('rollout', 'its id'), number('since', 'this revision and newer ones'), number('since_ms', 'wall clock, since 1970'), number('until_ms', 'wall clock, since 1970')], null, 'CommitsResponse'],
  ['get', '/v1/commits/{revision}', 'getCommit', 'Read one commit', [rest('revision', 'revision')], null, 'CommitsResponse'],
  ['get', '/v1/history/{id}', 'listVersions', 'List the versions of a resource, newest first', [id, number('before', 'version'), number('limit', '20')], null, 'HistoryResponse'],
  ['get', '/v1/diff', 'diffCommit', 'Show what a commit changed', [number('revision', 'of the commit'), number('limit', 'changed resources, 1000'), text('after', 'next of the last answer')], null, 'DiffResponse'],
  ['get', '/v1/diff/{id}', 'diffVersions', 'Compare two versions of a resource', [id, number('from', 'the one before'), number('to', 'the newest')], null, 'DiffResponse'],
  ['post', '/v1/rollback', 'rollBack', 'Go back, by resource or by whole commit', [], 'RollbackRequest', 'CommitResponse'],
  ['post', '/v1/rollouts', 'startRollout', 'Start a rollout', [], 'StartRolloutRequest', 'RolloutResponse'],
  ['get', '/v1/rollouts', 'listRollouts', 'List rollouts, newest first', [text('phase', 'live, all, or one phase'), text('resource', 'only those that carry this id'), number('limit', '100'), number('before', 'id')], null, 'ListRolloutsResponse'],
  ['post', '/v1/rollouts/preview', 'previewRollout', 'Which instances a plan would take now', [], 'PreviewRolloutRequest', 'PreviewRolloutResponse'],
  ['get', '/v1/rollouts/{id}', 'getRollout', 'Read a rollout, with its instances', [rest('id', 'its id'), number('wait_ms', 'wait for news'), number('known', 'stamp of the last answer'), number('limit', 'of instances, 100; at most 1000'), text('after', 'instance id to go on after'), text('state', 'only instances in this state'), flag('diff', 'with the differences')], null, 'GetRolloutResponse'],
  ['post', '/v1/rollouts/{id}', 'moveRollout', 'Move a rollout: extend, advance, pause, resume, confirm, roll_back', [rest('id', 'its id')], 'MoveRolloutRequest', 'RolloutResponse'],
  ['delete', '/v1/instances/{id}', 'forgetInstance', 'Forget an instance that is not connected, and whose its id is', [rest('id', 'its id')], null, 'ForgetInstanceResponse'],
  ['post', '/v1/orders', 'giveOrder', 'Tell instances to try again, or pause and resume the whole fleet', [], 'OrderRequest', 'OrderResponse'],
  ['post', '/v1/restore/release', 'releaseRestore', 'Let go of what instances hold because a restored log does not know it', [], 'ReleaseRestoreRequest', 'ReleaseRestoreResponse'],
  ['get', '/v1/orders', 'listOrders', 'Orders, newest first, with what became of them, and whether the fleet is paused', [number('revision', 'just this one'), number('limit', '20')], null, 'OrdersResponse'],
  ['get', '/v1/instances', 'listInstances', 'List instances and what each really runs', [text('prefix', 'of id or host'), flag('connected_only', ''), text('resource', 'only those whose subscription takes this id'), number('limit', '1000'), text('after', 'next of the last answer')], null, 'InstancesResponse'],
  ['get', '/v1/running', 'getRunning', 'What is really run: by one instance, or one resource on all', [text('instance', 'everything of this one'), text('resource', 'or this id on all that have it'), flag('offline', 'of a resource: offline instances, too'), number('limit', '1000'), text('after', 'next of the last answer')], null, 'RunningResponse'],
  ['get', '/v1/status', 'getStatus', 'What became of a commit among the instances', [number('revision', 'the head'), number('wait_ms', 'wait for all'), number('known', 'stamp of the last answer: wait for news')], null, 'StatusResponse'],
  ['get', '/v1/rights/who', 'whoCan', 'Who has a right in a namespace, and by which grant', [text('right', 'view, edit, publish, approve, ...', true), text('namespace', '* for everything', true)], null, 'WhoCanResponse'],
  ['get', '/v1/grants', 'listGrants', 'Grants, of one subject or of all', [text('subject', 'just this one'), number('limit', '1000'), text('after', 'name to go on after')], null, 'GrantsResponse'],
  ['get', '/v1/tokens', 'listTokens', 'Published tokens, without their hashes', [text('name', 'just this one'), number('limit', '1000'), text('after', 'name to go on after')], null, 'TokensResponse'],
  ['get', '/v1/info', 'getInfo', 'About the server', [], null, 'InfoResponse'],
  ['get', '/v1/subscribe/snapshot', 'getSnapshot', 'A whole view at one revision', [...wanted, number('min_revision', 'wait until the server has it'), header('if-none-match', 'an ETag')], null, 'Snapshot'],
  ['get', '/v1/subscribe/poll', 'poll', 'Wait for changes', [...subscriber, number('wait_ms', '30000')], null, 'PollResponse'],
  ['post', '/v1/subscribe/poll', 'pollWithHello', 'Wait for changes', [], 'PollRequest', 'PollResponse'],
  ['get', '/v1/events', 'watchEvents', 'Everything that changes as server-sent events, each an Event', [text('types', 'commit, rollout, instance; by commas; all'), text('prefix', 'only commits that change an id which begins so'), number('rollout', 'of rollouts only this one')], null, 'events Event'],
  ['get', '/v1/subscribe/events', 'subscribe', 'Changes as server-sent events, each a ServerFrame', [...subscriber, header('last-event-id', 'cursor, as an id: line had it')], null, 'events ServerFrame'],
  ['post', '/v1/subscribe/ack', 'acknowledge', 'Acknowledge or refuse', [], 'AckRequest', 'AckResponse'],
  ['get', '/metrics', 'getMetrics', 'Metrics for Prometheus', [], null, 'text'],
  ['get', '/healthz', 'getHealth', 'Whether the server lives', [], null, 'text', true],
  ['get', '/readyz', 'getReadiness', 'Whether it takes requests', [], null, 'text', true],
  ['get', '/openapi.json', 'getOpenapi', 'This document', [], null, 'document', true],
];

// What may come instead of the answer, besides what everybody may meet: 401, 403, 503. Each is an Error, a 304 has nothing.
function failures(method, url, parameters, body, open) {
  const codes = new Set(open ? [] : [400, 401, 403, 503]);
  const has = (name) => parameters.some((p) => p.name === name);
  if (has('if-none-match') && method === 'get') codes.add(304);
  if (has('if-match') || (has('if-none-match') && method !== 'get')) codes.add(412);
  if (url.includes('{') || has('revision') || has('resource')) codes.add(404);
  if (has('min_revision') || has('wait_ms')) codes.add(504);
  if (has('version') || /history|diff|commits|rollback/.test(url)) codes.add(410);
  if (body) codes.add(408).add(413).add(415);
  if (method !== 'get' && !url.startsWith('/v1/subscribe')) codes.add(404).add(409).add(422).add(423);
  return [...codes].sort();
}

const SCALARS = { uint32: { type: 'integer', minimum: 0 }, uint64: { type: 'integer', minimum: 0, format: 'int64' }, int64: { type: 'integer', format: 'int64' },
  int32: { type: 'integer' }, double: { type: 'number' }, bool: { type: 'boolean' }, string: { type: 'string' }, bytes: { type: 'string', format: 'byte' } };
const ref = (name) => ({ $ref: `#/components/schemas/${name}` });

function schemas() {
  const loaded = new protobuf.Root();
  loaded.resolvePath = (_, target) => path.join(root, 'proto', target);
  loaded.loadSync(['trimtab/v1/admin.proto'], { keepCase: true });
  loaded.resolveAll();
  const out = {};
  const visit = (type) => {
    const properties = {};
    for (const f of type.fieldsArray) {
      let s = SCALARS[f.type] || (f.resolvedType instanceof protobuf.Enum ? { type: 'string', enum: Object.keys(f.resolvedType.values) } : ref(f.resolvedType.name));
      if (f instanceof protobuf.MapField) s = { type: 'object', additionalProperties: { type: 'string' } };
      else if (f.repeated) s = { type: 'array', items: s };
      properties[f.name] = f.comment && !s.$ref ? { ...s, description: f.comment } : s;
    }
    out[type.name] = { type: 'object', additionalProperties: false, properties };
    for (const t of type.nestedArray) if (t instanceof protobuf.Type) visit(t);
  };
  for (const t of loaded.lookup('trimtab.v1').nestedArray) if (t instanceof protobuf.Type) visit(t);
  return out;
}

function answer(kind) {
  const json = (schema) => ({ description: 'done', content: { 'application/json': { schema } } });
  if (kind === 'bytes') return { description: 'the content', content: { '*/*': { schema: { type: 'string', format: 'binary' } } } };
  if (kind === 'text') return { description: 'done', content: { 'text/plain': { schema: { type: 'string' } } } };
  if (kind.startsWith('events ')) return { description: 'a stream', content: { 'text/event-stream': { schema: ref(kind.slice(7)) } } };
  if (kind === 'document') return json({ type: 'object' });
  return json(ref(kind));
}

const WHY = { 304: 'what the client has is the newest', 400: 'the request is wrong; the error says where', 401: 'a known token is needed', 403: 'this caller has no right to it',
  404: 'it is not there', 408: 'the body came too slowly', 409: 'it has changed meanwhile', 410: 'the history does not reach so far back any more', 412: 'a precondition does not hold', 413: 'the body is too large', 415: 'a body is taken only without a content-encoding', 422: 'checks refuse it',
  423: 'a rollout or a protection holds it', 503: 'the server is draining, or has no room for it', 504: 'it did not come to be so in time' };
const refusals = (codes) => Object.fromEntries(codes.map((code) => [code, { $ref: `#/components/responses/Status${code}` }]));
const refusal = (code) => (code === '304' ? { description: WHY[code] } : { description: WHY[code], content: { 'application/json': { schema: ref('Error') } } });

function document() {
  const paths = {};
  for (const [method, url, operationId, summary, parameters, body, kind, open] of routes) {
    const op = { operationId, summary, parameters, responses: { 200: answer(kind), ...refusals(failures(method, url, parameters, body, open)), default: { description: 'a failure', content: { 'application/json': { schema: ref('Error') } } } } };
    if (body) op.requestBody = { required: true, content: body === 'bytes' ? { '*/*': { schema: { type: 'string', format: 'binary' } } } : { 'application/json': { schema: ref(body) } } };
    if (open) op.security = [];
    (paths[url] = paths[url] || {})[method] = op;
  }
  return { openapi: '3.0.3',
    info: { title: 'Trimtab', version: '0.1.0', description: 'Documents are the JSON form of the messages in proto/trimtab/v1. Ids in paths keep their slashes.', license: { name: 'Apache-2.0' } },
    security: [{ token: [] }], paths,
    components: { responses: Object.fromEntries(Object.keys(WHY).map((code) => [`Status${code}`, refusal(code)])), securitySchemes: { token: { type: 'http', scheme: 'bearer' } }, schemas: schemas() } };
}

module.exports = { document };
if (require.main === module) process.stdout.write(JSON.stringify(document(), null, 1) + '\n');
