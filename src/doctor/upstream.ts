import type { Config } from '../config.ts';
import { judgeCertificate, tlsPlaceOf } from './certificate.ts';
import { type Check, examine, type Finding } from './finding.ts';
import { judgeAnswer } from './http-answer.ts';

/** A system behind the gateway. */
interface Upstream {
  readonly url: string;
  readonly now: () => number;
}

const timeoutMs = 5000;

const checks: Readonly<Record<string, Check<Upstream>>> = { reachable, certificate };

/** The upstreams and the app, each examined on its own. */
export function examineUpstreams(config: Config, now: () => number): Promise<Finding[]>[] {
  const places = [
    ...Object.entries(config.upstreams).map(([name, { url }]) => ({ name: `upstreams.${name}`, url })),
    ...(config.app === undefined ? [] : [{ name: 'app', url: config.app.url }]),
  ];
  return places.map(({ name, url }) => examine({ name, subject: { url, now }, checks }));
}

function reachable({ url }: Upstream): ReturnType<Check<Upstream>> {
  return judgeAnswer(url, timeoutMs);
}

function certificate({ url, now }: Upstream): ReturnType<Check<Upstream>> {
  const place = tlsPlaceOf(url);
  return place === undefined ? undefined : judgeCertificate(place, now);
}
