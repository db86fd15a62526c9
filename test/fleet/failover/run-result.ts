import type { Availability } from './availability.ts';
import type { Scenario } from './play.ts';
import type { Outcome, TrafficAnswer, TrafficKind } from './traffic.ts';

/** What answers of one kind were, from the mishap until the store was back. */
export interface PolicyCounts {
  readonly served: number;
  readonly refused: number;
  readonly stale: number;
  readonly anonymous: number;
}

/** What one run showed. Plain JSON. */
export interface RunResult {
  /** The store, asked directly, did not serve: in all, in ms. */
  readonly awayMs: number;
  /** Answers from the mishap to a second after the store was back. */
  readonly answers: number;
  /** Answers that took longer than 500 ms: at most one in a thousand, of all runs together. */
  readonly late: number;
  readonly p999Ms: number;
  readonly maxMs: number;
  readonly policies: Readonly<Record<TrafficKind, PolicyCounts>>;
  /** Sessions whose owners had been told that they are signed in. */
  readonly acknowledged: number;
  readonly lost: number;
  /** Answers that told somebody with a live session to sign in. */
  readonly signedOut: number;
  /** From the store's recovery to the end of the last answer that was not as ever, in ms. */
  readonly backMs: number;
  /** Promises that did not hold, a line each. */
  readonly broken: string[];
}

/** What a run is judged by. */
export interface Evidence {
  readonly scenario: Scenario;
  readonly struckMs: number;
  readonly endedMs: number;
  readonly outages: Availability;
  readonly answers: readonly TrafficAnswer[];
  readonly acknowledged: number;
  readonly lost: readonly string[];
}

/** The promises. */
const usualLimitMs = 500;
const limitMs = 2000;
const backLimitMs = 1000;

/** Holds what was seen against what is promised. */
export function judge(evidence: Evidence): RunResult {
  const { struckMs, endedMs, outages: availability, scenario, lost } = evidence;
  const { outages } = availability;
  const lastBackMs = outages.at(-1)?.toMs ?? struckMs;
  const during = evidence.answers.filter(
    ({ beganMs, endedMs: at }) => at >= struckMs && beganMs <= lastBackMs + backLimitMs,
  );
  const away = during.filter(({ beganMs }) => beganMs <= lastBackMs);
  const isForgotten = ({ endedMs: at }: TrafficAnswer): boolean =>
    scenario.empties === true && at >= lastBackMs;
  const signedOut = evidence.answers.filter(
    (answer) => answer.outcome === 'sent-to-sign-in' && !isForgotten(answer),
  );
  const wrong = evidence.answers.filter(({ outcome }) => outcome === 'wrong');
  const degraded = evidence.answers.filter(({ outcome }) =>
    ['refused', 'stale', 'anonymous'].includes(outcome),
  );
  const lateBy = degraded.map(({ endedMs: at }) => {
    const back = availability.backBefore(at, struckMs);
    return back === undefined || at < struckMs ? 0 : at - back;
  });
  const times = during.map(lengthOf).sort((one, other) => one - other);
  const slowest = during.toSorted((one, other) => lengthOf(other) - lengthOf(one)).slice(0, 3);
  const result = {
    awayMs: outages.reduce((sum, { fromMs, toMs }) => sum + ((toMs ?? endedMs) - fromMs), 0),
    answers: during.length,
    late: times.filter((ms) => ms > usualLimitMs).length,
    p999Ms: times[Math.ceil(times.length * 0.999) - 1] ?? 0,
    maxMs: times.at(-1) ?? 0,
    backMs: Math.max(0, ...lateBy),
    acknowledged: evidence.acknowledged,
    lost: lost.length,
    signedOut: signedOut.length,
    policies: countPolicies(away),
  };
  const limits: readonly (readonly [broken: boolean, what: string])[] = [
    [result.lost > 0, `${result.lost} sessions lost: ${lost.slice(0, 5).join('; ')}`],
    [signedOut.length > 0, `${signedOut.length} signed out: ${quote(signedOut, struckMs)}`],
    [wrong.length > 0, `${wrong.length} wrong answers: ${quote(wrong, struckMs)}`],
    [degraded.some(({ endedMs: at }) => at < struckMs), 'not as ever before the mishap'],
    [result.maxMs > limitMs, `the slowest took ${Math.round(result.maxMs)} ms: ${quote(slowest, struckMs)}`],
    [
      result.backMs > backLimitMs,
      `back after ${Math.round(result.backMs)} ms: ${quote(degraded.slice(-3), struckMs)}`,
    ],
    [outages.some(({ toMs }) => toMs === undefined), 'the store did not come back'],
  ];
  return { ...result, broken: limits.flatMap(([broken, what]) => (broken ? [what] : [])) };
}

/** What all runs together have broken. */
export function judgeAll(runs: readonly RunResult[]): string[] {
  const late = runs.reduce((sum, run) => sum + run.late, 0);
  const answers = runs.reduce((sum, run) => sum + run.answers, 0);
  return late > answers / 1000 ? [`${late} of ${answers} answers took more than ${usualLimitMs} ms`] : [];
}

function lengthOf({ beganMs, endedMs }: TrafficAnswer): number {
  return endedMs - beganMs;
}

function countPolicies(answers: readonly TrafficAnswer[]): Record<TrafficKind, PolicyCounts> {
  const countOf = (kind: TrafficKind): PolicyCounts => {
    const count = (outcome: Outcome): number =>
      answers.filter((answer) => answer.kind === kind && answer.outcome === outcome).length;
    return {
      served: count('served'),
      refused: count('refused'),
      stale: count('stale'),
      anonymous: count('anonymous'),
    };
  };
  return {
    'fail-closed': countOf('fail-closed'),
    'fail-open': countOf('fail-open'),
    anonymous: countOf('anonymous'),
    'sign-in': countOf('sign-in'),
  };
}

function quote(answers: readonly TrafficAnswer[], struckMs: number): string {
  return answers
    .slice(0, 3)
    .map(
      ({ kind, what, beganMs, endedMs }) =>
        `${kind} from ${Math.round(beganMs - struckMs)} to ${Math.round(endedMs - struckMs)} ms: ${what}`,
    )
    .join('; ');
}
