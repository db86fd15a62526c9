import { randomBytes } from 'node:crypto';
import { startFacade } from './facade.ts';
import { Faults, startFaultsAdmin, type Target } from './faults.ts';
import { startInternalSystem } from './internal-system.ts';
import { startNotebookApi } from './notebook-api.ts';
import {
  type OpenidProvider,
  type PersonClaims,
  startOpenidProvider,
  type TokenRules,
} from './openid-provider.ts';

/** A person known to both providers: same e-mail, different subjects. */
export interface SimulatedPerson {
  readonly username: string;
  readonly name: string;
  readonly email: string;
  readonly subjects: { readonly identity: string; readonly notebook: string };
}

/** Options of {@link startSimulators}. */
export interface SimulatorsOptions {
  /** Origins of the gateways that may sign people in, each at `/auth/callback/identity` and `/auth/callback/notebook`. */
  readonly publicUrls: readonly string[];
  /** Default: any free port each. */
  readonly ports?: Partial<Record<Target | 'notebookApi' | 'admin', number>>;
  /** How many people `person-0001`… there are beside the demo people. Default 0. */
  readonly extraPeople?: number;
  /** Default: JWT access tokens of 15 min, a refresh token at every sign-in, rotated. */
  readonly identity?: TokenRules & ClientSecret;
  /** Default: opaque access tokens of 60 min, a refresh token at every sign-in, rotated. */
  readonly notebook?: TokenRules & ClientSecret;
  /** Default: a random secret. */
  readonly facade?: ClientSecret;
}

/** Default: a random secret. */
interface ClientSecret {
  readonly clientSecret?: string;
}

/** What a client needs to know of a provider. */
export interface ProviderFacts {
  readonly issuer: string;
  readonly authorizationEndpoint: string;
  readonly tokenEndpoint: string;
  readonly jwksUri: string;
  readonly revocationEndpoint: string;
  readonly endSessionEndpoint: string;
  /** Absent with JWT access tokens. */
  readonly userinfoEndpoint?: string;
  readonly clientId: string;
  readonly clientSecret: string;
}

/** Where everything is and how to get in: plain JSON. */
export interface SimulatorFacts {
  readonly identity: ProviderFacts & { readonly audience: string };
  readonly notebook: ProviderFacts;
  readonly facade: { readonly url: string; readonly clientId: string; readonly clientSecret: string };
  readonly systems: { readonly url: string; readonly audience: string };
  readonly adminUrl: string;
  readonly people: readonly SimulatedPerson[];
}

/** The running simulators. */
export interface Simulators extends SimulatorFacts {
  /** The fault switches, for callers in this process; others use `adminUrl`. */
  readonly faults: Faults;
  /** Takes back all tokens that a provider has issued. */
  revokeAll(provider: 'identity' | 'notebook'): void;
  close(): Promise<void>;
}

const clientId = 'apps';
const audience = 'https://systems.example.com';

const demoPeople: readonly (readonly [username: string, name: string])[] = [
  ['ada', 'Ada Lovelace'],
  ['rosalind', 'Rosalind Franklin'],
  ['gregor', 'Gregor Mendel'],
  ['lise', 'Lise Meitner'],
];

