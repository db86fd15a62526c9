// The page of the workbench. It holds no token: it asks the gateway, which adds the right one on the way.

const stripLength = 30;
const pollMs = 5_000;
const shapes = ['circle', 'square', 'diamond', 'hexagon', 'arch', 'cup', 'octagon'];

const byId = (id) => document.getElementById(id);

/** An element with text or children. */
const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

// --- Requests -------------------------------------------------------------------------------------------------------

const served = new Map();

/** Any request of this page: measured, and shown in the strip. */
const call = async (method, path, body) => {
  const beganMs = performance.now();
  const init = { method, headers: { accept: 'application/json' }, cache: 'no-store' };
  if (body !== undefined) {
    init.headers['content-type'] = 'application/json';
    init.body = JSON.stringify(body);
  }
  let answer;
  try {
    const response = await fetch(path, init);
    answer = {
      status: response.status,
      ok: response.ok,
      replica: response.headers.get('coatcheck-replica') ?? 'unknown',
      retryAfter: response.headers.get('retry-after'),
      content: await contentOf(response),
    };
  } catch (error) {
    // The one thing that fetch throws for here: no answer at all.
    if (!(error instanceof TypeError)) throw error;
    answer = {
      status: 0,
      ok: false,
      replica: 'unknown',
      content: { title: 'The gateway cannot be reached' },
    };
  }
  answer.tookMs = performance.now() - beganMs;
  showInStrip(`${method} ${path}`, answer);
  return answer;
};

const contentOf = async (response) => {
  const text = await response.text();
  const json = /^application\/(problem\+)?json/.test(response.headers.get('content-type') ?? '');
  return json && text !== '' ? JSON.parse(text) : { text };
};

// --- Who answered ---------------------------------------------------------------------------------------------------

const numberOf = (replica) => Number(/(\d+)$/.exec(replica)?.[1] ?? 0);
const classOf = (replica) => {
  const number = numberOf(replica);
  return number >= 1 && number <= shapes.length ? `replica-${number}` : 'replica-other';
};
const tile = (replica) =>
  element(
    'span',
    { class: `tile ${classOf(replica)}`, 'aria-hidden': 'true' },
    `${numberOf(replica) || '?'}`,
  );

const showInStrip = (what, answer) => {
  const took = `${Math.round(answer.tookMs)} ms`;
  const failed = answer.status === 0 || answer.status >= 500;
  const mark = failed
    ? element('span', { class: 'tile failed', 'aria-hidden': 'true' }, '!')
    : tile(answer.replica);
  const label = `${what}: ${answer.status || 'no answer'} from ${answer.replica}, ${took}`;
  mark.title = label;
  const strip = byId('strip');
  strip.append(element('li', {}, mark, element('span', { class: 'visually-hidden' }, label)));
  while (strip.children.length > stripLength) strip.firstElementChild.remove();
  if (failed) return;
  served.set(answer.replica, (served.get(answer.replica) ?? 0) + 1);
  const names = [...served.keys()].sort((a, b) => numberOf(a) - numberOf(b));
  byId('legend').replaceChildren(
    ...names.map((name) => {
      const shape = shapes[numberOf(name) - 1] ?? 'leaf';
      return element('li', {}, tile(name), `${name}, ${shape}: ${served.get(name)}`);
    }),
  );
};

// --- Answers --------------------------------------------------------------------------------------------------------

const signInPath = '/auth/login?return_to=/';

const field = (name, value) => element('div', {}, element('dt', {}, name), element('dd', {}, value));

/** What a person can do about a refused request: from the status alone, never from a text. */
const nextStep = (answer) => {
  if (answer.status === 401)
    return element('p', {}, element('a', { href: signInPath }, 'Sign in again'), ' to go on.');
  if (answer.status === 503) {
    const wait = answer.retryAfter === null ? 'a moment' : `${answer.retryAfter} s`;
    return element('p', {}, `You are still signed in. Try again in ${wait}.`);
  }
  if (answer.status === 0 || answer.status >= 500)
    return element('p', {}, 'Try again: another replica will answer.');
  return element('p', {}, 'Reload the page and try again.');
};

const facts = (answer) => {
  const list = element('dl', {}, field('Status', `${answer.status || 'no answer'}`));
  if (answer.content.seen) list.append(field('Seen there as', answer.content.seen.subject));
  list.append(field('Served by', answer.replica), field('Took', `${Math.round(answer.tookMs)} ms`));
  return list;
};

const showAnswer = (title, answer) => {
  const panel = byId('answer');
  panel.classList.toggle('bad', !answer.ok);
  const children = [
    element('h3', {}, answer.ok ? title : (answer.content.title ?? `${title} failed`)),
    facts(answer),
  ];
  if (answer.ok) {
    const body = element('pre', { tabindex: '0', 'aria-label': 'Body of the answer' });
    body.textContent = JSON.stringify(answer.content, null, 2);
    children.push(body);
  } else {
    if (answer.content.detail) children.push(element('p', {}, answer.content.detail));
    children.push(nextStep(answer));
  }
  panel.replaceChildren(...children);
};

/** Runs an action once at a time; the button keeps the focus. */
const onClick = (button, action) => {
  button.addEventListener('click', async () => {
    if (button.getAttribute('aria-disabled') === 'true') return;
    button.setAttribute('aria-disabled', 'true');
    await action();
    button.removeAttribute('aria-disabled');
  });
};

let sample;

/** The notebook's first sample, asked for once. */
const findSample = async () => {
  if (sample !== undefined) return { ok: true };
  const answer = await call('GET', '/api/eln/entities');
  sample = answer.content.entities?.find((entity) => entity.type === 'sample');
  return answer;
};

