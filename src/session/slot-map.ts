import { CoatcheckError } from '../errors.ts';

/** How many slots a Redis Cluster has. */
export const slotCount = 16_384;

const crcTable: Uint16Array = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit += 1) crc = (crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1) & 0xffff;
  return crc;
});

/** The slot of a key: CRC-16/XMODEM of what is within its first braces, if anything is, else of the whole key. */
export function slotOf(key: string): number {
  const open = key.indexOf('{');
  const close = open === -1 ? -1 : key.indexOf('}', open + 1);
  let crc = 0;
  for (const byte of Buffer.from(close > open + 1 ? key.slice(open + 1, close) : key)) {
    crc = ((crc << 8) ^ (crcTable[(crc >> 8) ^ byte] ?? 0)) & 0xffff;
  }
  return crc % slotCount;
}

/** One node of a cluster. */
export interface ClusterNode {
  readonly host: string;
  readonly port: number;
}

/** The name under which a node is known. */
export function nodeName({ host, port }: ClusterNode): string {
  return `${host}:${port}`;
}

/**
 * The primary of each slot, from the answer to `CLUSTER SLOTS`. A node that does not know its own host is called by that
 * of `asked`. Throws `store_unavailable` where the answer is none.
 */
export function readSlots(reply: unknown, asked: ClusterNode): readonly (ClusterNode | undefined)[] {
  const owners = new Array<ClusterNode | undefined>(slotCount).fill(undefined);
  for (const range of Array.isArray(reply) ? reply : []) {
    const [from, to, primary] = Array.isArray(range) ? range : [];
    const [host, port] = Array.isArray(primary) ? primary : [];
    const known = host === null || String(host) === '' ? asked.host : String(host);
    if (typeof from !== 'number' || typeof to !== 'number' || typeof port !== 'number' || known === '?')
      continue;
    owners.fill({ host: known, port }, from, to + 1);
  }
  if (owners.some((owner) => owner !== undefined)) return owners;
  throw new CoatcheckError('store_unavailable', {
    detail: `Redis at ${nodeName(asked)}: it knows of no cluster slots`,
  });
}

/** Where a cluster sends a command instead. */
export interface Redirection extends ClusterNode {
  /** `ASK`: this once. `MOVED`: from now on. */
  readonly kind: 'ASK' | 'MOVED';
  readonly slot: number;
}

/** The redirection in an error reply, `MOVED 3999 10.0.0.1:6381`; an empty host is that of `asked`. */
export function readRedirection(reply: string, asked: ClusterNode): Redirection | undefined {
  const [, kind, slot, host, port] = /^(ASK|MOVED) (\d{1,5}) (.*):(\d{1,5})$/.exec(reply) ?? [];
  if (kind !== 'ASK' && kind !== 'MOVED') return undefined;
  return { kind, slot: Number(slot), host: host || asked.host, port: Number(port) };
}
