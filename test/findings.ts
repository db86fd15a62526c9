/** What doctor tests ask of findings. */
import { expect } from 'vitest';
import { parseConfig } from '../src/config.ts';
import { type DoctorOptions, type Finding, runDoctor } from '../src/doctor.ts';
import type { ConfigInput } from './world.ts';

/** The doctor's findings on a configuration, by check. Each says what to do where it is not fine, on one line, and none shows a canary. */
export async function diagnose(
  input: ConfigInput,
  options: DoctorOptions = {},
): Promise<Record<string, Finding>> {
  const findings = await runDoctor(parseConfig(input, {}), options);
  for (const finding of findings) {
    if (finding.level !== 'fine') expect(finding.do).toBeTruthy();
    expect(`${finding.says}${finding.do ?? ''}`).toMatch(/^[ -~…≥§]+$/);
  }
  expect(JSON.stringify(findings)).not.toContain('canary');
  expect(new Set(findings.map(({ check }) => check)).size).toBe(findings.length);
  return Object.fromEntries(findings.map((finding) => [finding.check, finding]));
}

/** A configuration that reaches nothing but its store, for checks of other parts to build on. */
export function plainInput(changes: ConfigInput = {}): ConfigInput {
  return {
    publicUrl: 'http://localhost:8080',
    store: { url: 'memory://' },
    keys: [{ id: 'k1', secret: Buffer.alloc(32, 'canary-key-1').toString('base64') }],
    // A discard port: nobody listens, and refusal is quick.
    providers: {
      identity: { issuer: 'http://127.0.0.1:9', clientId: 'apps', clientSecret: 'canary-client-secret' },
    },
    login: ['identity'],
    ...changes,
  };
}