onClick(byId('write-back'), async () => {
  const found = await findSample();
  if (!found.ok) return showAnswer('The notebook', found);
  const status = `checked ${new Date().toLocaleTimeString()}`;
  const answer = await call('PATCH', `/api/eln/entities/${sample.id}/properties`, { status });
  showAnswer(`Written to “${sample.name}” in the notebook`, answer);
});

onClick(byId('call-internal'), async () => {
  showAnswer('The internal system knows you', await call('GET', '/api/systems/employees/me'));
});

onClick(byId('send-ten'), async () => {
  const answers = [];
  while (answers.length < 10) {
    const path = answers.length % 2 === 0 ? '/api/systems/employees/me' : '/api/eln/entities';
    answers.push(await call('GET', path));
  }
  const refused = answers.find((answer) => !answer.ok);
  if (refused) return showAnswer('10 requests', refused);
  const replicas = new Set(answers.map((answer) => answer.replica));
  const meanMs = answers.reduce((sum, answer) => sum + answer.tookMs, 0) / answers.length;
  byId('answer').classList.remove('bad');
  byId('answer').replaceChildren(
    element('h3', {}, '10 requests, 10 answers'),
    element(
      'dl',
      {},
      field('Answered', '10 of 10'),
      field('By', `${replicas.size} ${replicas.size === 1 ? 'replica' : 'replicas'}`),
      field('Mean time', `${meanMs.toFixed(1)} ms`),
    ),
    element('p', { class: 'hint' }, 'One session, in turn to the notebook and to the internal system.'),
  );
});

// --- Session --------------------------------------------------------------------------------------------------------

let session;

const countdown = (iso) => {
  if (iso === null) return 'not known';
  const seconds = Math.round((Date.parse(iso) - Date.now()) / 1000);
  if (seconds <= 0) return 'expired';
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${String(seconds % 60).padStart(2, '0')}`;
};

const stateTexts = {
  ok: 'ready',
  refreshing: 'being refreshed',
  'stale-until': 'ready, but refreshing fails',
  unavailable: 'cannot be refreshed now',
  'needs-login': 'sign in again',
};

const providerRow = ([name, provider]) => {
  const isGood = provider.state === 'ok' || provider.state === 'refreshing';
  const expires = provider.accessTokenExpiresAt;
  const time =
    expires === null ? element('span') : element('time', { datetime: expires, 'data-expires': expires });
  time.textContent = countdown(expires);
  return element(
    'tr',
    { 'data-provider': name },
    element('th', { scope: 'row' }, name, element('span', { class: 'scope' }, provider.scope)),
    element(
      'td',
      {},
      element('span', { class: `state ${isGood ? 'good' : 'bad'}` }, stateTexts[provider.state]),
    ),
    element('td', {}, time),
    element('td', {}, provider.refreshable ? 'yes' : 'no'),
  );
};

const showSession = () => {
  const signedIn = session !== undefined;
  byId('signed-out').hidden = signedIn;
  byId('signed-in').hidden = !signedIn;
  byId('person').hidden = !signedIn;
  if (!signedIn) return;
  const { claims, subject } = session.user;
  byId('person-name').textContent = claims.name ?? subject;
  byId('person-email').textContent = claims.email ?? '';
  byId('providers').replaceChildren(...Object.entries(session.providers).map(providerRow));
};

const showBanner = (answer) => {
  const banner = byId('banner');
  banner.hidden = answer === undefined;
  banner.replaceChildren(
    ...(answer ? [element('strong', {}, answer.content.title ?? 'Something failed'), nextStep(answer)] : []),
  );
};

const loadSession = async () => {
  const answer = await call('GET', '/auth/session');
  if (answer.ok || answer.status === 401) {
    // 401 is the gateway's plain answer to somebody who is not signed in. Anything else says nothing about the session.
    session = answer.ok ? answer.content : undefined;
    showBanner(undefined);
    showSession();
  } else {
    showBanner(answer);
  }
};

// --- Replicas -------------------------------------------------------------------------------------------------------

const stateText = { ready: 'serving', starting: 'coming back …', killed: 'killed' };
const replicaItems = new Map();

const replicaItem = (name) => {
  const state = element('span', { class: 'state' });
  const button = element('button', { type: 'button', 'aria-label': `Kill ${name}` }, 'Kill this replica');
  button.addEventListener('click', async () => {
    if (button.getAttribute('aria-disabled') === 'true') return;
    button.setAttribute('aria-disabled', 'true');
    const answer = await call('POST', '/workbench-control/kill', { replica: name });
    showAnswer(`${name} was killed. You are still signed in.`, answer);
    await loadReplicas();
  });
  const item = element('li', {}, tile(name), element('span', { class: 'name' }, name, state), button);
  byId('replicas').append(item);
  return { state, button };
};

const loadReplicas = async () => {
  const answer = await call('GET', '/workbench-control/replicas');
  if (!answer.ok) return;
  for (const { name, state } of answer.content.replicas) {
    if (!replicaItems.has(name)) replicaItems.set(name, replicaItem(name));
    const item = replicaItems.get(name);
    item.state.textContent = stateText[state];
    item.state.className = `state ${state === 'ready' ? 'good' : 'bad'}`;
    if (state === 'ready') item.button.removeAttribute('aria-disabled');
    else item.button.setAttribute('aria-disabled', 'true');
  }
};

// --- Life -----------------------------------------------------------------------------------------------------------

const refresh = async () => {
  if (document.hidden) return;
  await loadSession();
  if (session !== undefined) await loadReplicas();
};

setInterval(() => {
  for (const time of document.querySelectorAll('[data-expires]'))
    time.textContent = countdown(time.dataset.expires);
}, 1_000);
setInterval(refresh, pollMs);
document.addEventListener('visibilitychange', refresh);
await refresh();
