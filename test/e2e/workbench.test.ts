/**
 * The demonstration in a real browser: two sign-ins, two systems, replicas that die. What the page receives is kept
 * and searched for secrets. Pictures for the documentation are taken on the way.
 */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Browser,
  type BrowserContext,
  type Cookie,
  chromium,
  type Page,
  type Response,
} from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { rootDirectory } from '../../demo/child.ts';
import { type Fleet, startFleet } from '../../demo/fleet.ts';

const imagesDirectory = join(rootDirectory, 'docs', 'images');
const launchArguments =
  '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync';

/** The browser: `CHROMIUM`, or where distributions put it. */
function chromiumPath(): string {
  const places = [
    process.env.CHROMIUM,
    '/usr/bin/chromium',
    '/usr/bin/chromium-browser',
    '/usr/bin/google-chrome',
  ];
  const found = places.find((place) => place !== undefined && existsSync(place));
  if (found === undefined)
    throw new Error('no Chromium: install it, or name it in the environment variable CHROMIUM');
  return found;
}

/** Keeps pictures as they are, so that tests leave the tree clean, unless they are wanted anew. */
async function picture(page: Page, name: string): Promise<void> {
  const path = join(imagesDirectory, name);
  if (existsSync(path) && process.env.UPDATE_IMAGES !== '1') return;
  await mkdir(imagesDirectory, { recursive: true });
  await page.screenshot({ path, animations: 'disabled' });
}

let fleet: Fleet;
let browser: Browser;
beforeAll(async () => {
  [fleet, browser] = await Promise.all([
    startFleet(),
    chromium.launch({ executablePath: chromiumPath(), args: launchArguments.split(' ') }),
  ]);
});
afterAll(async () => {
  await browser?.close();
  await fleet?.close();
});

/** What the gateway's origin has sent to the browser. */
interface Received {
  readonly bodies: string[];
  readonly headers: string[];
  readonly urls: string[];
}

function listen(page: Page): Received {
  const received: Received = { bodies: [], headers: [], urls: [] };
  page.on('request', (request) => received.urls.push(request.url()));
  page.on('response', (response: Response) => {
    if (!response.url().startsWith(fleet.url)) return;
    void response.headersArray().then((all) => {
      received.headers.push(...all.map(({ name, value }) => `${name}: ${value}`));
    });
    // A redirect has no body to read.
    if (response.status() < 300 || response.status() >= 400) {
      void response.text().then(
        (text) => received.bodies.push(text),
        () => {}, // the page has moved on
      );
    }
  });
  return received;
}

async function choose(page: Page, title: string, person: string): Promise<void> {
  await page.getByRole('heading', { name: title }).waitFor();
  await page.getByRole('button', { name: person }).click();
}

async function signIn(page: Page, person = 'Ada Lovelace'): Promise<void> {
  await page.goto(fleet.url);
  await page.getByRole('link', { name: 'Sign in' }).click();
  await choose(page, 'Corporate identity', person);
  await choose(page, 'Lab notebook', person);
  await page.getByRole('heading', { name: 'Your tokens' }).waitFor();
}

const answerOf = (page: Page): ReturnType<Page['locator']> => page.locator('#answer');
const replicasInStrip = async (page: Page): Promise<Set<string>> => {
  const labels = await page.locator('#strip li').allTextContents();
  return new Set(labels.flatMap((label) => /replica-\d+/.exec(label)?.[0] ?? []));
};
const sessionCookie = async (context: BrowserContext): Promise<Cookie | undefined> =>
  (await context.cookies(fleet.url)).find(({ name }) => name === '__Host-coatcheck');

