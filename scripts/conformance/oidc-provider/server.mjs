// An OAuth 2.0 provider on loopback, for scripts/witness-oidc-provider: npm's oidc-provider, which is
// certified, with clients of each sort. It runs from the folder that the package is installed in.
//
// When it is ready it prints one line of JSON: the issuer, and the clients. It has two pages of its own,
// which stand for what a person or a platform does: POST /test/refresh-token answers a first refresh
// token, and POST /test/assertion a signed assertion of the client that has a key.

import { generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { createServer } from 'node:http';

import { Provider } from 'oidc-provider';

const RESOURCE = 'urn:example:things';
const SCOPES = 'things:read things:write';

// RFC 6749, section 2.3.1, has both encoded as in a form before they stand in the header. Letters beyond
// ASCII are not allowed in either (appendix A), and this provider refuses them.
const basic = { client_id: 'a:b c', client_secret: 'p%+ &=/:"' };
const post = { client_id: 'poster', client_secret: 'p0st/+"secret' };
const signer = { client_id: 'signer' };
const person = { client_id: 'person' };
const server = { client_id: 'server', client_secret: 'introspection-secret' };

const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

const http = createServer();
await new Promise((resolve) => { http.listen(Number(process.argv[2] ?? 0), '127.0.0.1', resolve); });
const issuer = `http://127.0.0.1:${http.address().port}`;

const machine = { grant_types: ['client_credentials'], redirect_uris: [], response_types: [] };
const provider = new Provider(issuer, {
  clients: [
    { ...basic, ...machine, token_endpoint_auth_method: 'client_secret_basic' },
    { ...post, ...machine, token_endpoint_auth_method: 'client_secret_post' },
    { ...server, ...machine, token_endpoint_auth_method: 'client_secret_basic' },
    {
      ...signer,
      ...machine,
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      jwks: { keys: [{ ...publicKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' }] },
    },
    {
      ...person,
      token_endpoint_auth_method: 'none',
      application_type: 'native',
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: ['http://127.0.0.1/'],
      response_types: ['code'],
    },
  ],
  scopes: ['openid', 'offline_access', ...SCOPES.split(' ')],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(ctx, resource) {
        return { audience: resource, scope: SCOPES, accessTokenFormat: 'opaque' };
      },
      useGrantedResource: () => true,
    },
  },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: true,
});

// What a login with a browser would leave behind.
async function refreshToken() {
  const client = await provider.Client.find(person.client_id);
  const grant = new provider.Grant({ accountId: 'ada', clientId: client.clientId });
  const scope = 'openid offline_access';
  grant.addOIDCScope(scope);
  const token = new provider.RefreshToken({
    accountId: 'ada',
    authTime: Math.floor(Date.now() / 1000),
    client,
    grantId: await grant.save(),
    gty: 'authorization_code',
    scope,
  });
  return token.save();
}

// RFC 7523, section 3; the provider takes each `jti` once.
function assertion() {
  const now = Math.floor(Date.now() / 1000);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = [
    part({ alg: 'ES256', typ: 'JWT' }),
    part({
      iss: signer.client_id,
      sub: signer.client_id,
      aud: issuer,
      jti: randomUUID(),
      iat: now,
      exp: now + 60,
    }),
  ].join('.');
  const signature = sign('sha256', Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' });
  return `${text}.${signature.toString('base64url')}`;
}

const pages = { '/test/refresh-token': refreshToken, '/test/assertion': assertion };
const answer = provider.callback();
http.on('request', async (request, response) => {
  const page = request.method === 'POST' ? pages[request.url] : undefined;
  if (page) {
    response.end(await page());
  } else {
    answer(request, response);
  }
});

console.log(JSON.stringify({
  issuer, basic, post, signer, person, server, resource: RESOURCE, scopes: SCOPES,
}));
