// A certified provider of OpenID Connect (npm: oidc-provider) on loopback, with one client: the console.
// Whoever signs in there is who they say; people and groups come from the environment.
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const { ISSUER, REDIRECT, SECRET, JWKS, PEOPLE } = process.env;
const people = JSON.parse(PEOPLE);
const provider = new Provider(ISSUER, {
  clients: [{
    client_id: 'filmgate', client_secret: SECRET, redirect_uris: [REDIRECT],
    grant_types: ['authorization_code'], response_types: ['code'],
  }],
  jwks: JSON.parse(JWKS),
  pkce: { required: () => true },
  claims: { profile: ['preferred_username', 'groups'] },
  conformIdTokenClaims: false,
  cookies: { keys: ['of a test'] },
  features: { devInteractions: { enabled: true } },
  async findAccount(_, id) {
    return { accountId: id, claims: async () => ({ sub: id, ...people[id] }) };
  },
});
createServer(provider.callback()).listen(new URL(ISSUER).port, '127.0.0.1', () => console.log('ready'));
