import { connect, type Socket } from 'node:net';
import { seededRandom } from '../test/random.ts';

/** A server and the people who ask it. */
export interface HttpLoadOptions {
  readonly port: number;
  /** The Cookie header of each session. */
  readonly cookies: readonly string[];
  /** Keep-alive connections, each with one request under way. */
  readonly connections: number;
  readonly durationMs: number;
}

/**
 * Loads a server as fast as it answers and returns how many requests were answered per second. The client is as small as
 * it can be, so that it is the server that is measured, but it holds every answer against the person it belongs to.
 *
 * It never sleeps: on one machine a server pays for waking a sleeping client with each answer, and pays the more the less
 * it has to do. Each connection asks in an order of its own: in one order, all would catch up with whoever meets a session
 * that is in no cache, and meet every such session together.
 */
export async function loadHttp({ port, cookies, connections, durationMs }: HttpLoadOptions): Promise<number> {
  const questions = cookies.map((cookie, number) => questionOf(cookie, number));
  const began = performance.now();
  const endsAtMs = began + durationMs;
  const awake = stayAwake();
  const counts = await Promise.all(
    Array.from({ length: connections }, (_, index) =>
      ask(connect(port, '127.0.0.1'), { questions, endsAtMs, random: seededRandom(index + 1) }),
    ),
  ).finally(awake.end);
  const total = counts.reduce((sum, count) => sum + count, 0);
  return (total * 1000) / (performance.now() - began);
}

/** Lets the event loop look for answers all the time. */
function stayAwake(): { readonly end: () => void } {
  let next = setImmediate(function again() {
    next = setImmediate(again);
  });
  return { end: () => clearImmediate(next) };
}

interface Question {
  readonly request: Buffer;
  /** What a right answer has in its body. */
  readonly expected: string;
}

function questionOf(cookie: string, number: number): Question {
  return {
    request: Buffer.from(`GET / HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: ${cookie}\r\n\r\n`),
    expected: `{"subject":"person-${number}","tokenCharacters":2400}`,
  };
}

interface Asking {
  readonly questions: readonly Question[];
  /** Of `performance.now()`. */
  readonly endsAtMs: number;
  /** 0 to 1: which question is next. */
  readonly random: () => number;
}

/** Asks over one connection until time is up; how many answers there were. */
function ask(socket: Socket, { questions, endsAtMs, random }: Asking): Promise<number> {
  return new Promise((resolve, reject) => {
    let answers = 0;
    let received = '';
    let question: Question | undefined;
    const next = (): void => {
      question = questions[Math.floor(random() * questions.length)];
      if (question !== undefined) socket.write(question.request);
    };
    socket.setNoDelay(true).setEncoding('latin1');
    socket.once('connect', next).on('error', reject);
    socket.on('data', (text: string) => {
      received += text;
      if (!isComplete(received)) return;
      if (!received.startsWith('HTTP/1.1 200 ') || !received.endsWith(question?.expected ?? '\0')) {
        socket.destroy();
        return reject(new Error(`A wrong answer:\n${received}`));
      }
      received = '';
      answers += 1;
      if (performance.now() < endsAtMs) return next();
      socket.destroy();
      resolve(answers);
    });
  });
}

const lengthHeader = /\r\ncontent-length: (\d+)\r\n/i;

/** Whether head and body are there. Every contender tells its length. */
function isComplete(received: string): boolean {
  const headEnd = received.indexOf('\r\n\r\n');
  if (headEnd < 0) return false;
  const length = Number(lengthHeader.exec(received)?.[1] ?? Number.NaN);
  if (Number.isNaN(length)) throw new Error(`An answer without length:\n${received}`);
  return received.length >= headEnd + 4 + length;
}
