import { Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { CoatcheckError } from './errors.ts';
import { issueTicket } from './session/ticket.ts';
import { createTelemetry, logEvents, redact, type Telemetry } from './telemetry.ts';

function capture(level = 'debug'): { telemetry: Telemetry; lines: string[] } {
  const lines: string[] = [];
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString());
      done();
    },
  });
  return { telemetry: createTelemetry({ level, destination }), lines };
}

test('S-135 whatever stands in a field, an event is one line of JSON that says what it was told', () => {
  const hostile = [
    'a\nb',
    'a\r\n{"level":"info","event":"session.created"}',
    '"}\n{"level":"error"',
    '\u001b[31mred\u001b[0m',
    '\u0000\u0008\u007f\u009b31m',
    '\u2028\u2029',
    '\\',
    '\ud800',
  ];
  for (const text of hostile) {
    const { telemetry, lines } = capture();
    telemetry.log('gateway.fault', { why: text, error: new CoatcheckError('internal', { detail: text }) });
    expect(lines).toHaveLength(1);
    const [line = ''] = lines;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
    expect(line.trimEnd(), JSON.stringify(text)).not.toMatch(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/);
    const said = JSON.parse(line);
    expect([said.event, said.level]).toEqual(['gateway.fault', 'warn']);
    expect(said.why).toBe(text.replace('\ud800', '\ufffd'));
  }
});

test('S-133 what looks like a secret is taken out of the written line, wherever it stands', () => {
  const ticket = issueTicket().value;
  const jwt = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl';
  const said = [
    `cookie __Host-coatcheck=${ticket}`,
    `login ${ticket.replace('v1', 'l1')}`,
    `token ${jwt}`,
    '/auth/callback/identity?code=canary-code&state=canary-state&iss=x',
    '{"access_token":"canary-token","refresh_token": "canary-token"}',
    'client_secret=canary-secret',
    'authorization: Bearer canary-bearer',
    'authorization: basic Y2FuYXJ5',
    'redis://user:canary-password@127.0.0.1:6379',
    'rediss://:canary-password@sessions.example.com',
  ];
  for (const why of said) {
    const { telemetry, lines } = capture();
    telemetry.log('gateway.fault', { why });
    expect(lines.join(''), why).toContain('[redacted]');
    expect(lines.join(''), why).not.toMatch(/canary|Y2FuYXJ5/);
    expect(lines.join(''), why).not.toContain(ticket.slice(3));
    expect(lines.join(''), why).not.toContain(jwt.slice(20));
    expect(() => JSON.parse(lines.join(''))).not.toThrow();
  }
});

test('what is no secret is written as it is', () => {
  const line =
    '{"event":"login.failed","error":{"code":"login_expired","detail":"state of things: v1 of 2"}}';
  expect(redact(line)).toBe(line);
});

test('S-133 of a foreign error neither message nor properties are written, only names, codes and frames', () => {
  const { telemetry, lines } = capture();
  const root = Object.assign(new TypeError('canary-root'), { code: 'ERR_X', body: 'canary-body' });
  const foreign = new Error('canary-message\n    at canary-line (canary.js:1:1)', { cause: root });
  telemetry.log('gateway.defect', { error: foreign });
  telemetry.log('login.failed', { error: new CoatcheckError('provider_unavailable', { cause: foreign }) });
  telemetry.log('gateway.defect', { error: 'canary-thrown' });
  expect(lines).toHaveLength(3);
  expect(lines.join('')).not.toContain('canary');
  const described = JSON.parse(lines[0] ?? '').error;
  expect(described).toMatchObject({ code: 'internal', causes: ['Error', 'TypeError ERR_X'] });
  expect(described.frames[0]).toMatch(/^at .*telemetry\.test\.ts:\d+:\d+/);
});

test('every event has a level, and only events of the configured level and above are written', () => {
  const order = ['debug', 'info', 'warn', 'error', 'silent'];
  for (const level of order) {
    const { telemetry, lines } = capture(level);
    for (const event of Object.keys(logEvents) as (keyof typeof logEvents)[]) telemetry.log(event);
    const expected = Object.values(logEvents).filter(([of]) => order.indexOf(of) >= order.indexOf(level));
    expect(lines.map((line) => JSON.parse(line).msg)).toEqual(expected.map(([, sentence]) => sentence));
  }
});

test('S-133 a session reference joins lines of one session under one key, and leads nowhere', () => {
  const referenceKey = Buffer.alloc(32, 1);
  const [a, b] = [createTelemetry({ referenceKey }), createTelemetry({ referenceKey })];
  const { sessionId } = issueTicket();
  const reference = a.sessionReference(sessionId);
  expect(reference).toMatch(/^[\w-]{12}$/);
  expect(b.sessionReference(sessionId)).toBe(reference);
  expect(createTelemetry({ referenceKey: Buffer.alloc(32, 2) }).sessionReference(sessionId)).not.toBe(
    reference,
  );
  expect(sessionId).not.toContain(reference);
});

test('redaction takes linear time', () => {
  const evil = ['://', ':', 'eyJ', 'code=', 'Bearer ', 'v1.', '://a:'].map((text) => text.repeat(40_000));
  for (const text of evil) {
    const started = performance.now();
    redact(text);
    expect(performance.now() - started, text.slice(0, 8)).toBeLessThan(1000);
  }
});
