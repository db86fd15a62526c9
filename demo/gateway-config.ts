import { randomBytes } from 'node:crypto';
import { stringify } from 'yaml';
import type { SimulatorFacts } from '../sim/simulators.ts';
import { publicPaths } from './workbench.ts';

/** Where one fleet's parts are. */
export interface FleetFacts {
  /** Origin that browsers see. */
  readonly publicUrl: string;
  readonly storeUrl: string;
  readonly appUrl: string;
  readonly simulators: SimulatorFacts;
}

/** What differs from replica to replica. */
export interface ReplicaAddress {
  readonly name: string;
  readonly port: number;
  readonly adminPort: number;
}

/** The configuration of each replica as YAML: all share one new key and differ in where they listen. Holds secrets. */
export function gatewayConfig(facts: FleetFacts): (replica: ReplicaAddress) => string {
  const { identity, notebook, facade, systems } = facts.simulators;
  const shared = {
    publicUrl: facts.publicUrl,
    store: { url: facts.storeUrl },
    keys: [{ id: 'k1', secret: randomBytes(32).toString('base64url') }],
    providers: {
      identity: {
        issuer: identity.issuer,
        clientId: identity.clientId,
        clientSecret: identity.clientSecret,
        // Its access token is for the internal system, not for its own userinfo endpoint.
        userinfo: false,
      },
      notebook: {
        issuer: notebook.issuer,
        clientId: notebook.clientId,
        clientSecret: notebook.clientSecret,
        discovery: false,
        authorizationEndpoint: notebook.authorizationEndpoint,
        tokenEndpoint: notebook.tokenEndpoint,
        jwksUri: notebook.jwksUri,
        userinfoEndpoint: notebook.userinfoEndpoint,
        sameUser: 'email',
      },
    },
    login: ['identity', 'notebook'],
    upstreams: {
      eln: {
        url: facade.url,
        provider: 'notebook',
        headers: { client_id: facade.clientId, client_secret: facade.clientSecret },
      },
      systems: { url: systems.url, provider: 'identity' },
    },
    app: { url: facts.appUrl, public: publicPaths, claims: ['name', 'email'] },
  };
  return ({ name, port, adminPort }) =>
    stringify({
      ...shared,
      listen: { host: '127.0.0.1', port, adminHost: '127.0.0.1', adminPort, replicaName: name },
    });
}
