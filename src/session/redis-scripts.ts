import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { RedisArgument } from '@redis/client';
import { CoatcheckError } from '../errors.ts';
import { type Redis, replyCode } from './redis.ts';
import type { ExtendResult, LockResult, ReplaceResult } from './store.ts';

/** A script of `lua/`: what it takes besides its one key, and the words with which it can answer. */
export interface RedisScript<Argument extends string, Result extends string> {
  /** Name of its file, without `.lua`. */
  readonly name: string;
  readonly source: string;
  /** SHA-1 of the source, by which the server knows it. */
  readonly sha: string;
  /** What ARGV holds, in order. */
  readonly parameters: readonly Argument[];
  readonly results: readonly Result[];
}

/** What a script answered: its word, and what it said besides. */
export interface ScriptResult<Result extends string> {
  readonly result: Result;
  readonly value: unknown;
}

/** Every script, by verb. */
export const redisScripts: {
  readonly replace: RedisScript<'now' | 'expected' | 'record', ReplaceResult['kind']>;
  readonly extend: RedisScript<'now' | 'prefix' | 'idle' | 'minimum', ExtendResult['kind']>;
  readonly lock: RedisScript<'owner' | 'time', LockResult['kind']>;
  readonly renewLock: RedisScript<'owner' | 'time' | 'memory', 'renewed' | 'lost'>;
  readonly unlock: RedisScript<'owner' | 'outcome', 'unlocked' | 'lost'>;
  readonly indexAdd: RedisScript<'now' | 'end' | 'member', 'added'>;
  readonly indexEpoch: RedisScript<'now', 'told'>;
  readonly indexClose: RedisScript<'now' | 'lifetime', 'closed'>;
  readonly indexRemove: RedisScript<'member' | 'end', 'removed' | 'kept'>;
  readonly indexList: RedisScript<'now', 'listed'>;
} = {
  replace: script('replace', ['now', 'expected', 'record'], ['replaced', 'conflict', 'gone']),
  extend: script('extend', ['now', 'prefix', 'idle', 'minimum'], ['extended', 'fresh', 'gone']),
  lock: script('lock', ['owner', 'time'], ['taken', 'held']),
  renewLock: script('renew-lock', ['owner', 'time', 'memory'], ['renewed', 'lost']),
  unlock: script('unlock', ['owner', 'outcome'], ['unlocked', 'lost']),
  indexAdd: script('index-add', ['now', 'end', 'member'], ['added']),
  indexEpoch: script('index-epoch', ['now'], ['told']),
  indexClose: script('index-close', ['now', 'lifetime'], ['closed']),
  indexRemove: script('index-remove', ['member', 'end'], ['removed', 'kept']),
  indexList: script('index-list', ['now'], ['listed']),
};

/**
 * Runs a script on one key. The server forgets scripts at a restart or failover: then the source is sent along.
 * Every answer begins with the key, so one that belongs to another command is noticed: a fault, and the end of that
 * connection.
 */
export async function runScript<Argument extends string, Result extends string>(
  redis: Redis,
  { sha, source, parameters, results }: RedisScript<Argument, Result>,
  call: { readonly key: string; readonly values: Readonly<Record<Argument, RedisArgument | number>> },
): Promise<ScriptResult<Result>> {
  const values = parameters.map((name) => argument(call.values[name]));
  const tail = ['1', call.key, ...values];
  const reply = await redis.send(['EVALSHA', sha, ...tail]).catch((fault: unknown) => {
    if (replyCode(fault) !== 'NOSCRIPT') throw fault;
    return redis.send(['EVAL', source, ...tail]);
  });
  const [key, word, value] = Array.isArray(reply) ? reply : [];
  const result = results.find((known) => known === String(word));
  if (result === undefined || String(key) !== call.key) throw strayReply(redis);
  return { result, value };
}

/** The fault of a reply that is not what was asked. Gives the connection up: every later reply would be suspect too. */
export function strayReply(redis: Redis): CoatcheckError {
  redis.discard();
  return new CoatcheckError('store_unavailable', { detail: 'Redis: a reply did not belong to its command' });
}

function argument(value: RedisArgument | number): RedisArgument {
  return typeof value === 'number' ? value.toString() : value;
}

function script<Argument extends string, Result extends string>(
  name: string,
  parameters: readonly Argument[],
  results: readonly Result[],
): RedisScript<Argument, Result> {
  const source = readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8');
  return { name, source, sha: createHash('sha1').update(source).digest('hex'), parameters, results };
}
