import { randomBytes } from 'node:crypto';
import type { ProviderConfig } from '../config.ts';
import { CoatcheckError } from '../errors.ts';
import type { TokenSet, User } from '../session/session.ts';
import type { Telemetry } from '../telemetry.ts';
import type { Provider } from './provider.ts';
import type { Authorization, LoginSecret, Transaction, TransactionStore } from './transaction.ts';

/** What a step of a login leads to. */
export type LoginStep =
  /** Send the browser to a provider. */
  | { readonly kind: 'redirect'; readonly location: URL; readonly loginSecret: LoginSecret }
  /** Every provider has answered: write the session, then send the browser to `returnTo`. */
  | {
      readonly kind: 'complete';
      readonly user: User;
      readonly tokenSets: ReadonlyMap<string, TokenSet>;
      readonly returnTo: string;
      /** What was known of the person on the way; the session store checks that it still holds. */
      readonly login: Pick<Transaction, 'startedAtMs' | 'personEpoch'>;
    }
  /** The one provider that was asked again has answered: give the session its tokens, then send the browser to `returnTo`. */
  | {
      readonly kind: 'reauthorized';
      readonly sessionId: string;
      readonly provider: string;
      readonly tokens: TokenSet;
      readonly returnTo: string;
      readonly login: Pick<Transaction, 'startedAtMs'>;
    };

/** One provider to be asked again, for a session that goes on. */
export interface ReauthorizationRequest {
  readonly provider: string;
  readonly sessionId: string;
}

/** A provider's callback, as it came. */
export interface Callback {
  /** The provider whose callback address was called. */
  readonly provider: string;
  /** The raw query string, without `?`. */
  readonly query: string;
  /** From the login cookies of the browser that called. */
  readonly loginSecrets: readonly LoginSecret[];
}

/** Options of {@link Login}. */
export interface LoginOptions {
  /** Required providers, in the order in which they are asked; the first says who the person is. At least one. */
  readonly providers: readonly Provider[];
  readonly configs: Readonly<Record<string, ProviderConfig>>;
  readonly transactions: TransactionStore;
  /** Tells whether everything of a person was ended meanwhile. One store command. */
  readonly personEpoch: (person: Pick<User, 'issuer' | 'subject'>) => Promise<number>;
  /** Unix time in ms. */
  readonly now: () => number;
  readonly telemetry: Telemetry;
  /** Origin of the callback addresses. */
  readonly publicUrl: string;
  /** Names of the claims that the session keeps, if the first provider tells them. */
  readonly claims: readonly string[];
}

/** Several authorizations, one session. Each step may run on another replica. */
export class Login {
  readonly #options: LoginOptions;

  constructor(options: LoginOptions) {
    this.#options = options;
  }

  /** Begins a login, or asks one provider again. One store command. Throws `not_found` where the login does not ask that provider. */
  async begin(
    returnTo: string,
    loginSecret: LoginSecret,
    again?: ReauthorizationRequest,
  ): Promise<LoginStep> {
    const { telemetry, now, providers } = this.#options;
    const position = again === undefined ? 0 : providers.findIndex(({ name }) => name === again.provider);
    if (position < 0) throw new CoatcheckError('not_found', { detail: 'the login asks no such provider' });
    const { sessionId } = again ?? {};
    return telemetry.span('coatcheck.login.begin', {}, async () => {
      telemetry.metrics.logins.inc({ outcome: 'started' });
      telemetry.log('login.started');
      const begun = { returnTo, answers: [], loginSecret, startedAtMs: now() };
      return this.#ask(position, { ...begun, ...(sessionId !== undefined && { sessionId }) });
    });
  }

  /**
   * Goes on where a provider sent the browser back: asks the next one, or is complete. One store command, one for the next
   * provider, and one more where the person has just become known.
   */
  async resume(callback: Callback): Promise<LoginStep> {
    return this.#options.telemetry.span('coatcheck.login.resume', {}, () => this.#resume(callback));
  }

  async #resume({ provider: name, query, loginSecrets }: Callback): Promise<LoginStep> {
    const { providers, transactions, telemetry, publicUrl } = this.#options;
    const position = providers.findIndex((provider) => provider.name === name);
    const provider = providers[position];
    if (provider === undefined)
      throw new CoatcheckError('not_found', { detail: 'a callback named an unknown provider' });

    const taken = await transactions.take(name, stateOf(query), loginSecrets);
    if (taken === undefined) throw new CoatcheckError('login_expired', { shown: { provider: name } });
    const { transaction, loginSecret } = taken;
    const callbackUrl = new URL(`${publicUrl}/auth/callback/${name}?${query}`);
    const answer = await provider.redeem(callbackUrl, transaction);
    const { sessionId, returnTo } = transaction;
    if (sessionId !== undefined) {
      telemetry.metrics.logins.inc({ outcome: 'completed' });
      const { tokens } = answer;
      const login = progressOf(transaction);
      return { kind: 'reauthorized', sessionId, provider: name, tokens, returnTo, login };
    }
    const answers = [...transaction.answers, answer];
    this.#checkSamePerson(answers);

