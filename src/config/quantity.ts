/** Durations and sizes as people write them: `250ms`, `1h`, `10MiB`. */

const durationUnits = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const sizeUnits = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;

const parse = (text: string, units: Readonly<Record<string, number>>): number | undefined => {
  const [, digits, unit = ''] = /^(\d{1,12})([A-Za-z]+)$/.exec(text) ?? [];
  return Object.hasOwn(units, unit) ? Number(digits) * (units[unit] ?? 0) : undefined;
};

const format = (value: number, units: Readonly<Record<string, number>>): string => {
  const [unit, factor] = Object.entries(units)
    .reverse()
    .find(([, size]) => value !== 0 && value % size === 0) ?? [Object.keys(units)[0], 1];
  return `${value / factor}${unit}`;
};

/** A duration such as `250ms`, `5s`, `5m`, `1h`, `7d` in milliseconds; undefined where it is none. */
export const parseDuration = (text: string): number | undefined => parse(text, durationUnits);

/** Milliseconds in the largest unit that needs no fraction. */
export const formatDuration = (milliseconds: number): string => format(milliseconds, durationUnits);

/** A size such as `512B`, `64KiB`, `10MiB`, `1GiB` in bytes; undefined where it is none. */
export const parseSize = (text: string): number | undefined => parse(text, sizeUnits);

/** Bytes in the largest unit that needs no fraction. */
export const formatSize = (bytes: number): string => format(bytes, sizeUnits);
