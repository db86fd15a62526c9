import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import {
  type AddressInfo,
  connect,
  createServer as createNetServer,
  type Server as NetServer,
  type Socket,
} from 'node:net';

/** One request as an upstream saw it. */
export interface SeenRequest {
  readonly method: string;
  /** The request target, byte for byte. */
  readonly url: string;
  readonly rawHeaders: readonly string[];
  readonly headers: IncomingMessage['headers'];
}

/** An upstream that remembers what it was asked. */
export interface FakeUpstream {
  readonly url: string;
  readonly seen: SeenRequest[];
  /** Replaces the answer; default: 200 `ok`. */
  answer: RequestListener;
  close(): Promise<void>;
}

/** Starts an HTTP upstream on loopback. */
export async function startFakeUpstream(basePath = ''): Promise<FakeUpstream> {
  const seen: SeenRequest[] = [];
  const server: Server = createServer((request, response) => {
    const { method = '', url = '', rawHeaders, headers } = request;
    seen.push({ method, url, rawHeaders, headers });
    fake.answer(request, response);
  });
  const port = await listen(server);
  const fake: FakeUpstream = {
    url: `http://127.0.0.1:${port}${basePath}`,
    seen,
    answer: (request, response) => {
      request.resume();
      response.end('ok');
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return fake;
}

/** An upstream of bare sockets, for answers that no HTTP library would give. */
export interface RawUpstream {
  readonly url: string;
  readonly sockets: Set<Socket>;
  close(): Promise<void>;
}

/** Starts a TCP server that hands each request head (and whatever came with it) to `onRequest`. */
export async function startRawUpstream(
  onRequest: (socket: Socket, head: string) => void,
): Promise<RawUpstream> {
  const sockets = new Set<Socket>();
  const server: NetServer = createNetServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const head = text.slice(0, end + 4);
        text = text.slice(end + 4);
        onRequest(socket, head);
      }
    });
  });
  const port = await listen(server);
  return {
    url: `http://127.0.0.1:${port}`,
    sockets,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function listen(server: NetServer): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** Writes bytes to a port and gives everything that came back until the other side closed. */
export async function exchangeBytes(port: number, bytes: string | Buffer): Promise<string> {
  return await new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const socket = connect(port, '127.0.0.1');
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')));
    socket.write(bytes);
  });
}