    if (position + 1 < providers.length) {
      telemetry.log('login.continued', { provider: name });
      const personEpoch = transaction.personEpoch ?? (await this.#options.personEpoch(this.#userOf(answers)));
      return this.#ask(position + 1, { ...transaction, answers, loginSecret, personEpoch });
    }
    telemetry.metrics.logins.inc({ outcome: 'completed' });
    return {
      kind: 'complete',
      user: this.#userOf(answers),
      tokenSets: new Map(answers.map(({ provider: of, tokens }) => [of, tokens])),
      returnTo,
      login: progressOf(transaction),
    };
  }

  async #ask(position: number, so: Progress): Promise<LoginStep> {
    const { providers, transactions } = this.#options;
    const provider = providers[position];
    if (provider === undefined)
      throw new CoatcheckError('internal', { detail: 'a login without a next provider' });
    const { maxAgeMs, acrValues } = this.#options.configs[provider.name] ?? {};
    const transaction = {
      provider: provider.name,
      state: randomText(),
      nonce: randomText(),
      codeVerifier: randomText(),
      ...(maxAgeMs !== undefined && { maxAgeMs }),
      ...(acrValues !== undefined && { acrValues }),
      returnTo: so.returnTo,
      answers: so.answers,
      ...(so.sessionId !== undefined && { sessionId: so.sessionId }),
      ...progressOf(so),
    };
    // The address first: a provider that cannot be reached must not leave a transaction behind.
    const location = await provider.authorizationUrl(transaction);
    await transactions.put(transaction, so.loginSecret);
    return { kind: 'redirect', location, loginSecret: so.loginSecret };
  }

  /** The later provider must speak of the person that the first one named, by the claim that its `sameUser` rule names. */
  #checkSamePerson(answers: readonly Authorization[]): void {
    const first = answers[0];
    const latest = answers.at(-1);
    if (first === undefined || latest === undefined || first === latest) return;
    const claim = this.#options.configs[latest.provider]?.sameUser;
    if (claim === 'dangerously-anyone') return;
    const expected = claim === undefined ? undefined : trusted(first, claim);
    const seen = claim === undefined ? undefined : trusted(latest, claim);
    if (expected === undefined || seen === undefined || expected !== seen) {
      throw new CoatcheckError('login_person_mismatch', {
        detail: `providers.${latest.provider}: its claim ${claim} is missing, unverified, or not that of ${first.provider}`,
        shown: { provider: latest.provider },
      });
    }
  }

  #userOf(answers: readonly Authorization[]): User {
    const first = answers[0];
    if (first === undefined || first.tokens.subject === '') {
      throw new CoatcheckError('provider_answer_invalid', {
        detail: 'the first provider of the login named nobody',
      });
    }
    const kept = this.#options.claims.flatMap((name): [string, string][] => {
      const value = Object.hasOwn(first.claims, name) ? first.claims[name] : undefined;
      return value === undefined ? [] : [[name, value]];
    });
    return { issuer: first.tokens.issuer, subject: first.tokens.subject, claims: new Map(kept) };
  }
}

interface Progress
  extends Pick<Transaction, 'returnTo' | 'answers' | 'sessionId' | 'startedAtMs' | 'personEpoch'> {
  readonly loginSecret: LoginSecret;
}

function progressOf({
  startedAtMs,
  personEpoch,
}: Progress | Transaction): Pick<Transaction, 'startedAtMs' | 'personEpoch'> {
  return { startedAtMs, ...(personEpoch === undefined ? {} : { personEpoch }) };
}

/** A claim's value, unless it is empty, or an e-mail address that the provider does not call verified where it speaks of that. */
function trusted({ claims }: Authorization, name: string): string | undefined {
  if (name === 'email' && (claims.email_verified ?? 'true') !== 'true') return undefined;
  return claims[name]?.normalize('NFC') || undefined;
}

/** 256 random bits; 43 characters, all of them allowed in a PKCE verifier (RFC 7636 §4.1). */
function randomText(): string {
  return randomBytes(32).toString('base64url');
}

/** Parameters whose repetition would let two readers of one callback see two different answers. */
const singleParameters = ['state', 'code', 'iss', 'error'];

/** Answers of a kind that we never ask for: a JARM response, and tokens, which have no place in an address (RFC 9700 §2.1.2). */
const foreignParameters = ['response', 'id_token', 'access_token', 'token'];

/** The state of a callback. Refuses what is repeated, missing or not of our making, before the store is asked. */
function stateOf(query: string): string {
  const parameters = new URLSearchParams(query);
  const repeated = singleParameters.find((name) => parameters.getAll(name).length > 1);
  if (repeated !== undefined) {
    throw new CoatcheckError('login_callback_invalid', {
      detail: `the callback repeats the parameter ${repeated}`,
    });
  }
  const foreign = foreignParameters.find((name) => parameters.has(name));
  if (foreign !== undefined) {
    throw new CoatcheckError('login_callback_invalid', {
      detail: `the callback has the parameter ${foreign}`,
    });
  }
  const state = parameters.get('state');
  if (state === null || !/^[\w-]{43}$/.test(state)) {
    throw new CoatcheckError('login_callback_invalid', { detail: 'the callback has no state of ours' });
  }
  if (!parameters.has('code') && !parameters.has('error')) {
    throw new CoatcheckError('login_callback_invalid', { detail: 'the callback has neither code nor error' });
  }
  return state;
}