/** Starts both providers, the notebook's API with its facade, an internal system and the admin port, on 127.0.0.1. */
export async function startSimulators(options: SimulatorsOptions): Promise<Simulators> {
  const people = peopleOf(options.extraPeople ?? 0);
  const faults = new Faults();
  const identity = await startProvider('identity', { options, people, faults });
  const notebook = await startProvider('notebook', { options, people, faults });
  const internalSecret = randomSecret();
  const notebookApi = await startNotebookApi({ port: options.ports?.notebookApi ?? 0, internalSecret });
  const facade = {
    clientId: 'apps-at-the-facade',
    clientSecret: options.facade?.clientSecret ?? randomSecret(),
  };
  const runningFacade = await startFacade({
    ...facade,
    port: options.ports?.facade ?? 0,
    notebookApiUrl: notebookApi.url,
    internalSecret,
    introspect: (token) => notebook.provider.introspect(token),
    guard: (listener) => faults.guard('facade', listener),
  });
  const systems = await startInternalSystem({
    port: options.ports?.systems ?? 0,
    issuer: identity.provider.issuer,
    jwksUri: identity.provider.jwksUri,
    audience,
    employees: new Map(Object.values(claimsOf(people, 'identity')).map((claims) => [claims.sub, claims])),
    guard: (listener) => faults.guard('systems', listener),
  });
  const admin = await startFaultsAdmin(faults, options.ports?.admin);
  const running = [systems, runningFacade, notebookApi, notebook.provider, identity.provider, admin];
  return {
    identity: { ...identity.facts, audience },
    notebook: notebook.facts,
    facade: { ...facade, url: runningFacade.url },
    systems: { url: systems.url, audience },
    adminUrl: admin.url,
    people,
    faults,
    revokeAll: (name) => (name === 'identity' ? identity : notebook).provider.revokeAll(),
    close: async () => {
      await Promise.all(running.map((server) => server.close()));
    },
  };
}

interface Setting {
  readonly options: SimulatorsOptions;
  readonly people: readonly SimulatedPerson[];
  readonly faults: Faults;
}

const appearances = {
  identity: { title: 'Corporate identity', subtitle: 'Sign in to your workplace', colour: '#1d4ed8' },
  notebook: { title: 'Lab notebook', subtitle: 'Open your electronic notebook', colour: '#047857' },
} as const;

async function startProvider(
  name: 'identity' | 'notebook',
  { options, people, faults }: Setting,
): Promise<{ provider: OpenidProvider; facts: ProviderFacts }> {
  const { clientSecret = randomSecret(), ...rules } = options[name] ?? {};
  const defaults: TokenRules =
    name === 'identity'
      ? { accessTokenFormat: 'jwt', accessTokenAudience: audience, accessTokenTtlSeconds: 900 }
      : { accessTokenFormat: 'opaque', accessTokenTtlSeconds: 3600 };
  const [publicUrl] = options.publicUrls;
  const provider = await startOpenidProvider({
    name,
    appearance: appearances[name],
    port: options.ports?.[name] ?? 0,
    clients: [
      {
        clientId,
        clientSecret,
        redirectUris: options.publicUrls.map((url) => `${url}/auth/callback/${name}`),
        ...(publicUrl === undefined
          ? {}
          : { backchannelLogoutUri: `${publicUrl}/auth/backchannel-logout/${name}` }),
        postLogoutRedirectUris: options.publicUrls.map((url) => `${url}/auth/logged-out`),
      },
    ],
    users: claimsOf(people, name),
    guard: (listener) => faults.guard(name, listener),
    ...defaults,
    ...rules,
  });
  const { introspect: _i, rotateKeys: _r, revokeAll: _v, close: _c, ...endpoints } = provider;
  return { provider, facts: { ...endpoints, clientId, clientSecret } };
}

function peopleOf(extra: number): SimulatedPerson[] {
  const extraPeople = Array.from({ length: extra }, (_, index) => {
    const number = String(index + 1).padStart(4, '0');
    return [`person-${number}`, `Person ${number}`] as const;
  });
  return [...demoPeople, ...extraPeople].map(([username, name], index) => ({
    username,
    name,
    email: `${username}@example.com`,
    subjects: { identity: `employee-${100_001 + index}`, notebook: `user:${7001 + index}` },
  }));
}

function claimsOf(
  people: readonly SimulatedPerson[],
  name: 'identity' | 'notebook',
): Record<string, PersonClaims> {
  return Object.fromEntries(
    people.map((person) => [
      person.username,
      { sub: person.subjects[name], name: person.name, email: person.email },
    ]),
  );
}

const randomSecret = (): string => randomBytes(24).toString('base64url');
