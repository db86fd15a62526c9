import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseConfig } from '../src/config.ts';

const readme = readFileSync('README.md', 'utf8');

test('the configuration in the README is one that the gateway takes', () => {
  const [, text = ''] = /```yaml\n([\s\S]*?)```/.exec(readme) ?? [];
  // Its secrets lie in files that only a deployment has.
  const inline = text.replaceAll(
    /(s|S)ecretFile: [\w/-]+/g,
    `$1ecret: ${Buffer.alloc(32, 7).toString('base64')}`,
  );
  const config = parseConfig(parse(inline), { STORE_PASSWORD: 'x' });
  expect(config.login).toEqual(['identity', 'notebook']);
});

test('every command and page that the README names is there', () => {
  const scripts = Object.keys(
    (JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: object }).scripts,
  );
  for (const [, script = ''] of readme.matchAll(/npm run ([\w:]+)/g)) expect(scripts).toContain(script);
  for (const [, path = ''] of readme.matchAll(/\]\(([^)#]+)\)|(?<=vitest run --project \w+ )([\w./-]+)/g)) {
    if (path !== '' && !path.endsWith('/')) expect(readFileSync(path).length).toBeGreaterThan(0);
  }
});
