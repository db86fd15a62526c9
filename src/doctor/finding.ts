import { CoatcheckError } from '../errors.ts';

/** How bad it is. `risky` works today; `wrong` does not, or is unsafe. */
export type Level = 'fine' | 'risky' | 'wrong';

/** What a check found. */
export interface Verdict {
  readonly level: Level;
  /** What is so, on one line, without a secret. */
  readonly says: string;
  /** What to do about it. Always there where the level is not `fine`. */
  readonly do?: string;
}

/** A verdict, and of which check. */
export interface Finding extends Verdict {
  /** Where in the configuration, and what was looked at: `store.clock`, `providers.identity.issuer`. */
  readonly check: string;
}

/** Looks at one thing of a subject. `undefined` where there is nothing to look at. */
export type Check<Subject> = (subject: Subject) => Verdict | undefined | Promise<Verdict | undefined>;

/** All is well; `next` where something is left to do elsewhere. */
export function fine(says: string, next?: string): Verdict {
  return { level: 'fine', says, ...(next === undefined ? {} : { do: next }) };
}

/** Works, but not in every case. */
export function risky(says: string, next: string): Verdict {
  return { level: 'risky', says, do: next };
}

/** Does not work, or must not be so. */
export function wrong(says: string, next: string): Verdict {
  return { level: 'wrong', says, do: next };
}

/** Options of {@link examine}. */
export interface Examination<Subject> {
  /** What its findings are named after. */
  readonly name: string;
  readonly subject: Subject;
  /** By name, in order. */
  readonly checks: Readonly<Record<string, Check<Subject>>>;
  /** The longest that one check may take, in ms. Default 10,000. */
  readonly limitMs?: number;
}

/** What `work` finds, or that it failed. Never throws. */
export function findingsOf(name: string, work: () => Promise<Finding[]>): Promise<Finding[]> {
  return work().catch((fault: unknown) => [{ check: name, ...crash(fault) }]);
}

/** Makes one check after the other. A check that fails or hangs is a finding too. Never throws. */
export async function examine<Subject>(examination: Examination<Subject>): Promise<Finding[]> {
  const { name, subject, checks, limitMs = 10_000 } = examination;
  const findings: Finding[] = [];
  for (const [check, look] of Object.entries(checks)) {
    const verdict = await within(limitMs, async () => look(subject)).catch(crash);
    if (verdict !== undefined) findings.push({ check: `${name}.${check}`, ...verdict });
  }
  return findings;
}

async function within(
  limitMs: number,
  work: () => Promise<Verdict | undefined>,
): Promise<Verdict | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<Verdict>((resolve) => {
    const late = wrong(
      `nothing came of it within ${limitMs} ms`,
      'try again; see whether the other end hangs',
    );
    timer = setTimeout(() => resolve(late), limitMs);
  });
  try {
    return await Promise.race([work(), limit]);
  } finally {
    clearTimeout(timer);
  }
}

function crash(fault: unknown): Verdict {
  return CoatcheckError.is(fault)
    ? wrong(
        `could not be looked at: ${fault.message}${codeInBrackets(fault)}`,
        'see to the other findings of this subject first',
      )
    : wrong(`the check itself failed${codeInBrackets(fault)}`, 'please report it');
}

/** The code beneath a fault, for people; never its message, which may quote anything. */
export function codeInBrackets(fault: unknown): string {
  const code = faultCode(fault);
  return code === undefined ? '' : ` (${code})`;
}

/** The first system or TLS code (`ECONNREFUSED`, `CERT_HAS_EXPIRED`) beneath a fault, or else the name of its class. */
export function faultCode(fault: unknown): string | undefined {
  if (!(fault instanceof Error)) return undefined;
  const code: unknown = Reflect.get(fault, 'code');
  if (typeof code === 'string' && /^[A-Z][A-Z0-9_]+$/.test(code)) return code;
  const name = fault.name === 'Error' ? fault.constructor.name : fault.name;
  return faultCode(fault.cause) ?? (CoatcheckError.is(fault) ? undefined : name);
}

/** Text from outside, for one line of a terminal: short, printable, in quotation marks. */
export function quote(text: unknown): string {
  const shown = String(text).replaceAll(/[^ -~]/g, '?');
  return `"${shown.length > 120 ? `${shown.slice(0, 120)}…` : shown}"`;
}
