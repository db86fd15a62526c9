/** A TCP proxy before Redis that mixes up replies, as a broken client library or middlebox would. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** What becomes of one reply. A held one follows the next; a dropped one never comes; bytes take its place. */
export type ReplyFault = 'pass' | 'duplicate' | 'hold' | 'drop' | Buffer;

/** A running proxy. */
export interface ReplyProxy {
  readonly url: string;
  /** How many connections there have been. */
  readonly connections: number;
  /** Asked for every reply after the handshake. Default: all pass. */
  fault: (reply: Buffer) => ReplyFault;
  close(): Promise<void>;
}

/** Replies to HELLO and to twice CLIENT SETINFO, with which the client begins. */
const handshakeReplies = 3;

/** Starts a proxy before the server on `port`. */
export async function startReplyProxy(port: number): Promise<ReplyProxy> {
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer((client) => {
    connections++;
    const upstream = connect(port, '127.0.0.1');
    const mangle = mangler((reply) => proxy.fault(reply));
    client.on('data', (bytes) => upstream.write(bytes));
    upstream.on('data', (bytes) => client.write(mangle(bytes)));
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('No port was given');
  const proxy: ReplyProxy = {
    url: `redis://127.0.0.1:${address.port}`,
    get connections() {
      return connections;
    },
    fault: () => 'pass',
    async close() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
  return proxy;
}

/** Cuts a stream of bytes into whole replies; what is incomplete waits for the rest. */
export function replySplitter(): (bytes: Buffer) => Buffer[] {
  let pending: Buffer = Buffer.alloc(0);
  return (bytes) => {
    pending = pending.length === 0 ? bytes : Buffer.concat([pending, bytes]);
    const replies: Buffer[] = [];
    for (let end = replyEnd(pending, 0); end !== undefined; end = replyEnd(pending, 0)) {
      replies.push(pending.subarray(0, end));
      pending = pending.subarray(end);
    }
    return replies;
  };
}

function mangler(fault: (reply: Buffer) => ReplyFault): (bytes: Buffer) => Buffer {
  const split = replySplitter();
  let held: Buffer[] = [];
  let seen = 0;
  return (bytes) => {
    const out: Buffer[] = [];
    for (const reply of split(bytes)) {
      const what = seen++ < handshakeReplies ? 'pass' : fault(reply);
      if (what === 'drop') continue;
      if (what === 'hold') {
        held.push(reply);
        continue;
      }
      if (Buffer.isBuffer(what)) out.push(what);
      else out.push(reply, ...(what === 'duplicate' ? [reply] : []));
      out.push(...held);
      held = [];
    }
    return Buffer.concat(out);
  };
}

/** Where the reply (RESP 3) that begins at `start` ends; undefined while it is incomplete. */
function replyEnd(buffer: Buffer, start: number): number | undefined {
  const lineEnd = buffer.indexOf('\r\n', start);
  if (lineEnd === -1) return undefined;
  const type = String.fromCharCode(buffer[start] ?? 0);
  const count = Number(buffer.toString('latin1', start + 1, lineEnd));
  let end = lineEnd + 2;
  if ('$=!'.includes(type) && count >= 0) {
    end += count + 2;
    return end <= buffer.length ? end : undefined;
  }
  const items = '*~>'.includes(type) ? count : type === '%' ? 2 * count : 0;
  for (let item = 0; item < items; item++) {
    const next = replyEnd(buffer, end);
    if (next === undefined) return undefined;
    end = next;
  }
  return end;
}
