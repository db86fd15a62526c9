import { afterAll, beforeAll, expect, test } from 'vitest';
import { issueTicket } from '../../src/session/ticket.ts';
import { Person } from '../person.ts';
import { createSideCoatcheck, mintCookie, startSideGateway } from './side-gateway.ts';
import { startTappedWorld, type TappedWorld } from './wiretap.ts';

let world: TappedWorld;
beforeAll(async () => {
  world = await startTappedWorld();
});
afterAll(() => world.close());

const anyone = new Person();

test('S-040 S-041 S-043 every cookie that is ever set has the __Host- prefix and exactly these attributes', async () => {
  const { publicUrl } = world;
  const person = await world.signIn('ada');
  await person.signIn(publicUrl, '/auth/session');
  const paths = ['session', 'verify', 'nothing', 'callback/identity?code=x', 'callback/nobody?code=x', '%zz'];
  for (const path of paths) {
    await person.get(`${publicUrl}/auth/${path}`, { kind: 'navigation' });
    await person.get(`${publicUrl}/auth/${path}`);
  }
  await person.request('POST', `${publicUrl}/auth/logout`);
  const lines = world.headerValues('set-cookie');
  expect(lines.filter((line) => line.startsWith('__Host-coatcheck=v1.'))).toHaveLength(2);
  expect(
    lines.filter((line) => /^__Host-coatcheck-login-[\w-]{8}=l1\./.test(line)).length,
  ).toBeGreaterThanOrEqual(4);
  expect(lines.filter((line) => line.endsWith('; Max-Age=0'))).toHaveLength(2);
  for (const line of lines) {
    expect(line).toMatch(
      /^__Host-coatcheck(-login-[\w-]{8})?=[\w.-]*; Path=\/; Secure; HttpOnly; SameSite=Lax(; Max-Age=\d+)?$/,
    );
  }
});

test('S-042 a cookie of almost the right name is none, and two of the right name are refused', async () => {
  const person = await world.signIn('ada');
  const ticket = person.cookies('localhost').get('__Host-coatcheck') ?? '';
  const stranger = issueTicket().value;
  const status = async (cookie: string): Promise<number> =>
    (await anyone.get(`${world.publicUrl}/auth/session`, { headers: { cookie } })).status;
  expect(await status(`__Host-coatcheck=${ticket}`)).toBe(200);
  expect(await status(`__host-coatcheck=${stranger}; __Host-coatcheck=${ticket}`)).toBe(200);
  const refused = [
    `__Host-coatcheck=${stranger}; __Host-coatcheck=${ticket}`,
    `__Host-coatcheck=${ticket}; __Host-coatcheck=${stranger}`,
    `__Host-coatcheck=${ticket}; __Host-coatcheck=${ticket}`,
    `__host-coatcheck=${ticket}`,
    `__HOST-coatcheck=${ticket}`,
    `coatcheck=${ticket}`,
    `  __Host-coatcheck=${ticket}`.replace('  ', 'a=b;  '),
    `__Host-coatcheck-login=${ticket}`,
    `__Host-coatcheck="${ticket}"`,
  ];
  for (const cookie of refused) expect(await status(cookie), cookie).toBe(401);
});

test('S-044 S-045 the cookie has the same small size for the largest session, and holds none of it', async () => {
  const side = await createSideCoatcheck(world);
  const big = await startSideGateway(world, {});
  try {
    const claims = new Map(Array.from({ length: 50 }, (_, at) => [`claim-${at}`, 'x'.repeat(1000)] as const));
    const tokens = {
      issuer: 'https://identity.example.com',
      subject: 'ada',
      scope: Array.from({ length: 50 }, (_, at) => `scope:${at}`).join(' '),
      accessToken: 'a'.repeat(8000),
      idToken: 'i'.repeat(8000),
      refreshToken: 'r'.repeat(8000),
      accessTokenExpiresAtMs: Date.now() + 900_000,
    };
    const { ticket } = await side.sessions.create({
      user: { issuer: tokens.issuer, subject: 'ada', claims },
      tokenSets: new Map(['a', 'b', 'c', 'd'].map((name) => [name, tokens])),
    });
    const small = await mintCookie(side, 'ada');
    const large = `__Host-coatcheck=${ticket.value}`;
    expect([large.length, small.length]).toEqual([63, 63]);
    const answer = await anyone.get(`${big.address}/auth/session`, { headers: { cookie: large } });
    expect(answer.status).toBe(200);
    const content = Buffer.from(ticket.value.slice(3), 'base64url');
    expect(content).toHaveLength(32);
  } finally {
    await Promise.all([side.close(), big.close()]);
  }
});