describe('the workbench in a browser', () => {
  let context: BrowserContext;
  let page: Page;
  let received: Received;
  beforeAll(async () => {
    context = await browser.newContext({ viewport: { width: 1180, height: 980 }, deviceScaleFactor: 2 });
    page = await context.newPage();
    received = listen(page);
  });
  afterAll(() => context?.close());

  test('without a session it offers to sign in', async () => {
    await page.goto(fleet.url);
    await page.getByRole('link', { name: 'Sign in' }).waitFor();
    expect(await page.getByRole('heading', { name: 'Your tokens' }).isVisible()).toBe(false);
    await picture(page, 'signed-out.png');
  });

  test('S-043 a sign-in at two other sites comes back with Lax cookies', async () => {
    await signIn(page);
    expect(await page.locator('#person').textContent()).toContain('Ada Lovelace');
    expect(await sessionCookie(context)).toMatchObject({
      sameSite: 'Lax',
      secure: true,
      httpOnly: true,
      path: '/',
    });
  });

  test('S-096 neither code nor state is left in the address after the sign-in', async () => {
    expect(page.url()).toBe(`${fleet.url}/`);
    expect(received.urls.some((url) => url.includes('code='))).toBe(true);
    const last = received.urls.at(-1) ?? '';
    expect(last).not.toMatch(/[?&](code|state)=/);
    expect(await page.evaluate('document.referrer')).not.toMatch(/[?&](code|state)=/);
  });

  test('both providers are shown, ready', async () => {
    const rows = page.locator('#providers tr');
    expect(await rows.count()).toBe(2);
    expect((await rows.allTextContents()).join('\n')).toMatch(
      /identity[\s\S]*ready[\s\S]*notebook[\s\S]*ready/,
    );
    expect(await page.locator('#providers time').allTextContents()).toEqual([
      expect.stringMatching(/^\d+:\d\d$/),
      expect.stringMatching(/^\d+:\d\d$/),
    ]);
  });

  test('the notebook and the internal system each see the person by their own name for them', async () => {
    const ada = fleet.simulators.people.find(({ username }) => username === 'ada');
    await page.getByRole('button', { name: 'Write back to the notebook' }).click();
    await answerOf(page).getByRole('heading', { name: 'Written to' }).waitFor();
    expect(await answerOf(page).textContent()).toContain(ada?.subjects.notebook);
    await page.getByRole('button', { name: 'Call the internal system' }).click();
    await answerOf(page).getByRole('heading', { name: 'The internal system knows you' }).waitFor();
    expect(await answerOf(page).textContent()).toContain(ada?.subjects.identity);
  });

  test('requests of one session are answered by every replica', async () => {
    await page.getByRole('button', { name: 'Send 10 requests' }).click();
    await answerOf(page).getByRole('heading', { name: '10 requests, 10 answers' }).waitFor();
    expect([...(await replicasInStrip(page))].sort()).toEqual(['replica-1', 'replica-2', 'replica-3']);
    await picture(page, 'signed-in.png');
  });

  test('a killed replica signs nobody out', async () => {
    const before = await sessionCookie(context);
    await page.getByRole('button', { name: 'Kill replica-2' }).click();
    await answerOf(page).getByRole('heading', { name: 'replica-2 was killed' }).waitFor();
    expect(fleet.replicas().find(({ name }) => name === 'replica-2')?.state).not.toBe('ready');
    await page.getByRole('button', { name: 'Send 10 requests' }).click();
    await answerOf(page).getByRole('heading', { name: '10 requests, 10 answers' }).waitFor();
    expect(await answerOf(page).textContent()).toContain('2 replicas');
    await picture(page, 'after-kill.png');
    expect(await sessionCookie(context)).toEqual(before);
    expect(await page.getByRole('link', { name: 'Sign in' }).isVisible()).toBe(false);
  });

  test('the killed replica comes back and serves', async () => {
    await vi.waitFor(
      () => expect(fleet.replicas().every(({ state }) => state === 'ready')).toBe(true),
      25_000,
    );
    await page.getByRole('button', { name: 'Send 10 requests' }).click();
    await vi.waitFor(async () => expect(await answerOf(page).textContent()).toContain('3 replicas'), 10_000);
  });

  test('S-059 no token and no secret reaches the browser', async () => {
    const { simulators } = fleet;
    const everything = [...received.bodies, ...received.headers].join('\n');
    expect(received.bodies.length).toBeGreaterThan(20);
    expect(everything).toContain('employee-100001');
    expect(everything).not.toMatch(/eyJ[\w-]+\.[\w-]+\.[\w-]+/);
    expect(everything).not.toMatch(/"?(access|refresh|id)_?token"?\s*[:=]/i);
    for (const { clientSecret } of [simulators.identity, simulators.notebook, simulators.facade]) {
      expect(everything).not.toContain(clientSecret);
    }
    const storage = await page.evaluate(
      'JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie])',
    );
    expect(storage).toBe('[{},{},""]');
    const cookies = await context.cookies(fleet.url);
    expect(
      cookies.every(
        ({ name, httpOnly, secure }) =>
          /^__Host-coatcheck(-login-[\w-]{8})?$/.test(name) && httpOnly && secure,
      ),
    ).toBe(true);
    expect(Math.max(...cookies.map(({ value }) => value.length))).toBeLessThan(64);
  });

  test('signing out ends the session for good', async () => {
    const before = await sessionCookie(context);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('link', { name: 'Sign in' }).waitFor();
    expect(await sessionCookie(context)).toBeUndefined();
    const replay = await fetch(`${fleet.url}/auth/session`, {
      headers: { cookie: `__Host-coatcheck=${before?.value}` },
    });
    expect(replay.status).toBe(401);
  });
});

describe('a sign-in', () => {
  test('as two different people is refused', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(fleet.url);
    await page.getByRole('link', { name: 'Sign in' }).click();
    await choose(page, 'Corporate identity', 'Ada Lovelace');
    const refused = page.waitForResponse((response) => response.url().includes('/auth/callback/notebook'));
    await choose(page, 'Lab notebook', 'Gregor Mendel');
    expect((await refused).status()).toBe(403);
    expect(await sessionCookie(context)).toBeUndefined();
    await context.close();
  });

  test('leads back to a page that needs a session and was opened without one', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(`${fleet.url}/workbench-control/replicas`);
    await choose(page, 'Corporate identity', 'Lise Meitner');
    await choose(page, 'Lab notebook', 'Lise Meitner');
    await page.waitForURL(`${fleet.url}/workbench-control/replicas`);
    expect(await page.textContent('body')).toContain('replica-1');
    await context.close();
  });

  test('uses no colour, width or mouse that a person may lack', async () => {
    const context = await browser.newContext({ viewport: { width: 360, height: 740 }, colorScheme: 'dark' });
    const page = await context.newPage();
    await signIn(page, 'Rosalind Franklin');
    const overflow = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
    expect(overflow).toBeLessThanOrEqual(0);
    await page.getByRole('button', { name: 'Call the internal system' }).focus();
    await page.keyboard.press('Enter');
    await answerOf(page).getByRole('heading', { name: 'The internal system knows you' }).waitFor();
    await context.close();
  });
});
