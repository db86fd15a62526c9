import type { Finding, Level } from './finding.ts';

const signs: Readonly<Record<Level, string>> = { fine: '✓', risky: '!', wrong: '✗' };

/** A finding on one line, for people. */
export function findingLine({ check, level, says, do: next }: Finding): string {
  return `${signs[level]} ${check}: ${says}${next === undefined ? '' : ` → ${next}`}\n`;
}

/** All findings in one line. */
export function summaryLine(findings: readonly Finding[]): string {
  const { wrong, risky, fine } = counts(findings);
  return `${findings.length} checks: ${wrong} wrong, ${risky} risky, ${fine} fine\n`;
}

/** 0 where all is fine, 1 where anything is wrong, 3 where something is risky. */
export function exitCodeOf(findings: readonly Finding[]): 0 | 1 | 3 {
  const { wrong, risky } = counts(findings);
  if (wrong > 0) return 1;
  return risky > 0 ? 3 : 0;
}

function counts(findings: readonly Finding[]): Record<Level, number> {
  const count = (level: Level): number => findings.filter((finding) => finding.level === level).length;
  return { wrong: count('wrong'), risky: count('risky'), fine: count('fine') };
}
