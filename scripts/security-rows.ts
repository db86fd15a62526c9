/** The page that says of each row of the security yardstick where it is tested, or why not. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

type Row = string | readonly [state: 'later' | 'not applicable', title: string, why: string];

const root = new URL('../', import.meta.url).pathname;

/** Row number → test files that carry it in a test's name. */
export function testedRows(): Map<string, readonly string[]> {
  const rows = new Map<string, string[]>();
  for (const folder of ['src', 'sim', 'test', 'demo']) {
    const files = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' });
    for (const file of files
      .filter((name) => name.endsWith('.test.ts') || name === 'store-contract.ts')
      .sort()) {
      const text = readFileSync(join(root, folder, file), 'utf8');
      // A test's name is the only text that begins with a row's number.
      const names = text.matchAll(/['"`](S-\d{3}\b[^'"`\n]*)/g);
      const numbers = [...names].flatMap(([, name = '']) => name.match(/S-\d{3}/g) ?? []);
      for (const number of new Set(numbers))
        rows.set(number, [...(rows.get(number) ?? []), `${folder}/${file}`]);
    }
  }
  return rows;
}

/** The page. Throws where a row claims a test that does not exist. */
export function securityRowsPage(): string {
  const rows = Object.entries(
    JSON.parse(readFileSync(join(root, 'docs/security-rows.json'), 'utf8')) as Record<string, Row>,
  );
  const tested = testedRows();
  const lines = rows.map(([number, row]) => {
    const files = tested
      .get(number)
      ?.map((file) => `[${file.split('/').at(-1)}](../${file})`)
      .join(', ');
    if (typeof row === 'string') {
      if (files === undefined)
        throw new Error(`docs/security-rows.json: ${number} has no test that carries its number`);
      return `| ${number} | ${row} | tested | ${files} |`;
    }
    const [state, title, why] = row;
    return `| ${number} | ${title} | ${files === undefined ? state : 'partly tested'} | ${why}${files === undefined ? '' : `; ${files}`} |`;
  });
  const count = (state: string): number => lines.filter((line) => line.includes(`| ${state} |`)).length;
  return `# Security rows

The yardstick that we hold ourselves to: ${rows.length} requirements drawn from OWASP ASVS 5, the OAuth and OpenID Connect
specifications, browser drafts, and the advisories of the last three years. ${count('tested')} are tested, ${count('partly tested')} partly tested, ${count('later')}
come later, ${count('not applicable')} do not apply. Each test's name begins with the number of its row.

| row | what must hold | state | where, or why not |
| --- | --- | --- | --- |
${lines.join('\n')}
`;
}
